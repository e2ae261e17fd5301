//! Convolution with bias and ReLU.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, ExtensionType, Flex, backend_extension};
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use burn_flex::FlexTensor;

use super::conv_choice::{Convolution, Settings};
use super::{dense, is_ours, recycle};

/// `[N, inputs, H, W]` convolved with `[outputs, inputs, kernel, kernel]`, plus `[outputs]`, and ReLU if
/// asked for.
pub(in crate::nn) fn conv2d(
    input: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    settings: Settings,
) -> Tensor<4> {
    let known = settings.are_known(input.dims(), weight.dims());
    if !known || !is_ours(&input) || !is_ours(&weight) {
        let output = burn::tensor::module::conv2d(input, weight, bias, settings.options());
        return if settings.relu { relu(output) } else { output };
    }
    let bias = bias.map_or(Bias::Absent, |bias| Bias::Present(bias.into_dispatch()));
    Tensor::from_dispatch(<Dispatch as Conv>::conv(
        input.into_dispatch(),
        weight.into_dispatch(),
        bias,
        settings,
    ))
}

/// An optional tensor, as the extension mechanism takes it.
#[derive(ExtensionType)]
pub enum Bias<B: Backend> {
    Present(FloatTensor<B>),
    Absent,
}

#[backend_extension(Flex, Autodiff)]
pub trait Conv: Backend {
    fn conv(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        #[extension_type] bias: Bias<Self>,
        settings: Settings,
    ) -> FloatTensor<Self>;
}

impl Conv for Flex {
    fn conv(input: FlexTensor, weight: FlexTensor, bias: Bias<Self>, settings: Settings) -> FlexTensor {
        let bias = match bias {
            Bias::Present(bias) => Some(dense(bias)),
            Bias::Absent => None,
        };
        let input = dense(input);
        let weight = dense(weight);
        let output = Convolution::new(&input, &weight, settings).forward(&input, &weight, bias.as_ref());
        recycle(input);
        output
    }
}

impl<C: CheckpointStrategy> Conv for Autodiff<Flex, C> {
    fn conv(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: Bias<Self>,
        settings: Settings,
    ) -> FloatTensor<Self> {
        let weight_tracked = weight.is_tracked();
        let (input, input_node) = input.into_parts();
        let (weight, weight_node) = weight.into_parts();
        let (input, weight) = (dense(input), dense(weight));
        let convolution = Convolution::new(&input, &weight, settings);
        let state = |input: FlexTensor, weight: FlexTensor, output: &FlexTensor| {
            // Only the gradient of the weight needs the input.
            let input = if weight_tracked {
                Some(input)
            } else {
                recycle(input);
                None
            };
            State { convolution, input, weight, output: settings.relu.then(|| output.clone()) }
        };
        match bias {
            Bias::Absent => {
                let output = convolution.forward(&input, &weight, None);
                let nodes = [input_node, weight_node];
                match Backward::<Flex, 2>::prepare::<C>(ConvBackward, nodes).compute_bound().stateful() {
                    OpsKind::Tracked(prepared) => prepared.finish(state(input, weight, &output), output),
                    OpsKind::UnTracked(prepared) => {
                        recycle(input);
                        prepared.finish(output)
                    }
                }
            }
            Bias::Present(bias) => {
                let (bias, bias_node) = bias.into_parts();
                let output = convolution.forward(&input, &weight, Some(&dense(bias)));
                let nodes = [input_node, weight_node, bias_node];
                match Backward::<Flex, 3>::prepare::<C>(ConvBackward, nodes).compute_bound().stateful() {
                    OpsKind::Tracked(prepared) => prepared.finish(state(input, weight, &output), output),
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
    convolution: Convolution,
    /// Only if the weights are tracked.
    input: Option<FlexTensor>,
    weight: FlexTensor,
    /// Only with a ReLU, to undo it.
    output: Option<FlexTensor>,
}

#[derive(Debug)]
struct ConvBackward;

impl<const N: usize> Backward<Flex, N> for ConvBackward {
    type State = State;

    fn backward(self, ops: Ops<State, N>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = dense(gradients.consume::<Flex>(&ops.node));
        let State { convolution, input, weight, output } = ops.state;
        for (index, parent) in ops.parents.into_iter().enumerate() {
            let Some(parent) = parent else { continue };
            let result = match index {
                0 => convolution.input_gradient(&weight, &gradient, output.as_ref()),
                1 => {
                    let input = input.as_ref().expect("the input is kept if the weights are tracked");
                    convolution.weight_gradient(input, &weight, &gradient, output.as_ref())
                }
                _ => convolution.bias_gradient(&gradient, output.as_ref()),
            };
            gradients.register::<Flex>(parent.id, result);
        }
        recycle(gradient);
        for kept in [input, output].into_iter().flatten() {
            recycle(kept);
        }
    }
}
