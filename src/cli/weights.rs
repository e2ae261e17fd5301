//! `syfar import` and `syfar export`: weights of other programs.

use std::path::PathBuf;

use burn::tensor::Device;

use super::Usage;
use crate::Seed;
use crate::models::{
    Architecture, Channels, ImportOptions, Imported, Model, ModelConfig, Preprocessing, WeightFile,
};
use crate::tables::read_class_names;

#[derive(clap::Args)]
pub(super) struct ImportArguments {
    /// Which network the weights are for; `syfar models` lists them.
    #[arg(long, value_parser = architecture)]
    architecture: Architecture,
    /// State dict of PyTorch (.pt, .pth), or safetensors.
    #[arg(long)]
    weights: PathBuf,
    /// Model directory to make.
    #[arg(long)]
    out: PathBuf,
    /// Number of the classes, or a file with their names, one a line in their order; by default numbers, as many as the
    /// weights have.
    #[arg(long, value_name = "NUMBER|FILE")]
    classes: Option<String>,
    /// Keep all but the last layer, which is drawn anew for --classes.
    #[arg(long, requires = "classes")]
    new_head: bool,
    /// Side of the pictures in pixels; by default the architecture's usual one.
    #[arg(long)]
    side: Option<usize>,
    /// Mean of red, green and blue in [0, 1], such as 0.485,0.456,0.406; by default the usual one.
    #[arg(long, value_name = "R,G,B", value_delimiter = ',', num_args = 1, requires = "std")]
    mean: Option<Vec<f32>>,
    /// Standard deviation of red, green and blue in [0, 1].
    #[arg(long, value_name = "R,G,B", value_delimiter = ',', num_args = 1, requires = "mean")]
    std: Option<Vec<f32>>,
    /// Order in which the network takes the channels; by default the architecture's usual one, which is bgr for
    /// `vgg*_face` and rgb for all others.
    #[arg(long, value_name = "rgb|bgr", value_parser = channels)]
    channels: Option<Channels>,
    /// What comes before each name in the file, such as `ema.`, where it is not clear.
    #[arg(long)]
    prefix: Option<String>,
    /// Decides the weights of a new last layer.
    #[arg(long, value_parser = super::seeds(), default_value_t = 0)]
    seed: u64,
}

#[derive(clap::Args)]
pub(super) struct ExportArguments {
    /// Model directory, such as runs/a/model.
    #[arg(long)]
    model: PathBuf,
    /// File to write, such as model.safetensors.
    #[arg(long)]
    out: PathBuf,
}

fn architecture(name: &str) -> Result<Architecture, String> {
    serde_json::from_value(serde_json::Value::from(name)).map_err(|_| {
        let names = Architecture::ALL.map(|architecture| architecture.to_string());
        format!("expected one of {}", names.join(", "))
    })
}

fn channels(name: &str) -> Result<Channels, String> {
    serde_json::from_value(serde_json::Value::from(name)).map_err(|_| "expected rgb or bgr".to_owned())
}

pub(super) fn import(arguments: &ImportArguments) -> anyhow::Result<()> {
    let out = &arguments.out;
    if out.join("config.json").exists() {
        return Err(Usage(format!("there is a model in {}: choose another --out", out.display())).into());
    }
    let file = WeightFile::open(&arguments.weights)?;
    let preprocessing = preprocessing(arguments)?;
    let classes = class_names(arguments, &file, preprocessing.side)?;
    let config = ModelConfig::new(arguments.architecture, classes, preprocessing);
    config.check().map_err(Usage)?;
    let options = ImportOptions { new_head: arguments.new_head, prefix: arguments.prefix.clone() };
    let seed = Seed::new(arguments.seed).purpose("weights");
    let (model, imported) = Model::import(config, &file, &options, seed, &Device::default())?;
    model.save(out)?;
    super::say(&summary(&model.config, &imported, arguments));
    Ok(())
}

