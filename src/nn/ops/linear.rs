//! The product of rows with a matrix, plus a row, perhaps plus other rows.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{Shape, Tensor};
use burn_flex::FlexTensor;

use super::{dense, is_ours, recycle, shape, tensor, values};
use crate::nn::kernels::{self, Isa, Panels, Plus, column_sums, matrix_gradient};

/// `[..., inputs]` times `[inputs, outputs]`, plus `[outputs]`.
pub(in crate::nn) fn linear<const D: usize>(
    input: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    if !fits(&input, &weight, bias.as_ref()) {
        return burn::tensor::module::linear(input, weight, bias);
    }
    let bias = bias.unwrap_or_else(|| no_bias(&weight));
    let [weight, bias] = [weight.into_dispatch(), bias.into_dispatch()];
    Tensor::from_dispatch(<Dispatch as Linear>::rows_times(input.into_dispatch(), weight, bias))
}

/// The same, plus `[..., outputs]`: the way around the layer.
pub(in crate::nn) fn linear_plus<const D: usize>(
    input: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    around: Tensor<D>,
) -> Tensor<D> {
    let (mut expected, found) = (input.dims(), around.dims());
    expected[D - 1] = weight.dims()[1];
    if expected != found || !fits(&input, &weight, bias.as_ref()) || !is_ours(&around) {
        return linear(input, weight, bias) + around;
    }
    let bias = bias.unwrap_or_else(|| no_bias(&weight));
    let [weight, bias] = [weight.into_dispatch(), bias.into_dispatch()];
    let (input, around) = (input.into_dispatch(), around.into_dispatch());
    Tensor::from_dispatch(<Dispatch as Linear>::rows_times_plus(input, weight, bias, around))
}

fn fits<const D: usize>(input: &Tensor<D>, weight: &Tensor<2>, bias: Option<&Tensor<1>>) -> bool {
    let known = D > 1 && input.dims()[D - 1] == weight.dims()[0];
    known && is_ours(input) && is_ours(weight) && bias.is_none_or(is_ours)
}

fn no_bias(weight: &Tensor<2>) -> Tensor<1> {
    Tensor::zeros([weight.dims()[1]], &weight.device())
}

#[backend_extension(Flex, Autodiff)]
pub trait Linear: Backend {
    fn rows_times(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    fn rows_times_plus(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        around: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

impl Linear for Flex {
    fn rows_times(input: FlexTensor, weight: FlexTensor, bias: FlexTensor) -> FlexTensor {
        let input = dense(input);
        let output = forward(&input, &dense(weight), bias, None);
        recycle(input);
        output
    }

    fn rows_times_plus(
        input: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        around: FlexTensor,
    ) -> FlexTensor {
        let (input, around) = (dense(input), dense(around));
        let output = forward(&input, &dense(weight), bias, Some(&around));
        recycle(input);
        recycle(around);
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
        let output = forward(&input, &weight, bias, None);
        let nodes = [input_node, weight_node, bias_node];
        match Backward::<Flex, 3>::prepare::<C>(LinearBackward, nodes).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish(State::new(input, weight, weight_tracked), output),
            OpsKind::UnTracked(prepared) => {
                recycle(input);
                prepared.finish(output)
            }
        }
    }

    fn rows_times_plus(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        around: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let weight_tracked = weight.is_tracked();
        let (input, input_node) = input.into_parts();
        let (weight, weight_node) = weight.into_parts();
        let (bias, bias_node) = bias.into_parts();
        let (around, around_node) = around.into_parts();
        let (input, weight, around) = (dense(input), dense(weight), dense(around));
        let output = forward(&input, &weight, bias, Some(&around));
        recycle(around);
        let nodes = [input_node, weight_node, bias_node, around_node];
        match Backward::<Flex, 4>::prepare::<C>(LinearBackward, nodes).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish(State::new(input, weight, weight_tracked), output),
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

fn forward(
    input: &FlexTensor,
    weight: &FlexTensor,
    bias: FlexTensor,
    around: Option<&FlexTensor>,
) -> FlexTensor {
    let [inputs, outputs] = sides(weight);
    let panels = Panels::new(Isa::active(), values(weight), inputs, outputs);
    let bias = dense(bias);
    let plus = Plus { bias: Some(values(&bias)), rows: around.map(values) };
    let found = kernels::dense(values(input), &panels, plus);
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

impl State {
    fn new(input: FlexTensor, weight: FlexTensor, weight_tracked: bool) -> Self {
        let shape = shape(&input);
        // Only the gradient of the weight needs the input.
        let input = if weight_tracked {
            Some(input)
        } else {
            recycle(input);
            None
        };
        Self { isa: Isa::active(), shape, input, weight }
    }

    /// With respect to input, weight, bias and what went around, by its place among them.
    fn gradient(&self, place: usize, gradient: &FlexTensor) -> FlexTensor {
        let (isa, [inputs, outputs]) = (self.isa, sides(&self.weight));
        match place {
            0 => {
                let panels = Panels::transposed(isa, values(&self.weight), outputs, inputs);
                let found = kernels::dense(values(gradient), &panels, Plus::default());
                tensor(found, self.shape.clone())
            }
            1 => {
                let input = self.input.as_ref().expect("the input is kept if the weight is tracked");
                let found = matrix_gradient(isa, values(input), values(gradient), [inputs, outputs]);
                tensor(found, [inputs, outputs])
            }
            2 => tensor(column_sums(isa, values(gradient), outputs), [outputs]),
            _ => gradient.clone(),
        }
    }
}

#[derive(Debug)]
struct LinearBackward;

impl<const N: usize> Backward<Flex, N> for LinearBackward {
    type State = State;

    fn backward(self, ops: Ops<State, N>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = dense(gradients.consume::<Flex>(&ops.node));
        for (place, parent) in ops.parents.into_iter().enumerate() {
            let Some(node) = parent else { continue };
            gradients.register::<Flex>(node.id, ops.state.gradient(place, &gradient));
        }
        recycle(gradient);
        if let Some(input) = ops.state.input {
            recycle(input);
        }
    }
}
