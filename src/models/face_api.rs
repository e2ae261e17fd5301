//! The weights of face-api: a flat binary file, and a JSON manifest that says what lies in it.
//!
//! ```text
//! [{"weights": [{"name": "conv32_down/conv/filters", "shape": [7, 7, 3, 32], "dtype": "float32",
//!                "quantization": {"dtype": "uint8", "scale": 0.0005, "min": -0.07}}, ...]}]
//! ```
//!
//! The tensors follow each other in the order of the manifest: a byte a value, which is `min + scale * byte`, or,
//! without `quantization`, four bytes (little endian). Filters are `[height, width, inputs, outputs]`. Reading is
//! strict: a tensor that is missing, unused, named twice or of another shape is an error, and so is a byte too few or
//! too many. Nothing of the size that the manifest claims is reserved before the file is known to hold it.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};

use super::{Architecture, Model, ModelConfig, ModelError, Network};
use crate::nn::Conv2d;

/// Most bytes of either file that are read: ten times the published ones.
const LARGEST_FILE: u64 = 64 << 20;

/// Reads the published face recogniser (`face_recognition_model-weights_manifest.json` and
/// `face_recognition_model.bin`) as a model without a head, whose logits are the embedding.
///
/// # Errors
/// [`ModelError`] naming the file and what of it was not as expected.
pub fn read_face_api(manifest: &Path, weights: &Path, device: &Device) -> Result<Model, ModelError> {
    let config =
        ModelConfig::new(Architecture::FaceNet, Vec::new(), Architecture::FaceNet.usual_preprocessing());
    let mut network = config.blank(device);
    let entries = parse_manifest(&read(manifest)?)
        .map_err(|reason| ModelError::Config { path: manifest.to_owned(), reason })?;
    parse_weights(&entries, &read(weights)?)
        .and_then(|tensors| fill(&mut network, tensors, device))
        .map_err(|reason| ModelError::Weights { path: weights.to_owned(), reason })?;
    Ok(Model { config, network })
}

fn read(path: &Path) -> Result<Vec<u8>, ModelError> {
    let fail = |source| ModelError::Io { path: path.to_owned(), source };
    let size = std::fs::metadata(path).map_err(fail)?.len();
    if size > LARGEST_FILE {
        let reason = format!("{size} bytes, expected at most {LARGEST_FILE}");
        return Err(ModelError::Weights { path: path.to_owned(), reason });
    }
    std::fs::read(path).map_err(fail)
}

#[derive(serde::Deserialize)]
struct Group {
    weights: Vec<Entry>,
}

/// One tensor of the manifest.
#[derive(Debug, serde::Deserialize)]
struct Entry {
    name: String,
    shape: Vec<usize>,
    dtype: String,
    quantization: Option<Quantization>,
}

#[derive(Debug, serde::Deserialize)]
struct Quantization {
    dtype: String,
    scale: f64,
    min: f64,
}

/// A tensor as it lies in the file.
#[derive(Debug)]
struct Stored {
    shape: Vec<usize>,
    values: Vec<f32>,
}

type Tensors = BTreeMap<String, Stored>;

fn parse_manifest(bytes: &[u8]) -> Result<Vec<Entry>, String> {
    let groups: Vec<Group> = serde_json::from_slice(bytes)
        .map_err(|error| format!("not a manifest of weights, [{{\"weights\": [..]}}]: {error}"))?;
    Ok(groups.into_iter().flat_map(|group| group.weights).collect())
}

fn parse_weights(entries: &[Entry], bytes: &[u8]) -> Result<Tensors, String> {
    let mut rest = bytes;
    let mut tensors = Tensors::new();
    for entry in entries {
        let Entry { name, shape, .. } = entry;
        let width = bytes_a_value(entry)?;
        let count = shape.iter().try_fold(1_usize, |count, side| count.checked_mul(*side));
        let size = count.and_then(|count| count.checked_mul(width));
        let Some((own, behind)) = size.and_then(|size| rest.split_at_checked(size)) else {
            let left = rest.len();
            return Err(format!(
                "it ends inside {name}: {shape:?} values of {width} bytes are promised and {left} bytes are left. \
                 Fetch it again."
            ));
        };
        rest = behind;
        let stored = Stored { shape: shape.clone(), values: values(entry, own)? };
        if tensors.insert(name.clone(), stored).is_some() {
            return Err(format!("{name} is in the manifest twice"));
        }
    }
    if rest.is_empty() {
        return Ok(tensors);
    }
    Err(format!("it goes on for {} bytes after the last tensor of the manifest", rest.len()))
}

