//! A file of weights: its kind, the names and shapes in it, and its numbers on demand.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use burn::backend::DType as BurnType;
use burn::tensor::TensorData;
use pytorch_reader::{DType, PytorchReader, Tensor};

use super::pickle::{LARGEST_PICKLE, skip_pickle};
use super::safetensors::{self, Place};
use super::zipped;
use crate::models::ModelError;

/// Pickles before the numbers of a file of PyTorch before 1.6: magic number, version, system, tensors, keys.
const PICKLES: usize = 5;

/// The tensors of a file, by name. Their numbers are read when they are asked for.
#[derive(Debug)]
pub struct WeightFile {
    path: PathBuf,
    /// Bytes of the file.
    length: u64,
    tensors: Tensors,
}

#[derive(Debug)]
enum Tensors {
    Pytorch(BTreeMap<String, Tensor>),
    Safetensors(RefCell<File>, BTreeMap<String, Place>),
}

impl WeightFile {
    /// Opens a safetensors file or what `torch.save` wrote, by its content, whatever its name.
    ///
    /// # Errors
    /// [`ModelError`] where the file cannot be read, is none of these, or says of itself what cannot be.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        let io = |source| ModelError::Io { path: path.to_owned(), source };
        let fail = |reason: String| ModelError::Weights { path: path.to_owned(), reason };
        let mut file = File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let mut head = Vec::new();
        file.by_ref().take(512).read_to_end(&mut head).map_err(io)?;
        file.rewind().map_err(io)?;
        let tensors = if safetensors::is_safetensors(&head) {
            let places = safetensors::places(&mut file).map_err(fail)?;
            Tensors::Safetensors(RefCell::new(file), places)
        } else {
            check_pytorch(&file, &head).map_err(fail)?;
            let reader = PytorchReader::new(path).map_err(|error| fail(explained(&error)))?;
            Tensors::Pytorch(reader.into_tensors().into_iter().collect())
        };
        let opened = Self { path: path.to_owned(), length, tensors };
        if opened.names().next().is_none() {
            return Err(fail(
                "no tensor in it. Expected a state dict: torch.save(model.state_dict(), FILE)".to_owned(),
            ));
        }
        Ok(opened)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names of the tensors, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let names: Box<dyn Iterator<Item = &String>> = match &self.tensors {
            Tensors::Pytorch(tensors) => Box::new(tensors.keys()),
            Tensors::Safetensors(_, places) => Box::new(places.keys()),
        };
        names.map(String::as_str)
    }

    /// Number of classes, if a tensor is called as the last layer of a known architecture, takes so many inputs and
    /// is in the file with all of its numbers.
    pub fn classes(&self, inputs: usize) -> Option<usize> {
        const HEADS: [&str; 5] =
            ["fc.weight", "linear.weight", "head.weight", "classifier.6.weight", "fc8.weight"];
        let ends = |name: &&str| {
            HEADS.iter().any(|head| {
                name.strip_suffix(head).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            })
        };
        let mut shapes = self.names().filter(ends).filter_map(|name| self.shape(name));
        shapes.find_map(|shape| match shape {
            [classes, found] if *found == inputs && self.has_room_for(shape) => Some(*classes),
            _ => None,
        })
    }

    /// Whether the file is long enough for so many numbers of two bytes, the shortest that are read. A tensor of
    /// stride 0 repeats a few numbers as often as it likes.
    fn has_room_for(&self, shape: &[usize]) -> bool {
        let bytes = shape.iter().try_fold(2_u64, |bytes, side| bytes.checked_mul(*side as u64));
        bytes.is_some_and(|bytes| bytes <= self.length)
    }

    /// Shape of a tensor, if there is one of that name.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        match &self.tensors {
            Tensors::Pytorch(tensors) => tensors.get(name).map(Tensor::shape),
            Tensors::Safetensors(_, places) => places.get(name).map(|place| place.shape.as_slice()),
        }
    }

    /// The numbers of a tensor, rounded to `f32`. It takes the memory that its shape says: check that first.
    ///
    /// # Errors
    /// [`ModelError::Weights`] where there is no such tensor, its numbers are no floating-point ones, or the file
    /// does not hold them, each in a place of its own.
    pub fn values(&self, name: &str) -> Result<Vec<f32>, ModelError> {
        let fail = |reason| ModelError::Weights { path: self.path.clone(), reason };
        if let Some(shape) = self.shape(name).filter(|shape| !self.has_room_for(shape)) {
            return Err(fail(format!(
                "{} has the shape {shape:?}, and the file {} bytes: it repeats a few numbers. Save it whole: \
                 tensor.contiguous()",
                name.escape_debug(),
                self.length
            )));
        }
        let missing = || fail(format!("no tensor {name}"));
        let whole = || fail(format!("{name} holds whole numbers, floating-point ones expected"));
        let found = match &self.tensors {
            Tensors::Pytorch(tensors) => {
                let tensor = tensors.get(name).ok_or_else(missing)?;
                let kind = match tensor.dtype() {
                    DType::F64 => BurnType::F64,
                    DType::F32 => BurnType::F32,
                    DType::F16 => BurnType::F16,
                    DType::BF16 => BurnType::BF16,
                    _ => return Err(whole()),
                };
                tensor.read().and_then(|bytes| numbers(bytes.as_slice(), kind, tensor.num_elements()))
            }
            Tensors::Safetensors(file, places) => {
                let place = places.get(name).ok_or_else(missing)?;
                let kind = match place.dtype.as_str() {
                    "F64" => BurnType::F64,
                    "F32" => BurnType::F32,
                    "F16" => BurnType::F16,
                    "BF16" => BurnType::BF16,
                    _ => return Err(whole()),
                };
                let file = &mut *file.borrow_mut();
                place.go_to(file).and_then(|()| numbers(file, kind, place.shape.iter().product()))
            }
        };
        found.map_err(|error| fail(format!("{name}: {error}")))
    }
}

