//! The layers of a frozen network on plain slices: forward, and backward to the pictures.

use std::sync::Arc;

use crate::nn::kernels::{
    FixedMatrix, Forward, FrozenInput, Grid, Isa, Short, Then, Way, Weights, backward, backward_to_pixels,
    pixels, recycle,
};

/// Floats of a picture's pixel with up to as many channels; others take whole vectors.
const PICTURE_PITCH: usize = 4;

/// How exactly an attack looks for its pictures. What decides, says or reports is always computed in `f32`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// In `f32`.
    #[default]
    Full,
    /// The products of the convolutions on the way back in half precision (IEEE 754 binary16), for processors
    /// with AVX-512 FP16.
    Half,
    /// The products of the convolutions of bfloat16 numbers, summed in `f32`, for processors with AVX-512 BF16: on the
    /// way back, and on the way forward of a search, but for the first convolution, whose input are the pictures.
    Bfloat16,
}

/// A convolution of 3x3 with stride 1 and padding 1, and what follows it.
pub(super) struct ConvLayer {
    forward: Weights,
    /// Those of a search forward, where they are others.
    search: Option<Weights>,
    backward: Weights,
    bias: Vec<f32>,
    then: Then,
}

impl ConvLayer {
    /// From weights `[outputs, inputs, 3, 3]` and a bias `[outputs]`.
    pub(super) fn new(
        isa: Isa,
        weights: Vec<f32>,
        bias: Vec<f32>,
        inputs: usize,
        then: Then,
        precision: Precision,
        is_first: bool,
    ) -> Self {
        let (weights, shape): (Arc<[f32]>, _) = (weights.into(), [bias.len(), inputs]);
        let forward = Weights::new(isa, &weights, shape, Way::Forward);
        let search = (precision == Precision::Bfloat16 && !is_first)
            .then(|| Weights::short(Short::Brain, isa, &weights, shape, Way::Forward));
        let backward = match precision {
            Precision::Full => Weights::new(isa, &weights, shape, Way::Backward),
            Precision::Half => Weights::short(Short::Half, isa, &weights, shape, Way::Backward),
            Precision::Bfloat16 => Weights::short(Short::Brain, isa, &weights, shape, Way::Backward),
        };
        Self { forward, search, backward, bias, then }
    }
}

/// A fully connected layer.
pub(super) struct LinearLayer {
    forward: FixedMatrix,
    backward: FixedMatrix,
    /// In whole vectors.
    bias: Vec<f32>,
    relu: bool,
}

impl LinearLayer {
    /// From a weight for each input, as they lie in memory, and output.
    pub(super) fn new(
        isa: Isa,
        inputs: usize,
        bias: &[f32],
        relu: bool,
        weight: impl Fn(usize, usize) -> f32,
    ) -> Self {
        let outputs = bias.len();
        let forward = FixedMatrix::new(isa, inputs, outputs, &weight);
        let pitch = forward.pitch();
        let turned = |output, input| if output < outputs { weight(input, output) } else { 0.0 };
        let backward = FixedMatrix::new(isa, pitch, inputs, turned);
        let mut padded = bias.to_vec();
        padded.resize(pitch, 0.0);
        Self { forward, backward, bias: padded, relu }
    }

    fn run(&self, input: &[f32], bits: &mut Vec<u16>) -> Vec<f32> {
        let mut output = self.forward.multiply(input);
        for row in output.chunks_exact_mut(self.bias.len()) {
            row.iter_mut().zip(&self.bias).for_each(|(value, bias)| *value += bias);
        }
        if self.relu {
            bits.clear();
            bits.extend(output.chunks(16).map(|some| {
                some.iter().enumerate().fold(0, |bits, (i, value)| bits | u16::from(*value > 0.0) << i)
            }));
            // Not `max`: a NaN stays one.
            for value in &mut output {
                *value = if *value <= 0.0 { 0.0 } else { *value };
            }
        }
        output
    }

    fn back(&self, mut gradient: Vec<f32>, bits: &[u16]) -> Vec<f32> {
        if self.relu {
            for (some, bits) in gradient.chunks_mut(16).zip(bits) {
                for (i, value) in some.iter_mut().enumerate() {
                    *value = if bits >> i & 1 == 1 { *value } else { 0.0 };
                }
            }
        }
        self.backward.multiply(&gradient)
    }
}

pub(super) enum Layer {
    Conv(ConvLayer),
    Linear(LinearLayer),
}

/// What a way forward is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    /// To know the logits.
    Exact,
    /// To know where to go.
    Search,
}

