//! The tensors of a network into a safetensors file, under the names of PyTorch.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::Path;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;

use super::KeyMap;
use super::safetensors::Writer;
use super::slots::{Form, Path as Place, slots, transposed};
use crate::models::ModelError;

/// Writes a file that `safetensors.torch.load_file` and `load_state_dict` read. Gives the number of tensors.
///
/// # Errors
/// [`ModelError::Io`] where the disk refuses; then there is no new file.
pub fn export<M: Module>(network: &M, map: &KeyMap, path: &Path) -> Result<usize, ModelError> {
    let io = |source| ModelError::Io { path: path.to_owned(), source };
    let mut shapes = BTreeMap::new();
    for slot in slots(network, map) {
        let nameless = || std::io::Error::other(format!("{} has no name in PyTorch", slot.own));
        shapes.insert(slot.theirs.clone().ok_or_else(|| io(nameless()))?, slot.shape);
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(directory).map_err(io)?;
    let written = (|| {
        let mut writer = Writer::new(BufWriter::new(file.as_file_mut()), &shapes)?;
        while let Some(name) = writer.next_name() {
            let mut values = Values { path: Place::default(), map, name: &name, found: Vec::new() };
            network.visit(&mut values);
            writer.write(&values.found)?;
        }
        writer.finish()?.flush()?;
        file.as_file().sync_all()
    })();
    written.map_err(io)?;
    file.persist(path).map_err(|error| io(error.error))?;
    Ok(shapes.len())
}

/// Finds the values of one tensor.
struct Values<'a> {
    path: Place,
    map: &'a KeyMap,
    name: &'a str,
    found: Vec<f32>,
}

impl ModuleVisitor for Values<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = param.val();
        let slot = self.path.slot(self.map, &tensor.dims());
        if slot.theirs.as_deref() != Some(self.name) {
            return;
        }
        // The writer refuses a tensor without its numbers.
        let values = tensor.without_autodiff().try_into_vec_as::<f32>().unwrap_or_default();
        self.found = if slot.form == Form::Transposed {
            transposed(&values, tensor_rows(&slot.shape))
        } else {
            values
        };
    }
}

/// Rows of the matrix here: what one output there takes.
fn tensor_rows(shape: &[usize]) -> usize {
    shape[1..].iter().product()
}
