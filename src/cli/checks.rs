//! Checks of a model and an attack, for `syfar doctor` and `syfar audit`.

use anyhow::Context as _;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::audit::AuditRunConfig;
use super::config::ConfigError;
use super::progress::Progress;
use super::{Context, Interrupted};
use crate::Seed;
use crate::attacks::Attack as _;
use crate::audit::AttackCounts;
use crate::checks::{Check, CheckOptions, CheckReport, ConfiguredAttack, Depth, Status, examine};
use crate::data::Split;
use crate::models::{Classifier as _, Model, Victim};
use crate::report::{Align, Table};

/// Which checks an audit makes, on how many pictures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct CheckSection {
    /// `off`, `cheap` (default) or `full`.
    pub depth: Depth,
    /// Pictures of the sample, at least 1; 32 by default. All when there are no more.
    pub images: usize,
}

impl Default for CheckSection {
    fn default() -> Self {
        Self { depth: Depth::Cheap, images: 32 }
    }
}

/// Makes the checks on a sample of a split. `begins` hears of each before it is made, with its number from 1.
pub(super) fn run(
    config: &AuditRunConfig,
    section: &CheckSection,
    model: &Model,
    split: &Split,
    context: &Context,
    begins: &mut dyn FnMut(Check, usize),
) -> anyhow::Result<CheckReport> {
    if section.images == 0 {
        let problem = "checks.images is 0, expected at least 1; to make no checks set checks.depth = \"off\"";
        return Err(ConfigError::Value(problem.to_owned()).into());
    }
    let shape = model.network.input_shape();
    let refused = |error: crate::attacks::AttackConfigError| ConfigError::Value(error.to_string());
    let subject = ConfiguredAttack::new(&config.attack, shape).map_err(refused)?;
    let name = match config.attack.build_taught(shape).map_err(refused)? {
        Some(taught) => taught.name(),
        None => config.attack.build(shape).map_err(refused)?.name(),
    };
    let seed = Seed::new(config.seed);
    let batch = split.batch(&sample(split, section.images, seed), &Device::default())?;
    let victim = Victim::with_precision(&model.network, config.attack_precision)?;
    let options = CheckOptions { depth: section.depth, batch_size: config.batch_size, seed };
    let mut bar = Progress::new("checks", Check::ALL.len() as u64, 0);
    let mut done = 0;
    let mut progress = |next: Check| {
        bar.set(done, &next.to_string());
        done += 1;
        begins(next, done as usize);
    };
    let report = examine(&victim, &batch, &subject, name, &options, &context.stop, &mut progress);
    bar.finish();
    report.ok_or_else(|| Interrupted { resume: super::resume_command() }.into())
}

/// Rows of a sample that depends on the seed and the pictures alone.
pub(super) fn sample(split: &Split, count: usize, seed: Seed) -> Vec<usize> {
    use rand::Rng as _;
    let key = |row: &usize| seed.purpose("sample").at(split.ids()[*row].0).rng().next_u64();
    let mut rows: Vec<usize> = (0..split.len()).collect();
    rows.sort_by_cached_key(key);
    rows.truncate(count);
    rows.sort_unstable();
    rows
}

/// What the log says before a check is made.
pub(super) fn begun(check: Check, number: usize) -> serde_json::Value {
    json!({"name": check, "number": number})
}

/// What the log says when all checks are made: how many passed, and those that did not.
pub(super) fn made(report: &CheckReport) -> serde_json::Value {
    let all = report.checks.iter();
    let remarked = all.filter(|verdict| matches!(verdict.status, Status::Warning | Status::Failed));
    let remarked: Vec<_> = remarked
        .map(|verdict| json!({"name": verdict.id, "status": verdict.status, "seen": verdict.seen}))
        .collect();
    json!({
        "attack": report.attack,
        "images": report.images,
        "passed": report.count(Status::Passed),
        "warnings": report.count(Status::Warning),
        "failed": report.count(Status::Failed),
        "not_applicable": report.count(Status::NotApplicable),
        "remarked": remarked,
    })
}

/// `checks.json`.
pub(super) fn json(report: &CheckReport) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(report).context("checks always have a JSON form")? + "\n")
}

/// All checks as a table, and what to do about those that did not pass.
pub(super) fn table(report: &CheckReport) -> String {
    let mut table = Table::new([("check", Align::Left), ("outcome", Align::Left), ("seen", Align::Left)]);
    for verdict in &report.checks {
        table.row([verdict.id.to_string(), word(verdict.status).to_owned(), verdict.seen.clone()]);
    }
    format!("{table}\n{}", summary(report))
}

