//! Batch normalisation, with the statistics of the batch or with given ones, and what follows it.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use burn_flex::FlexTensor;

use super::{dense, dims, is_ours, recycle, tensor, values};
use crate::nn::kernels::{
    Affine, Dependence, Isa, Plane, affine, gradient_sums, input_gradient, norm_pool, norm_pool_gradient,
    norm_pool_sums, statistics,
};

/// What is done with the normalised values in the same pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::nn) enum After {
    Nothing,
    Relu,
    /// ReLU, then the maximum over windows of 2x2 with stride 2.
    ReluMaxPool,
}

impl After {
    /// As operators of their own.
    fn apply(self, normalized: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Nothing => normalized,
            Self::Relu => relu(normalized),
            Self::ReluMaxPool => super::max_pool_2x2(relu(normalized)),
        }
    }

    /// Whether the fused kernels can take images of this size.
    fn fits(self, [_, _, height, width]: [usize; 4]) -> bool {
        self != Self::ReluMaxPool || (height > 1 && width > 1)
    }
}

/// Batch normalisation of `[N, C, H, W]` with given statistics `[C]`, which are constants to the gradient.
pub(in crate::nn) fn batch_norm(
    input: Tensor<4>,
    [gamma, beta]: [Tensor<1>; 2],
    [mean, variance]: [Tensor<1>; 2],
    epsilon: f64,
    after: After,
) -> Tensor<4> {
    if !after.fits(input.dims()) || !is_ours(&input) || !is_ours(&gamma) || !is_ours(&mean) {
        let output = burn::tensor::module::batch_norm(input, gamma, beta, mean, variance, epsilon);
        return after.apply(output);
    }
    let [input, gamma, beta] = [input.into_dispatch(), gamma.into_dispatch(), beta.into_dispatch()];
    let (mean, variance) = (mean.into_dispatch(), variance.into_dispatch());
    Tensor::from_dispatch(<Dispatch as Norm>::norm(input, gamma, beta, mean, variance, epsilon, after))
}

/// Batch normalisation of `[N, C, H, W]` with its own statistics: the output, and mean and biased variance
/// `[C]`, both detached.
pub(in crate::nn) fn batch_norm_train(
    input: Tensor<4>,
    [gamma, beta]: [Tensor<1>; 2],
    epsilon: f64,
    after: After,
) -> (Tensor<4>, [Tensor<1>; 2]) {
    if !after.fits(input.dims()) || !is_ours(&input) || !is_ours(&gamma) {
        let result = burn::tensor::module::batch_norm_train(input, gamma, beta, epsilon);
        return (after.apply(result.output), [result.mean, result.variance]);
    }
    let [input, gamma, beta] = [input.into_dispatch(), gamma.into_dispatch(), beta.into_dispatch()];
    let (output, mean, variance) = <Dispatch as Norm>::norm_train(input, gamma, beta, epsilon, after);
    (Tensor::from_dispatch(output), [Tensor::from_dispatch(mean), Tensor::from_dispatch(variance)])
}

#[backend_extension(Flex, Autodiff)]
pub trait Norm: Backend {
    fn norm(
        input: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        epsilon: f64,
        after: After,
    ) -> FloatTensor<Self>;

