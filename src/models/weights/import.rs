//! The tensors of a file into a network, all of them, each in its place.

use std::collections::{BTreeSet, HashSet};

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Tensor, TensorData};

use super::slots::{Form, Path, Slot, slots, transposed};
use super::{KeyMap, WeightFile, positions};
use crate::models::ModelError;

/// Names under which state dicts lie in checkpoints. What lies beside them (an optimiser) is not looked at.
const CONTAINERS: [&str; 10] = [
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "network",
    "weights",
    "params",
    "ema",
    "state_dict_ema",
    "model_ema",
];
/// What wrappers put before every name.
const WRAPPERS: [&str; 2] = ["module", "_orig_mod"];
/// How many names a message lists.
const LISTED: usize = 8;

/// What may differ between a file and the network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportOptions {
    /// Leave the last layer as it is; the one of the file is not looked at.
    pub new_head: bool,
    /// What comes before each name in the file, such as `state_dict.`, where that is not clear.
    pub prefix: Option<String>,
}

/// How a file was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// Where names like those in the file come from.
    pub source: &'static str,
    /// What comes before each name.
    pub prefix: String,
    /// Number of tensors that were taken.
    pub tensors: usize,
    /// Tensors that belong to no network: those of an optimiser, say.
    pub beside: usize,
    /// Tensors of the network that it never uses, and counters of batches.
    pub idle: usize,
    /// Patches in a row in the file and in the network, where positions were interpolated.
    pub interpolated: Option<(usize, usize)>,
}

/// A way to read a file: names, and what comes before them.
struct Reading<'a> {
    map: &'a KeyMap,
    prefix: String,
    slots: Vec<Slot>,
}

/// Puts the tensors of a file into a network, by the one of the maps that fits best.
///
/// # Errors
/// [`ModelError::Weights`] that lists every tensor which is missing, not used or has another shape.
pub fn import<M: Module>(
    network: M,
    maps: &[KeyMap],
    file: &WeightFile,
    options: &ImportOptions,
) -> Result<(M, Imported), ModelError> {
    let fail = |reason| ModelError::Weights { path: file.path().to_owned(), reason };
    let reading = choose(&network, maps, file, options).map_err(fail)?;
    let imported = check(&reading, file, options).map_err(fail)?;
    let path = Path::default();
    let mut filler = Filler { path, reading: &reading, file, options, failed: None };
    let network = network.map(&mut filler);
    match filler.failed {
        Some(error) => Err(error),
        None => Ok((network, imported)),
    }
}

/// Puts the tensors of a model directory into a network.
///
/// # Errors
/// [`ModelError::Weights`] that lists every tensor which is missing, not used or has another shape.
pub fn load<M: Module>(network: M, file: &WeightFile) -> Result<M, ModelError> {
    let map = KeyMap::own(&network);
    let options = ImportOptions { prefix: Some(String::new()), ..ImportOptions::default() };
    Ok(import(network, &[map], file, &options)?.0)
}

/// The map and prefix under which most tensors are found.
fn choose<'a, M: Module>(
    network: &M,
    maps: &'a [KeyMap],
    file: &WeightFile,
    options: &ImportOptions,
) -> Result<Reading<'a>, String> {
    let names: HashSet<&str> = file.names().collect();
    let mut best: Vec<(usize, Reading)> = Vec::new();
    for map in maps {
        let slots = slots(network, map);
        let expected: Vec<&str> = slots.iter().filter_map(|slot| slot.theirs.as_deref()).collect();
        for prefix in prefixes(&names, &expected, options) {
            let found =
                expected.iter().filter(|name| names.contains(format!("{prefix}{name}").as_str())).count();
            let most = best.first().map_or(0, |(most, _)| *most);
            if found < most {
                continue;
            }
            if found > most {
                best.clear();
            }
            best.push((found, Reading { map, prefix, slots: slots.clone() }));
        }
    }
    let [(found, first), rest @ ..] = best.as_slice() else { return Err("no names known".to_owned()) };
    if *found > 0
        && let Some((_, other)) = rest.iter().find(|(_, other)| other.prefix != first.prefix)
    {
        return Err(format!(
            "the weights are there more than once, as {}* and as {}*. Choose with --prefix",
            first.prefix, other.prefix
        ));
    }
    Ok(best.swap_remove(0).1)
}

/// What may come before the names: nothing, and what is known to.
fn prefixes(names: &HashSet<&str>, expected: &[&str], options: &ImportOptions) -> Vec<String> {
    if let Some(prefix) = &options.prefix {
        return vec![prefix.clone()];
    }
    let known = |prefix: &str| {
        prefix.split_terminator('.').all(|part| CONTAINERS.contains(&part) || WRAPPERS.contains(&part))
    };
    let mut found = BTreeSet::from([String::new()]);
    // The first layers are enough: all lie in one place.
    for expected in expected.iter().take(4) {
        let prefixes = names.iter().filter_map(|name| name.strip_suffix(expected));
        found.extend(prefixes.filter(|prefix| prefix.ends_with('.') && known(prefix)).map(str::to_owned));
    }
    found.into_iter().collect()
}

