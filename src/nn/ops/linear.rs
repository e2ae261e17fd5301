//! The product of rows with a matrix, plus a row.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{Shape, Tensor};
use burn_flex::FlexTensor;

use super::{dense, is_ours, recycle, shape, tensor, values};
use crate::nn::kernels::{self, Isa, Panels, column_sums, matrix_gradient};

/// `[..., inputs]` times `[inputs, outputs]`, plus `[outputs]`.
pub(in crate::nn) fn linear<const D: usize>(
    input: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    let [inputs, outputs] = weight.dims();
    let known = D > 1 && input.dims()[D - 1] == inputs;
    let ours = is_ours(&input) && is_ours(&weight) && bias.as_ref().is_none_or(is_ours);
    if !known || !ours {
        return burn::tensor::module::linear(input, weight, bias);
    }
    let bias = bias.unwrap_or_else(|| Tensor::zeros([outputs], &weight.device()));
    let [weight, bias] = [weight.into_dispatch(), bias.into_dispatch()];
    Tensor::from_dispatch(<Dispatch as Linear>::rows_times(input.into_dispatch(), weight, bias))
}

#[backend_extension(Flex, Autodiff)]
pub trait Linear: Backend {
    fn rows_times(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

impl Linear for Flex {
    fn rows_times(input: FlexTensor, weight: FlexTensor, bias: FlexTensor) -> FlexTensor {
        let input = dense(input);
        let output = forward(&input, &dense(weight), &dense(bias));
        recycle(input);
        output
    }
}

impl<C: CheckpointStrategy> Linear for Autodiff<Flex, C> {
    fn rows_times(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let weight_tracked = weight.is_tracked();
        let (input, input_node) = input.into_parts();
        let (weight, weight_node) = weight.into_parts();
        let (bias, bias_node) = bias.into_parts();
        let (input, weight) = (dense(input), dense(weight));
        let output = forward(&input, &weight, &dense(bias));
        match LinearBackward.prepare::<C>([input_node, weight_node, bias_node]).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                let shape = shape(&input);
                // Only the gradient of the weight needs the input.
                let input = if weight_tracked {
                    Some(input)
                } else {
                    recycle(input);
                    None
                };
                prepared.finish(State { isa: Isa::active(), shape, input, weight }, output)
            }
            OpsKind::UnTracked(prepared) => {
                recycle(input);
                prepared.finish(output)
            }
        }
    }
}

/// Rows and columns of a matrix.
fn sides(matrix: &FlexTensor) -> [usize; 2] {
    matrix.layout().shape().dims()
}

fn forward(input: &FlexTensor, weight: &FlexTensor, bias: &FlexTensor) -> FlexTensor {
    let [inputs, outputs] = sides(weight);
    let panels = Panels::new(Isa::active(), values(weight), inputs, outputs);
    let found = kernels::dense(values(input), &panels, Some(values(bias)));
    let mut shape = shape(input);
    let last = shape.num_dims() - 1;
    shape[last] = outputs;
    tensor(found, shape)
}

/// What the gradients need.
#[derive(Clone, Debug)]
struct State {
    isa: Isa,
    /// Of the input.
    shape: Shape,
    /// Only if the weight is tracked.
    input: Option<FlexTensor>,
    weight: FlexTensor,
}

#[derive(Debug)]
struct LinearBackward;

impl Backward<Flex, 3> for LinearBackward {
    type State = State;

    fn backward(self, ops: Ops<State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = dense(gradients.consume::<Flex>(&ops.node));
        let State { isa, shape, input, weight } = ops.state;
        let [inputs, outputs] = sides(&weight);
        let [input_node, weight_node, bias_node] = ops.parents;
        if let Some(node) = input_node {
            let panels = Panels::transposed(isa, values(&weight), outputs, inputs);
            let found = kernels::dense(values(&gradient), &panels, None);
            gradients.register::<Flex>(node.id, tensor(found, shape));
        }
        if let (Some(node), Some(input)) = (weight_node, &input) {
            let found = matrix_gradient(isa, values(input), values(&gradient), [inputs, outputs]);
            gradients.register::<Flex>(node.id, tensor(found, [inputs, outputs]));
        }
        if let Some(node) = bias_node {
            let found = column_sums(isa, values(&gradient), outputs);
            gradients.register::<Flex>(node.id, tensor(found, [outputs]));
        }
        recycle(gradient);
        if let Some(input) = input {
            recycle(input);
        }
    }
}