fn bytes_a_value(entry: &Entry) -> Result<usize, String> {
    let stored = entry.quantization.as_ref().map_or(&entry.dtype, |quantization| &quantization.dtype);
    match (entry.dtype.as_str(), stored.as_str(), &entry.quantization) {
        ("float32", "uint8", Some(_)) => Ok(1),
        ("float32", "float32", None) => Ok(4),
        (dtype, ..) => Err(format!(
            "{} is {dtype} stored as {stored}, expected float32 stored as float32 or uint8",
            entry.name
        )),
    }
}

fn values(entry: &Entry, bytes: &[u8]) -> Result<Vec<f32>, String> {
    let values: Vec<f32> = match &entry.quantization {
        Some(Quantization { scale, min, .. }) => {
            bytes.iter().map(|byte| (min + scale * f64::from(*byte)) as f32).collect()
        }
        None => bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
    };
    if values.iter().all(|value| value.is_finite()) {
        return Ok(values);
    }
    Err(format!("{} holds NaN or infinite values", entry.name))
}

/// Puts all tensors into the network, each where it belongs.
fn fill(network: &mut Network, mut tensors: Tensors, device: &Device) -> Result<(), String> {
    let Network::FaceNet(network) = network else { return Err("the network is no face_net".to_owned()) };
    let mut problems = Vec::new();
    for (name, conv) in network.convolutions() {
        if let Some(folded) = take_convolution(&mut tensors, &name, conv.weight.dims(), &mut problems) {
            put(conv, folded, device);
        }
    }
    let shape = network.embed.weight.dims();
    if let Some(matrix) = take(&mut tensors, "fc", &shape, &mut problems) {
        network.embed.weight = Param::from_tensor(Tensor::from_data(TensorData::new(matrix, shape), device));
    }
    problems.extend(tensors.keys().map(|name| format!("{name} is of no use to the network")));
    if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) }
}

/// Takes a tensor of a shape, or says what is wrong with it.
fn take(tensors: &mut Tensors, name: &str, shape: &[usize], problems: &mut Vec<String>) -> Option<Vec<f32>> {
    match tensors.remove(name) {
        Some(stored) if stored.shape == shape => return Some(stored.values),
        Some(stored) => problems.push(format!("{name} is {:?}, expected {shape:?}", stored.shape)),
        None => problems.push(format!("{name} is missing")),
    }
    None
}

/// Weights `[outputs, inputs, kernel, kernel]` and bias.
type Folded = (Vec<f32>, Vec<f32>);

/// Takes a convolution with its scale and shift, folded together: `scale (w x + b) + shift`.
fn take_convolution(
    tensors: &mut Tensors,
    name: &str,
    [outputs, inputs, height, width]: [usize; 4],
    problems: &mut Vec<String>,
) -> Option<Folded> {
    let filters = take(tensors, &format!("{name}/conv/filters"), &[height, width, inputs, outputs], problems);
    let mut row = |part: &str| take(tensors, &format!("{name}/{part}"), &[outputs], problems);
    let (bias, scale, shift) = (row("conv/bias"), row("scale/weights"), row("scale/biases"));
    let (filters, bias, scale, shift) = (filters?, bias?, scale?, shift?);
    let mut weights = vec![0.0; filters.len()];
    let places = height * width * inputs;
    for (from, filters) in filters.chunks_exact(outputs).enumerate() {
        // `from` counts place by place, and in each place the inputs.
        let to = from % inputs * height * width + from / inputs;
        for (output, (filter, scale)) in filters.iter().zip(&scale).enumerate() {
            weights[output * places + to] = filter * scale;
        }
    }
    let bias = bias.iter().zip(scale.iter().zip(&shift)).map(|(bias, (scale, shift))| bias * scale + shift);
    Some((weights, bias.collect()))
}

fn put(conv: &mut Conv2d, (weights, bias): Folded, device: &Device) {
    let shape = conv.weight.dims();
    conv.weight = Param::from_tensor(Tensor::from_data(TensorData::new(weights, shape), device));
    let bias = TensorData::new(bias, [shape[0]]);
    conv.bias = Some(Param::from_tensor(Tensor::from_data(bias, device)));
}

#[cfg(test)]
mod tests;
