//! Smallest and largest of some figures.

/// Where the smallest and the largest value stand. Of equal values the first counts.
pub(super) struct Extremes {
    /// Position of the smallest value.
    pub lowest: usize,
    /// Position of the largest value.
    pub highest: usize,
    /// Largest minus smallest, at least 0.
    pub gap: f64,
}

/// The extremes of the values that exist; `None` where none does.
pub(super) fn extremes(values: impl IntoIterator<Item = Option<f64>>) -> Option<Extremes> {
    let mut known = values.into_iter().enumerate().filter_map(|(at, value)| Some((at, value?)));
    let first = known.next()?;
    let (low, high) = known.fold((first, first), |(low, high), next| {
        (if next.1 < low.1 { next } else { low }, if next.1 > high.1 { next } else { high })
    });
    Some(Extremes { lowest: low.0, highest: high.0, gap: high.1 - low.1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_values_do_not_count() {
        let found = extremes([None, Some(0.5), Some(0.25), None, Some(0.75)]).unwrap();
        assert_eq!((found.lowest, found.highest, found.gap), (2, 4, 0.5));
        assert!(extremes([None, None]).is_none());
    }

    #[test]
    fn of_equal_values_the_first_counts() {
        let found = extremes([Some(0.5), Some(0.5)]).unwrap();
        assert_eq!((found.lowest, found.highest, found.gap), (0, 0, 0.0));
    }
}
