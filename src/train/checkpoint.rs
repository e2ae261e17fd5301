//! The state that a stopped training goes on from.
//!
//! `checkpoints/last/` holds the parameters with their ids, the optimiser's state, and `state.json`. The
//! order of images, the augmentation and the attacks follow from the seed, so nothing else is needed for
//! a resumed run to end in the same numbers as one that was never stopped.

use std::path::Path;

use burn::module::Module;
use burn::optim::ModuleOptimizer;
use burn::store::ModuleRecord;

use super::{TrainError, Validation};
use crate::files::replace_directory;

/// Where training stands.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct State {
    /// Epoch in progress, from 0.
    pub epoch: usize,
    /// Steps of it that are done.
    pub step: usize,
    /// Sums over those steps, for the epoch's line in the log.
    pub sums: EpochSums,
    /// The best validation so far and its epoch, from 0.
    pub best: Option<(usize, Validation)>,
    /// Seconds of training so far, over all sittings.
    pub seconds: f64,
}

/// Sums over the steps of an epoch.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct EpochSums {
    /// Images seen.
    pub images: usize,
    /// Each term's value times the images of its batch, in the order of the objective.
    pub terms: Vec<(String, f64)>,
    /// Label and prediction of each training picture, for methods that adapt per class.
    pub predictions: Vec<(usize, usize)>,
    /// Passes that the attacks took.
    pub cost: crate::models::Cost,
    /// Seconds.
    pub seconds: f64,
}

pub(super) fn save<M: Module>(
    directory: &Path,
    network: &M,
    optimizer: &ModuleOptimizer,
    state: &State,
) -> Result<(), TrainError> {
    replace_directory(directory, |fresh| {
        network.clone().into_record().save(fresh.join("network.bpk")).map_err(std::io::Error::other)?;
        optimizer.save(fresh.join("optimizer.bpk")).map_err(std::io::Error::other)?;
        std::fs::write(fresh.join("state.json"), serde_json::to_vec(state)?)
    })
    .map_err(|source: std::io::Error| TrainError::Checkpoint {
        path: directory.to_owned(),
        reason: format!("could not be written ({source}); free some space and resume"),
    })
}

/// Restores what [`save`] wrote into a freshly built network and optimiser.
pub(super) fn load<M: Module>(
    directory: &Path,
    network: M,
    optimizer: ModuleOptimizer,
) -> Result<(M, ModuleOptimizer, State), TrainError> {
    let fail = |what: &str, error: &dyn std::fmt::Display| TrainError::Checkpoint {
        path: directory.join(what),
        reason: format!("cannot be used ({error}); remove the run directory and start again"),
    };
    let text = std::fs::read_to_string(directory.join("state.json")).map_err(|e| fail("state.json", &e))?;
    let state = serde_json::from_str(&text).map_err(|e| fail("state.json", &e))?;
    let record = ModuleRecord::load(directory.join("network.bpk")).map_err(|e| fail("network.bpk", &e))?;
    let network = network.try_load_record(record).map_err(|e| fail("network.bpk", &e))?;
    let optimizer = optimizer.load(directory.join("optimizer.bpk")).map_err(|e| fail("optimizer.bpk", &e))?;
    Ok((network, optimizer, state))
}
