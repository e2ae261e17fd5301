//! `syfar predict`: what a model says to pictures, for people and for comparison with other programs.

use std::path::{Path, PathBuf};

use burn::tensor::activation::{log_softmax, softmax};
use burn::tensor::{Device, Tensor, TensorData};
use serde::Serialize;

use super::Usage;
use crate::data::{class_tensor, read_picture};
use crate::models::{Classifier, InputGradient, Model, Victim, prediction};
use crate::report::{Align, Table};
use crate::run::write_file;
use crate::tables::{npy_bytes, read_pixels};

/// Pictures at once.
const BATCH: usize = 16;

#[derive(clap::Args)]
pub(super) struct PredictArguments {
    /// Model directory, such as runs/a/model.
    #[arg(long)]
    model: PathBuf,
    /// Pictures.
    #[arg(required_unless_present = "npy", conflicts_with = "npy")]
    images: Vec<PathBuf>,
    /// Array [N, 3, side, side] of pixels in [0, 1] as floats, or in 0 to 255 as bytes.
    #[arg(long, value_name = "FILE")]
    npy: Option<PathBuf>,
    /// Print JSON.
    #[arg(long, conflicts_with = "npy_out")]
    json: bool,
    /// Write the logits [N, K] as an array.
    #[arg(long, value_name = "FILE")]
    npy_out: Option<PathBuf>,
    /// The gradient of the cross-entropy with respect to the pixels in [0, 1] too: in the JSON, or beside the logits as
    /// FILE-gradient.npy, [N, 3, side, side].
    #[arg(long)]
    input_gradient: bool,
    /// The class of that cross-entropy, by name or number; by default what is predicted for each picture.
    #[arg(long, value_name = "CLASS", requires = "input_gradient")]
    label: Option<String>,
}

/// What is printed as JSON.
#[derive(Serialize)]
struct Answers<'a> {
    classes: &'a [String],
    pictures: Vec<Answer>,
}

#[derive(Serialize)]
struct Answer {
    picture: String,
    /// Nothing without classes: then the logits are an embedding.
    #[serde(skip_serializing_if = "Option::is_none")]
    prediction: Option<String>,
    logits: Vec<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    probabilities: Option<Vec<f32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    /// `3 * side * side` values, channel by channel, row by row.
    #[serde(skip_serializing_if = "Option::is_none")]
    input_gradient: Option<Vec<f32>>,
}

pub(super) fn predict(arguments: &PredictArguments) -> anyhow::Result<()> {
    if arguments.input_gradient && !arguments.json && arguments.npy_out.is_none() {
        return Err(Usage("--input-gradient needs --json or --npy-out FILE to go to".to_owned()).into());
    }
    let model = Model::load(&arguments.model, &Device::default())?;
    if model.config.classes.is_empty()
        && (arguments.input_gradient || !arguments.json && arguments.npy_out.is_none())
    {
        let missing = "the model gives an embedding and has no classes: ask for --json or --npy-out, without --input-gradient";
        return Err(Usage(missing.to_owned()).into());
    }
    let label = label(arguments, &model.config.classes)?;
    let answers = answers(arguments, &model, label)?;
    if let Some(out) = &arguments.npy_out {
        return write_arrays(out, &model, &answers);
    }
    if arguments.json {
        let document = Answers { classes: &model.config.classes, pictures: answers };
        super::say(&serde_json::to_string_pretty(&document)?);
        return Ok(());
    }
    let columns = [("picture", Align::Left), ("prediction", Align::Left), ("probability", Align::Right)];
    let mut table = Table::new(columns);
    for answer in answers {
        let probability = answer.probabilities.into_iter().flatten().fold(0.0, f32::max);
        table.row([answer.picture, answer.prediction.unwrap_or_default(), format!("{probability:.3}")]);
    }
    super::say(&table.to_string());
    Ok(())
}

/// The number of the class that was asked for.
fn label(arguments: &PredictArguments, classes: &[String]) -> anyhow::Result<Option<usize>> {
    let Some(label) = &arguments.label else { return Ok(None) };
    let named = classes.iter().position(|class| class == label);
    let found = named.or_else(|| label.parse().ok().filter(|number| *number < classes.len()));
    found.map(Some).ok_or_else(|| {
        Usage(format!(
            "--label {label}: no class of that name, and the numbers go from 0 to {}",
            classes.len() - 1
        ))
        .into()
    })
}

