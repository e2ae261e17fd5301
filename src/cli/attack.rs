//! `syfar attack`: adversarial pictures as files, judged as they are in their files.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use burn::tensor::{Device, Tensor, TensorData};
use serde_json::json;

use super::audit::AuditRunConfig;
use super::config::ConfigError;
use super::ending::tell_end;
use super::setting::{SettingArguments, complete};
use super::sitting::Sitting;
use super::{Context, Usage};
use crate::attacks::AttackConfig;
use crate::audit::{CLEAN, Row, TargetChoice, read_rows};
use crate::data::{Batch, Dataset, ImageId, Rounding, Split, encode_png, read_saved};
use crate::metrics::Rate;
use crate::models::Model;
use crate::run::{Layout, write_file};

/// One grey level of an 8-bit picture.
const LEVEL: f32 = 1.0 / 255.0;

#[derive(clap::Args)]
pub(super) struct AttackArguments {
    #[command(flatten)]
    setting: SettingArguments,
    /// Radius of the ball, such as 8/255; short for --set attack.epsilon=8/255.
    #[arg(long)]
    eps: Option<String>,
    /// Targets of each picture (all, random:3, classes such as 0,4,7), instead of an attack without a target.
    #[arg(long)]
    targets: Option<String>,
    /// Where the pictures go: a new directory.
    #[arg(long)]
    out: PathBuf,
    /// Go on with an interrupted attack of the same configuration.
    #[arg(long)]
    resume: bool,
}

pub(super) fn attack(arguments: &AttackArguments, context: &Context) -> anyhow::Result<()> {
    let config = resolve(arguments)?;
    complete(&config)?;
    let model = Model::load(&config.model, &Device::default())?;
    let side = model.config.preprocessing.side;
    let data = Dataset::open(&config.data, model.config.preprocessing.framing())?;
    super::same_classes(&model.config.classes, &data.classes, &config.model)?;
    super::audit::check(&config, &model)?;
    at_least_a_level(&config.attack)?;
    let built =
        config.attack.build([3, side, side]).map_err(|error| ConfigError::Value(error.to_string()))?;
    let stored = stored(&config, &data)?;
    let directory = super::run_directory(&arguments.out, &stored, arguments.resume)?;
    let layout = directory.layout();
    super::keep_splits(layout, &data)?;
    let mut events = context.events(&layout.events())?;
    events.append("attack_start", &super::provenance(config.seed, &data, json!({"attack": built.name()})))?;
    let split = config.split.of(&data);
    let files = Files::new(split, &data.classes, layout.images());
    // In a ball a picture must not leave it; in a region any level will do.
    let rounding = if config.attack.budget().is_some() { Rounding::TowardsClean } else { Rounding::Nearest };
    let save = |batch: &Batch, targets: &[Option<usize>], adversarial: Tensor<4>| {
        files.save(rounding, batch, targets, &adversarial).map_err(Into::into)
    };
    let sitting = Sitting { config: &config, model: &model, split, layout, context, save: Some(&save) };
    let (saved, reached, robust) = tell_end(&mut events, |events| {
        sitting.make(built.as_ref(), &sitting.options(), "attack", events)?;
        let rows = write_rows(layout, &data.classes, split, &files, built.name())?;
        events.append("attack_end", &json!({"saved": rows.0, "reached": rows.1}))?;
        Ok(rows)
    })?;
    let robust = robust.map_or_else(String::new, |rate| {
        format!(" Robust accuracy {:.3} [{:.3}, {:.3}], n {}.", rate.value, rate.low, rate.high, rate.n)
    });
    super::say(&format!(
        "{saved} pictures in {}, read back and within the threat model; {reached} of them reach the goal.{robust}\n\
         What became of each picture: {}",
        layout.images().display(),
        layout.attacked().display()
    ));
    Ok(())
}

fn resolve(arguments: &AttackArguments) -> anyhow::Result<AuditRunConfig> {
    if !arguments.setting.has_attack() {
        return Err(
            Usage("no attack: give --attack NAME, such as --attack pgd, or --config FILE".into()).into()
        );
    }
    let mut config = arguments.setting.resolve(&["targets=none"])?;
    if let Some(eps) = &arguments.eps {
        let radius = eps.parse().map_err(|error| ConfigError::Value(format!("--eps: {error}")))?;
        config.attack = config.attack.with_epsilon(&radius).ok_or_else(|| {
            ConfigError::Value(
                "--eps: the attack writes into a region and has no radius; leave --eps out".into(),
            )
        })?;
    }
    if let Some(targets) = &arguments.targets {
        config.targets =
            targets.parse().map_err(|error| ConfigError::Value(format!("--targets: {error}")))?;
        config.untargeted = config.targets == TargetChoice::None;
    }
    Ok(config)
}

/// Refuses a ball that holds no other 8-bit picture.
fn at_least_a_level(attack: &AttackConfig) -> Result<(), ConfigError> {
    match attack.budget() {
        Some((_, epsilon)) if epsilon.value() < LEVEL * (1.0 - 1e-5) => Err(ConfigError::Value(format!(
            "attack.epsilon is {epsilon}, less than one grey level: an 8-bit picture cannot hold such a change; use at \
             least 1/255, or `syfar audit`, which saves no pictures"
        ))),
        _ => Ok(()),
    }
}

