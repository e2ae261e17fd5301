//! `syfar audit`.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::checks::{self, CheckSection};
use super::config::ConfigError;
use super::curve::{self, CurveSection, Point};
use super::ending::tell_end;
use super::setting::{SettingArguments, complete};
use super::sitting::{Sitting, figures};
use super::worn::{self, Built};
use super::{Context, Usage, page, shard};
use crate::Seed;
use crate::attacks::{Attack, AttackConfig, EyeglassConfig};
use crate::audit::{Counts, TargetChoice};
use crate::checks::{Check, CheckReport, Depth};
use crate::data::{Dataset, Split};
use crate::metrics::{AuditCounts, FairnessReport, GroupColumn, PartFigures};
use crate::models::{Cost, Model, Precision};
use crate::report;
use crate::run::{EventLog, Layout, write_file};
use crate::watch::AuditFigures;

/// More simulated matrices than this change no digit that is printed.
const MOST_DRAWS: u32 = 100_000;

#[derive(clap::Args)]
pub(super) struct AuditArguments {
    #[command(flatten)]
    setting: SettingArguments,
    /// Where the results go: a new directory.
    #[arg(long, required_unless_present = "print_config")]
    out: Option<PathBuf>,
    /// Targets of each picture: none, all, random:3, classes by number such as 0,4,7, or "file:" and the path of a CSV
    /// file with the columns image and target.
    #[arg(long)]
    targets: Option<String>,
    /// Go on with an interrupted audit of the same configuration.
    #[arg(long)]
    resume: bool,
    /// Make one of several parts of the audit, to be joined by `syfar merge`: 0/200 to 199/200, slurm or slurm/200 (an
    /// array), kubernetes/200 (an indexed job), mpi (a rank). It goes on by itself where it was interrupted.
    #[arg(long, value_name = "I/N")]
    shard: Option<String>,
    /// Print the configuration with all defaults and stop.
    #[arg(long)]
    print_config: bool,
    /// Print the events of the run to standard output, as events.jsonl gets them, and everything else to standard error.
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
pub(super) enum AttackKind {
    Apgd,
    ApgdT,
    Autoattack,
    Eyeglasses,
    FabT,
    FaceMask,
    Fgsm,
    MomentumPgd,
    Pgd,
    Roa,
    Square,
    UniversalPatch,
}

impl AttackKind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Apgd => "apgd",
            Self::ApgdT => "apgd-t",
            Self::Autoattack => "autoattack",
            Self::Eyeglasses => "eyeglasses",
            Self::FabT => "fab-t",
            Self::FaceMask => "face-mask",
            Self::Fgsm => "fgsm",
            Self::MomentumPgd => "momentum-pgd",
            Self::Pgd => "pgd",
            Self::Roa => "roa",
            Self::Square => "square",
            Self::UniversalPatch => "universal-patch",
        }
    }
}

/// Everything that decides an audit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AuditRunConfig {
    /// Decides every random draw.
    pub seed: u64,
    /// Model directory.
    pub model: PathBuf,
    /// Folder with train/, val/ and test/.
    pub data: PathBuf,
    /// `test`, or `val` while hyper-parameters are still being chosen.
    pub split: SplitName,
    /// What an attack learns from that has to learn: `train`, or `val`.
    pub lesson_split: LessonSplit,
    /// Most pictures attacked at once.
    pub batch_size: usize,
    /// Whether to attack without a target.
    pub untargeted: bool,
    /// Targets of each picture.
    pub targets: TargetChoice,
    /// Simulated matrices behind each noise floor.
    pub noise_draws: u32,
    /// How exactly the attack computes gradients: `full`, `half` (AVX-512 FP16) or `bfloat16` (AVX-512 BF16).
    /// What counts as a success, and what the rows say, is always computed in full precision.
    pub attack_precision: Precision,
    /// Checks of the model and the attack, before anything is attacked.
    pub checks: CheckSection,
    /// Robust accuracy over the strength of the attack.
    pub curve: CurveSection,
    /// The attack.
    pub attack: AttackConfig,
}

/// Which pictures are audited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum SplitName {
    Val,
    #[default]
    Test,
}

impl SplitName {
    /// The split of a data set.
    pub(super) fn of(self, data: &Dataset) -> &Split {
        match self {
            Self::Val => &data.val,
            Self::Test => &data.test,
        }
    }
}

/// Which pictures an attack learns from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum LessonSplit {
    #[default]
    Train,
    Val,
}

