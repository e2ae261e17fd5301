//! The Gaussian error linear unit.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use burn_flex::FlexTensor;

use super::{dense, is_ours, recycle, shape, tensor, values};
use crate::nn::kernels::{self, Isa};

/// `x Φ(x)` of each value, with the exact distribution function.
pub(in crate::nn) fn gelu<const D: usize>(input: Tensor<D>) -> Tensor<D> {
    if !is_ours(&input) {
        return burn::tensor::activation::gelu(input);
    }
    Tensor::from_dispatch(<Dispatch as Gelu>::gelu_exact(input.into_dispatch()))
}

#[backend_extension(Flex, Autodiff)]
pub trait Gelu: Backend {
    fn gelu_exact(input: FloatTensor<Self>) -> FloatTensor<Self>;
}

impl Gelu for Flex {
    fn gelu_exact(input: FlexTensor) -> FlexTensor {
        let input = dense(input);
        let output = forward(&input);
        recycle(input);
        output
    }
}

impl<C: CheckpointStrategy> Gelu for Autodiff<Flex, C> {
    fn gelu_exact(input: FloatTensor<Self>) -> FloatTensor<Self> {
        let (input, node) = input.into_parts();
        let input = dense(input);
        let output = forward(&input);
        match GeluBackward.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish(State { isa: Isa::active(), input }, output),
            OpsKind::UnTracked(prepared) => {
                recycle(input);
                prepared.finish(output)
            }
        }
    }
}

fn forward(input: &FlexTensor) -> FlexTensor {
    tensor(kernels::gelu(Isa::active(), values(input)), shape(input))
}

/// What the gradient needs.
#[derive(Clone, Debug)]
struct State {
    isa: Isa,
    input: FlexTensor,
}

#[derive(Debug)]
struct GeluBackward;

impl Backward<Flex, 1> for GeluBackward {
    type State = State;

    fn backward(self, ops: Ops<State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = dense(gradients.consume::<Flex>(&ops.node));
        let State { isa, input } = ops.state;
        if let [Some(node)] = ops.parents {
            let found = kernels::gelu_gradient(isa, values(&gradient), values(&input));
            gradients.register::<Flex>(node.id, tensor(found, shape(&input)));
        }
        recycle(gradient);
        recycle(input);
    }
}