/// The configuration as the directory keeps it. It says that the rows are about saved pictures, so that no audit goes
/// on with them.
fn stored(config: &AuditRunConfig, data: &Dataset) -> anyhow::Result<String> {
    let mut files = vec![config.model.join("model.safetensors")];
    if let AttackConfig::Eyeglasses(crate::attacks::EyeglassConfig { mask: Some(mask), .. }) = &config.attack
    {
        files.push(mask.clone());
    }
    let stored = super::stored_config(config, data, &files.iter().map(PathBuf::as_path).collect::<Vec<_>>())?;
    let mut table: toml::Table = stored.parse()?;
    table.insert("pictures".to_owned(), "8-bit PNG".into());
    Ok(toml::to_string(&table)?)
}

/// Where the pictures of a split go.
struct Files<'a> {
    root: PathBuf,
    classes: &'a [String],
    split: &'a Split,
    /// Position of each image.
    positions: HashMap<ImageId, usize>,
    /// How many images of a class share a name but for the ending.
    stems: HashMap<(usize, &'a str), usize>,
}

impl<'a> Files<'a> {
    fn new(split: &'a Split, classes: &'a [String], root: PathBuf) -> Self {
        let positions = split.ids().iter().enumerate().map(|(position, id)| (*id, position)).collect();
        let mut stems = HashMap::new();
        for (path, label) in split.paths().iter().zip(split.labels()) {
            *stems.entry((*label, stem(path))).or_insert(0) += 1;
        }
        Self { root, classes, split, positions, stems }
    }

    /// The file of an image below the folder of pictures: its class, its name, and its target if it has one.
    fn of(&self, position: usize, target: Option<usize>) -> String {
        let (path, label) = (&self.split.paths()[position], self.split.labels()[position]);
        let is_alone = self.stems.get(&(label, stem(path))) == Some(&1);
        let name = if is_alone { stem(path) } else { file_name(path) };
        let target = target.map_or_else(String::new, |target| format!(".to-{}", self.classes[target]));
        format!("{}/{name}{target}.png", self.classes[label])
    }

    /// Saves pictures and reads them back.
    fn save(
        &self,
        rounding: Rounding,
        batch: &Batch,
        targets: &[Option<usize>],
        adversarial: &Tensor<4>,
    ) -> anyhow::Result<Tensor<4>> {
        let shape = batch.shape();
        let size = shape[1..].iter().product::<usize>().max(1);
        let [clean, moved] =
            [&batch.images, adversarial].map(|images| images.to_data().iter::<f32>().collect::<Vec<f32>>());
        let mut saved = Vec::with_capacity(moved.len());
        for (row, (clean, moved)) in clean.chunks(size).zip(moved.chunks(size)).enumerate() {
            let position =
                self.positions.get(&batch.ids[row]).context("a picture that is not in the split")?;
            let path = self.root.join(self.of(*position, targets[row]));
            let bytes = encode_png(&path, &rounding.levels(clean, moved), shape[3])?;
            keep(&path, &bytes)?;
            saved.extend(read_saved(&path, shape[3])?);
        }
        Ok(Tensor::from_data(TensorData::new(saved, shape), &adversarial.device()))
    }
}

/// Writes a file unless it is there. A file of other contents is somebody's.
fn keep(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    match std::fs::read(path) {
        Ok(there) if there == bytes => Ok(()),
        Ok(_) => anyhow::bail!(
            "{} is there already with other contents; nothing is overwritten: move it away, or choose another --out",
            path.display()
        ),
        Err(_) => {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)
                    .with_context(|| format!("cannot make {}", folder.display()))?;
            }
            Ok(write_file(path, bytes)?)
        }
    }
}

fn file_name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

fn stem(path: &str) -> &str {
    let name = file_name(path);
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

/// Writes `attacked.csv`. Returns how many pictures were saved, how many of them reach their goal, and the robust
/// accuracy of an attack without a target.
fn write_rows(
    layout: &Layout,
    classes: &[String],
    split: &Split,
    files: &Files,
    attack: &str,
) -> anyhow::Result<(usize, usize, Option<Rate>)> {
    let positions: HashMap<&str, usize> =
        split.paths().iter().enumerate().map(|(position, path)| (path.as_str(), position)).collect();
    let mut csv = csv::Writer::from_writer(Vec::new());
    let columns = [
        "image",
        "class",
        "target",
        "file",
        "clean_prediction",
        "prediction",
        "success",
        "linf",
        "l2",
        "changed",
    ];
    csv.write_record(columns)?;
    let (mut saved, mut reached, mut standing, mut all) = (0, 0, 0, 0);
    for row in read_rows(&layout.predictions())? {
        let row: Row = row?;
        if row.attack == CLEAN || row.attack != attack {
            continue;
        }
        // An image that is wrong unchanged needs no attack without a target, so there is no picture of it.
        let is_saved = row.target.is_some() || row.clean_prediction == row.label;
        let file = match positions.get(row.image.as_str()).filter(|_| is_saved) {
            Some(&position) => format!("images/{}", files.of(position, row.target)),
            None => String::new(),
        };
        let path = layout.root().join(&file);
        anyhow::ensure!(
            file.is_empty() || path.is_file(),
            "{} is missing, but predictions.csv.gz says that it was made; start again in a new directory",
            path.display()
        );
        saved += usize::from(is_saved);
        reached += usize::from(is_saved && row.success);
        if row.target.is_none() {
            all += 1;
            standing += u64::from(!row.success);
        }
        let name = |class: usize| classes[class].clone();
        csv.write_record([
            row.image,
            name(row.label),
            row.target.map(name).unwrap_or_default(),
            file,
            name(row.clean_prediction),
            name(row.prediction),
            row.success.to_string(),
            row.linf.to_string(),
            row.l2.to_string(),
            row.changed.to_string(),
        ])?;
    }
    let bytes = csv.into_inner().context("writing to memory")?;
    write_file(&layout.attacked(), &bytes)?;
    Ok((saved, reached, Rate::of(standing, all)))
}
