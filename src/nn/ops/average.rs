//! Averages over an image and over its windows.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use burn::tensor::ops::AvgPoolOptions;
use burn_flex::FlexTensor;

use super::{dense, dims, is_ours, recycle, tensor, values};
use crate::nn::kernels::{
    Isa, Plane, average_pool as pool, average_pool_gradient, plane_means, plane_means_gradient,
};

/// `[N, C, H, W]` to the mean of each plane, `[N, C]`.
pub(in crate::nn) fn global_average_pool(input: Tensor<4>) -> Tensor<2> {
    if is_ours(&input) {
        let pooled = <Dispatch as Average>::average(input.into_dispatch(), Windows::All);
        return Tensor::<4>::from_dispatch(pooled).flatten::<3>(2, 3).squeeze_dim(2);
    }
    let [count, channels, height, width] = input.dims();
    input.reshape([count, channels, height * width]).mean_dim(2).squeeze_dim(2)
}

/// Means over windows of `side x side` with stride `side`: `[N, C, H, W]` to `[N, C, H/side, W/side]`,
/// rounded down.
pub(in crate::nn) fn average_pool(input: Tensor<4>, side: usize) -> Tensor<4> {
    let [_, _, height, width] = input.dims();
    if side > 0 && height >= side && width >= side && is_ours(&input) {
        let windows = Windows::Sides(side);
        return Tensor::from_dispatch(<Dispatch as Average>::average(input.into_dispatch(), windows));
    }
    burn::tensor::module::avg_pool2d(input, AvgPoolOptions::new([side; 2]))
}

/// What is averaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Windows {
    /// The whole plane.
    All,
    /// Squares of this side, next to each other.
    Sides(usize),
}

#[backend_extension(Flex, Autodiff)]
pub trait Average: Backend {
    fn average(input: FloatTensor<Self>, windows: Windows) -> FloatTensor<Self>;
}

impl Average for Flex {
    fn average(input: FlexTensor, windows: Windows) -> FlexTensor {
        forward(input, windows)
    }
}

impl<C: CheckpointStrategy> Average for Autodiff<Flex, C> {
    fn average(input: FloatTensor<Self>, windows: Windows) -> FloatTensor<Self> {
        let (input, node) = input.into_parts();
        let shape = dims(&input);
        let output = forward(input, windows);
        match AverageBackward.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish((shape, windows), output),
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        }
    }
}

fn forward(input: FlexTensor, windows: Windows) -> FlexTensor {
    let input = dense(input);
    let [count, channels, height, width] = dims(&input);
    let output = match windows {
        Windows::All => {
            let means = plane_means(Isa::active(), values(&input), height * width);
            tensor(means, [count, channels, 1, 1])
        }
        Windows::Sides(side) => {
            let means = pool(Isa::active(), values(&input), Plane { height, width }, side);
            tensor(means, [count, channels, height / side, width / side])
        }
    };
    recycle(input);
    output
}

#[derive(Debug)]
struct AverageBackward;

impl Backward<Flex, 1> for AverageBackward {
    /// The shape of the input.
    type State = ([usize; 4], Windows);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = dense(gradients.consume::<Flex>(&ops.node));
        let (shape @ [.., height, width], windows) = ops.state;
        if let [Some(node)] = ops.parents {
            let found = match windows {
                Windows::All => plane_means_gradient(values(&gradient), height * width),
                Windows::Sides(side) => {
                    average_pool_gradient(values(&gradient), Plane { height, width }, side)
                }
            };
            gradients.register::<Flex>(node.id, tensor(found, shape));
        }
        recycle(gradient);
    }
}