/// So many numbers, little-endian, rounded to `f32`. They come in pieces, so they are never in memory twice.
fn numbers(mut from: impl Read, kind: BurnType, count: usize) -> std::io::Result<Vec<f32>> {
    const PIECE: usize = 1 << 14;
    let width = match kind {
        BurnType::F64 => 8,
        BurnType::F32 => 4,
        _ => 2,
    };
    let (mut values, mut bytes) = (Vec::with_capacity(count), vec![0; PIECE * width]);
    while values.len() < count {
        let piece = PIECE.min(count - values.len());
        let bytes = &mut bytes[..piece * width];
        from.read_exact(bytes)?;
        if kind == BurnType::F32 {
            values.extend(bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)));
        } else {
            let data = TensorData::from_bytes_vec(bytes.to_vec(), [piece], kind).convert::<f32>();
            let piece = data.try_into_vec::<f32>();
            values.extend(piece.map_err(|error| std::io::Error::other(format!("{error:?}")))?);
        }
    }
    Ok(values)
}

/// Whether a file can be handed to the reader of PyTorch's files.
fn check_pytorch(file: &File, head: &[u8]) -> Result<(), String> {
    const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
    let again = "Save the weights again: torch.save(model.state_dict(), FILE)";
    if head.starts_with(b"PK") {
        return zipped::check(file);
    }
    if head.get(257..262) == Some(b"ustar") {
        return Err(format!("a file of PyTorch before 0.1.10, which is not read. {again}"));
    }
    if !head[..head.len().min(64)].windows(MAGIC.len()).any(|bytes| bytes == MAGIC) {
        return Err(format!("neither safetensors nor a file that torch.save wrote. {again}"));
    }
    let (mut reader, mut left) = (BufReader::new(file), LARGEST_PICKLE);
    (0..PICKLES).try_for_each(|_| skip_pickle(&mut reader, &mut left))
}

/// What the reader said, and what to do.
fn explained(error: &pytorch_reader::PytorchError) -> String {
    format!("{error}. Expected a state dict: torch.save(model.state_dict(), FILE)")
}
