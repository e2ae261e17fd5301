//! `syfar certify`: randomised smoothing, picture by picture.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::audit::SplitName;
use super::config::{self, ConfigError};
use super::ending::tell_end;
use super::progress::Progress;
use super::{Context, Interrupted};
use crate::Seed;
use crate::data::{Dataset, Split};
use crate::models::{Model, Victim};
use crate::report::{Align, Table};
use crate::run::{EventLog, Layout, Pace, write_file};
use crate::smoothing::{Certificate, Outcome, SmoothedFigures, Smoothing, SmoothingConfig};
use crate::watch::AuditBatch;

#[derive(clap::Args)]
pub(super) struct CertifyArguments {
    /// Model directory, such as runs/a/model.
    #[arg(long)]
    model: Option<PathBuf>,
    /// Folder with train/, val/ and test/.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Where the results go: a new directory.
    #[arg(long)]
    out: PathBuf,
    /// TOML file with the configuration.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Standard deviation of the noise, in units of pixels in [0, 1]; short for --set smoothing.sigma=0.25.
    #[arg(long)]
    sigma: Option<f64>,
    /// Sets one key of the configuration, such as smoothing.samples=100000.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Go on with an interrupted certification of the same configuration.
    #[arg(long)]
    resume: bool,
}

/// Everything that decides a certification.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct CertifyConfig {
    /// Decides every random draw.
    seed: u64,
    /// Model directory.
    model: PathBuf,
    /// Folder with train/, val/ and test/.
    data: PathBuf,
    /// `test`, or `val`.
    split: SplitName,
    /// Most noisy pictures at once.
    batch_size: usize,
    /// Pictures of the sample; 0 for all.
    images: usize,
    /// L2 radii at which certified accuracy is reported, in units of pixels in `[0, 1]`.
    radii: Vec<f64>,
    /// Noise and samples.
    smoothing: SmoothingConfig,
}

impl Default for CertifyConfig {
    fn default() -> Self {
        Self {
            seed: 0,
            model: PathBuf::new(),
            data: PathBuf::new(),
            split: SplitName::Test,
            batch_size: 256,
            images: 0,
            radii: vec![0.0, 0.25, 0.5, 0.75, 1.0],
            smoothing: SmoothingConfig::default(),
        }
    }
}

/// One row of `certificates.csv`.
#[derive(Debug, Serialize, Deserialize)]
struct Row {
    image: String,
    class: usize,
    /// Empty for an abstention.
    prediction: Option<usize>,
    radius: f64,
    votes: u64,
}

pub(super) fn certify(arguments: &CertifyArguments, context: &Context) -> anyhow::Result<()> {
    let config = resolve(arguments)?;
    let model = Model::load(&config.model, &Device::default())?;
    let data = Dataset::open(&config.data, model.config.preprocessing.framing())?;
    super::same_classes(&model.config.classes, &data.classes, &config.model)?;
    let stored = super::stored_config(&config, &data, &[&config.model.join("model.safetensors")])?;
    let directory = super::run_directory(&arguments.out, &stored, arguments.resume)?;
    let layout = directory.layout();
    super::keep_splits(layout, &data)?;
    let mut events = context.events(&layout.events())?;
    events.append("certify_start", &super::provenance(config.seed, &data, serde_json::Value::Null))?;
    let figures = tell_end(&mut events, |events| made(&config, &model, &data, layout, events, context))?;
    super::say(&summary(&figures, &config.smoothing));
    super::say(&format!("Results: {}", arguments.out.display()));
    Ok(())
}

/// Makes the rows and the figures.
fn made(
    config: &CertifyConfig,
    model: &Model,
    data: &Dataset,
    layout: &Layout,
    events: &mut EventLog,
    context: &Context,
) -> anyhow::Result<SmoothedFigures> {
    let rows = all(config, model, config.split.of(data), &layout.certificates(), events, context)?;
    let outcomes: Vec<Outcome> = rows
        .iter()
        .map(|row| Outcome { label: row.class, prediction: row.prediction, radius: row.radius })
        .collect();
    let figures = SmoothedFigures::of(&outcomes, data.classes.len(), &config.radii);
    let json = serde_json::json!({
        "schema_version": 1,
        "norm": "l2",
        "smoothing": config.smoothing,
        "classes": data.classes,
        "figures": figures,
    });
    write_file(&layout.certified(), (serde_json::to_string_pretty(&json)? + "\n").as_bytes())?;
    events.append("certify_end", &serde_json::json!({ "images": figures.images }))?;
    Ok(figures)
}

