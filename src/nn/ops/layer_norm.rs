//! Layer normalisation.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use burn_flex::FlexTensor;

use super::{dense, is_ours, recycle, shape, tensor, values};
use crate::nn::kernels::{self, Columns, Isa, RowStatistics, layer_norm_gradients};

/// Normalises the last dimension, `[..., width]`, then scales and shifts by rows `[width]`.
pub(in crate::nn) fn layer_norm<const D: usize>(
    input: Tensor<D>,
    [gamma, beta]: [Tensor<1>; 2],
    epsilon: f64,
) -> Tensor<D> {
    if !is_ours(&input) || !is_ours(&gamma) || !is_ours(&beta) {
        return burn::tensor::module::layer_norm(input, gamma, Some(beta), epsilon);
    }
    let [gamma, beta] = [gamma.into_dispatch(), beta.into_dispatch()];
    Tensor::from_dispatch(<Dispatch as LayerNorm>::norm_rows(input.into_dispatch(), gamma, beta, epsilon))
}

#[backend_extension(Flex, Autodiff)]
pub trait LayerNorm: Backend {
    fn norm_rows(
        input: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self>;
}

impl LayerNorm for Flex {
    fn norm_rows(input: FlexTensor, gamma: FlexTensor, beta: FlexTensor, epsilon: f64) -> FlexTensor {
        let input = dense(input);
        let (output, _) = forward(&input, &dense(gamma), &dense(beta), epsilon);
        recycle(input);
        output
    }
}

impl<C: CheckpointStrategy> LayerNorm for Autodiff<Flex, C> {
    fn norm_rows(
        input: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        let (input, input_node) = input.into_parts();
        let (gamma, gamma_node) = gamma.into_parts();
        let (beta, beta_node) = beta.into_parts();
        let (input, gamma) = (dense(input), dense(gamma));
        let (output, statistics) = forward(&input, &gamma, &dense(beta), epsilon);
        match NormBackward.prepare::<C>([input_node, gamma_node, beta_node]).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                prepared.finish(State { isa: Isa::active(), input, gamma, statistics }, output)
            }
            OpsKind::UnTracked(prepared) => {
                recycle(input);
                prepared.finish(output)
            }
        }
    }
}

fn forward(
    input: &FlexTensor,
    gamma: &FlexTensor,
    beta: &FlexTensor,
    epsilon: f64,
) -> (FlexTensor, Vec<RowStatistics>) {
    let columns = Columns { gamma: values(gamma), beta: values(beta) };
    let (found, statistics) = kernels::layer_norm(Isa::active(), values(input), columns, epsilon as f32);
    (tensor(found, shape(input)), statistics)
}

/// What the gradients need.
#[derive(Clone, Debug)]
struct State {
    isa: Isa,
    input: FlexTensor,
    gamma: FlexTensor,
    statistics: Vec<RowStatistics>,
}

#[derive(Debug)]
struct NormBackward;

impl Backward<Flex, 3> for NormBackward {
    type State = State;

    fn backward(self, ops: Ops<State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = dense(gradients.consume::<Flex>(&ops.node));
        let State { isa, input, gamma, statistics } = ops.state;
        let [input_node, gamma_node, beta_node] = ops.parents;
        let asked = [input_node.is_some(), gamma_node.is_some() || beta_node.is_some()];
        let found =
            layer_norm_gradients(isa, values(&gradient), values(&input), &statistics, values(&gamma), asked);
        if let (Some(node), Some(found)) = (input_node, found.input) {
            gradients.register::<Flex>(node.id, tensor(found, shape(&input)));
        }
        if let Some([gammas, betas]) = found.columns {
            for (node, found) in [(gamma_node, gammas), (beta_node, betas)] {
                if let Some(node) = node {
                    gradients.register::<Flex>(node.id, tensor(found, shape(&gamma)));
                }
            }
        }
        recycle(gradient);
        recycle(input);
    }
}
