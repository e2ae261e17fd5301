//! The state that a stopped training goes on from.
//!
//! There are two slots, `checkpoints/a/` and `checkpoints/b/`, written in turn, so that at any moment one
//! of them is whole. Each holds the parameters with their ids, the optimiser's state, the average of the
//! weights if there is one, and `state.json` with what the objective has learnt about the classes.
//! The order of images, the augmentation and the attacks follow from the seed, so nothing else is needed
//! for a resumed run to end in the same numbers as one that was never stopped.

use std::fs::{self, File};
use std::path::Path;

use burn::module::Module;
use burn::optim::ModuleOptimizer;
use burn::store::ModuleRecord;

use super::{TrainError, Validation};

/// Names of the slots.
const SLOTS: [&str; 2] = ["a", "b"];

/// File of the average of the weights.
const AVERAGE: &str = "average.bpk";

/// What [`save`] wrote.
pub(super) struct Saved<M> {
    pub network: M,
    /// On the plain device.
    pub average: Option<M>,
    pub optimizer: ModuleOptimizer,
    pub state: State,
}

/// Where training stands.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct State {
    /// Checkpoints written so far, this one included.
    pub saves: u64,
    /// Epoch in progress, from 0.
    pub epoch: usize,
    /// Steps of it that are done.
    pub step: usize,
    /// Sums over those steps, for the epoch's line in the log.
    pub sums: EpochSums,
    /// What the objective has to know, if it adapts.
    #[serde(default)]
    pub objective: serde_json::Value,
    /// Updates of the average of the weights; 0 where there is none.
    #[serde(default)]
    pub averages: u64,
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
    /// Label and prediction of each training picture, for the share that is recognised.
    pub predictions: Vec<(usize, usize)>,
    /// Passes that the attacks took.
    pub cost: crate::models::Cost,
    /// Seconds.
    pub seconds: f64,
}

/// Writes the state into the slot that is not the newest.
pub(super) fn save<M: Module>(
    directory: &Path,
    network: &M,
    average: Option<&M>,
    optimizer: &ModuleOptimizer,
    state: &State,
) -> Result<(), TrainError> {
    let write = || -> std::io::Result<()> {
        fs::create_dir_all(directory)?;
        let place = tempfile::Builder::new().prefix(".new-").tempdir_in(directory)?;
        let fresh = place.path().join("slot");
        fs::create_dir(&fresh)?;
        network.clone().into_record().save(fresh.join("network.bpk")).map_err(std::io::Error::other)?;
        if let Some(average) = average {
            average.clone().into_record().save(fresh.join(AVERAGE)).map_err(std::io::Error::other)?;
        }
        optimizer.save(fresh.join("optimizer.bpk")).map_err(std::io::Error::other)?;
        fs::write(fresh.join("state.json"), serde_json::to_vec(state)?)?;
        for entry in fs::read_dir(&fresh)? {
            File::open(entry?.path())?.sync_all()?;
        }
        let slot = directory.join(SLOTS[usize::from(state.saves.is_multiple_of(2))]);
        if slot.exists() {
            fs::remove_dir_all(&slot)?;
        }
        fs::rename(&fresh, &slot)
    };
    write().map_err(|source| TrainError::Checkpoint {
        path: directory.to_owned(),
        reason: format!("could not be written ({source}); check that the disk is not full, and resume"),
    })
}

/// Restores the newest state that [`save`] wrote into a freshly built network and optimiser; none if
/// there is none yet.
pub(super) fn load<M: Module>(
    directory: &Path,
    network: &M,
    optimizer: &ModuleOptimizer,
) -> Result<Option<Saved<M>>, TrainError> {
    let mut newest: Option<(&str, State)> = None;
    for slot in SLOTS {
        if let Some(state) = read_state(&directory.join(slot).join("state.json"))?
            && newest.as_ref().is_none_or(|(_, other)| state.saves > other.saves)
        {
            newest = Some((slot, state));
        }
    }
    let Some((slot, state)) = newest else { return Ok(None) };
    let slot = directory.join(slot);
    let fail = |what: &str, error: &dyn std::fmt::Display| unusable(&slot.join(what), error);
    let filled = |template: M, file: &str| {
        let record = ModuleRecord::load(slot.join(file)).map_err(|e| fail(file, &e))?;
        template.try_load_record(record).map_err(|e| fail(file, &e))
    };
    let restored = filled(network.clone(), "network.bpk")?;
    // `valid` gives the average buffers of its own.
    let average = (state.averages > 0).then(|| filled(restored.valid(), AVERAGE)).transpose()?;
    let optimizer =
        optimizer.clone().load(slot.join("optimizer.bpk")).map_err(|e| fail("optimizer.bpk", &e))?;
    Ok(Some(Saved { network: restored, average, optimizer, state }))
}

fn read_state(path: &Path) -> Result<Option<State>, TrainError> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unusable(path, &error)),
        Ok(text) => serde_json::from_str(&text).map(Some).map_err(|error| unusable(path, &error)),
    }
}

fn unusable(path: &Path, error: &dyn std::fmt::Display) -> TrainError {
    TrainError::Checkpoint {
        path: path.to_owned(),
        reason: format!(
            "cannot be used ({error}); remove its folder to go on from the other one, or start again"
        ),
    }
}
