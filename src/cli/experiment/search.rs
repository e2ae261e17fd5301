//! The choice of hyper-parameters: every combination of the lists is trained once on the seed of the selection, and a
//! stated rule picks one by its validation pictures. No test picture takes part.

use anyhow::Context as _;
use serde::Serialize;
use toml::Value;

use super::file::{Rule, Selection};
use super::plan::{Cell, Plan};
use super::state::{self, figures_of};
use crate::run::write_file;

/// A combination of values, by key.
pub(super) type Setting = Vec<(String, Value)>;

/// What came of one combination.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Trial {
    /// The values, as TOML.
    pub setting: Vec<(String, String)>,
    /// On validation pictures; of the audit where the rule has one, else of the kept epoch.
    pub clean_accuracy: Option<f64>,
    pub robust_accuracy: Option<f64>,
    /// Sum of the mean losses of clean and attacked validation pictures, which breaks ties.
    pub loss: Option<f64>,
    /// The figure of the rule, where it has one.
    pub figure: Option<f64>,
    /// Why there is no result, when training diverged.
    pub failed: Option<String>,
    pub chosen: bool,
}

/// The outcome of a search.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    pub setting: Setting,
    pub trials: Vec<Trial>,
}

/// A combination as part of a path: `symmetry_weight=0.3,learning_rate=0.001`.
pub(super) fn slug(setting: &[(String, Value)]) -> String {
    let part = |(key, value): &(String, Value)| {
        let last = key.rsplit('.').next().unwrap_or(key);
        let text: String = value.to_string().chars().filter(|c| !"\"' {}[]".contains(*c)).collect();
        format!("{last}={}", text.replace('/', "_"))
    };
    setting.iter().map(part).collect::<Vec<_>>().join(",")
}

/// The choice for a cell, written beside its trials as `choice.json`; `None` while a trial is not done.
///
/// # Errors
/// When a result cannot be read, or no trial has one.
pub(super) fn chosen(plan: &Plan, cell: &Cell) -> anyhow::Result<Option<Choice>> {
    let settings = plan.method(cell).combinations()?;
    let selection = &plan.file.selection;
    let mut trials = Vec::new();
    for (trial, setting) in plan.trials(cell).iter().zip(&settings) {
        match result(plan, trial, setting)? {
            Some(result) => trials.push(result),
            None => return Ok(None),
        }
    }
    let at = best(&trials, selection).with_context(|| {
        format!(
            "no trial of method `{}` has a result ({}); change its lists in [method.search]",
            plan.method(cell).name,
            trials.iter().find_map(|trial| trial.failed.clone()).unwrap_or_default()
        )
    })?;
    trials[at].chosen = true;
    Ok(Some(Choice { setting: settings[at].clone(), trials }))
}

/// Writes what was tried and chosen.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn write(plan: &Plan, cell: &Cell, choice: &Choice) -> anyhow::Result<()> {
    let selection = &plan.file.selection;
    let json = serde_json::json!({
        "rule": selection.words(),
        "selection": selection,
        "trials": choice.trials,
    });
    if let Some(first) = plan.trials(cell).first()
        && let Some(folder) = plan.place(first).parent()
    {
        let text = serde_json::to_string_pretty(&json)? + "\n";
        write_file(&folder.join("choice.json"), text.as_bytes())?;
    }
    Ok(())
}

fn result(plan: &Plan, trial: &Cell, setting: &Setting) -> anyhow::Result<Option<Trial>> {
    let place = plan.place(trial);
    let mut found = Trial {
        setting: setting.iter().map(|(key, value)| (key.clone(), value.to_string())).collect(),
        clean_accuracy: None,
        robust_accuracy: None,
        loss: None,
        figure: None,
        failed: state::failure(&place),
        chosen: false,
    };
    if found.failed.is_some() {
        return Ok(Some(found));
    }
    let Some(end) = state::train_end(&place)? else { return Ok(None) };
    found.clean_accuracy = Some(end.validation.clean_accuracy);
    found.robust_accuracy = Some(end.validation.robust_accuracy);
    found.loss = Some(end.validation.clean_loss + end.validation.robust_loss);
    for job in plan.audits(trial)? {
        if !state::audited(&job.place) {
            return Ok(None);
        }
        let figures = figures_of("", &job.place)?;
        let value = |name: &str| figures.get(name).map(|figure| figure.value);
        found.clean_accuracy = value("clean.micro_accuracy");
        found.robust_accuracy = value("micro_accuracy");
        found.figure = value(&plan.file.selection.figure);
        anyhow::ensure!(
            found.figure.is_some() || figures.get("micro_accuracy").is_some_and(|figure| figure.value >= 1.0),
            "selection.figure = \"{}\" is not among the figures of {}; expected a name such as {}",
            plan.file.selection.figure,
            job.place.display(),
            figures.0.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")
        );
    }
    Ok(Some(found))
}