fn summary(config: &ModelConfig, imported: &Imported, arguments: &ImportArguments) -> String {
    let Imported { source, prefix, tensors, beside, idle, interpolated } = imported;
    let under = if prefix.is_empty() { String::new() } else { format!(", under {prefix}*") };
    let classes = match config.classes.len() {
        0 => "without classes (it gives an embedding)".to_owned(),
        count => format!("for {count} classes"),
    };
    let mut lines = vec![format!(
        "Imported {tensors} tensors into {}: {} {classes} and pictures of {} pixels, {} first; names as in {source}{under}.",
        arguments.out.display(),
        config.architecture,
        config.preprocessing.side,
        if config.preprocessing.channels == Channels::Bgr { "blue" } else { "red" }
    )];
    if let Some((from, to)) = interpolated {
        lines.push(format!("Positions were interpolated from {from} x {from} to {to} x {to} patches."));
    }
    if arguments.new_head {
        lines.push("The last layer is new and not trained.".to_owned());
    }
    if *idle > 0 {
        let what = "that no prediction depends on were left out (counters of batches and the like)";
        lines.push(format!("{idle} tensors {what}."));
    }
    if *beside > 0 {
        lines.push(format!(
            "{beside} tensors beside the weights were left out (an optimiser's and the like)."
        ));
    }
    lines.join("\n")
}

fn class_names(arguments: &ImportArguments, file: &WeightFile, side: usize) -> anyhow::Result<Vec<String>> {
    let numbered = |count: usize| (0..count).map(|class| class.to_string()).collect();
    let Some(classes) = &arguments.classes else {
        arguments.architecture.check_side(side).map_err(|reason| Usage(format!("--{reason}")))?;
        let inputs = arguments.architecture.head_inputs(side);
        return match file.classes(inputs) {
            Some(count) => Ok(numbered(count)),
            None if arguments.architecture.embeds() => Ok(Vec::new()),
            None => Err(Usage(format!(
                "the weights do not say how many classes they have: no last layer with {inputs} inputs, as {} has for \
                 pictures of {side} pixels, is in them. Give another --architecture or --side, or give --classes",
                arguments.architecture
            ))
            .into()),
        };
    };
    match classes.parse::<usize>() {
        Ok(count) if (2..=1_000_000).contains(&count) => Ok(numbered(count)),
        Ok(count) => Err(Usage(format!("--classes {count}: from 2 to 1000000 expected")).into()),
        Err(_) => Ok(read_class_names(classes.as_ref())?),
    }
}

fn preprocessing(arguments: &ImportArguments) -> anyhow::Result<Preprocessing> {
    let architecture = arguments.architecture;
    let three = |values: &[f32], name: &str| {
        <[f32; 3]>::try_from(values).map_err(|_| Usage(format!("--{name}: three numbers expected")))
    };
    let mut preprocessing = architecture.usual_preprocessing();
    if let (Some(mean), Some(std)) = (&arguments.mean, &arguments.std) {
        preprocessing.mean = three(mean, "mean")?;
        preprocessing.std = three(std, "std")?;
        preprocessing.range = 1.0;
    }
    preprocessing.side = arguments.side.unwrap_or(preprocessing.side);
    preprocessing.channels = arguments.channels.unwrap_or(preprocessing.channels);
    Ok(preprocessing)
}

pub(super) fn export(arguments: &ExportArguments) -> anyhow::Result<()> {
    let model = Model::load(&arguments.model, &Device::default())?;
    let count = model.export(&arguments.out)?;
    let (mean, std) = model.config.preprocessing.unit_mean_and_std();
    super::say(&format!(
        "Wrote {count} tensors to {}. In Python: model.load_state_dict(safetensors.torch.load_file(\"{}\")).\nPixels in [0, 1] \
         are normalised first: mean {:?}, standard deviation {:?}.",
        arguments.out.display(),
        arguments.out.display(),
        mean,
        std
    ));
    if model.config.preprocessing.channels == Channels::Bgr {
        eprintln!(
            "The network takes blue first, and its file does not say so: after normalisation (the means above are those of \
             red, green and blue) turn the channels around in PyTorch, pixels.flip(1)."
        );
    }
    Ok(())
}