impl Default for AuditRunConfig {
    fn default() -> Self {
        Self {
            seed: 0,
            model: PathBuf::new(),
            data: PathBuf::new(),
            split: SplitName::Test,
            lesson_split: LessonSplit::Train,
            batch_size: 64,
            untargeted: true,
            targets: TargetChoice::All,
            noise_draws: 2000,
            attack_precision: Precision::Full,
            checks: CheckSection::default(),
            curve: CurveSection::default(),
            attack: AttackConfig::Eyeglasses(EyeglassConfig {
                early_stop: true,
                ..EyeglassConfig::default()
            }),
        }
    }
}

pub(super) fn audit(arguments: &AuditArguments, context: &Context) -> anyhow::Result<()> {
    let mut config = arguments.setting.resolve(&[])?;
    if let Some(targets) = &arguments.targets {
        config.targets =
            targets.parse().map_err(|error| ConfigError::Value(format!("--targets: {error}")))?;
    }
    if arguments.print_config {
        super::say(toml::to_string(&config).context("the configuration has no TOML form")?.trim_end());
        return Ok(());
    }
    let out = arguments.out.as_ref().context("--out is missing")?;
    let shard = arguments.shard.as_deref().map(shard::of_process).transpose()?;
    complete(&config)?;
    let model = Model::load(&config.model, &Device::default())?;
    let data = Dataset::open(&config.data, model.config.preprocessing.framing())?;
    if let Some(shard) = shard {
        return shard::run(&config, &model, &data, out, shard, context);
    }
    let audited = run(&config, &model, &data, out, arguments.resume, "audit", context)?;
    show(&config, &audited, out, context);
    Ok(())
}

/// Prints what an audit found.
pub(super) fn show(config: &AuditRunConfig, audited: &Audited, out: &Path, context: &Context) {
    if config.checks.depth != Depth::Off {
        context.say(&format!("{}\n", checks::summary(&audited.checks)));
    }
    context.say(&report::summary(&audited.report));
    if !audited.parts.is_empty() {
        context.say(&report::parts(&audited.parts));
    }
    if !audited.report.curves.is_empty() {
        context.say(&report::curves(&audited.report.curves));
    }
    for remark in &audited.remarks {
        context.say(remark);
    }
    context.say(&format!("{}\nResults: {}", audited.cost_line(), out.display()));
    let page = out.join("report.html");
    if page.is_file() {
        context.say(&format!("Page: {}", page.display()));
    }
}

/// What the last line of the log says.
#[derive(Serialize)]
struct AuditEnd {
    attacks: u64,
    cost: Cost,
    seconds: f64,
    #[serde(flatten)]
    figures: AuditFigures,
}

/// A finished audit.
pub(super) struct Audited {
    /// All figures.
    pub report: FairnessReport,
    /// The counts behind them.
    pub counts: AuditCounts,
    /// What each part of the attack contributed, untargeted and targeted, where it has parts.
    parts: Vec<(&'static str, Vec<PartFigures>)>,
    /// Whether the figures can be believed.
    checks: CheckReport,
    /// What the attack learned, and how much of the picture it covers, where there is something to say.
    remarks: Vec<String>,
    cost: Cost,
    seconds: f64,
    attacks: u64,
}

impl Audited {
    /// What the attacks cost in this sitting.
    pub fn cost_line(&self) -> String {
        if self.attacks == 0 {
            return "All attacks were already there; nothing was computed.".to_owned();
        }
        let per_attack = |count: u64| count as f64 / self.attacks as f64;
        let images = (self.cost.forwards + self.cost.gradients) as f64;
        format!(
            "Cost: {} attacks in {:.1} s; per attack {:.1} forward and {:.1} gradient evaluations of the picture; \
             {:.0} pictures evaluated a second.",
            self.attacks,
            self.seconds,
            per_attack(self.cost.forwards),
            per_attack(self.cost.gradients),
            images / self.seconds
        )
    }
}

/// Audits into a run directory, which is made, or gone on with if `resume` is set.
pub(super) fn run(
    config: &AuditRunConfig,
    model: &Model,
    data: &Dataset,
    out: &Path,
    resume: bool,
    name: &str,
    context: &Context,
) -> anyhow::Result<Audited> {
    let Prepared { mut attack, points, split, stored } = prepare(config, model, data)?;
    let directory = super::run_directory(out, &stored, resume)?;
    let layout = directory.layout();
    if layout.pieces().exists() && !layout.predictions().exists() {
        let problem = "was made in shards, which are not merged: make the rest with --shard, or join them";
        return Err(Usage(format!("{} {problem}: syfar merge {0}", out.display())).into());
    }
    super::keep_splits(layout, data)?;
    let mut events = context.events(&layout.events())?;
    let plan = serde_json::json!({"attack": attack.as_attack().name()});
    events.append("audit_start", &super::provenance(config.seed, data, plan))?;
    let sitting = Sitting { config, model, split, layout, context, save: None };
    let audited = tell_end(&mut events, |events| {
        let checks = checked(&sitting, &layout.checks(), events)?;
        let remarks = learn_and_place(&mut attack, &sitting, data, events)?;
        make(attack.as_attack(), &points, &sitting, data, name, (checks, remarks), events)
    })?;
    // The figures are there; what is made to look at must not lose them.
    if let Err(error) = page::keep(&sitting, attack.as_attack(), &audited.counts) {
        eprintln!("No example pictures were kept: {error:#}");
    }
    page::at_the_end(&[out.to_owned()], &layout.page());
    Ok(audited)
}

/// What an audit is made of.
pub(super) struct Prepared<'a> {
    pub attack: Built,
    /// The points of its curves.
    pub points: Vec<Point>,
    pub split: &'a Split,
    /// The configuration as the run directory keeps it.
    pub stored: String,
}

