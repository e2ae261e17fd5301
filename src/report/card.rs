//! The card of a model: what it is and what an audit found, as a README.md with the metadata that Hugging Face reads
//! (`model-index`, "Model cards", huggingface.co/docs/hub/model-cards).

use serde_json::Value;

use super::page::{CheckLine, PlacedFigure, RunSource, limits, notes};

/// The line by which a card is known as one that may be written again.
pub const CARD_MARK: &str = "<!-- Written by `syfar report --model-card`; changes by hand are lost. -->";

/// What the card says of the model itself.
#[derive(Clone, Debug, Default)]
pub struct CardModel {
    /// Name of the model, such as that of its directory.
    pub name: String,
    /// Its architecture.
    pub architecture: String,
    /// Name of the data that it was audited on.
    pub data: String,
}

/// Figures that the metadata have: type of metric, name and place in `metrics.json`.
const METRICS: [(&str, &str, &str); 6] = [
    ("accuracy", "Clean accuracy", "/clean/robustness/micro_accuracy"),
    ("accuracy", "Robust accuracy", "/untargeted/robustness/micro_accuracy"),
    ("accuracy", "Robust accuracy, worst class", "/untargeted/source/worst/rate"),
    ("asymmetry", "Asymmetry of errors, scale-free (A1n)", "/untargeted/symmetry/a1_normalised"),
    ("success", "Targeted success, mean of pairs", "/targeted/macro_success"),
    ("asymmetry", "Targeted asymmetry, scale-free (A1n)", "/targeted/symmetry/a1_normalised"),
];

/// The card of a model that a run audited.
pub fn card(model: &CardModel, run: &RunSource) -> String {
    let metrics = run.metrics.as_ref().unwrap_or(&Value::Null);
    let attack = metrics.get("attack").and_then(Value::as_str).unwrap_or("no attack");
    let name = |name: &str| {
        if name.starts_with("Clean") { name.to_owned() } else { format!("{name}, under {attack}") }
    };
    let found: Vec<(&str, String, PlacedFigure)> = METRICS
        .iter()
        .filter_map(|(kind, title, path)| Some((*kind, name(title), PlacedFigure::at(metrics, path)?)))
        .collect();
    let entries: Vec<String> = found
        .iter()
        .map(|(kind, name, figure)| {
            format!(
                "    - type: {kind}\n      name: {}\n      value: {}\n",
                quoted(name),
                figure.number.value
            )
        })
        .collect();
    let rows: Vec<String> = found.iter().map(|(_, name, figure)| row(name, figure)).collect();
    let limits: Vec<String> = limits(run).iter().map(|limit| format!("- {}\n", plain(limit))).collect();
    let origin: Vec<String> =
        run.origin.iter().map(|(name, value)| format!("- {}: {}\n", plain(name), code(value))).collect();
    let classes = metrics.get("classes").and_then(Value::as_array).map_or(0, Vec::len);
    format!(
        "---\nlibrary_name: syfar\npipeline_tag: image-classification\ntags:\n- image-classification\n\
         - adversarial-robustness\nmodel-index:\n- name: {}\n  results:\n  - task:\n      type: image-classification\n    \
         dataset:\n      name: {}\n      type: imagefolder\n    metrics:\n{}---\n{CARD_MARK}\n\n# {}\n\n\
         An image classifier ({}) of {classes} classes. It takes pixels in [0, 1]; what it does to them first is in \
         `config.json`, the weights are in `model.safetensors`.\n\n## What an audit found\n\n{}\
         | figure | value | 95 % interval | n | by chance |\n|---|---|---|---|---|\n{}\n\
         \"By chance\" is what a perfectly symmetric classifier would show with as few pictures.\n\n## Limits\n\n{}\n\
         ## How the audit was made\n\n{}",
        quoted(&model.name),
        quoted(&model.data),
        entries.concat(),
        plain(&model.name),
        code(&model.architecture),
        warnings(run),
        rows.concat(),
        limits.concat(),
        origin.concat(),
    )
}

/// What a reader has to know before the figures: checks that failed, and what is old or could not be read.
fn warnings(run: &RunSource) -> String {
    let lines = run.checks.iter().flat_map(|checks| &checks.lines);
    let failed: Vec<&CheckLine> = lines.filter(|line| line.status == "failed").collect();
    let mut text = String::new();
    if !failed.is_empty() {
        let checks = if failed.len() == 1 { "check" } else { "checks" };
        text = format!("**Do not believe these figures: {} {checks} failed.**\n\n", failed.len());
        for CheckLine { name, seen, meaning, .. } in failed {
            text = format!("{text}- {}: {}. {}\n", code(name), plain(seen), plain(meaning));
        }
        text.push('\n');
    }
    notes(std::slice::from_ref(run))
        .iter()
        .fold(text, |text, note| format!("{text}Note: {}\n\n", plain(note)))
}

