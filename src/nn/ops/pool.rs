//! Maximum over windows of 2x2 with stride 2, with or without a ReLU.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use burn::tensor::ops::MaxPoolOptions;
use burn_flex::FlexTensor;

use super::{dense, dims, is_ours, recycle, tensor, values};
use crate::nn::kernels::{Isa, Plane, max_pool, max_pool_gradient};

/// `[N, C, H, W]` to `[N, C, H/2, W/2]`, rounded down.
pub(in crate::nn) fn max_pool_2x2(input: Tensor<4>) -> Tensor<4> {
    let [_, _, height, width] = input.dims();
    if height < 2 || width < 2 || !is_ours(&input) {
        return burn::tensor::module::max_pool2d(input, MaxPoolOptions::new([2, 2]));
    }
    Tensor::from_dispatch(<Dispatch as Pool>::pool_2x2(input.into_dispatch(), false))
}

/// `max_pool_2x2(relu(input))`. The ReLU needs nothing of its own: it is applied to the maxima.
pub(in crate::nn) fn relu_max_pool_2x2(input: Tensor<4>) -> Tensor<4> {
    let [_, _, height, width] = input.dims();
    if height < 2 || width < 2 || !is_ours(&input) {
        return max_pool_2x2(relu(input));
    }
    Tensor::from_dispatch(<Dispatch as Pool>::pool_2x2(input.into_dispatch(), true))
}

#[backend_extension(Flex, Autodiff)]
pub trait Pool: Backend {
    fn pool_2x2(input: FloatTensor<Self>, relu: bool) -> FloatTensor<Self>;
}

impl Pool for Flex {
    fn pool_2x2(input: FlexTensor, relu: bool) -> FlexTensor {
        forward(input, relu, false).0
    }
}

impl<C: CheckpointStrategy> Pool for Autodiff<Flex, C> {
    fn pool_2x2(input: FloatTensor<Self>, relu: bool) -> FloatTensor<Self> {
        let (input, node) = input.into_parts();
        let shape = dims(&input);
        match PoolBackward.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                let (output, winners) = forward(input, relu, true);
                prepared.finish(State { shape, isa: Isa::active(), winners }, output)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(forward(input, relu, false).0),
        }
    }
}

fn forward(input: FlexTensor, relu: bool, track: bool) -> (FlexTensor, Vec<u8>) {
    let input = dense(input);
    let [count, channels, height, width] = dims(&input);
    let (output, winners) = max_pool(Isa::active(), values(&input), Plane { height, width }, relu, track);
    recycle(input);
    (tensor(output, [count, channels, height / 2, width / 2]), winners)
}

/// What the gradient needs.
#[derive(Clone, Debug)]
struct State {
    /// Of the input.
    shape: [usize; 4],
    isa: Isa,
    /// Which pixel of each window won.
    winners: Vec<u8>,
}

#[derive(Debug)]
struct PoolBackward;

impl Backward<Flex, 1> for PoolBackward {
    type State = State;

    fn backward(self, ops: Ops<State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = dense(gradients.consume::<Flex>(&ops.node));
        let State { shape, isa, winners } = ops.state;
        if let [Some(node)] = ops.parents {
            let [.., height, width] = shape;
            let found = max_pool_gradient(isa, values(&gradient), &winners, Plane { height, width });
            gradients.register::<Flex>(node.id, tensor(found, shape));
        }
        recycle(gradient);
    }
}