/// Checks everything that can be wrong before any work is done.
pub(super) fn prepare<'a>(
    config: &AuditRunConfig,
    model: &Model,
    data: &'a Dataset,
) -> anyhow::Result<Prepared<'a>> {
    super::same_classes(&model.config.classes, &data.classes, &config.model)?;
    check(config, model)?;
    let side = model.config.preprocessing.side;
    let attack = Built::new(&config.attack, [3, side, side])?;
    let points = config.curve.points(&config.attack, attack.as_attack().name())?;
    if !points.is_empty() && !config.untargeted {
        let problem =
            "curve: its points are robust accuracies, so set untargeted = true or leave the lists empty";
        return Err(ConfigError::Value(problem.to_owned()).into());
    }
    let split = config.split.of(data);
    worn::check_landmarks(&config.attack, split)?;
    let weights = config.model.join("model.safetensors");
    let others = config.attack.files().into_iter().chain(config.targets.file());
    let files: Vec<&Path> = std::iter::once(weights.as_path()).chain(others).collect();
    let stored = super::stored_config(config, data, &files)?;
    Ok(Prepared { attack, points, split, stored })
}

/// The checks of the audit: those that an earlier sitting made, or new ones.
pub(super) fn checked(sitting: &Sitting, path: &Path, events: &mut EventLog) -> anyhow::Result<CheckReport> {
    let Sitting { config, model, split, context, .. } = sitting;
    let there = std::fs::read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    if let Some(report) = there {
        return Ok(report);
    }
    let mut failure = None;
    let mut begins = |check: Check, number: usize| {
        if failure.is_none() {
            failure = events.append("check", &checks::begun(check, number)).err();
        }
    };
    let report = checks::run(config, &config.checks, model, split, context, &mut begins)?;
    failure.map_or(Ok(()), Err)?;
    write_file(path, checks::json(&report)?.as_bytes())?;
    if !report.checks.is_empty() {
        events.append("checks", &checks::made(&report))?;
    }
    Ok(report)
}

/// Teaches an attack that has to learn, and shows where one that is worn writes. Gives what there is to say of it.
fn learn_and_place(
    attack: &mut Built,
    sitting: &Sitting,
    data: &Dataset,
    events: &mut EventLog,
) -> anyhow::Result<Vec<String>> {
    let mut remarks = Vec::new();
    if let Built::Untaught(taught) = attack {
        let lessons = worn::teach(taught, sitting, data, None, events)?;
        worn::keep_textures(taught, sitting.layout)?;
        events.append("lessons", &lessons)?;
        remarks.push(lessons.line());
    }
    let attack = attack.as_attack();
    if let Some(shares) = worn::show_placement(attack, sitting.config, sitting.split, sitting.layout)? {
        events.append("placement", &shares)?;
        remarks.push(shares.line(attack.name()));
    }
    Ok(remarks)
}

/// Attacks, and writes everything that follows from the rows. What was `found` before is of the checks and of
/// [`learn_and_place`].
fn make(
    attack: &dyn Attack,
    points: &[Point],
    sitting: &Sitting,
    data: &Dataset,
    name: &str,
    found: (CheckReport, Vec<String>),
    events: &mut EventLog,
) -> anyhow::Result<Audited> {
    let Sitting { config, layout, .. } = sitting;
    let outcome = sitting.make(attack, &sitting.options(), name, events)?;
    let counts = audit_counts(&outcome.counts, attack.name(), data);
    let mut report = FairnessReport::compute(&counts, Seed::new(config.seed), config.noise_draws);
    report.curves = curve::run(points, sitting, events)?;
    write_results(layout, &counts, &report)?;
    let attacks = outcome.attacks;
    let parts = parts(&outcome.counts, attack);
    if !parts.is_empty() {
        write_csv(&layout.parts(attack.name()), |to| report::csv::write_parts(to, &parts))?;
        events.append("attack_parts", &parts)?;
    }
    let end = AuditEnd {
        attacks,
        cost: outcome.cost,
        seconds: outcome.seconds,
        figures: figures(&outcome.counts, attack.name(), Seed::new(config.seed), true),
    };
    events.append("audit_end", &end)?;
    let ((checks, mut remarks), cost, seconds) = (found, outcome.cost, outcome.seconds);
    remarks.extend(outcome.counts.attacks.get(attack.name()).and_then(checks::overlooked));
    Ok(Audited { report, counts, parts, checks, remarks, cost, seconds, attacks })
}

