//! Convolution: Winograd for 3x3, stride 1 and padding 1.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::ops::ModuleOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, DType, Dispatch, ExtensionType, Flex, backend_extension};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Shape, Tensor};
use burn_flex::FlexTensor;

use super::{dense, dims, is_ours, recycle, tensor, values};
use crate::nn::kernels::{Filter, Images, Isa, convolve, weight_gradient};

/// `[N, inputs, H, W]` convolved with `[outputs, inputs, kernel, kernel]`, plus `[outputs]`.
pub(in crate::nn) fn conv2d(
    input: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    stride: usize,
    padding: usize,
) -> Tensor<4> {
    let [_, channels, ..] = input.dims();
    let [_, inputs, height, width] = weight.dims();
    let known = ([height, width, stride, padding], inputs) == ([3, 3, 1, 1], channels);
    if !known || !is_ours(&input) || !is_ours(&weight) {
        let options = ConvOptions::new([stride; 2], [padding; 2], [1, 1], 1);
        return burn::tensor::module::conv2d(input, weight, bias, options);
    }
    let bias = bias.map_or(Bias::Absent, |bias| Bias::Present(bias.into_dispatch()));
    Tensor::from_dispatch(<Dispatch as Conv>::conv_3x3(input.into_dispatch(), weight.into_dispatch(), bias))
}

/// An optional tensor, as the extension mechanism takes it.
#[derive(ExtensionType)]
pub enum Bias<B: Backend> {
    Present(FloatTensor<B>),
    Absent,
}

#[backend_extension(Flex, Autodiff)]
pub trait Conv: Backend {
    fn conv_3x3(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        #[extension_type] bias: Bias<Self>,
    ) -> FloatTensor<Self>;
}

impl Conv for Flex {
    fn conv_3x3(input: FlexTensor, weight: FlexTensor, bias: Bias<Self>) -> FlexTensor {
        let bias = match bias {
            Bias::Present(bias) => Some(bias),
            Bias::Absent => None,
        };
        let input = dense(input);
        let output = forward(&input, &dense(weight), bias);
        recycle(input);
        output
    }
}

impl<C: CheckpointStrategy> Conv for Autodiff<Flex, C> {
    fn conv_3x3(input: FloatTensor<Self>, weight: FloatTensor<Self>, bias: Bias<Self>) -> FloatTensor<Self> {
        let weight_tracked = weight.is_tracked();
        let (input, input_node) = input.into_parts();
        let (weight, weight_node) = weight.into_parts();
        let (input, weight) = (dense(input), dense(weight));
        let shape = dims(&input);
        let state = |input: FlexTensor, weight: FlexTensor| {
            // Only the gradient of the weight needs the input.
            let input = if weight_tracked {
                Some(input)
            } else {
                recycle(input);
                None
            };
            State { shape, isa: Isa::active(), input, weight }
        };
        match bias {
            Bias::Absent => {
                let output = forward(&input, &weight, None);
                let nodes = [input_node, weight_node];
                match Backward::<Flex, 2>::prepare::<C>(ConvBackward, nodes).compute_bound().stateful() {
                    OpsKind::Tracked(prepared) => prepared.finish(state(input, weight), output),
                    OpsKind::UnTracked(prepared) => {
                        recycle(input);
                        prepared.finish(output)
                    }
                }
            }
            Bias::Present(bias) => {
                let (bias, bias_node) = bias.into_parts();
                let output = forward(&input, &weight, Some(bias));
                let nodes = [input_node, weight_node, bias_node];
                match Backward::<Flex, 3>::prepare::<C>(ConvBackward, nodes).compute_bound().stateful() {
                    OpsKind::Tracked(prepared) => prepared.finish(state(input, weight), output),
                    OpsKind::UnTracked(prepared) => {
                        recycle(input);
                        prepared.finish(output)
                    }
                }
            }
        }
    }
}

/// What the gradients need.
#[derive(Clone, Debug)]
struct State {
    /// Of the input.
    shape: [usize; 4],
    isa: Isa,
    /// Only if the weights are tracked.
    input: Option<FlexTensor>,
    weight: FlexTensor,
}

#[derive(Debug)]
struct ConvBackward;

impl<const N: usize> Backward<Flex, N> for ConvBackward {
    type State = State;

    fn backward(self, ops: Ops<State, N>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = dense(gradients.consume::<Flex>(&ops.node));
        let state = ops.state;
        for (index, parent) in ops.parents.into_iter().enumerate() {
            let Some(parent) = parent else { continue };
            let result = match index {
                0 => input_backward(&state, &gradient),
                1 => weight_backward(&state, &gradient),
                _ => bias_backward(&gradient),
            };
            gradients.register::<Flex>(parent.id, result);
        }
        recycle(gradient);
        if let Some(input) = state.input {
            recycle(input);
        }
    }
}

/// The options that every operator here has.
fn options() -> ConvOptions<2> {
    ConvOptions::new([1, 1], [1, 1], [1, 1], 1)
}

fn images([count, channels, height, width]: [usize; 4]) -> Images {
    Images { count, channels, height, width }
}

fn forward(input: &FlexTensor, weight: &FlexTensor, bias: Option<FlexTensor>) -> FlexTensor {
    let ([count, inputs, height, width], [outputs, ..]) = (dims(input), dims(weight));
    let bias = bias.map(dense);
    let filter = Filter::new(Isa::active(), values(weight), outputs, inputs);
    let found = convolve(values(input), images(dims(input)), &filter, bias.as_ref().map(values));
    match found {
        Some(output) => tensor(output, [count, outputs, height, width]),
        // Winograd would spread what is not finite over its tiles.
        None => Flex::conv2d(input.clone(), weight.clone(), bias, options()),
    }
}

fn input_backward(state: &State, gradient: &FlexTensor) -> FlexTensor {
    let [outputs, inputs, ..] = dims(&state.weight);
    let filter = Filter::backward(state.isa, values(&state.weight), outputs, inputs);
    if let Some(found) = convolve(values(gradient), images(dims(gradient)), &filter, None) {
        return tensor(found, state.shape);
    }
    // Burn asks for the input, but only for its shape.
    let input = FlexTensor::zeros(Shape::new(state.shape), DType::F32);
    Flex::conv2d_x_backward(input, state.weight.clone(), gradient.clone(), options())
}

fn weight_backward(state: &State, gradient: &FlexTensor) -> FlexTensor {
    let input = state.input.as_ref().expect("the input is kept if the weights are tracked");
    let outputs = dims(gradient)[1];
    let found = weight_gradient(state.isa, values(input), images(state.shape), values(gradient), outputs);
    if found.iter().all(|value| value.is_finite()) {
        return tensor(found, dims(&state.weight));
    }
    Flex::conv2d_weight_backward(input.clone(), state.weight.clone(), gradient.clone(), options())
}

fn bias_backward(gradient: &FlexTensor) -> FlexTensor {
    // Burn asks for the input, but only for its batch size, and for the bias, but only for its shape.
    let bias = FlexTensor::zeros(Shape::new([dims(gradient)[1]]), DType::F32);
    Flex::conv2d_bias_backward(gradient.clone(), bias, gradient.clone())
}
