//! Methods side by side over several seeds, as a markdown table.

use std::fmt::Write as _;

use crate::metrics::{FairnessReport, HEADLINE, Spread};

/// One column a method, one row a figure, each cell `mean ± standard deviation`. Figures that no run has
/// are left out.
pub fn spread(methods: &[(&str, Vec<FairnessReport>)]) -> String {
    let mut text = String::from("| figure |");
    for (name, runs) in methods {
        // Writing to a string cannot fail.
        let _ = write!(text, " {name} ({} seeds) |", runs.len());
    }
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(methods.len()));
    for figure in &HEADLINE {
        let cells: Vec<Option<Spread>> = methods
            .iter()
            .map(|(_, runs)| Spread::of(&runs.iter().filter_map(figure.of).collect::<Vec<_>>()))
            .collect();
        if cells.iter().all(Option::is_none) {
            continue;
        }
        let _ = write!(text, "\n| {} |", figure.name.trim());
        for cell in cells {
            let _ = match cell {
                Some(Spread { mean, sd: Some(sd), .. }) => write!(text, " {mean:.3} ± {sd:.3} |"),
                Some(Spread { mean, sd: None, .. }) => write!(text, " {mean:.3} |"),
                None => write!(text, " - |"),
            };
        }
    }
    text.push('\n');
    text
}