/// What can be wrong with the values before any work is done.
pub(super) fn check(config: &AuditRunConfig, model: &Model) -> Result<(), ConfigError> {
    let classes = model.config.classes.len();
    if config.batch_size == 0 {
        return Err(ConfigError::Value("batch_size is 0, expected at least 1".to_owned()));
    }
    let precise = config.attack_precision.check();
    precise.map_err(|error| ConfigError::Value(format!("attack_precision: {error}")))?;
    if config.noise_draws > MOST_DRAWS {
        let found = config.noise_draws;
        return Err(ConfigError::Value(format!("noise_draws is {found}, expected at most {MOST_DRAWS}")));
    }
    config.targets.check(classes).map_err(|error| {
        let last = classes - 1;
        ConfigError::Value(format!(
            "targets: {error}; give numbers from 0 to {last}, in the order of the classes"
        ))
    })
}

/// The counts of one attack with the names that the report needs.
fn audit_counts(counts: &Counts, attack: &str, data: &Dataset) -> AuditCounts {
    let of_attack = counts.attacks.get(attack).cloned().unwrap_or_default();
    let groups = data.groups.iter().flat_map(|groups| &groups.columns);
    AuditCounts {
        classes: data.classes.clone(),
        attack: attack.to_owned(),
        clean: counts.clean.clone(),
        untargeted: of_attack.untargeted,
        targeted: of_attack.targeted,
        outcomes: of_attack.outcomes,
        groups: groups
            .map(|column| GroupColumn { name: column.name.clone(), of_class: column.of_class.clone() })
            .collect(),
    }
}

/// What each part of an attack contributed; nothing for an attack that is one thing.
fn parts(counts: &Counts, attack: &dyn Attack) -> Vec<(&'static str, Vec<PartFigures>)> {
    let names = attack.parts();
    let Some(counts) = counts.attacks.get(attack.name()).filter(|_| !names.is_empty()) else {
        return Vec::new();
    };
    [("untargeted", &counts.untargeted_parts), ("targeted", &counts.targeted_parts)]
        .into_iter()
        .filter(|(_, counts)| counts.total > 0)
        .map(|(goal, counts)| (goal, counts.figures(&names)))
        .collect()
}

/// Everything that can be made from the counts.
fn write_results(layout: &Layout, counts: &AuditCounts, report: &FairnessReport) -> anyhow::Result<()> {
    let AuditCounts { classes, attack, clean, untargeted, targeted, .. } = counts;
    write_csv(&layout.confusion("clean"), |to| report::csv::write_confusion(to, classes, clean))?;
    if let Some(untargeted) = untargeted {
        write_csv(&layout.confusion(attack), |to| report::csv::write_confusion(to, classes, untargeted))?;
    }
    if let Some(targeted) = targeted {
        write_csv(&layout.success(attack), |to| report::csv::write_success(to, classes, targeted))?;
        write_csv(&layout.pairs(), |to| report::csv::write_pairs(to, classes, targeted))?;
    }
    write_csv(&layout.classes(), |to| report::csv::write_classes(to, report))?;
    write_csv(&layout.groups(), |to| report::csv::write_groups(to, report))?;
    write_csv(&layout.group_flows(), |to| report::csv::write_group_flows(to, report))?;
    if !report.curves.is_empty() {
        write_csv(&layout.curves(), |to| report::csv::write_curves(to, &report.curves))?;
    }
    let json = serde_json::to_string_pretty(report).context("a report always has a JSON form")?;
    write_file(&layout.metrics(), (json + "\n").as_bytes())?;
    Ok(())
}

fn write_csv(path: &Path, fill: impl FnOnce(&mut Vec<u8>) -> csv::Result<()>) -> anyhow::Result<()> {
    let mut bytes = Vec::new();
    fill(&mut bytes).with_context(|| format!("{} could not be made", path.display()))?;
    write_file(path, &bytes)?;
    Ok(())
}