fn answers(arguments: &PredictArguments, model: &Model, label: Option<usize>) -> anyhow::Result<Vec<Answer>> {
    let side = model.config.preprocessing.side;
    let asked = Asked { model, label, victim: arguments.input_gradient.then(|| Victim::new(&model.network)) };
    let mut answers = Vec::new();
    if let Some(path) = &arguments.npy {
        let pixels = read_pixels(path, side)?;
        let all: Vec<&[f32]> = pixels.values.chunks_exact(3 * side * side).collect();
        for (batch, pixels) in all.chunks(BATCH).enumerate() {
            let names = (0..pixels.len()).map(|index| (batch * BATCH + index).to_string()).collect();
            answers.extend(asked.of(names, pixels.concat())?);
        }
    }
    for paths in arguments.images.chunks(BATCH) {
        let mut pixels = Vec::new();
        for path in paths {
            pixels.extend(read_picture(path, &model.config.preprocessing.framing())?);
        }
        let names = paths.iter().map(|path| path.display().to_string()).collect();
        answers.extend(asked.of(names, pixels)?);
    }
    Ok(answers)
}

/// A model and what is asked of it.
struct Asked<'a> {
    model: &'a Model,
    label: Option<usize>,
    victim: Option<Victim>,
}

impl Asked<'_> {
    /// The answers to a batch.
    fn of(&self, names: Vec<String>, pixels: Vec<f32>) -> anyhow::Result<Vec<Answer>> {
        let (config, network) = (&self.model.config, &self.model.network);
        let (count, side, classes) = (names.len(), config.preprocessing.side, network.classes());
        let images = Tensor::from_data(TensorData::new(pixels, [count, 3, side, side]), &Device::default());
        let (logits, gradient) = match &self.victim {
            None => (burn::module::Module::valid(network).forward(images), None),
            Some(victim) => {
                let found = gradient(victim, images, self.label);
                (found.logits, Some(found.gradient.flatten::<2>(1, 3)))
            }
        };
        let values = |tensor: Tensor<2>| {
            tensor
                .try_into_vec_as::<f32>()
                .map_err(|error| anyhow::anyhow!("the logits cannot be read: {error:?}"))
        };
        let probabilities = values(softmax(logits.clone(), 1))?;
        let logits = values(logits)?;
        let gradients = gradient.map_or_else(|| Ok(Vec::new()), values)?;
        let mut gradients = gradients.chunks_exact(3 * side * side);
        let rows = logits.chunks_exact(classes).zip(probabilities.chunks_exact(classes));
        let mut answers = Vec::with_capacity(count);
        for (picture, (logits, probabilities)) in names.into_iter().zip(rows) {
            let predicted = prediction(logits);
            let label = self.label.unwrap_or(predicted);
            let input_gradient = gradients.next().map(<[f32]>::to_vec);
            answers.push(Answer {
                picture,
                prediction: config.classes.get(predicted).cloned(),
                logits: logits.to_vec(),
                probabilities: (!config.classes.is_empty()).then(|| probabilities.to_vec()),
                label: input_gradient.as_ref().and_then(|_| config.classes.get(label).cloned()),
                input_gradient,
            });
        }
        Ok(answers)
    }
}

/// Logits, and the gradient of each picture's own cross-entropy at a class, by default the predicted one.
fn gradient(victim: &Victim, images: Tensor<4>, label: Option<usize>) -> InputGradient {
    victim.input_gradient(images, |logits| {
        let values = logits.to_data().iter::<f32>().collect::<Vec<f32>>();
        let rows = values.chunks_exact(logits.dims()[1]);
        let labels: Vec<usize> = rows.map(|row| label.unwrap_or_else(|| prediction(row))).collect();
        let at = class_tensor(&labels, &logits.device()).unsqueeze_dim(1);
        -log_softmax(logits, 1).gather(1, at).squeeze_dim::<1>(1)
    })
}

/// Writes the logits, and the gradients where there are some.
fn write_arrays(out: &Path, model: &Model, answers: &[Answer]) -> anyhow::Result<()> {
    let (side, classes) = (model.config.preprocessing.side, model.network.classes());
    let logits = answers.iter().flat_map(|answer| answer.logits.iter().copied());
    write_file(out, &npy_bytes(&[answers.len(), classes], logits))?;
    let mut gradients =
        answers.iter().filter_map(|answer| answer.input_gradient.as_ref()).flatten().peekable();
    super::say(&format!("Wrote the logits of {} pictures to {}.", answers.len(), out.display()));
    if gradients.peek().is_some() {
        let stem = out.file_stem().unwrap_or_default().to_string_lossy();
        let path = out.with_file_name(format!("{stem}-gradient.npy"));
        write_file(&path, &npy_bytes(&[answers.len(), 3, side, side], gradients.copied()))?;
        super::say(&format!("The input gradients are in {}.", path.display()));
    }
    Ok(())
}