/// What the way back needs of a pass: the bits of each layer.
#[derive(Debug, Default)]
pub(super) struct Tape(Vec<Vec<u16>>);

/// A picture's way to its logits: convolutions, then linear layers.
pub(super) struct Chain {
    pub(super) isa: Isa,
    pub(super) layers: Vec<Layer>,
    /// Channels, height and width of a picture.
    pub(super) shape: [usize; 3],
    pub(super) mean: Vec<f32>,
    /// One over the standard deviation.
    pub(super) scale: Vec<f32>,
    pub(super) classes: usize,
}

impl Chain {
    /// The logits `[N, K]` of pictures `[N, C, H, W]`, in `f32` or as they are enough for a search. Nothing if a value
    /// is not finite.
    pub(super) fn forward(
        &self,
        pictures: &[f32],
        count: usize,
        tape: &mut Tape,
        pass: Pass,
    ) -> Option<Vec<f32>> {
        let [channels, height, width] = self.shape;
        let mut grid = Grid { count, height, width };
        let mut pitch = self.picture_pitch(channels);
        let mut values = pixels(pictures, grid, pitch, &self.mean, &self.scale);
        tape.0.resize_with(self.layers.len(), Vec::new);
        for (layer, bits) in self.layers.iter().zip(&mut tape.0) {
            let next = match layer {
                Layer::Conv(conv) => {
                    let ConvLayer { forward, search, bias, then, .. } = conv;
                    let weights = search.as_ref().filter(|_| pass == Pass::Search).unwrap_or(forward);
                    let forward = Forward { grid, weights, bias, then: *then };
                    let next = forward.run(FrozenInput::Pixels { values: &values, pitch }, bits);
                    pitch = conv.bias.len().next_multiple_of(self.isa.lanes());
                    if conv.then == Then::ReluMaxPool {
                        grid = grid.pooled();
                    }
                    next
                }
                Layer::Linear(linear) => Some(linear.run(&values, bits)),
            };
            recycle(values);
            values = next?;
        }
        let pitch = values.len() / count;
        let logits: Vec<f32> =
            values.chunks_exact(pitch).flat_map(|row| row[..self.classes].iter().copied()).collect();
        logits.iter().all(|logit| logit.is_finite()).then_some(logits)
    }

    /// The gradient with respect to the pictures, given that with respect to the logits. Nothing if a value
    /// is not finite.
    pub(super) fn backward(&self, gradient: &[f32], count: usize, tape: &Tape) -> Option<Vec<f32>> {
        let pitch = self.classes.next_multiple_of(self.isa.lanes());
        let mut values = vec![0.0; count * pitch];
        for (to, from) in values.chunks_exact_mut(pitch).zip(gradient.chunks_exact(self.classes)) {
            to[..self.classes].copy_from_slice(from);
        }
        let grids = self.grids(count);
        for (index, (layer, bits)) in self.layers.iter().zip(&tape.0).enumerate().rev() {
            let next = match layer {
                Layer::Linear(linear) => {
                    values = linear.back(values, bits);
                    continue;
                }
                Layer::Conv(conv) => {
                    let source = match conv.then {
                        Then::Nothing => {
                            let pitch = conv.bias.len().next_multiple_of(self.isa.lanes());
                            FrozenInput::Pixels { values: &values, pitch }
                        }
                        Then::Relu => FrozenInput::Relu { gradient: &values, bits },
                        Then::ReluMaxPool => FrozenInput::Pooled { gradient: &values, bits },
                    };
                    if index == 0 {
                        backward_to_pixels(grids[0], &conv.backward, source, &self.scale)
                    } else {
                        backward(grids[index], &conv.backward, source)
                    }
                }
            };
            recycle(values);
            values = next?;
        }
        Some(values)
    }

    /// Height and width that each convolution works at.
    fn grids(&self, count: usize) -> Vec<Grid> {
        let [_, height, width] = self.shape;
        let mut grid = Grid { count, height, width };
        let convs = self.layers.iter().map_while(|layer| match layer {
            Layer::Conv(conv) => Some(conv.then),
            Layer::Linear(_) => None,
        });
        convs
            .map(|then| {
                let own = grid;
                if then == Then::ReluMaxPool {
                    grid = grid.pooled();
                }
                own
            })
            .collect()
    }

    fn picture_pitch(&self, channels: usize) -> usize {
        if channels <= PICTURE_PITCH { PICTURE_PITCH } else { channels.next_multiple_of(self.isa.lanes()) }
    }
}
