//! The tables of an experiment as text.

use std::fmt::Write as _;

use super::{Better, Cell, ExperimentTable, Family};
use crate::report::markdown;
use crate::report::table::{Align, Table};

/// For the terminal: values, then differences from the baseline, then what the marks mean.
pub fn experiment_terminal(found: &ExperimentTable) -> String {
    let mut text = format!("{}\n\n", title(found));
    let columns = std::iter::once("figure").chain(found.methods.iter().map(String::as_str));
    let mut table = Table::new(columns.map(|title| (title, Align::Left)));
    for line in &found.figures {
        let cells = line
            .cells
            .iter()
            .map(|cell| format!("{}{}{}", value(cell), stars(cell), if cell.best { " best" } else { "" }));
        table.row(std::iter::once(named(&line.name, line.better)).chain(cells));
    }
    let _ = writeln!(text, "{table}");
    if let Some((titles, rows)) = differences(found) {
        let mut table = Table::new(titles.into_iter().map(|title| (title, Align::Left)));
        for row in rows {
            table.row(row);
        }
        let _ = writeln!(text, "Difference from {}:\n\n{table}", found.baseline);
    }
    text + &legend(found)
}

/// As markdown.
pub fn experiment_markdown(found: &ExperimentTable) -> String {
    let mut lines = vec![format!("## {}", title(found)), String::new()];
    let methods = found.methods.iter().map(String::as_str);
    lines.push(markdown::line("figure", methods));
    lines.push(format!("|---|{}", "---|".repeat(found.methods.len())));
    for line in &found.figures {
        // Names and numbers hold nothing that markdown would read, so bold can be written here.
        let cell = |cell: &Cell| {
            let text = format!("{}{}", value(cell), stars(cell).replace('*', "\\*"));
            if cell.best { format!("**{text}**") } else { text }
        };
        let cells: Vec<String> = line.cells.iter().map(cell).collect();
        let name = named(&line.name, line.better).replace('_', "\\_");
        lines.push(format!("| {name} | {} |", cells.join(" | ")));
    }
    if let Some((titles, rows)) = differences(found) {
        lines.push(format!("\nDifference from {}:\n", found.baseline));
        lines.push(markdown::line(&titles[0], titles[1..].iter().map(String::as_str)));
        lines.push(format!("|---|{}", "---|".repeat(titles.len() - 1)));
        lines.extend(rows.iter().map(|row| markdown::line(&row[0], row[1..].iter().map(String::as_str))));
    }
    lines.push(format!("\n{}", legend(found).replace('*', "\\*")));
    lines.join("\n")
}

/// As CSV: one line for each figure, method and table, full precision, empty where there is nothing.
///
/// # Errors
/// When the writer fails.
pub fn experiment_csv(to: impl std::io::Write, tables: &[ExperimentTable]) -> csv::Result<()> {
    let mut writer = csv::Writer::from_writer(to);
    writer.write_record([
        "data",
        "model",
        "method",
        "figure",
        "seeds",
        "mean",
        "sd",
        "sampling_sd",
        "difference",
        "difference_sd",
        "low",
        "high",
        "p_seeds",
        "p_holm",
        "p_both",
        "p_holm_both",
        "best",
    ])?;
    let number = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
    for table in tables {
        for line in &table.figures {
            for (method, cell) in table.methods.iter().zip(&line.cells) {
                let of = |get: fn(&crate::metrics::SeedDifference) -> Option<f64>| {
                    number(cell.difference.as_ref().and_then(get))
                };
                writer.write_record([
                    table.data.clone(),
                    table.model.clone(),
                    method.clone(),
                    line.name.clone(),
                    cell.values.len().to_string(),
                    number(cell.spread.map(|spread| spread.mean)),
                    number(cell.spread.and_then(|spread| spread.sd)),
                    number(cell.sampling_sd),
                    of(|found| Some(found.mean)),
                    of(|found| found.sd),
                    of(|found| found.low),
                    of(|found| found.high),
                    of(|found| found.p_seeds),
                    number(cell.p_holm),
                    of(|found| found.p_both),
                    number(cell.p_holm_both),
                    cell.best.to_string(),
                ])?;
            }
        }
    }
    Ok(writer.flush()?)
}

