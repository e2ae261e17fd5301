//! What a validation says of each class: what methods adapt to that look at held-out pictures.

/// Figures of the pictures of one class.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClassFigure {
    /// Pictures of the class, at least 1.
    pub images: usize,
    /// Share of them that is not recognised clean.
    pub clean_error: f64,
    /// Share that is not recognised clean or not under attack.
    pub robust_error: f64,
    /// Mean cross-entropy of the clean pictures.
    pub clean_loss: f64,
    /// Mean `KL(clean || attacked)` of the softmax outputs.
    pub divergence: f64,
}

/// Figures of each class; none for a class without a picture.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClassFigures(pub Vec<Option<ClassFigure>>);

impl ClassFigures {
    /// The classes that have a picture, with their figures.
    pub fn present(&self) -> impl Iterator<Item = (usize, &ClassFigure)> {
        self.0.iter().enumerate().filter_map(|(class, figure)| Some((class, figure.as_ref()?)))
    }

    /// The mean of a figure over all pictures; none without a picture.
    pub fn mean(&self, of: impl Fn(&ClassFigure) -> f64) -> Option<f64> {
        let images: usize = self.present().map(|(_, figure)| figure.images).sum();
        let sum: f64 = self.present().map(|(_, figure)| figure.images as f64 * of(figure)).sum();
        (images > 0).then(|| sum / images as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_are_over_pictures() {
        let figure = |images, clean_error| {
            Some(ClassFigure { images, clean_error, robust_error: 0.0, clean_loss: 0.0, divergence: 0.0 })
        };
        let figures = ClassFigures(vec![figure(10, 0.5), None, figure(30, 0.1)]);
        assert!((figures.mean(|figure| figure.clean_error).expect("pictures") - 0.2).abs() < 1e-12);
        assert_eq!(ClassFigures(vec![None; 2]).mean(|figure| figure.clean_error), None);
    }
}