/// The best trial by the rule; of equals the first. A figure that is not there, because an attack had no success at
/// all, counts as 0.
fn best(trials: &[Trial], selection: &Selection) -> Option<usize> {
    let done = || (0..trials.len()).filter(|&at| trials[at].failed.is_none());
    let robust = |at: usize| trials[at].robust_accuracy.unwrap_or(0.0);
    let loss = |at: usize| trials[at].loss.unwrap_or(f64::INFINITY);
    let figure = |at: usize| trials[at].figure.unwrap_or(0.0);
    let least = |among: Vec<usize>, keys: &dyn Fn(usize) -> [f64; 3]| {
        among.into_iter().min_by(|&a, &b| {
            let pairs = keys(a).into_iter().zip(keys(b));
            pairs
                .map(|(a, b)| a.total_cmp(&b))
                .find(|order| order.is_ne())
                .unwrap_or(std::cmp::Ordering::Equal)
        })
    };
    match selection.rule {
        Rule::CleanPlusRobust => {
            let sum = |at: usize| robust(at) + trials[at].clean_accuracy.unwrap_or(0.0);
            least(done().collect(), &|at| [-sum(at), loss(at), 0.0])
        }
        Rule::Robust => least(done().collect(), &|at| [-robust(at), figure(at), loss(at)]),
        Rule::LeastWithin => {
            let top = done().map(robust).fold(f64::NEG_INFINITY, f64::max);
            // Shares of pictures: rounding must not decide.
            let near = done().filter(|&at| robust(at) >= top - selection.within - 1e-9).collect();
            least(near, &|at| [figure(at), -robust(at), loss(at)])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(clean: f64, robust: f64, loss: f64, figure: f64) -> Trial {
        Trial {
            setting: Vec::new(),
            clean_accuracy: Some(clean),
            robust_accuracy: Some(robust),
            loss: Some(loss),
            figure: Some(figure),
            failed: None,
            chosen: false,
        }
    }

    fn by(rule: Rule, trials: &[Trial]) -> Option<usize> {
        best(trials, &Selection { rule, within: 0.05, ..Selection::default() })
    }

    #[test]
    fn each_rule_by_hand() {
        let trials = [
            trial(0.9, 0.50, 1.0, 0.3),
            trial(0.8, 0.60, 0.9, 0.4),
            trial(0.7, 0.57, 2.0, 0.2),
            trial(0.9, 0.1, 0.1, 0.0),
        ];
        // Sums 1.40, 1.40, 1.27, 1.0: a tie that the smaller loss breaks.
        assert_eq!(by(Rule::CleanPlusRobust, &trials), Some(1));
        assert_eq!(by(Rule::Robust, &trials), Some(1));
        // .60 and .57 are within .05 of the best; .2 is the less asymmetric.
        assert_eq!(by(Rule::LeastWithin, &trials), Some(2));
    }

    #[test]
    fn equals_go_to_the_first_and_failures_are_passed_over() {
        let same = [trial(0.9, 0.5, 1.0, 0.3), trial(0.9, 0.5, 1.0, 0.3)];
        assert_eq!(by(Rule::CleanPlusRobust, &same), Some(0));
        let mut failed = same.clone();
        failed[0].failed = Some("diverged".to_owned());
        for rule in [Rule::CleanPlusRobust, Rule::Robust, Rule::LeastWithin] {
            assert_eq!(by(rule, &failed), Some(1));
        }
        failed[1].failed = Some("diverged".to_owned());
        assert_eq!(by(Rule::Robust, &failed), None);
    }

    #[test]
    fn a_setting_is_readable_in_a_path() {
        let setting = vec![
            ("objective.symmetry_weight".to_owned(), Value::Float(0.3)),
            ("objective.base.attack.epsilon".to_owned(), Value::String("8/255".to_owned())),
        ];
        assert_eq!(slug(&setting), "symmetry_weight=0.3,epsilon=8_255");
    }
}
