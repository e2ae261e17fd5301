//! Which kernel computes a convolution and its gradients: Winograd for 3x3, stride 1 and padding 1, columns
//! for everything else.
//!
//! No kernel of ours promises anything about NaN and infinity. Where a result is not finite it is computed
//! again by Burn's own operator, so that both spread alike.

use burn::backend::ops::{ActivationOps, ModuleOps};
use burn::backend::{DType, Flex};
use burn::tensor::Shape;
use burn::tensor::ops::ConvOptions;
use burn_flex::FlexTensor;

use super::{dims, tensor, values};
use crate::nn::kernels::{
    Finish, Images, Isa, Source, Taps, Window, channel_sums, convolve, convolve_by_columns, gate,
    input_gradient_by_columns, weight_gradient, weight_gradient_by_columns,
};

/// How a convolution is applied, the same along both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Pixels from one place of the kernel to the next.
    pub stride: usize,
    /// Rows and columns of zeros around the image.
    pub padding: usize,
    /// Whether a ReLU follows.
    pub relu: bool,
}

impl Settings {
    /// As Burn's operators take them.
    pub(super) fn options(self) -> ConvOptions<2> {
        ConvOptions::new([self.stride; 2], [self.padding; 2], [1, 1], 1)
    }

    /// Whether a kernel of ours can do it.
    pub(super) fn are_known(self, input: [usize; 4], weight: [usize; 4]) -> bool {
        let ([count, channels, height, width], [outputs, inputs, rows, columns]) = (input, weight);
        let fits = |image: usize, kernel: usize| kernel > 0 && kernel <= image + 2 * self.padding;
        // Places in an image are kept as 32-bit numbers.
        let padded = |side: usize| side + 2 * self.padding;
        let largest = i32::MAX as usize / (count * padded(height) * padded(width)).max(1);
        inputs == channels
            && self.stride > 0
            && fits(height, rows)
            && fits(width, columns)
            && channels.max(outputs) < largest
    }
}

/// A convolution of known shape.
#[derive(Clone, Copy, Debug)]
pub(super) struct Convolution {
    isa: Isa,
    settings: Settings,
    input: [usize; 4],
    weight: [usize; 4],
}

impl Convolution {
    pub(super) fn new(input: &FlexTensor, weight: &FlexTensor, settings: Settings) -> Self {
        Self { isa: Isa::active(), settings, input: dims(input), weight: dims(weight) }
    }

    /// `[N, outputs, H', W']`.
    fn output(&self) -> [usize; 4] {
        let ([count, _, height, width], [outputs, _, rows, columns]) = (self.input, self.weight);
        let Settings { stride, padding, .. } = self.settings;
        let side = |image: usize, kernel: usize| (image + 2 * padding - kernel) / stride + 1;
        [count, outputs, side(height, rows), side(width, columns)]
    }

    fn window(&self) -> Window {
        let [.., rows, columns] = self.weight;
        let Settings { stride, padding, .. } = self.settings;
        let (input, output) = (images(self.input), images(self.output()));
        Window { input, output, kernel: [rows, columns], stride, padding }
    }

    fn is_winograd(&self) -> bool {
        let [.., rows, columns] = self.weight;
        [rows, columns, self.settings.stride, self.settings.padding] == [3, 3, 1, 1]
    }

    pub(super) fn forward(
        &self,
        input: &FlexTensor,
        weight: &FlexTensor,
        bias: Option<&FlexTensor>,
    ) -> FlexTensor {
        let [outputs, inputs, ..] = self.weight;
        let finish = Finish { bias: bias.map(values), relu: self.settings.relu };
        let found = if self.is_winograd() {
            let taps = Taps::forward(values(weight), outputs, inputs);
            convolve(self.isa, Source::plain(values(input)), images(self.input), taps, finish)
        } else {
            convolve_by_columns(self.isa, values(input), &self.window(), values(weight), finish)
        };
        if let Some(found) = found {
            return tensor(found, self.output());
        }
        let output = Flex::conv2d(input.clone(), weight.clone(), bias.cloned(), self.settings.options());
        if self.settings.relu { Flex::relu(output) } else { output }
    }

    /// The gradient with respect to the input; `output` is given where a ReLU has to be undone.
    pub(super) fn input_gradient(
        &self,
        weight: &FlexTensor,
        gradient: &FlexTensor,
        output: Option<&FlexTensor>,
    ) -> FlexTensor {
        let [outputs, inputs, ..] = self.weight;
        let gated = source(gradient, output);
        let found = if self.is_winograd() {
            let taps = Taps::backward(values(weight), outputs, inputs);
            convolve(self.isa, gated, images(self.output()), taps, Finish::default())
        } else {
            input_gradient_by_columns(self.isa, gated, &self.window(), values(weight))
        };
        if let Some(found) = found {
            return tensor(found, self.input);
        }
        // Burn asks for the input, but only for its shape.
        let input = FlexTensor::zeros(Shape::new(self.input), DType::F32);
        let gradient = self.before_relu(gradient, output);
        Flex::conv2d_x_backward(input, weight.clone(), gradient, self.settings.options())
    }

    /// The gradient with respect to the weights.
    pub(super) fn weight_gradient(
        &self,
        input: &FlexTensor,
        weight: &FlexTensor,
        gradient: &FlexTensor,
        output: Option<&FlexTensor>,
    ) -> FlexTensor {
        let gated = source(gradient, output);
        let found = if self.is_winograd() {
            weight_gradient(self.isa, values(input), images(self.input), gated, self.weight[0])
        } else {
            weight_gradient_by_columns(self.isa, values(input), &self.window(), gated)
        };
        if found.iter().all(|value| value.is_finite()) {
            return tensor(found, self.weight);
        }
        let gradient = self.before_relu(gradient, output);
        Flex::conv2d_weight_backward(input.clone(), weight.clone(), gradient, self.settings.options())
    }

    /// The gradient with respect to the bias.
    pub(super) fn bias_gradient(&self, gradient: &FlexTensor, output: Option<&FlexTensor>) -> FlexTensor {
        let [_, channels, height, width] = self.output();
        let sums = channel_sums(self.isa, source(gradient, output), channels, height * width);
        tensor(sums, [channels])
    }

    fn before_relu(&self, gradient: &FlexTensor, output: Option<&FlexTensor>) -> FlexTensor {
        match output {
            Some(output) => tensor(gate(self.isa, values(gradient), values(output)), self.output()),
            None => gradient.clone(),
        }
    }
}

fn images([count, channels, height, width]: [usize; 4]) -> Images {
    Images { count, channels, height, width }
}

fn source<'a>(gradient: &'a FlexTensor, output: Option<&'a FlexTensor>) -> Source<'a> {
    Source { values: values(gradient), gate: output.map(values) }
}
