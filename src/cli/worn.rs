//! What an audit needs of attacks that are worn: landmarks of every picture, textures that are learned first,
//! and a picture of where the attack writes.

use std::collections::BTreeSet;

use anyhow::Context as _;
use burn::tensor::Device;
use serde_json::json;

use super::Interrupted;
use super::audit::{AuditRunConfig, LessonSplit};
use super::config::ConfigError;
use super::progress::Progress;
use super::sitting::Sitting;
use crate::Seed;
use crate::attacks::{Attack, AttackConfig, AttackConfigError, School, Taught, TextureKey, coverage};
use crate::audit::TargetChoice;
use crate::data::{Dataset, Landmarks, Split, placement_sheet};
use crate::models::{Cost, Crop, Victim};
use crate::run::{EventLog, Layout, Pace, write_file};

/// Most pictures on the sheet that shows where an attack writes.
const SHOWN: usize = 8;
/// Most pictures on which the covered share is measured.
const MEASURED: usize = 512;

/// Refuses to attack pictures without landmarks where the attack needs them.
pub(super) fn check_landmarks(attack: &AttackConfig, split: &Split) -> Result<(), ConfigError> {
    let Some(path) = attack.landmarks() else { return Ok(()) };
    let wrong = |error: String| ConfigError::Value(format!("attack, landmarks: {error}"));
    if split.framing().crop != Crop::Square {
        let problem = "they need preprocessing.crop = { kind = \"square\" }; crop the files instead, or leave \
                       `landmarks` out";
        return Err(wrong(problem.to_owned()));
    }
    let landmarks = Landmarks::read(path, split.side()).map_err(|error| wrong(error.to_string()))?;
    match landmarks.missing(split.paths()) {
        None => Ok(()),
        Some(picture) => Err(wrong(format!(
            "{} has no row for {picture}, expected one for each picture that is attacked; add it, or leave \
             `landmarks` out",
            path.display()
        ))),
    }
}

/// An attack, or one that has to learn first.
pub(super) enum Built {
    Ready(Box<dyn Attack>),
    Untaught(Box<Taught>),
}

impl Built {
    /// The attack of a configuration, on pictures of a shape `[C, H, W]`.
    pub fn new(config: &AttackConfig, shape: [usize; 3]) -> Result<Self, ConfigError> {
        let wrong = |error: AttackConfigError| ConfigError::Value(error.to_string());
        Ok(match config.build_taught(shape).map_err(wrong)? {
            Some(taught) => Self::Untaught(Box::new(taught)),
            None => Self::Ready(config.build(shape).map_err(wrong)?),
        })
    }

    pub fn as_attack(&self) -> &dyn Attack {
        match self {
            Self::Ready(attack) => attack.as_ref(),
            Self::Untaught(taught) => taught.as_ref(),
        }
    }
}

/// What learning took.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(super) struct Lessons {
    /// Textures that were learned.
    textures: usize,
    /// What they asked of the victim.
    cost: Cost,
}

impl Lessons {
    /// For the terminal.
    pub fn line(&self) -> String {
        format!(
            "Textures learned before: {}, with {} forward and {} gradient evaluations of pictures.",
            self.textures, self.cost.forwards, self.cost.gradients
        )
    }
}

/// Teaches an attack all textures that the audit needs; only some of them, if it is asked for these. Each is learned by
/// itself, so it is the same whichever others are.
pub(super) fn teach(
    taught: &mut Taught,
    sitting: &Sitting,
    data: &Dataset,
    only: Option<&BTreeSet<TextureKey>>,
    events: &mut EventLog,
) -> anyhow::Result<Lessons> {
    let Sitting { config, model, context, .. } = sitting;
    let victim = Victim::with_precision(&model.network, config.attack_precision)?;
    let split = match config.lesson_split {
        LessonSplit::Train => &data.train,
        LessonSplit::Val => &data.val,
    };
    let device = Device::default();
    let load = |rows: &[usize]| split.batch(rows, &device).map_err(Into::into);
    let school = School { labels: split.labels(), ids: split.ids(), load: &load };
    let mut keys = taught.keys(data.classes.len(), &goals(config, data.classes.len()));
    keys.retain(|key| only.is_none_or(|only| only.contains(key)));
    let textures = keys.len();
    let (mut bar, mut pace) = (Progress::new("textures", textures as u64, 0), Pace::of_lines());
    for (done, key) in keys.into_iter().enumerate() {
        if context.stop.requested() {
            bar.finish();
            return Err(Interrupted { resume: super::resume_command() }.into());
        }
        if pace.due() {
            events.append("lesson", &json!({"done": done, "total": textures}))?;
        }
        taught.learn(key, &victim, school, Seed::new(config.seed))?;
        bar.set(done as u64 + 1, "learned");
    }
    bar.finish();
    Ok(Lessons { textures, cost: victim.cost() })
}

