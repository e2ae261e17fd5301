//! Methods side by side at a glance: one column a method, one row a figure, over one seed or several.

use super::table::{Align, Table};
use crate::metrics::{FairnessReport, HEADLINE, Headline, Spread};

/// For the terminal. The legend says what brackets and "chance" mean.
pub fn headline(methods: &[(&str, Vec<FairnessReport>)]) -> String {
    let columns = std::iter::once("figure").chain(methods.iter().map(|(name, _)| *name));
    let mut table = Table::new(columns.map(|title| (title, Align::Left)));
    for (name, cells) in rows(methods) {
        table.row(std::iter::once(name.to_owned()).chain(cells));
    }
    format!("{table}\n{}\n", legend(methods))
}

/// As a markdown table with its legend.
pub fn headline_markdown(methods: &[(&str, Vec<FairnessReport>)]) -> String {
    let titles: Vec<&str> = methods.iter().map(|(name, _)| *name).collect();
    let mut lines = vec![format!("| figure | {} |", titles.join(" | "))];
    lines.push(format!("|---|{}", "---|".repeat(methods.len())));
    lines
        .extend(rows(methods).into_iter().map(|(name, cells)| format!("| {name} | {} |", cells.join(" | "))));
    format!("{}\n\n{}\n", lines.join("\n"), legend(methods))
}

/// Names and cells; figures that no run has are left out.
fn rows(methods: &[(&str, Vec<FairnessReport>)]) -> Vec<(&'static str, Vec<String>)> {
    let mut rows = Vec::new();
    for figure in &HEADLINE {
        let found: Vec<Vec<Headline>> =
            methods.iter().map(|(_, runs)| runs.iter().filter_map(figure.of).collect()).collect();
        if found.iter().any(|runs| !runs.is_empty()) {
            rows.push((figure.name, found.iter().map(|runs| cell(runs)).collect()));
        }
    }
    rows
}

fn cell(runs: &[Headline]) -> String {
    let values: Vec<f64> = runs.iter().map(|run| run.value).collect();
    let chances: Vec<f64> = runs.iter().filter_map(|run| run.chance).collect();
    let chance =
        Spread::of(&chances).map_or_else(String::new, |chance| format!(" (chance {:.3})", chance.mean));
    match (Spread::of(&values), runs) {
        (None, _) => "-".to_owned(),
        (Some(Spread { mean, sd: Some(sd), .. }), _) => format!("{mean:.3} ± {sd:.3}{chance}"),
        (Some(Spread { mean, .. }), [Headline { interval: Some((low, high)), .. }]) => {
            format!("{mean:.3} [{low:.3}, {high:.3}]{chance}")
        }
        (Some(Spread { mean, .. }), _) => format!("{mean:.3}{chance}"),
    }
}

fn legend(methods: &[(&str, Vec<FairnessReport>)]) -> String {
    let runs = methods.iter().map(|(_, runs)| runs.len()).max().unwrap_or(0);
    let images = methods.iter().flat_map(|(_, runs)| runs).map(|run| run.clean.images).max().unwrap_or(0);
    let spread = if runs > 1 {
        format!("Mean ± standard deviation over {runs} seeds, {images} pictures each.")
    } else {
        format!(
            "{images} pictures; [low, high] is the 95 % interval of the true value. Chance makes gaps and asymmetries \
             larger, so they can lie above it."
        )
    };
    format!(
        "{spread} \"chance\" is what a perfectly symmetric classifier would show with as few pictures: only what \
         exceeds it is asymmetry. Guessing is perfectly symmetric: read asymmetry next to robust accuracy."
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::example;

    #[test]
    fn one_seed_shows_intervals_and_several_show_spread() {
        let report = example::plain();
        let one = headline(&[("a", vec![report.clone()])]);
        assert!(one.contains("clean accuracy") && one.contains('[') && !one.contains('±'), "{one}");
        assert!(one.contains("] (chance "), "an asymmetry shows both: {one}");
        let two = headline_markdown(&[("a", vec![report.clone(), report])]);
        assert!(two.contains("| clean accuracy |") && two.contains("± 0.000"), "{two}");
    }

    #[test]
    fn figures_that_no_run_has_are_left_out() {
        let mut report = example::plain();
        report.targeted = None;
        assert!(!headline(&[("a", vec![report])]).contains("targeted"));
    }
}
