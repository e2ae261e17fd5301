//! Which tensor of a PyTorch state dict belongs to which layer.

use burn::module::Module;

use super::slots::slots;

/// The names of one architecture in one source of PyTorch networks.
///
/// A layer's own tensors follow from its kind: `weight` and `bias` of a convolution as they are, of a linear
/// layer transposed; scale, shift and running statistics of a BatchNorm or layer norm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyMap {
    /// Where the names come from, for people.
    pub source: &'static str,
    /// Path of a layer (or of a parameter outside any layer) here, and there.
    pub names: Vec<(String, String)>,
    /// What the names of tensors begin with that the network there holds and never uses.
    pub idle: &'static [&'static str],
    /// A linear layer here that is a convolution there, and the side of its kernel, which is its stride.
    pub patches: Option<(&'static str, usize)>,
    /// A parameter `[1, 1 + n * n, width]` that is interpolated where `n` differs.
    pub positions: Option<&'static str>,
    /// Whether matrices are `[outputs, inputs]` there, as in PyTorch.
    pub transposed: bool,
}

impl KeyMap {
    /// A map of layers and nothing else.
    pub fn new(source: &'static str, names: Vec<(String, String)>) -> Self {
        Self { source, names, idle: &[], patches: None, positions: None, transposed: true }
    }

    /// The map of a model directory, where each tensor is as it is here.
    pub fn own<M: Module>(network: &M) -> Self {
        let nameless = Self { transposed: false, ..Self::new("syfar", Vec::new()) };
        let own = slots(network, &nameless).into_iter().map(|slot| pair(slot.own.clone(), slot.own));
        Self { names: own.collect(), ..nameless }
    }

    /// The name there of what has a path here.
    pub(super) fn get(&self, path: &str) -> Option<&str> {
        self.names.iter().find(|(own, _)| own == path).map(|(_, theirs)| theirs.as_str())
    }
}

/// A pair of names.
pub fn pair(own: impl Into<String>, theirs: impl Into<String>) -> (String, String) {
    (own.into(), theirs.into())
}