fn resolve(arguments: &CertifyArguments) -> Result<CertifyConfig, ConfigError> {
    let mut set = arguments.set.clone();
    set.extend(arguments.sigma.map(|sigma| format!("smoothing.sigma={sigma:?}")));
    let mut config: CertifyConfig = config::load(arguments.config.as_deref(), &set)?;
    if let Some(model) = &arguments.model {
        config.model.clone_from(model);
    }
    if let Some(data) = &arguments.data {
        config.data.clone_from(data);
    }
    super::setting::both(&config.model, &config.data)?;
    config.smoothing.validate().map_err(|error| ConfigError::Value(error.to_string()))?;
    if config.batch_size == 0 {
        return Err(ConfigError::Value("batch_size is 0, expected at least 1".to_owned()));
    }
    if let Some(radius) = config.radii.iter().find(|radius| !(radius.is_finite() && **radius >= 0.0)) {
        let problem = format!("radii: found {radius}, expected L2 radii of 0 or more, such as [0.0, 0.25]");
        return Err(ConfigError::Value(problem));
    }
    Ok(config)
}

/// The rows of all pictures: those that are there, then new ones, each on the disk before the next is begun.
fn all(
    config: &CertifyConfig,
    model: &Model,
    split: &Split,
    path: &Path,
    events: &mut EventLog,
    context: &Context,
) -> anyhow::Result<Vec<Row>> {
    let seed = Seed::new(config.seed);
    let count = if config.images == 0 { split.len() } else { config.images };
    let wanted = super::checks::sample(split, count, seed);
    let (mut rows, mut file) = open(path)?;
    let known: HashMap<&str, usize> =
        wanted.iter().map(|&position| (split.paths()[position].as_str(), split.labels()[position])).collect();
    if let Some(row) = rows.iter().find(|row| known.get(row.image.as_str()) != Some(&row.class)) {
        anyhow::bail!(
            "{} has a row of {}, which is not among these pictures; start in a new directory",
            path.display(),
            row.image
        );
    }
    let done: HashSet<String> = rows.iter().map(|row| row.image.clone()).collect();
    let victim = Victim::new(&model.network);
    let smoothing =
        Smoothing { victim: &victim, config: config.smoothing, batch_size: config.batch_size, seed };
    let mut bar = Progress::new("certify", wanted.len() as u64, rows.len() as u64);
    let mut pace = Pace::of_lines();
    for &position in wanted.iter().filter(|&&position| !done.contains(&split.paths()[position])) {
        if context.stop.requested() {
            bar.finish();
            return Err(Interrupted { resume: super::resume_command() }.into());
        }
        let Certificate { prediction, radius, votes } =
            smoothing.certify(&split.batch(&[position], &Device::default())?);
        let (image, class) = (split.paths()[position].clone(), split.labels()[position]);
        rows.push(Row { image, class, prediction, radius, votes });
        let last = rows.len() - 1;
        let mut line = csv::WriterBuilder::new().has_headers(last == 0).from_writer(Vec::new());
        line.serialize(&rows[last])?;
        let written = line.into_inner().context("writing to memory")?;
        let failed = || format!("cannot write {}: is the disk full?", path.display());
        file.write_all(&written).and_then(|()| file.sync_data()).with_context(failed)?;
        bar.set(rows.len() as u64, "");
        if pace.due() || rows.len() == wanted.len() {
            let batch = AuditBatch {
                attack: "smoothing".to_owned(),
                stage: "certify".to_owned(),
                done: rows.len() as u64,
                total: wanted.len() as u64,
                rows_per_second: bar.speed(),
                seconds_left: bar.seconds_left(),
                ..AuditBatch::default()
            };
            events.append("audit_batch", &batch)?;
        }
    }
    bar.finish();
    Ok(rows)
}

/// The whole lines of a file, made if it is missing, and the file at their end: a line that was cut short goes.
fn open(path: &Path) -> anyhow::Result<(Vec<Row>, File)> {
    let failed = || format!("cannot use {}", path.display());
    let mut file = File::options()
        .create(true)
        .read(true)
        .write(true)
        .truncate(false)
        .open(path)
        .with_context(failed)?;
    let text = std::fs::read(path).with_context(failed)?;
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    file.set_len(whole as u64).with_context(failed)?;
    file.seek(SeekFrom::Start(whole as u64)).with_context(failed)?;
    let rows: Result<Vec<Row>, csv::Error> =
        csv::Reader::from_reader(&text[..whole]).into_deserialize().collect();
    let damaged = || {
        format!(
            "{} was written by another program or changed by hand; start in a new directory",
            path.display()
        )
    };
    Ok((rows.with_context(damaged)?, file))
}

fn summary(figures: &SmoothedFigures, config: &SmoothingConfig) -> String {
    let mut table = Table::new([("L2 radius", Align::Right), ("certified accuracy", Align::Left)]);
    for at in &figures.certified {
        let rate = at.accuracy.map_or_else(
            || "-".to_owned(),
            |rate| format!("{:.3} [{:.3}, {:.3}] n {}", rate.value, rate.low, rate.high, rate.n),
        );
        table.row([format!("{:.3}", at.radius), rate]);
    }
    let abstained = figures.abstained.map_or(0, |rate| rate.successes);
    format!(
        "{table}\nSmoothed with noise of deviation {} and {} samples; {abstained} of {} pictures abstained from, which are never \
         right. Each radius holds for every attack in its L2 ball, with a chance of {} to be wrong; it says nothing of L-inf \
         balls, patches or glasses.",
        config.sigma, config.samples, figures.images, config.alpha
    )
}