    fn norm_train(
        input: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
        after: After,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

impl Norm for Flex {
    fn norm(
        input: FlexTensor,
        gamma: FlexTensor,
        beta: FlexTensor,
        mean: FlexTensor,
        variance: FlexTensor,
        epsilon: f64,
        after: After,
    ) -> FlexTensor {
        let statistics = (row(mean), row(variance));
        let input = dense(input);
        let (output, _) = Normalization::new(gamma, beta, statistics, epsilon, after).forward(&input);
        recycle(input);
        output
    }

    fn norm_train(
        input: FlexTensor,
        gamma: FlexTensor,
        beta: FlexTensor,
        epsilon: f64,
        after: After,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let input = dense(input);
        let (mean, variance) = of_batch(&input);
        let channels = [mean.len()];
        let norm = Normalization::new(gamma, beta, (mean.clone(), variance.clone()), epsilon, after);
        let (output, _) = norm.forward(&input);
        recycle(input);
        (output, tensor(mean, channels), tensor(variance, channels))
    }
}

impl<C: CheckpointStrategy> Norm for Autodiff<Flex, C> {
    fn norm(
        input: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        epsilon: f64,
        after: After,
    ) -> FloatTensor<Self> {
        let statistics = (row(mean.into_primitive()), row(variance.into_primitive()));
        record::<C>(input, gamma, beta, |gamma, beta, _| {
            (Normalization::new(gamma, beta, statistics, epsilon, after), false)
        })
    }

    fn norm_train(
        input: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
        after: After,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let (mut mean, mut variance) = (Vec::new(), Vec::new());
        let output = record::<C>(input, gamma, beta, |gamma, beta, input| {
            (mean, variance) = of_batch(input);
            let statistics = (mean.clone(), variance.clone());
            (Normalization::new(gamma, beta, statistics, epsilon, after), true)
        });
        let channels = [mean.len()];
        let detached = |values| <Self as AutodiffBackend>::from_inner(tensor(values, channels));
        (output, detached(mean), detached(variance))
    }
}

/// Runs a normalisation and records its gradient. `make` gives it, and whether it uses the statistics of
/// the batch.
fn record<C: CheckpointStrategy>(
    input: FloatTensor<Autodiff<Flex, C>>,
    gamma: FloatTensor<Autodiff<Flex, C>>,
    beta: FloatTensor<Autodiff<Flex, C>>,
    make: impl FnOnce(FlexTensor, FlexTensor, &FlexTensor) -> (Normalization, bool),
) -> FloatTensor<Autodiff<Flex, C>> {
    let weights_tracked = gamma.is_tracked() || beta.is_tracked();
    let (input, input_node) = input.into_parts();
    let (gamma, gamma_node) = gamma.into_parts();
    let (beta, beta_node) = beta.into_parts();
    let input = dense(input);
    let (norm, training) = make(gamma, beta, &input);
    let (output, winners) = norm.forward(&input);
    match NormBackward.prepare::<C>([input_node, gamma_node, beta_node]).compute_bound().stateful() {
        OpsKind::Tracked(prepared) => {
            let needed = weights_tracked || training || norm.after == After::Relu;
            let shape = dims(&input);
            let input = if needed {
                Some(input)
            } else {
                recycle(input);
                None
            };
            prepared.finish(State { shape, input, winners, norm, training }, output)
        }
        OpsKind::UnTracked(prepared) => {
            recycle(input);
            prepared.finish(output)
        }
    }
}

/// One normalisation, as numbers a channel.
#[derive(Clone, Debug)]
struct Normalization {
    isa: Isa,
    mean: Vec<f32>,
    /// One over the standard deviation.
    precision: Vec<f32>,
    /// `gamma * precision`.
    scale: Vec<f32>,
    beta: Vec<f32>,
    after: After,
}

impl Normalization {
    fn new(
        gamma: FlexTensor,
        beta: FlexTensor,
        (mean, variance): (Vec<f32>, Vec<f32>),
        epsilon: f64,
        after: After,
    ) -> Self {
        let precision: Vec<f32> = variance.iter().map(|v| 1.0 / (v + epsilon as f32).sqrt()).collect();
        let scale = row(gamma).iter().zip(&precision).map(|(gamma, precision)| gamma * precision).collect();
        Self { isa: Isa::active(), mean, precision, scale, beta: row(beta), after }
    }

    fn affine(&self) -> Affine<'_> {
        let relu = self.after == After::Relu;
        Affine { mean: &self.mean, scale: &self.scale, beta: &self.beta, relu }
    }

    /// The output, and with pooling the winner of each window.
    fn forward(&self, input: &FlexTensor) -> (FlexTensor, Vec<u8>) {
        let shape @ [count, channels, height, width] = dims(input);
        if self.after == After::ReluMaxPool {
            let plane = Plane { height, width };
            let (output, winners) = norm_pool(self.isa, values(input), plane, self.affine());
            return (tensor(output, [count, channels, height / 2, width / 2]), winners);
        }
        (tensor(affine(self.isa, values(input), height * width, self.affine()), shape), Vec::new())
    }
}

/// What the gradients need.
#[derive(Clone, Debug)]
struct State {
    /// Of the input.
    shape: [usize; 4],
    /// Absent where no formula looks at it: only the input is tracked, the statistics are given, and no
    /// ReLU has to be undone.
    input: Option<FlexTensor>,
    /// With pooling: which pixel of each window won.
    winners: Vec<u8>,
    norm: Normalization,
    /// Whether the statistics are those of the batch.
    training: bool,
}

impl State {
    /// For each channel the sums of `g` and of `g * (x - mean)`, with `g` the gradient right after the
    /// normalisation.
    fn sums(&self, gradient: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let input = values(self.input.as_ref().expect("kept wherever it is needed"));
        let ([_, _, height, width], affine) = (self.shape, self.norm.affine());
        if self.norm.after == After::ReluMaxPool {
            let plane = Plane { height, width };
            return norm_pool_sums(self.norm.isa, gradient, &self.winners, input, plane, affine);
        }
        gradient_sums(self.norm.isa, gradient, input, height * width, affine)
    }

