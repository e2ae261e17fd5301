//! Networks whose weights do not change any more: logits, and gradients with respect to the pictures.
//!
//! An attack asks the same network some tens of times. So what depends on weights alone is done once:
//! BatchNorm is folded into the convolution before it (`w' = w gamma / sigma`,
//! `b' = beta + (b - mean) gamma / sigma`; Jacob et al., "Quantization and training of neural networks",
//! CVPR 2018, section 3.2), and the filters are transformed for Winograd's algorithm. Activations stay
//! channels-last, ReLU and pooling are part of the convolution, and only their bits are kept for the way
//! back. There is no graph: the backward pass is the list of layers in reverse.

mod layers;
#[cfg(test)]
mod tests;

use std::sync::{Mutex, PoisonError};

use burn::backend::Flex;
use burn::tensor::Tensor;
use burn_flex::FlexTensor;

use super::kernels::{Isa, Short, Then};
use super::{BatchNorm, Conv2d, Linear, Normalize, ops};
use layers::{Chain, ConvLayer, Layer, LinearLayer, Pass, Tape};

pub use layers::Precision;

/// What follows a convolution and its BatchNorm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// The next layer.
    Nothing,
    /// A ReLU.
    Relu,
    /// A ReLU, then the maximum over windows of 2x2 with stride 2.
    ReluMaxPool,
}

/// Numbers of 16 bits were asked for where the processor has no instructions for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{wanted}, which is not here (instruction set in use: {found}); choose {other}full precision")]
pub struct PrecisionError {
    wanted: &'static str,
    found: &'static str,
    /// The other format, if that would do.
    other: &'static str,
}

impl Precision {
    /// Whether this processor can compute so with the instruction set in use.
    ///
    /// # Errors
    /// Half precision without AVX-512 FP16, bfloat16 without AVX-512 BF16.
    pub fn check(self) -> Result<(), PrecisionError> {
        let isa = Isa::active();
        let (half, brain) = (Short::Half.is_there(isa), Short::Brain.is_there(isa));
        let (there, wanted, other) = match self {
            Self::Full => return Ok(()),
            Self::Half => {
                let other = if brain { "`bfloat16` or " } else { "" };
                (half, "half precision needs a processor with AVX-512 FP16", other)
            }
            Self::Bfloat16 => {
                let other = if half { "`half` or " } else { "" };
                (brain, "bfloat16 needs a processor with AVX-512 BF16", other)
            }
        };
        if there { Ok(()) } else { Err(PrecisionError { wanted, found: isa.name(), other }) }
    }
}

/// A network in its frozen form, made by a [`FrozenBuilder`]. It owns all that it has prepared.
pub struct Frozen {
    chain: Chain,
    /// Memory of passes that are over.
    tapes: Mutex<Vec<Tape>>,
}

/// A forward pass that [`Frozen::backward`] can go back.
pub struct FrozenPass {
    count: usize,
    tape: Tape,
}

impl Frozen {
    /// Whether pictures `[N, C, H, W]` can be shown to this form: `f32` of its shape in the memory of the
    /// CPU, at least one.
    pub fn takes(&self, pictures: &Tensor<4>) -> bool {
        let [_, channels, height, width] = pictures.dims();
        [channels, height, width] == self.chain.shape && ops::is_ours(pictures)
    }

    /// Logits `[N, K]`. Nothing if a value on the way is not finite.
    pub fn logits(&self, pictures: Tensor<4>) -> Option<Tensor<2>> {
        let (logits, pass) = self.forward(pictures)?;
        self.keep(pass.tape);
        Some(logits)
    }

    /// The gradient with respect to the pictures, `[N, C, H, W]`, given that with respect to the logits,
    /// `[N, K]`. Nothing if a value on the way is not finite.
    pub fn backward(&self, pass: FrozenPass, gradient: Tensor<2>) -> Option<Tensor<4>> {
        let gradient = ops::dense(primitive(gradient)?);
        let found = self.chain.backward(ops::values(&gradient), pass.count, &pass.tape);
        self.keep(pass.tape);
        let [channels, height, width] = self.chain.shape;
        Some(Tensor::from_primitive::<Flex>(ops::tensor(found?, [pass.count, channels, height, width])))
    }

    /// Logits `[N, K]` and the way back. Nothing if a value on the way is not finite.
    pub fn forward(&self, pictures: Tensor<4>) -> Option<(Tensor<2>, FrozenPass)> {
        self.pass(pictures, Pass::Exact)
    }

    /// As [`Frozen::forward`], as exactly as the precision says: with [`Precision::Bfloat16`] the logits are near to those
    /// of the network and nothing to decide by.
    pub fn search(&self, pictures: Tensor<4>) -> Option<(Tensor<2>, FrozenPass)> {
        self.pass(pictures, Pass::Search)
    }

    fn pass(&self, pictures: Tensor<4>, pass: Pass) -> Option<(Tensor<2>, FrozenPass)> {
        let pictures = ops::dense(primitive(pictures)?);
        let count = ops::dims(&pictures)[0];
        let mut tape = self.tapes.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        let found = self.chain.forward(ops::values(&pictures), count, &mut tape, pass);
        let Some(logits) = found else {
            self.keep(tape);
            return None;
        };
        let logits = Tensor::from_primitive::<Flex>(ops::tensor(logits, [count, self.chain.classes]));
        Some((logits, FrozenPass { count, tape }))
    }

    fn keep(&self, tape: Tape) {
        self.tapes.lock().unwrap_or_else(PoisonError::into_inner).push(tape);
    }
}

/// The tensor in the memory of the CPU, if it is there and outside autodiff.
pub(super) fn primitive<const D: usize>(tensor: Tensor<D>) -> Option<FlexTensor> {
    tensor.try_into_primitive::<Flex>().ok()
}