fn row(name: &str, figure: &PlacedFigure) -> String {
    let number = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.3}"));
    let ends = figure
        .number
        .low
        .zip(figure.number.high)
        .map_or_else(String::new, |(low, high)| format!("{low:.3} to {high:.3}"));
    let n = figure.number.n.map_or_else(String::new, |n| n.to_string());
    format!(
        "| {} | {:.3} | {ends} | {n} | {} |\n",
        plain(name),
        figure.number.value,
        number(figure.number.chance)
    )
}

/// Text of YAML in double quotes, which are those of JSON.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// Text in one line without marks that markdown or HTML read.
fn plain(text: &str) -> String {
    let safe = |c: char| if c.is_control() { ' ' } else { c };
    text.chars()
        .map(safe)
        .flat_map(|c| ("\\`*_[]<>|#".contains(c)).then_some('\\').into_iter().chain([c]))
        .collect()
}

/// Text as code in one line.
fn code(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() || c == '`' { ' ' } else { c }).collect();
    format!("`{text}`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::example::{clean_only, plain as report};
    use crate::report::page::Checks;

    fn run(report: &crate::metrics::FairnessReport) -> RunSource {
        RunSource { metrics: serde_json::to_value(report).ok(), ..RunSource::default() }
    }

    fn model() -> CardModel {
        CardModel { name: "faces: \"a\"\n# b".into(), architecture: "face_cnn".into(), data: "orl-0".into() }
    }

    #[test]
    fn the_metadata_have_the_figures_of_the_audit() {
        let report = report();
        let text = card(&model(), &run(&report));
        let (metadata, rest) =
            text.strip_prefix("---\n").and_then(|text| text.split_once("---\n")).expect("metadata");
        assert!(rest.starts_with(CARD_MARK));
        let robust =
            report.untargeted.as_ref().and_then(|found| found.robustness.micro_accuracy).expect("attacked");
        let entry = format!(
            "    - type: accuracy\n      name: \"Robust accuracy, under glasses\"\n      value: {}\n",
            robust.value
        );
        assert!(metadata.contains(&entry), "{metadata}");
        assert!(metadata.contains("- name: \"faces: \\\"a\\\"\\n# b\"\n"), "{metadata}");
        assert!(rest.contains("# faces: \"a\" \\# b\n"), "{rest}");
        assert!(
            rest.contains(&format!(
                "| {:.3} | {:.3} to {:.3} | 30 |  |",
                robust.value, robust.low, robust.high
            )),
            "{rest}"
        );
    }

    #[test]
    fn failed_checks_and_notes_stand_before_the_figures_and_no_name_is_markup() {
        let line = |name: &str, status: &str| CheckLine {
            name: name.into(),
            status: status.into(),
            seen: "3 of 8 <b>".into(),
            threshold: "any".into(),
            meaning: "The attack is weak.".into(),
            advice: None,
        };
        let lines = vec![line("noise", "failed"), line("logits", "passed")];
        let mut source = run(&report());
        source.checks = Some(Checks { images: 8, lines, left_out: Vec::new() });
        source.notes = vec!["pairs.csv: no *file*".into()];
        source.origin = vec![("SHA-256 of <i>a`.png".into(), "0`\n1".into())];
        let about = CardModel { architecture: "x`<script>\n# y".into(), ..model() };
        let text = card(&about, &source);
        let at = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part} is not in {text}"));
        let order = [
            "1 check failed.**",
            "- `noise`: 3 of 8 \\<b\\>. The attack is weak.",
            "Note: pairs.csv: no \\*file\\*",
        ];
        assert!(order.map(at).is_sorted() && at(order[2]) < at("| figure |"));
        assert!(!text.contains("`logits`"));
        at("An image classifier (`x <script> # y`) of 3 classes");
        at("- SHA-256 of \\<i\\>a\\`.png: `0  1`");
    }

    #[test]
    fn what_was_not_measured_is_not_in_it() {
        let text = card(&model(), &run(&clean_only()));
        assert!(text.contains("Clean accuracy") && !text.contains("Robust accuracy"));
        assert!(card(&model(), &RunSource::default()).contains("of 0 classes"));
    }
}
