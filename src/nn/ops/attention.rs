//! Softmax attention with several heads.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use burn::tensor::activation::softmax;
use burn_flex::FlexTensor;

use super::{dense, is_ours, recycle, shape, tensor, values};
use crate::nn::kernels::{self, Isa, Sizes, attention_gradient};

/// Queries, keys and values `[N, tokens, 3 * model]`, each of the three with its heads next to each other, to
/// `[N, tokens, model]`. `model` is a multiple of `heads`.
pub(in crate::nn) fn attention(input: Tensor<3>, heads: usize) -> Tensor<3> {
    if !is_ours(&input) {
        return composed(&input, heads);
    }
    Tensor::from_dispatch(<Dispatch as Attention>::attend(input.into_dispatch(), heads))
}

/// As operators of their own.
fn composed(input: &Tensor<3>, heads: usize) -> Tensor<3> {
    let [count, tokens, three_models] = input.dims();
    let model = three_models / 3;
    let width = model / heads;
    let [queries, keys, values] = [0, 1, 2].map(|part| {
        let part = input.clone().narrow(2, part * model, model);
        part.reshape([count, tokens, heads, width]).swap_dims(1, 2)
    });
    let scores = queries.matmul(keys.swap_dims(2, 3)).div_scalar((width as f64).sqrt());
    softmax(scores, 3).matmul(values).swap_dims(1, 2).reshape([count, tokens, model])
}

#[backend_extension(Flex, Autodiff)]
pub trait Attention: Backend {
    fn attend(input: FloatTensor<Self>, heads: usize) -> FloatTensor<Self>;
}

impl Attention for Flex {
    fn attend(input: FlexTensor, heads: usize) -> FlexTensor {
        let input = dense(input);
        let (output, _) = forward(&input, heads);
        recycle(input);
        output
    }
}

impl<C: CheckpointStrategy> Attention for Autodiff<Flex, C> {
    fn attend(input: FloatTensor<Self>, heads: usize) -> FloatTensor<Self> {
        let (input, node) = input.into_parts();
        let input = dense(input);
        let (output, normalisers) = forward(&input, heads);
        match AttentionBackward.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                prepared.finish(State { isa: Isa::active(), heads, input, normalisers }, output)
            }
            OpsKind::UnTracked(prepared) => {
                recycle(input);
                prepared.finish(output)
            }
        }
    }
}

fn sizes(input: &FlexTensor, heads: usize) -> Sizes {
    let [count, tokens, three_models] = shape(input).dims();
    Sizes { count, tokens, heads, width: three_models / 3 / heads }
}

fn forward(input: &FlexTensor, heads: usize) -> (FlexTensor, Vec<f32>) {
    let sizes = sizes(input, heads);
    let (found, normalisers) = kernels::attention(Isa::active(), values(input), sizes);
    (tensor(found, [sizes.count, sizes.tokens, heads * sizes.width]), normalisers)
}

/// What the gradient needs.
#[derive(Clone, Debug)]
struct State {
    isa: Isa,
    heads: usize,
    input: FlexTensor,
    /// For each head and query the logarithm of the sum of its exponentiated scores.
    normalisers: Vec<f32>,
}

#[derive(Debug)]
struct AttentionBackward;

impl Backward<Flex, 1> for AttentionBackward {
    type State = State;

    fn backward(self, ops: Ops<State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = dense(gradients.consume::<Flex>(&ops.node));
        let State { isa, heads, input, normalisers } = ops.state;
        if let [Some(node)] = ops.parents {
            let sizes = sizes(&input, heads);
            let found = attention_gradient(isa, values(&gradient), values(&input), &normalisers, sizes);
            gradients.register::<Flex>(node.id, tensor(found, shape(&input)));
        }
        recycle(gradient);
        recycle(input);
    }
}