/// Takes the layers of a network one after the other.
///
/// A layer that the frozen form does not know makes the whole network unknown: [`FrozenBuilder::finish`]
/// then gives nothing, and the network is used as it is.
pub struct FrozenBuilder {
    chain: Chain,
    precision: Precision,
    known: bool,
    /// Whether the first layer gets the channels in the reverse order.
    reversed: bool,
    /// What the last layer gives: channels, height and width, each pixel padded to so many floats.
    shape: [usize; 3],
    pitch: usize,
}

impl FrozenBuilder {
    /// For pictures of a shape `[C, H, W]`, which are normalised first. A precision that this
    /// processor does not have (see [`Precision::check`]) gives no frozen form.
    pub fn new(shape: [usize; 3], normalize: &Normalize, precision: Precision) -> Self {
        let isa = Isa::active();
        let (mean, std) = normalize.mean_and_std();
        let scale = std.iter().map(|std| 1.0 / std).collect();
        let known = mean.len() == shape[0] && precision.check().is_ok();
        let chain = Chain { isa, layers: Vec::new(), shape, mean: mean.to_vec(), scale, classes: 0 };
        let reversed = normalize.is_reversed();
        Self { chain, precision, known, reversed, shape, pitch: shape[0] }
    }

    /// A convolution, the BatchNorm after it if there is one (by its running statistics), and what follows.
    #[must_use]
    pub fn conv(mut self, conv: &Conv2d, norm: Option<&BatchNorm>, after: After) -> Self {
        let [outputs, inputs, kernel, _] = conv.weight.val().dims();
        let [_, height, width] = self.shape;
        let pools = after != After::ReluMaxPool || (height > 1 && width > 1);
        let last = self.chain.layers.last();
        self.known &= (kernel, conv.stride_and_padding(), inputs) == (3, [1, 1], self.shape[0])
            && pools
            && !matches!(last, Some(Layer::Linear(_)));
        let (Some(mut weights), true) = (floats(conv.weight.val()), self.known) else {
            return self.unknown();
        };
        if self.reversed && self.chain.layers.is_empty() {
            // The pictures keep their order, the weights are turned around instead.
            for weights in weights.chunks_exact_mut(inputs * 9) {
                let turned: Vec<f32> = weights.chunks_exact(9).rev().flatten().copied().collect();
                weights.copy_from_slice(&turned);
            }
        }
        let mut bias = vec![0.0; outputs];
        if let Some(own) = &conv.bias {
            let Some(own) = floats(own.val()) else { return self.unknown() };
            bias = own;
        }
        if let Some(norm) = norm {
            let Some((scale, shift)) = norm.scale_and_shift() else { return self.unknown() };
            for (output, weights) in weights.chunks_exact_mut(inputs * 9).enumerate() {
                for weight in weights {
                    *weight *= scale[output];
                }
                bias[output] = bias[output] * scale[output] + shift[output];
            }
        }
        let then = match after {
            After::Nothing => Then::Nothing,
            After::Relu => Then::Relu,
            After::ReluMaxPool => Then::ReluMaxPool,
        };
        let is_first = self.chain.layers.is_empty();
        let layer = ConvLayer::new(self.chain.isa, weights, bias, inputs, then, self.precision, is_first);
        self.chain.layers.push(Layer::Conv(layer));
        let halve = if after == After::ReluMaxPool { 2 } else { 1 };
        self.shape = [outputs, height / halve, width / halve];
        self.pitch = outputs.next_multiple_of(self.chain.isa.lanes());
        self
    }

    /// A linear layer on all values (the first one on `[C, H, W]`, flattened), with or without a ReLU.
    #[must_use]
    pub fn linear(mut self, linear: &Linear, relu: bool) -> Self {
        let ([channels, height, width], pitch) = (self.shape, self.pitch);
        let [inputs, outputs] = linear.weight.val().dims();
        self.known &= inputs == channels * height * width && !self.chain.layers.is_empty();
        let (Some(weights), true) = (floats(linear.weight.val()), self.known) else {
            return self.unknown();
        };
        let mut bias = vec![0.0; outputs];
        if let Some(own) = &linear.bias {
            let Some(own) = floats(own.val()) else { return self.unknown() };
            bias = own;
        }
        // The values lie channels-last and padded, the weights know them as `[C, H, W]`.
        let weight = |input: usize, output: usize| {
            let (pixel, channel) = (input / pitch, input % pitch);
            if channel < channels {
                weights[(channel * height * width + pixel) * outputs + output]
            } else {
                0.0
            }
        };
        let layer = LinearLayer::new(self.chain.isa, height * width * pitch, &bias, relu, weight);
        self.chain.layers.push(Layer::Linear(layer));
        self.shape = [outputs, 1, 1];
        self.pitch = outputs.next_multiple_of(self.chain.isa.lanes());
        self
    }

    /// The frozen form, if all layers are known. The last one is linear and gives the logits.
    pub fn finish(mut self) -> Option<Frozen> {
        let ends = matches!(self.chain.layers.last(), Some(Layer::Linear(_)));
        self.chain.classes = self.shape[0];
        let begins = matches!(self.chain.layers.first(), Some(Layer::Conv(_)));
        (self.known && begins && ends).then(|| Frozen { chain: self.chain, tapes: Mutex::default() })
    }

    fn unknown(mut self) -> Self {
        self.known = false;
        self
    }
}

/// The values of a tensor, if our kernels can have them.
fn floats<const D: usize>(tensor: Tensor<D>) -> Option<Vec<f32>> {
    let tensor = tensor.without_autodiff();
    if !ops::is_ours(&tensor) {
        return None;
    }
    Some(ops::values(&ops::dense(primitive(tensor)?)).to_vec())
}
