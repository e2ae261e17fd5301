//! The parameters of a network, by path, and what each is called in PyTorch.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;

use super::KeyMap;

/// How the values of a parameter lie in PyTorch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// As here.
    Same,
    /// `[inputs, outputs]` here, `[outputs, inputs]` there.
    Transposed,
    /// `[1, 1 + n * n, width]`: `n` may differ.
    Positions,
}

/// A parameter or a running statistic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// Name in PyTorch, without prefix. Nothing if the map does not know it.
    pub theirs: Option<String>,
    /// Shape in PyTorch.
    pub shape: Vec<usize>,
    pub form: Form,
    /// Whether it belongs to the last layer.
    pub head: bool,
    /// Path here.
    pub own: String,
}

/// Where a visitor is in a network.
#[derive(Default)]
pub(super) struct Path(Vec<(String, String)>);

impl Path {
    pub(super) fn enter(&mut self, name: &str, container: &str) {
        self.0.push((name.to_owned(), container.to_owned()));
    }

    pub(super) fn exit(&mut self) {
        self.0.pop();
    }

    /// The parameter here, of this shape.
    pub(super) fn slot(&self, map: &KeyMap, shape: &[usize]) -> Slot {
        // The variant of the network's enum is no part of a name.
        let named = self.0.iter().filter(|(_, container)| !container.starts_with("Enum:"));
        let names: Vec<&str> = named.map(|(name, _)| name.as_str()).collect();
        let own = names.join(".");
        let head = names.contains(&"head");
        let (layer, last) = own.rsplit_once('.').unwrap_or(("", &own));
        let linear = self.0.last().is_some_and(|(_, container)| container == "Struct:Linear");
        let form = match shape {
            _ if map.positions == Some(own.as_str()) => Form::Positions,
            [_, _] if linear && map.transposed => Form::Transposed,
            _ => Form::Same,
        };
        let shape = match (form, map.patches) {
            (Form::Transposed, Some((patches, side))) if patches == layer => {
                vec![shape[1], shape[0] / (side * side), side, side]
            }
            (Form::Transposed, _) => vec![shape[1], shape[0]],
            _ => shape.to_vec(),
        };
        let suffix = match last {
            "gamma" => "weight",
            "beta" => "bias",
            other => other,
        };
        let theirs = map.get(&own).map(str::to_owned);
        let theirs = theirs.or_else(|| map.get(layer).map(|layer| format!("{layer}.{suffix}")));
        Slot { theirs, shape, form, head, own }
    }
}

/// All parameters and running statistics of a network in their order.
pub(super) fn slots<M: Module>(module: &M, map: &KeyMap) -> Vec<Slot> {
    struct Slots<'a> {
        path: Path,
        map: &'a KeyMap,
        found: Vec<Slot>,
    }
    impl ModuleVisitor for Slots<'_> {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.path.enter(name, container);
        }
        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.path.exit();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.found.push(self.path.slot(self.map, &param.val().dims()));
        }
    }
    let mut slots = Slots { path: Path::default(), map, found: Vec::new() };
    module.visit(&mut slots);
    slots.found
}

/// A matrix of so many rows with rows and columns exchanged.
pub(super) fn transposed(values: &[f32], rows: usize) -> Vec<f32> {
    // In squares, so that neither side jumps through memory.
    const SQUARE: usize = 32;
    let columns = values.len() / rows.max(1);
    let mut turned = vec![0.0; values.len()];
    for top in (0..rows).step_by(SQUARE) {
        for left in (0..columns).step_by(SQUARE) {
            for row in top..rows.min(top + SQUARE) {
                for column in left..columns.min(left + SQUARE) {
                    turned[column * rows + row] = values[row * columns + column];
                }
            }
        }
    }
    turned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_is_transposed() {
        assert_eq!(transposed(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        let values: Vec<f32> = (0..70 * 45).map(|i| i as f32).collect();
        let turned = transposed(&values, 70);
        let places = (0..70).flat_map(|row| (0..45).map(move |column| (row, column)));
        let expected: Vec<f32> = places.map(|(row, column)| values[row * 45 + column]).collect();
        let found: Vec<f32> = (0..70 * 45).map(|i| turned[i % 45 * 70 + i / 45]).collect();
        assert_eq!(found, expected);
        assert_eq!(transposed(&turned, 45), values);
        assert!(transposed(&[], 0).is_empty());
    }
}