fn title(found: &ExperimentTable) -> String {
    format!("{}, {}", found.data, found.model)
}

fn named(name: &str, better: Better) -> String {
    let arrow = match better {
        Better::Higher => " (high)",
        Better::Lower => " (low)",
        Better::Neither => "",
    };
    format!("{name}{arrow}")
}

fn value(cell: &Cell) -> String {
    let digits = |value: f64| if value.abs() >= 100.0 { 1 } else { 3 };
    match cell.spread {
        None => "-".to_owned(),
        Some(found) => {
            let places = digits(found.mean);
            let mean = format!("{:.places$}", found.mean);
            found.sd.map_or_else(|| mean.clone(), |sd| format!("{mean} ± {sd:.places$}"))
        }
    }
}

fn stars(cell: &Cell) -> &'static str {
    match (cell.significant_in_both(), cell.significant()) {
        (true, _) => " **",
        (false, true) => " *",
        (false, false) => "",
    }
}

/// Titles and rows of the table of differences; none when nothing is compared over at least two seeds.
fn differences(found: &ExperimentTable) -> Option<(Vec<String>, Vec<Vec<String>>)> {
    let others: Vec<usize> =
        (0..found.methods.len()).filter(|&at| found.methods[at] != found.baseline).collect();
    let compared = |cell: &Cell| cell.difference.is_some_and(|found| found.sd.is_some());
    let lines = found.figures.iter().filter(|line| line.cells.iter().any(compared));
    let rows: Vec<Vec<String>> = lines
        .map(|line| {
            let cells = others.iter().map(|&at| difference(&line.cells[at]));
            std::iter::once(named(&line.name, line.better)).chain(cells).collect()
        })
        .collect();
    let titles =
        std::iter::once("figure".to_owned()).chain(others.iter().map(|&at| found.methods[at].clone()));
    (!rows.is_empty()).then(|| (titles.collect(), rows))
}

fn difference(cell: &Cell) -> String {
    let Some(found) = cell.difference else { return "-".to_owned() };
    let interval =
        found.low.zip(found.high).map_or_else(String::new, |(low, high)| format!(" [{low:+.3}, {high:+.3}]"));
    let p = |name: &str, p: Option<f64>| {
        p.map_or_else(String::new, |p| {
            if p < 0.001 { format!(", {name} < 0.001") } else { format!(", {name} {p:.3}") }
        })
    };
    format!("{:+.3}{interval}{}{}", found.mean, p("p", cell.p_holm), p("p2", cell.p_holm_both))
}

fn legend(found: &ExperimentTable) -> String {
    let counts: Vec<usize> = found.seeds.iter().map(Vec::len).collect();
    let (least, most) = (counts.iter().min().copied().unwrap_or(0), found.most_seeds());
    if most == 0 {
        return "No cell is done: there is nothing to compare.\n".to_owned();
    }
    if most == 1 {
        return "One seed: there is no standard deviation and no test of significance, and nothing is marked as best. Of \
                training, no difference between methods can be told from chance.\n"
            .to_owned();
    }
    let n = if least == most { format!("{most} seeds") } else { format!("{least} to {most} seeds") };
    let family = match found.family {
        Family::Methods => "the methods under each figure",
        Family::Table => "all figures and methods of this table",
    };
    let pictures = if found.same_pictures {
        "All seeds are tested on the same pictures, whose luck does not average out: p2 adds their sampling variance, \
         undivided"
    } else {
        "Each seed has its own split, so the spread over seeds holds the luck of the test pictures, and p2 equals p \
         before the adjustment"
    };
    format!(
        "Mean ± standard deviation over {n} ({}). (high), (low): which values one wants. Differences from {} are paired by \
         seed, with their 95 % t interval; p is from the paired t test, adjusted with Holm over {family}. {pictures}. \
         * p at most 0.05, ** p and p2 at most 0.05. Best: the best mean, and significantly better than {} (for {} \
         itself: all others significantly worse). Durations have no test.\n",
        found
            .methods
            .iter()
            .zip(&counts)
            .map(|(name, count)| format!("{name} {count}"))
            .collect::<Vec<_>>()
            .join(", "),
        found.baseline,
        found.baseline,
        found.baseline,
    )
}
