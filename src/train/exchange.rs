//! What the ranks of a training keep equal: gradients, running statistics, weights.

use std::collections::HashSet;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{Tensor, TensorData};
use sha2::{Digest, Sha256};

use super::team::Team;
use crate::models::Network;

/// Replaces the gradients of a network by their sums over the ranks.
pub(super) fn sum_gradients(team: &dyn Team, gradients: &mut GradientsParams, network: &Network) {
    if team.size() == 1 {
        return;
    }
    let mut read = Read { gradients, values: Vec::new() };
    network.visit(&mut read);
    let mut values = read.values;
    team.sum(&mut values);
    network.visit(&mut Register { gradients, values: values.into_iter() });
}

/// Replaces the running statistics of a network by their means over the ranks: each rank normalises with the
/// statistics of its own pictures, and all attack the same victim.
pub(super) fn average_statistics(team: &dyn Team, network: Network) -> Network {
    if team.size() == 1 {
        return network;
    }
    let statistics = statistics(&network);
    let mut values = Floats::of(&network, Some(&statistics));
    if values.is_empty() {
        return network;
    }
    team.sum(&mut values);
    let size = team.size() as f32;
    for value in &mut values {
        *value /= size;
    }
    network.map(&mut Set { only: Some(&statistics), values: values.into_iter() })
}

/// Gives all ranks the weights and running statistics of rank 0.
pub(super) fn broadcast_weights(team: &dyn Team, network: Network) -> Network {
    if team.size() == 1 {
        return network;
    }
    let own = Floats::of(&network, None);
    let bytes = team.broadcast(own.iter().flat_map(|value| value.to_le_bytes()).collect());
    let values: Vec<f32> =
        bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().expect("four bytes"))).collect();
    // A network of another size is another configuration, which was refused before.
    assert_eq!(values.len(), own.len(), "the ranks build the same network");
    network.map(&mut Set { only: None, values: values.into_iter() })
}

/// A digest of all weights and running statistics.
pub(super) fn checksum(network: &Network) -> Vec<u8> {
    let mut digest = Sha256::new();
    for value in Floats::of(network, None) {
        digest.update(value.to_bits().to_le_bytes());
    }
    digest.finalize().to_vec()
}

/// Millions of numbers: all at once where they are f32 already.
fn append(values: &mut Vec<f32>, data: &TensorData) {
    match data.as_slice::<f32>() {
        Ok(found) => values.extend_from_slice(found),
        Err(_) => values.extend(data.iter::<f32>()),
    }
}

struct Read<'a> {
    gradients: &'a GradientsParams,
    values: Vec<f32>,
}

impl ModuleVisitor for Read<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.get::<D>(param.id) {
            append(&mut self.values, &gradient.into_data());
        }
    }
}

struct Register<'a> {
    gradients: &'a mut GradientsParams,
    values: std::vec::IntoIter<f32>,
}

impl ModuleVisitor for Register<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.remove::<D>(param.id) {
            let shape = gradient.dims();
            let values: Vec<f32> = self.values.by_ref().take(shape.iter().product()).collect();
            let summed = Tensor::<D>::from_data(TensorData::new(values, shape), &gradient.device());
            self.gradients.register(param.id, summed);
        }
    }
}

/// The running statistics of a network.
fn statistics(network: &Network) -> HashSet<ParamId> {
    network.parameters_at(|path| path.last().is_some_and(|name| name.starts_with("running_")))
}

/// The values of a network, of everything or of some parameters and buffers alone.
struct Floats<'a> {
    only: Option<&'a HashSet<ParamId>>,
    values: Vec<f32>,
}

impl<'a> Floats<'a> {
    fn of(network: &Network, only: Option<&'a HashSet<ParamId>>) -> Vec<f32> {
        let mut floats = Self { only, values: Vec::new() };
        network.visit(&mut floats);
        floats.values
    }
}

impl ModuleVisitor for Floats<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.only.is_none_or(|ids| ids.contains(&param.id)) {
            append(&mut self.values, &param.val().without_autodiff().into_data());
        }
    }
}

/// Puts values back in the order in which [`Floats`] read them.
struct Set<'a> {
    only: Option<&'a HashSet<ParamId>>,
    values: std::vec::IntoIter<f32>,
}

impl ModuleMapper for Set<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.only.is_some_and(|ids| !ids.contains(&param.id)) {
            return param;
        }
        let values = &mut self.values;
        param.map(|tensor| {
            let shape = tensor.dims();
            let values: Vec<f32> = values.by_ref().take(shape.iter().product()).collect();
            let fresh = Tensor::<D>::from_data(TensorData::new(values, shape), &tensor.device());
            if tensor.is_require_grad() { fresh.require_grad() } else { fresh }
        })
    }
}
