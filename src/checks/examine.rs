//! Which checks are made, in which order, on which pictures.

use serde::{Deserialize, Serialize};

use super::contract::{clean_accuracy, deterministic, evaluation_mode, logits, pixel_range};
use super::gradients::{finite_differences, loss_noise, present};
use super::probe::{Probe, prediction};
use super::search::{best_iterate, budget, converged, mask};
use super::trial::{Outcome, Trial};
use super::{Check, CheckReport, LeftOut, Subject, Tuning, Verdict, strength};
use crate::Seed;
use crate::attacks::{Loss, ThreatModel};
use crate::data::Batch;
use crate::metrics::Rate;
use crate::models::Victim;
use crate::run::StopFlag;

/// Queries of Square after the attack.
const QUERIES: usize = 1000;
/// Restarts that are compared with the attack's own.
const MORE_RESTARTS: usize = 3;

/// How many checks are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Depth {
    /// None.
    Off,
    /// Those that cost no more than attacking the sample once or twice.
    #[default]
    Cheap,
    /// All.
    Full,
}

/// How a model and an attack are examined.
#[derive(Clone, Copy, Debug)]
pub struct CheckOptions {
    /// Which checks are made.
    pub depth: Depth,
    /// Most pictures at once.
    pub batch_size: usize,
    /// Seed of every random draw.
    pub seed: Seed,
}

/// Makes the checks on a batch of pictures. `None` when it was asked to stop.
///
/// The batch is a sample of what will be reported on; `progress` hears which check is next.
pub fn examine(
    victim: &Victim,
    batch: &Batch,
    subject: &dyn Subject,
    name: &str,
    options: &CheckOptions,
    stop: &StopFlag,
    progress: &mut dyn FnMut(Check),
) -> Option<CheckReport> {
    let probe =
        Probe { victim, batch, seed: options.seed.purpose("checks"), batch_size: options.batch_size.max(1) };
    let clean = probe.logits(&batch.images);
    let right = (0..batch.len()).filter(|&row| prediction(&clean[row]) == batch.labels[row]).collect();
    let mut examination =
        Examination { trial: Trial { probe, subject, right }, clean, random: false, attacked: None };
    let mut report = CheckReport {
        schema_version: CheckReport::SCHEMA_VERSION,
        attack: name.to_owned(),
        images: batch.len(),
        checks: Vec::new(),
        left_out: Vec::new(),
    };
    for id in Check::ALL {
        if stop.requested() {
            return None;
        }
        let left_out = match options.depth {
            Depth::Off => Some("checks are switched off"),
            Depth::Cheap if !id.is_cheap() => {
                Some("only the cheap checks are made; `syfar doctor` makes all")
            }
            Depth::Cheap | Depth::Full => None,
        };
        if let Some(why) = left_out {
            report.left_out.push(LeftOut { id, why: why.to_owned() });
        } else {
            progress(id);
            report.checks.push(examination.check(id));
        }
    }
    Some(report)
}

/// Checks in progress.
struct Examination<'a> {
    trial: Trial<'a>,
    /// Logits of the clean pictures.
    clean: Vec<Vec<f32>>,
    /// Whether two passes of the model differ.
    random: bool,
    /// What the attack made, as it is configured.
    attacked: Option<Outcome>,
}

