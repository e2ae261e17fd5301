//! A soft confusion matrix that remembers the batches before.
//!
//! In a small batch most pairs of classes do not meet, and the row of a class is the softmax of one or two
//! pictures. Here each row is an exponential mean over the batches that had the class,
//! `E <- decay E + (1 - decay) R` with `R` the mean of this batch, so that every class that was ever seen
//! can be compared with every other. The penalty has the value at `E` and the gradient of `R`: what is
//! remembered is constant, and the rate at which it is forgotten does not change the weight of the term.
//!
//! For each class of the batch and each other class that term is formed once: `O(batch x K)` work, and
//! `K x K` numbers are kept.

use burn::tensor::{Tensor, TensorData};

use super::host;
use super::soft_confusion::{Symmetry, present_classes};

/// Most classes for which a matrix is kept: 4 MB of numbers, and a checkpoint of about 20 MB.
pub(super) const MOST_CLASSES: usize = 1024;

/// The matrix.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RunningConfusion {
    decay: f32,
    /// The row of each class that was seen.
    rows: Vec<Option<Vec<f32>>>,
}

impl RunningConfusion {
    /// Nothing is known yet. `decay` is in `[0, 1)`.
    pub fn new(classes: usize, decay: f64) -> Self {
        Self { decay: decay as f32, rows: vec![None; classes] }
    }

    /// The penalty of a batch, `[1]`, whose rows are remembered: logits `[N, K]` and `N` labels.
    pub fn penalty(&mut self, symmetry: &Symmetry, logits: Tensor<2>, labels: &[usize]) -> Tensor<1> {
        let present = present_classes(labels);
        let live = symmetry.rows(logits, labels, &present);
        let (device, shape) = (live.device().without_autodiff(), live.dims());
        let constant = |values: Vec<f32>| Tensor::<2>::from_data(TensorData::new(values, shape), &device);
        let now: Vec<f32> = host(&live).into_iter().map(|value| value as f32).collect();
        let mut moved = Vec::with_capacity(now.len());
        let classes = self.rows.len();
        for (class, row) in present.iter().zip(now.chunks(classes)) {
            moved.extend(self.updated(*class, row));
        }
        let rows = live + constant(moved.iter().zip(&now).map(|(moved, now)| moved - now).collect());
        let total = symmetry.among(&rows, &present);
        // The other way of each pair with a class that is not here, where that has been seen.
        let (mut back, mut known) = (Vec::with_capacity(now.len()), Vec::with_capacity(classes));
        for class in &present {
            back.extend(self.rows.iter().map(|row| row.as_ref().map_or(0.0, |row| row[*class])));
        }
        known.extend(self.rows.iter().map(|row| f32::from(row.is_some())));
        for class in &present {
            known[*class] = 0.0;
        }
        let known = Tensor::<2>::from_data(TensorData::new(known, [1, classes]), &device);
        let absent = symmetry.terms(rows * known.clone(), constant(back) * known).sum();
        for (class, row) in present.iter().zip(moved.chunks(classes)) {
            self.rows[*class] = Some(row.to_vec());
        }
        symmetry.reduce(total + absent, present.len())
    }

    fn updated(&self, class: usize, row: &[f32]) -> Vec<f32> {
        match &self.rows[class] {
            None => row.to_vec(),
            Some(old) => {
                old.iter().zip(row).map(|(old, new)| self.decay * old + (1.0 - self.decay) * new).collect()
            }
        }
    }

    /// What a resumed training has to know.
    pub fn state(&self) -> serde_json::Value {
        serde_json::json!(self.rows)
    }

    /// Goes on from there.
    pub fn restore(&mut self, state: &serde_json::Value) -> Result<(), String> {
        let rows: Vec<Option<Vec<f32>>> = serde_json::from_value(state.clone())
            .map_err(|error| format!("the running confusion of sy-far cannot be used ({error})"))?;
        let classes = self.rows.len();
        if rows.len() != classes || rows.iter().flatten().any(|row| row.len() != classes) {
            return Err(format!(
                "the running confusion of sy-far is of {} classes and not of {classes}",
                rows.len()
            ));
        }
        self.rows = rows;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{AbsentPairs, Reduction, Sides};
    use super::*;
    use burn::tensor::Device;

    const SYMMETRY: Symmetry = Symmetry {
        epsilon: 0.1,
        absent_pairs: AbsentPairs::Skip,
        reduction: Reduction::PerClass,
        sides: Sides::Both,
        temperature: 1.0,
    };

    fn logits(rows: &[[f32; 3]]) -> Tensor<2> {
        let values: Vec<f32> = rows.iter().flatten().map(|p| p.ln()).collect();
        Tensor::from_data(TensorData::new(values, [rows.len(), 3]), &Device::default())
    }

    fn term(a: f64, b: f64) -> f64 {
        (a - b).abs() * (a + b) / (a + b + 0.1)
    }

    /// Worked by hand: first classes 0 and 1, then class 0 again and class 2.
    #[test]
    fn rows_are_remembered_and_absent_classes_are_compared_with() {
        let mut running = RunningConfusion::new(3, 0.75);
        let value = |running: &mut RunningConfusion, rows: &[[f32; 3]], labels: &[usize]| {
            f64::from(running.penalty(&SYMMETRY, logits(rows), labels).into_scalar::<f32>())
        };
        let first = value(&mut running, &[[0.6, 0.3, 0.1], [0.1, 0.7, 0.2]], &[0, 1]);
        assert!((first - term(0.3, 0.1) / 2.0).abs() < 1e-6, "class 2 is not known: {first}");
        let second = value(&mut running, &[[0.2, 0.7, 0.1], [0.5, 0.1, 0.4]], &[0, 2]);
        // Row 0 is now 0.75 * (0.6, 0.3, 0.1) + 0.25 * (0.2, 0.7, 0.1) = (0.5, 0.4, 0.1).
        let expected = (term(0.1, 0.5) + term(0.4, 0.1) + term(0.1, 0.2)) / 2.0;
        assert!((second - expected).abs() < 1e-6, "{second} {expected}");
        let mut again = RunningConfusion::new(3, 0.75);
        again.restore(&running.state()).expect("its own state");
        assert_eq!(again, running);
        assert!(RunningConfusion::new(4, 0.75).restore(&running.state()).is_err());
        assert!(again.restore(&serde_json::json!({"rows": 1})).is_err());
    }

    /// The gradient is that of the same penalty with the row of the batch moved by a constant.
    #[test]
    fn the_gradient_goes_through_the_batch_alone() {
        let seen = || {
            let mut running = RunningConfusion::new(3, 0.75);
            running.penalty(&SYMMETRY, logits(&[[0.6, 0.3, 0.1], [0.1, 0.7, 0.2]]), &[0, 1]);
            running
        };
        let tracked = logits(&[[0.2, 0.7, 0.1]]).autodiff().require_grad();
        let penalty = seen().penalty(&SYMMETRY, tracked.clone(), &[0]);
        let gradient = host(&tracked.grad(&penalty.backward()).expect("tracked"));
        // p = (0.2, 0.7, 0.1) is shown, (0.5, 0.4, 0.1) is its place. The pair is (0.4, 0.1) and
        // d term/da = s/(s+eps) + (a-b) eps/(s+eps)^2; d p_1/d z_k = p_1 (1[k = 1] - p_k).
        let slope = 0.5 / 0.6 + 0.3 * 0.1 / 0.36;
        let expected = [-0.7 * 0.2, 0.7 * 0.3, -0.7 * 0.1].map(|jacobian| slope * jacobian);
        for (found, expected) in gradient.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-5, "{gradient:?}");
        }
    }
}