/// Keeps what an attack has learned as pictures.
pub(super) fn keep_textures(taught: &Taught, layout: &Layout) -> anyhow::Result<()> {
    let folder = layout.textures();
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (key, texture) in taught.pictures() {
        write_file(&folder.join(file_name(key)), &png(&texture.into())?)?;
    }
    Ok(())
}

/// What the textures are to aim at: any error, and the classes that can be targets.
fn goals(config: &AuditRunConfig, classes: usize) -> Vec<Option<usize>> {
    let targets: Vec<usize> = match &config.targets {
        TargetChoice::None => Vec::new(),
        TargetChoice::All | TargetChoice::Random(_) => (0..classes).collect(),
        TargetChoice::List(list) => {
            let set: BTreeSet<usize> = list.iter().copied().collect();
            set.into_iter().collect()
        }
        TargetChoice::File(file) => file.classes().into_iter().collect(),
    };
    config.untargeted.then_some(None).into_iter().chain(targets.into_iter().map(Some)).collect()
}

/// Such as `3_to_7.png`, `3.png`, `to_7.png` or `any.png`, with the numbers of the classes.
fn file_name(key: TextureKey) -> String {
    match (key.person, key.target) {
        (Some(person), Some(target)) => format!("{person}_to_{target}.png"),
        (Some(person), None) => format!("{person}.png"),
        (None, Some(target)) => format!("to_{target}.png"),
        (None, None) => "any.png".to_owned(),
    }
}

/// Shares of the pictures that an attack writes to.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub(super) struct Shares {
    /// The least over the pictures that are audited, or the first 512 of them.
    least: f64,
    /// Their mean.
    mean: f64,
    /// The largest.
    most: f64,
}

impl Shares {
    /// For the terminal.
    pub fn line(&self, attack: &str) -> String {
        let percent = |share: f64| 100.0 * share;
        let mean = percent(self.mean);
        let spread = if self.most - self.least < 5e-4 {
            String::new()
        } else {
            format!(" ({:.1} to {:.1} %)", percent(self.least), percent(self.most))
        };
        let whole = if self.least >= 1.0 { ": everything; such an attack is bounded by nothing" } else { "" };
        format!("{attack} covers {mean:.1} % of the picture{spread}{whole}. See placement.png.")
    }
}

/// Shows where the attack writes on the first picture of some classes, and measures how much it covers.
/// Nothing for an attack that may write everywhere or looks for the place itself.
pub(super) fn show_placement(
    attack: &dyn Attack,
    config: &AuditRunConfig,
    split: &Split,
    layout: &Layout,
) -> anyhow::Result<Option<Shares>> {
    let seed = crate::audit::attack_seed(Seed::new(config.seed), attack);
    let Some(first) = attack.covered(&split.ids()[..1], seed) else { return Ok(None) };
    let all =
        split.ids().iter().take(MEASURED).skip(1).filter_map(|id| attack.covered(&[*id], seed)).flatten();
    let shares: Vec<f64> = first.iter().cloned().chain(all).map(|mask| coverage(&mask)).collect();
    let mut rows: Vec<usize> = Vec::new();
    for (row, label) in split.labels().iter().enumerate() {
        if rows.len() < SHOWN && !rows.iter().any(|other| split.labels()[*other] == *label) {
            rows.push(row);
        }
    }
    let batch = split.batch(&rows, &Device::default())?;
    let masks = attack.covered(&batch.ids, seed).unwrap_or_default();
    write_file(&layout.placement(), &png(&placement_sheet(&batch, &masks).into())?)?;
    Ok(Some(Shares {
        least: shares.iter().copied().fold(f64::INFINITY, f64::min),
        mean: shares.iter().sum::<f64>() / shares.len() as f64,
        most: shares.iter().copied().fold(0.0, f64::max),
    }))
}

fn png(picture: &image::DynamicImage) -> anyhow::Result<Vec<u8>> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, image::ImageFormat::Png).context("a picture has no PNG form")?;
    Ok(bytes.into_inner())
}