impl Examination<'_> {
    fn check(&mut self, id: Check) -> Verdict {
        match id {
            Check::Logits
            | Check::Deterministic
            | Check::EvaluationMode
            | Check::PixelRange
            | Check::CleanAccuracy
            | Check::GradientCe
            | Check::GradientDlr
            | Check::FiniteDifferences
            | Check::LossNoise => self.model(id),
            _ if self.trial.right.is_empty() => {
                Verdict::not_applicable(id, "no image is classified correctly, so there is nothing to attack")
            }
            Check::Budget
            | Check::Mask
            | Check::ZeroBudget
            | Check::SingleStep
            | Check::Noise
            | Check::EightBit => self.attack(id),
            _ => self.strength(id),
        }
    }

    /// Checks of the model.
    fn model(&mut self, id: Check) -> Verdict {
        let (probe, n) = (&self.trial.probe, self.clean.len());
        match id {
            Check::Deterministic => {
                let verdict = deterministic(&probe.passes());
                self.random = verdict.status == super::Status::Failed;
                verdict
            }
            Check::EvaluationMode => {
                // Gradients are computed between the passes, so that a layer that learns from them shows.
                let alone = probe.alone();
                probe.gradient_counts(Loss::Ce, &self.trial.right);
                let after = probe.logits(&probe.batch.images);
                evaluation_mode(&self.clean, &alone, &after, self.random)
            }
            Check::PixelRange => pixel_range(&probe.ranges(), n),
            Check::CleanAccuracy => {
                let right = self.trial.right.len();
                let low = Rate::of(right as u64, n as u64).map_or(0.0, |rate| rate.low);
                clean_accuracy(right, n, low, probe.victim.classes())
            }
            Check::GradientCe => present(id, probe.gradient_counts(Loss::Ce, &self.trial.right)),
            Check::GradientDlr => present(id, probe.gradient_counts(Loss::Dlr, &self.trial.right)),
            Check::FiniteDifferences if self.random => Verdict::not_applicable(id, "the model is random"),
            Check::FiniteDifferences => finite_differences(|step| probe.differences(step)),
            Check::LossNoise => loss_noise(&probe.noise()),
            _ => logits(&self.clean),
        }
    }

    /// The attack as it is configured, made once.
    fn outcome(&mut self) -> Option<&Outcome> {
        if self.attacked.is_none() {
            self.attacked = self.trial.tuned(&Tuning::default());
        }
        self.attacked.as_ref()
    }

    /// Cheap checks of the attack.
    fn attack(&mut self, id: Check) -> Verdict {
        self.outcome();
        let (trial, n) = (&self.trial, self.clean.len());
        let Some(outcome) = &self.attacked else {
            return Verdict::not_applicable(id, "the attack cannot be made");
        };
        let standing = outcome.standing.len();
        let no_ball = || Verdict::not_applicable(id, "the attack has no radius");
        match id {
            Check::Budget => match trial.subject.budget() {
                Some((norm, epsilon)) => budget(&trial.reach(outcome, norm, epsilon)),
                None => no_ball(),
            },
            Check::Mask => match trial.subject.threat_model(&trial.probe.batch.images.device()) {
                Some(ThreatModel::Region { mask: region }) => mask(&super::probe::values(&region)),
                Some(ThreatModel::Ball { .. } | ThreatModel::Balls { .. }) => {
                    Verdict::not_applicable(id, "the attack has no region")
                }
                None => Verdict::not_applicable(id, "each picture has a region of its own"),
            },
            Check::ZeroBudget => match trial.standing(&Tuning { epsilon: Some(0.0), ..Tuning::default() }) {
                Some(standing) => strength::zero_budget(trial.right.len() - standing, n),
                None => no_ball(),
            },
            Check::SingleStep if trial.subject.steps().is_none_or(|steps| steps < 2) => {
                Verdict::not_applicable(id, "the attack has one step")
            }
            Check::SingleStep => match trial.one_step() {
                Some(one) => strength::single_step(standing, one, n),
                None => Verdict::not_applicable(id, "there is no attack of one step for this norm"),
            },
            Check::Noise => match trial.turned_by_noise(&outcome.standing) {
                Some(turned) => strength::noise(turned, standing, n),
                None => Verdict::not_applicable(id, "each picture has a region of its own"),
            },
            _ => strength::eight_bit(standing, trial.standing_rounded(outcome), n),
        }
    }

    /// Checks that make the attack several times.
    fn strength(&mut self, id: Check) -> Verdict {
        self.outcome();
        let (trial, n) = (&self.trial, self.clean.len());
        let Some(outcome) = &self.attacked else {
            return Verdict::not_applicable(id, "the attack cannot be made");
        };
        let standing = outcome.standing.len();
        match id {
            Check::Epsilon => self.epsilons(standing),
            Check::Steps => self.steps(standing),
            Check::Restarts => match trial.subject.restarts() {
                Some(own) => {
                    let more = own * MORE_RESTARTS;
                    let stronger = trial.standing(&Tuning { restarts: Some(more), ..Tuning::default() });
                    let points = std::iter::once((own.to_string(), standing));
                    let points = points.chain(stronger.map(|standing| (more.to_string(), standing)));
                    strength::work(id, &points.collect::<Vec<_>>(), n)
                }
                None => Verdict::not_applicable(id, "the attack has no restarts"),
            },
            Check::Unbounded => {
                // Every picture of [0, 1] is in the ball of this radius.
                let size: usize = trial.probe.batch.shape()[1..].iter().product();
                let all = trial.subject.budget().map(|(norm, _)| match norm {
                    crate::attacks::Norm::Linf => 1.0,
                    crate::attacks::Norm::L2 => (size as f32).sqrt(),
                    crate::attacks::Norm::L1 => size as f32,
                });
                let tuning = Tuning { epsilon: all, ..Tuning::default() };
                match all.and_then(|_| trial.standing(&tuning)) {
                    Some(standing) => strength::unbounded(standing, n),
                    None => Verdict::not_applicable(id, "the attack has no radius"),
                }
            }
            Check::BlackBox if trial.subject.searches_without_gradients() => {
                Verdict::not_applicable(id, "the attack searches without gradients itself")
            }
            Check::BlackBox => match trial.turned_by_square(&outcome.standing, QUERIES) {
                Some(turned) => strength::black_box(turned, standing, n),
                None => Verdict::not_applicable(id, "the attack has no radius"),
            },
            Check::MarginVersusCe => match trial.by_loss([Loss::Ce, Loss::Margin]) {
                Some([ce, margin]) => strength::margin_versus_ce(ce, margin, n),
                None => Verdict::not_applicable(id, "the attack has no radius"),
            },
            Check::Targets => {
                let turned = trial.turned_with_targets(outcome, &self.clean);
                match turned.zip(trial.missed_with_targets(outcome)) {
                    Some((turned, missed)) => strength::targets([standing, turned], missed, n),
                    None => Verdict::not_applicable(id, "the attack cannot be made"),
                }
            }
            _ => {
                let Some(traces) = trial.traces() else {
                    return Verdict::not_applicable(id, "the attack cannot be made");
                };
                if id == Check::Converged { converged(&traces) } else { best_iterate(&traces) }
            }
        }
    }

    /// Half the radius, the radius, twice the radius.
    fn epsilons(&self, standing: usize) -> Verdict {
        let (trial, n) = (&self.trial, self.clean.len());
        let Some((_, epsilon)) = trial.subject.budget() else {
            return Verdict::not_applicable(Check::Epsilon, "the attack has no radius");
        };
        let at = |factor: f32| {
            let tuning = Tuning { epsilon: Some(factor * epsilon), ..Tuning::default() };
            Some((format!("{factor} x"), trial.standing(&tuning)?))
        };
        let points = [at(0.5), Some(("1 x".to_owned(), standing)), at(2.0)];
        strength::epsilons(&points.into_iter().flatten().collect::<Vec<_>>(), n)
    }

    /// A quarter of the steps, the steps, four times the steps.
    fn steps(&self, standing: usize) -> Verdict {
        let (trial, n) = (&self.trial, self.clean.len());
        let Some(own) = trial.subject.steps() else {
            return Verdict::not_applicable(Check::Steps, "the attack has one step");
        };
        let at = |steps: usize| {
            let tuning = Tuning { steps: Some(steps), ..Tuning::default() };
            Some((steps.to_string(), trial.standing(&tuning)?))
        };
        let fewer = (own / 4).max(1);
        let points =
            [if fewer < own { at(fewer) } else { None }, Some((own.to_string(), standing)), at(4 * own)];
        strength::work(Check::Steps, &points.into_iter().flatten().collect::<Vec<_>>(), n)
    }
}