    /// The gradient with respect to the input, given the sums if the statistics are those of the batch.
    fn input_gradient(&self, gradient: &[f32], sums: Option<&(Vec<f32>, Vec<f32>)>) -> Vec<f32> {
        let ([count, _, height, width], affine, isa) = (self.shape, self.norm.affine(), self.norm.isa);
        let size = (count * height * width) as f32;
        let of_batch = sums.filter(|_| self.training).map(|(total, centred)| {
            let shift: Vec<f32> = total.iter().map(|total| total / size).collect();
            let slope = centred.iter().zip(&self.norm.precision).map(|(sum, p)| sum / size * p * p);
            (shift, slope.collect::<Vec<f32>>())
        });
        let dependence = of_batch.as_ref().map(|(shift, slope)| Dependence { shift, slope });
        // Where the input is not kept no formula looks at it.
        let input = self.input.as_ref().map_or(gradient, values);
        if self.norm.after == After::ReluMaxPool {
            let plane = Plane { height, width };
            let dependence = dependence.map(|dependence| (dependence, input));
            return norm_pool_gradient(isa, gradient, &self.winners, plane, affine, dependence);
        }
        input_gradient(isa, gradient, input, height * width, affine, dependence)
    }
}

#[derive(Debug)]
struct NormBackward;

impl Backward<Flex, 3> for NormBackward {
    type State = State;

    fn backward(self, ops: Ops<State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = dense(gradients.consume::<Flex>(&ops.node));
        let (state, gradient) = (ops.state, values(&gradient));
        let [input_node, gamma_node, beta_node] = ops.parents;
        let sums =
            (state.training || gamma_node.is_some() || beta_node.is_some()).then(|| state.sums(gradient));
        if let Some(node) = input_node {
            let found = state.input_gradient(gradient, sums.as_ref());
            gradients.register::<Flex>(node.id, tensor(found, state.shape));
        }
        let Some((total, centred)) = sums else { return };
        let channels = [total.len()];
        if let Some(node) = gamma_node {
            let precision = &state.norm.precision;
            let found = centred.iter().zip(precision).map(|(sum, precision)| sum * precision).collect();
            gradients.register::<Flex>(node.id, tensor(found, channels));
        }
        if let Some(node) = beta_node {
            gradients.register::<Flex>(node.id, tensor(total, channels));
        }
    }
}

fn of_batch(input: &FlexTensor) -> (Vec<f32>, Vec<f32>) {
    let [_, channels, height, width] = dims(input);
    statistics(Isa::active(), values(input), channels, height * width)
}

fn row(tensor: FlexTensor) -> Vec<f32> {
    values(&dense(tensor)).to_vec()
}
