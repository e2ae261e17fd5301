//! Batch normalisation, with the statistics of the batch or with given ones, and an optional ReLU.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use burn::tensor::activation::relu as stock_relu;
use burn_flex::FlexTensor;

use super::{dense, dims, is_ours, tensor, values};
use crate::nn::kernels::{Affine, Dependence, Isa, affine, gradient_sums, input_gradient, statistics};

/// Batch normalisation of `[N, C, H, W]` with given statistics `[C]`, which are constants to the gradient.
pub(in crate::nn) fn batch_norm(
    input: Tensor<4>,
    [gamma, beta]: [Tensor<1>; 2],
    [mean, variance]: [Tensor<1>; 2],
    epsilon: f64,
    relu: bool,
) -> Tensor<4> {
    if !is_ours(&input) || !is_ours(&gamma) || !is_ours(&mean) {
        let output = burn::tensor::module::batch_norm(input, gamma, beta, mean, variance, epsilon);
        return if relu { stock_relu(output) } else { output };
    }
    let [input, gamma, beta] = [input.into_dispatch(), gamma.into_dispatch(), beta.into_dispatch()];
    let (mean, variance) = (mean.into_dispatch(), variance.into_dispatch());
    Tensor::from_dispatch(<Dispatch as Norm>::norm(input, gamma, beta, mean, variance, epsilon, relu))
}

/// Batch normalisation of `[N, C, H, W]` with its own statistics: the output, and mean and biased variance
/// `[C]`, both detached.
pub(in crate::nn) fn batch_norm_train(
    input: Tensor<4>,
    [gamma, beta]: [Tensor<1>; 2],
    epsilon: f64,
    relu: bool,
) -> (Tensor<4>, [Tensor<1>; 2]) {
    if !is_ours(&input) || !is_ours(&gamma) {
        let result = burn::tensor::module::batch_norm_train(input, gamma, beta, epsilon);
        let output = if relu { stock_relu(result.output) } else { result.output };
        return (output, [result.mean, result.variance]);
    }
    let [input, gamma, beta] = [input.into_dispatch(), gamma.into_dispatch(), beta.into_dispatch()];
    let (output, mean, variance) = <Dispatch as Norm>::norm_train(input, gamma, beta, epsilon, relu);
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
        relu: bool,
    ) -> FloatTensor<Self>;

    fn norm_train(
        input: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
        relu: bool,
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
        relu: bool,
    ) -> FlexTensor {
        let statistics = (row(mean), row(variance));
        Normalization::new(gamma, beta, statistics, epsilon, relu).forward(&dense(input))
    }

    fn norm_train(
        input: FlexTensor,
        gamma: FlexTensor,
        beta: FlexTensor,
        epsilon: f64,
        relu: bool,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let input = dense(input);
        let (mean, variance) = of_batch(&input);
        let channels = [mean.len()];
        let norm = Normalization::new(gamma, beta, (mean.clone(), variance.clone()), epsilon, relu);
        (norm.forward(&input), tensor(mean, channels), tensor(variance, channels))
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
        relu: bool,
    ) -> FloatTensor<Self> {
        let statistics = (row(mean.into_primitive()), row(variance.into_primitive()));
        record::<C>(input, gamma, beta, |gamma, beta, _| {
            (Normalization::new(gamma, beta, statistics, epsilon, relu), false)
        })
    }

    fn norm_train(
        input: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
        relu: bool,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let (mut mean, mut variance) = (Vec::new(), Vec::new());
        let output = record::<C>(input, gamma, beta, |gamma, beta, input| {
            (mean, variance) = of_batch(input);
            let statistics = (mean.clone(), variance.clone());
            (Normalization::new(gamma, beta, statistics, epsilon, relu), true)
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
    let output = norm.forward(&input);
    match NormBackward.prepare::<C>([input_node, gamma_node, beta_node]).compute_bound().stateful() {
        OpsKind::Tracked(prepared) => {
            let needed = weights_tracked || training || norm.relu;
            prepared.finish(State { input: needed.then_some(input), norm, training }, output)
        }
        OpsKind::UnTracked(prepared) => prepared.finish(output),
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
    relu: bool,
}

impl Normalization {
    fn new(
        gamma: FlexTensor,
        beta: FlexTensor,
        (mean, variance): (Vec<f32>, Vec<f32>),
        epsilon: f64,
        relu: bool,
    ) -> Self {
        let precision: Vec<f32> = variance.iter().map(|v| 1.0 / (v + epsilon as f32).sqrt()).collect();
        let scale = row(gamma).iter().zip(&precision).map(|(gamma, precision)| gamma * precision).collect();
        Self { isa: Isa::active(), mean, precision, scale, beta: row(beta), relu }
    }

    fn affine(&self) -> Affine<'_> {
        Affine { mean: &self.mean, scale: &self.scale, beta: &self.beta, relu: self.relu }
    }

    fn forward(&self, input: &FlexTensor) -> FlexTensor {
        let [_, _, height, width] = dims(input);
        tensor(affine(self.isa, values(input), height * width, self.affine()), dims(input))
    }
}

/// What the gradients need.
#[derive(Clone, Debug)]
struct State {
    /// Absent if only the input is tracked, the statistics are given and no ReLU follows.
    input: Option<FlexTensor>,
    norm: Normalization,
    /// Whether the statistics are those of the batch.
    training: bool,
}

#[derive(Debug)]
struct NormBackward;

impl Backward<Flex, 3> for NormBackward {
    type State = State;

    fn backward(self, ops: Ops<State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = dense(gradients.consume::<Flex>(&ops.node));
        let State { input, norm, training } = ops.state;
        let shape @ [count, channels, height, width] = dims(&gradient);
        let plane = height * width;
        // Where the input is not kept no formula looks at it.
        let (gradient, input) = (values(&gradient), input.as_ref().map_or(values(&gradient), values));
        let [input_node, gamma_node, beta_node] = ops.parents;
        let sums = (training || gamma_node.is_some() || beta_node.is_some())
            .then(|| gradient_sums(norm.isa, gradient, input, plane, norm.affine()));
        if let Some(node) = input_node {
            let size = (count * plane) as f32;
            let [shift, slope] = match &sums {
                Some((total, centred)) if training => [
                    total.iter().map(|total| total / size).collect::<Vec<f32>>(),
                    centred.iter().zip(&norm.precision).map(|(sum, p)| sum / size * p * p).collect(),
                ],
                _ => [Vec::new(), Vec::new()],
            };
            let dependence = training.then_some(Dependence { shift: &shift, slope: &slope });
            let found = input_gradient(norm.isa, gradient, input, plane, norm.affine(), dependence);
            gradients.register::<Flex>(node.id, tensor(found, shape));
        }
        let Some((total, centred)) = sums else { return };
        if let Some(node) = gamma_node {
            let found = centred.iter().zip(&norm.precision).map(|(sum, precision)| sum * precision).collect();
            gradients.register::<Flex>(node.id, tensor(found, [channels]));
        }
        if let Some(node) = beta_node {
            gradients.register::<Flex>(node.id, tensor(total, [channels]));
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