/// What is missing, misshapen or not used.
fn check(reading: &Reading, file: &WeightFile, options: &ImportOptions) -> Result<Imported, String> {
    let Reading { map, prefix, slots } = reading;
    let (mut missing, mut misshapen, mut known) = (Vec::new(), Vec::new(), HashSet::new());
    let mut imported = Imported {
        source: map.source,
        prefix: prefix.clone(),
        tensors: 0,
        beside: 0,
        idle: 0,
        interpolated: None,
    };
    for slot in slots {
        let Some(theirs) = &slot.theirs else {
            missing.push(format!("{} (which has no name in PyTorch)", slot.own));
            continue;
        };
        let name = format!("{prefix}{theirs}");
        let found = file.shape(&name);
        known.insert(name);
        if slot.head && options.new_head {
            continue;
        }
        match found {
            None => missing.push(theirs.clone()),
            Some(shape) if shape == slot.shape => imported.tensors += 1,
            Some(shape) => {
                if slot.head && map.transposed {
                    head_fits(slot, shape)?;
                }
                if let Some(sides) = grids(slot, shape) {
                    imported.tensors += 1;
                    imported.interpolated = Some(sides);
                } else {
                    misshapen.push(format!("{theirs} has shape {shape:?}, {:?} expected", slot.shape));
                }
            }
        }
    }
    let mut unused = Vec::new();
    let container = container(prefix);
    for name in file.names().filter(|name| !known.contains(*name)) {
        let inside = name.strip_prefix(prefix.as_str());
        let idle = |name: &str| {
            name.ends_with(".num_batches_tracked") || map.idle.iter().any(|idle| name.starts_with(idle))
        };
        if !name.starts_with(container) {
            imported.beside += 1;
        } else if inside.is_some_and(idle) {
            imported.idle += 1;
        } else {
            unused.push(name.escape_debug().to_string());
        }
    }
    let mut parts = Vec::new();
    for (what, names) in [
        ("missing tensors", &missing),
        ("tensors that the architecture does not have", &unused),
        ("tensors of another shape", &misshapen),
    ] {
        if !names.is_empty() {
            parts.push(format!("{what}: {}", listed(names)));
        }
    }
    if parts.is_empty() { Ok(imported) } else { Err(parts.join("; ")) }
}

/// The part of a prefix beside which there may be other things.
fn container(prefix: &str) -> &str {
    let parts = prefix.split_inclusive('.');
    let length: usize =
        parts.take_while(|part| CONTAINERS.contains(&part.trim_end_matches('.'))).map(str::len).sum();
    &prefix[..length]
}

fn listed(names: &[String]) -> String {
    let more = names.len().saturating_sub(LISTED);
    let list = names[..names.len() - more].join(", ");
    if more == 0 { list } else { format!("{list} and {more} more") }
}

/// Refuses a last layer for another number of classes.
fn head_fits(slot: &Slot, found: &[usize]) -> Result<(), String> {
    let (Some(classes), Some(expected)) = (found.first(), slot.shape.first()) else { return Ok(()) };
    if classes == expected || found.get(1..) != slot.shape.get(1..) {
        return Ok(());
    }
    Err(format!(
        "the weights are for {classes} classes, {expected} are named. Name {classes} classes, or keep the body and draw a \
         new last layer with --new-head"
    ))
}

/// Patches in a row there and here, if positions can be interpolated.
fn grids(slot: &Slot, found: &[usize]) -> Option<(usize, usize)> {
    let side = |shape: &[usize]| match shape {
        [1, tokens, _] => {
            Some((tokens.checked_sub(1)?).isqrt()).filter(|side| *side > 0 && side * side + 1 == *tokens)
        }
        _ => None,
    };
    let same = slot.form == Form::Positions && found.last() == slot.shape.last();
    same.then(|| Some((side(found)?, side(&slot.shape)?)))?
}

/// Replaces the values of parameters.
struct Filler<'a> {
    path: Path,
    reading: &'a Reading<'a>,
    file: &'a WeightFile,
    options: &'a ImportOptions,
    failed: Option<ModelError>,
}

impl Filler<'_> {
    /// The values for a parameter of this shape, as they lie here.
    fn values(&self, slot: &Slot) -> Result<Option<Vec<f32>>, ModelError> {
        let Some(theirs) = &slot.theirs else { return Ok(None) };
        if slot.head && self.options.new_head {
            return Ok(None);
        }
        let name = format!("{}{theirs}", self.reading.prefix);
        let values = self.file.values(&name)?;
        Ok(Some(match slot.form {
            Form::Transposed => transposed(&values, slot.shape[0]),
            Form::Positions => match self.file.shape(&name).and_then(|shape| grids(slot, shape)) {
                Some((from, to)) if from != to => positions::resized(&values, from, to, slot.shape[2]),
                _ => values,
            },
            Form::Same => values,
        }))
    }
}

impl ModuleMapper for Filler<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.failed.is_some() {
            return param;
        }
        param.map(|old| {
            let (shape, device, tracked) = (old.dims(), old.device(), old.is_require_grad());
            let slot = self.path.slot(self.reading.map, &shape);
            let skipped = slot.theirs.is_none() || slot.head && self.options.new_head;
            if skipped {
                return old;
            }
            // The old values make room for the new ones.
            drop(old);
            let values = match self.values(&slot) {
                Ok(values) => values,
                Err(error) => {
                    self.failed = Some(error);
                    None
                }
            };
            let data = TensorData::new(values.unwrap_or_else(|| vec![0.0; shape.iter().product()]), shape);
            let plain = Tensor::from_data(data, &device.clone().without_autodiff());
            if device.is_autodiff() { plain.autodiff().set_require_grad(tracked) } else { plain }
        })
    }
}
