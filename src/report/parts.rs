//! What each part of a composed attack contributed, as text.

use super::{Align, Table};
use crate::metrics::PartFigures;

/// A table with a heading for each goal (`untargeted`, `targeted`) and a line for each part.
pub fn parts(goals: &[(&str, Vec<PartFigures>)]) -> String {
    let mut table = Table::new([
        ("after the part", Align::Left),
        ("attacked", Align::Right),
        ("turned", Align::Right),
        ("left standing", Align::Right),
    ]);
    for (goal, parts) in goals {
        table.heading(goal);
        for part in parts {
            let (name, attacked) = match part.part.as_str() {
                "none" => ("(unchanged pictures)", String::new()),
                name => (name, part.standing.to_string()),
            };
            let left = part.left.map_or_else(|| "-".to_owned(), |left| format!("{:.4}", left.value));
            table.row([name.to_owned(), attacked, part.turned.to_string(), left]);
        }
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::PartCounts;

    #[test]
    fn a_line_for_each_part() {
        let mut counts = PartCounts::default();
        for (success, part) in [(true, None), (true, Some("apgd-ce")), (false, None), (false, None)] {
            counts.add(success, part);
        }
        let text = parts(&[("untargeted", counts.figures(&["apgd-ce", "square"]))]);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        for expected in [
            vec!["untargeted"],
            vec!["(unchanged", "pictures)", "1", "0.7500"],
            vec!["apgd-ce", "3", "1", "0.5000"],
            vec!["square", "2", "0", "0.5000"],
        ] {
            assert!(lines.contains(&expected), "{text}");
        }
    }
}
