//! How large a network is and what one picture costs, from its configuration alone.

/// Parameters that are trained, and multiply-accumulates of one picture's way forward.
///
/// Counted are convolutions, linear layers and the two products of attention, as is usual; normalisation,
/// activations and pooling are not. Running statistics are no parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Trained numbers.
    pub parameters: u64,
    /// Multiplications with an addition.
    pub macs: u64,
}

impl Size {
    /// A convolution without bias, with the side of what it gives.
    #[must_use]
    pub fn conv(self, [inputs, outputs]: [usize; 2], kernel: usize, side: usize) -> Self {
        let weights = (inputs * outputs * kernel * kernel) as u64;
        self.plus(weights, weights * (side * side) as u64)
    }

    /// A linear layer with bias, on so many rows.
    #[must_use]
    pub fn linear(self, inputs: usize, outputs: usize, rows: usize) -> Self {
        let weights = (inputs * outputs) as u64;
        self.plus(weights + outputs as u64, weights * rows as u64)
    }

    /// Numbers that are trained and multiplied with nothing worth counting: biases, norms, positions.
    #[must_use]
    pub fn more(self, parameters: usize) -> Self {
        self.plus(parameters as u64, 0)
    }

    /// Parameters and multiply-accumulates.
    #[must_use]
    pub fn plus(self, parameters: u64, macs: u64) -> Self {
        Self { parameters: self.parameters + parameters, macs: self.macs + macs }
    }
}

/// Side of what a convolution or pooling gives.
pub(super) fn side_after(side: usize, kernel: usize, stride: usize, padding: usize) -> usize {
    (side + 2 * padding).saturating_sub(kernel) / stride + 1
}