/// How many checks passed, what did not and what to do, and what was left out.
pub(super) fn summary(report: &CheckReport) -> String {
    let counts = [Status::Passed, Status::Warning, Status::Failed, Status::NotApplicable]
        .map(|status| format!("{} {}", report.count(status), word(status)));
    let mut lines =
        vec![format!("Checks of {} on {} pictures: {}.", report.attack, report.images, counts.join(", "))];
    for verdict in report.checks.iter().filter(|verdict| verdict.advice.is_some()) {
        lines.push(format!(
            "{} {}: {}. {} {}",
            word(verdict.status),
            verdict.id,
            verdict.seen,
            verdict.meaning,
            verdict.advice.as_deref().unwrap_or_default()
        ));
    }
    if let Some(first) = report.left_out.first() {
        let names: Vec<String> = report.left_out.iter().map(|left| left.id.to_string()).collect();
        lines.push(format!("Left out: {} ({}).", names.join(", "), first.why));
    }
    lines.join("\n")
}

/// What the rows of an audit say against its untargeted attack: a picture that reaches a target is wrong, so an attack
/// without a target should have found it.
pub(super) fn overlooked(counts: &AttackCounts) -> Option<String> {
    let [standing, overlooked] = counts.overlooked()?;
    (overlooked > 0).then(|| {
        format!(
            "{overlooked} of the {standing} pictures that stand without a target fall to one: robust accuracy is an \
             overestimate; take it from another loss, `apgd-t` or AutoAttack."
        )
    })
}

fn word(status: Status) -> &'static str {
    match status {
        Status::Passed => "passed",
        Status::Warning => "warning",
        Status::Failed => "FAILED",
        Status::NotApplicable => "not applicable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::{LeftOut, Verdict};
    use crate::metrics::{ConfusionMatrix, ImageOutcomes};

    #[test]
    fn rows_that_contradict_each_other_are_remarked_on() {
        let mut outcomes = ImageOutcomes::new(3);
        outcomes.add(7, 0, 2, true);
        let counts = AttackCounts {
            untargeted: Some(ConfusionMatrix::new(3)),
            outcomes: Some(outcomes),
            standing: [7, 9].into(),
            ..AttackCounts::default()
        };
        let remark = overlooked(&counts).expect("one is overlooked");
        assert!(remark.starts_with("1 of the 2 pictures that stand without a target"), "{remark}");
        assert_eq!(overlooked(&AttackCounts { standing: [9].into(), ..counts }), None);
    }

    #[test]
    fn what_did_not_pass_comes_with_what_to_do() {
        let report = CheckReport {
            schema_version: CheckReport::SCHEMA_VERSION,
            attack: "pgd".to_owned(),
            images: 32,
            checks: vec![
                Verdict::new(Check::Logits, Status::Passed, "outputs from -3.0000 to 4.0000, n 32"),
                Verdict::new(Check::Noise, Status::Failed, "noise turns 2 of the 9 images that stand, n 32"),
            ],
            left_out: vec![LeftOut { id: Check::Steps, why: "only the cheap checks are made".to_owned() }],
        };
        let expected = json!({
            "attack": "pgd", "images": 32, "passed": 1, "warnings": 0, "failed": 1, "not_applicable": 0,
            "remarked": [{"name": "noise", "status": "failed", "seen": "noise turns 2 of the 9 images that stand, n 32"}],
        });
        assert_eq!(made(&report), expected);
        assert_eq!(begun(Check::EvaluationMode, 3), json!({"name": "evaluation-mode", "number": 3}));
        insta::assert_snapshot!(table(&report), @"
        check   outcome  seen
        ───────────────────────────────────────────────────────────────
        logits  passed   outputs from -3.0000 to 4.0000, n 32
        noise   FAILED   noise turns 2 of the 9 images that stand, n 32

        Checks of pgd on 32 pictures: 1 passed, 0 warning, 1 FAILED, 0 not applicable.
        FAILED noise: noise turns 2 of the 9 images that stand, n 32. The attack is weaker than chance: robust accuracy is an overestimate. Do not believe the robust accuracy; use AutoAttack, other losses and more restarts.
        Left out: steps (only the cheap checks are made).
        ");
    }
}
