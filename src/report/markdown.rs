//! Reports as markdown.

use super::comparison::{LEGEND, sections};
use super::table::one_line;
use crate::metrics::FairnessReport;

/// The figures of several reports as one markdown table: figures are rows, models are columns.
pub fn comparison(reports: &[(&str, &FairnessReport)]) -> String {
    let names = reports.iter().map(|(name, _)| *name);
    let mut lines = vec![line("figure", names), format!("|---|{}", "---|".repeat(reports.len()))];
    for section in sections(reports) {
        // Emphasis is the only heading a markdown table knows.
        lines.push(format!("| **{}** |{}", escape(&section.heading), " |".repeat(reports.len())));
        lines.extend(section.rows.iter().map(|row| line(&row.label, row.cells.iter().map(String::as_str))));
    }
    lines.extend(LEGEND.map(|sentence| format!("\n{sentence}")));
    lines.join("\n") + "\n"
}

pub(super) fn line<'a>(first: &str, cells: impl Iterator<Item = &'a str>) -> String {
    let cells: Vec<String> = cells.map(escape).collect();
    format!("| {} | {} |", escape(first), cells.join(" | "))
}

/// The text as it is in a cell: a class may have a bar or an underscore in its name.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for c in one_line(text).chars() {
        if "|\\`*_<>".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::example::{plain, sy_far};

    #[test]
    fn models_are_columns() {
        insta::assert_snapshot!(comparison(&[("plain", &plain()), ("sy|far", &sy_far())]), @r#"
        | figure | plain | sy\|far |
        |---|---|---|
        | **Setting** | | |
        | attack | glasses | glasses |
        | classes | 3 | 3 |
        | clean images | 30 | 30 |
        | attacked images | 30 | 30 |
        | targeted attacks | 50 | 50 |
        | **Clean** | | |
        | accuracy | 0.967 [0.833, 0.994] n 30 | 0.967 [0.833, 0.994] n 30 |
        | mean class accuracy | 0.967 [0.801, 0.994] n 30 | 0.967 [0.801, 0.994] n 30 |
        | worst class | 0.900 [0.596, 0.982] n 10, ben\_o | 0.900 [0.596, 0.982] n 10, ben\_o |
        | **Untargeted attack** | | |
        | robust accuracy | 0.200 [0.095, 0.373] n 30 | 0.500 [0.332, 0.668] n 30 |
        | mean class robust accuracy | 0.200 [0.108, 0.363] n 30 | 0.500 [0.348, 0.652] n 30 |
        | worst source class | 0.000 [0.000, 0.278] n 10, Łucja | 0.500 [0.237, 0.763] n 10, anna |
        | source gap (best - worst) | 0.500 [0.000, 0.750] n 30 | 0.000 n 30 |
        | largest share of errors | 0.792 [0.595, 0.908] n 24, ben\_o | 0.400 [0.198, 0.643] n 15, ben\_o |
        | target share gap | 0.708 [0.340, 0.896] n 24 | 0.133 n 15 |
        | largest exposure | 0.950 [0.771, 0.991] n 20, ben\_o | 0.300 [0.145, 0.519] n 20, ben\_o |
        | **Symmetry of confusions under attack** | | |
        | robust accuracy | 0.200 [0.095, 0.373] n 30 | 0.500 [0.332, 0.668] n 30 |
        | pairs compared | 3 | 3 |
        | asymmetry A1n (0 to 1) | 0.583 [0.332, 0.777] (chance 0.129, p 0.005) n 30 | 0.067 n 30 |
        | asymmetry A1 (sum) | 1.400 [0.807, 1.741] (chance 0.310, p 0.005) n 30 | 0.100 n 30 |
        | largest gap | 0.800 [0.343, 0.991] (chance 0.235, p 0.005) n 30, Łucja \> ben\_o | 0.100 n 30, Łucja \> ben\_o |
        | Sy-FAR penalty, eps 0.1 | 1.292 [0.842, 1.587] n 30 | 0.083 n 30 |
        | Sy-FAR penalty, eps 1/K | 1.096 [0.691, 1.328] n 30 | 0.060 n 30 |
        | **Targeted attack** | | |
        | pairs tried | 5 of 6 | 5 of 6 |
        | success | 0.420 n 50 | 0.140 n 50 |
        | mean success of a pair | 0.420 n 50 | 0.140 n 50 |
        | worst source class | 0.800 n 10, Łucja | 0.150 n 20, anna |
        | worst target class | 0.850 n 20, ben\_o | 0.200 n 10, anna |
        | source gap | 0.700 n 50 | 0.050 n 50 |
        | target gap | 0.750 n 50 | 0.100 n 50 |
        | **Symmetry of targeted success** | | |
        | robust accuracy | 0.200 [0.095, 0.373] n 30 | 0.500 [0.332, 0.668] n 30 |
        | success | 0.420 n 50 | 0.140 n 50 |
        | pairs compared | 2 | 2 |
        | asymmetry A1n (0 to 1) | 0.789 (chance 0.194, p 0.005) n 40 | 0.000 n 40 |
        | asymmetry A1 (sum) | 1.500 (chance 0.368, p 0.005) n 40 | 0.000 n 40 |
        | largest gap | 0.800 (chance 0.269, p 0.005) n 40, anna \> ben\_o | 0.000 n 40 |
        | Sy-FAR penalty, eps 0.1 | 1.357 n 40 | 0.000 n 40 |
        | Sy-FAR penalty, eps 1/K | 1.111 n 40 | 0.000 n 40 |
        | **Groups by gender** | | |
        | clean disparity, class mean | 0.100 [0.000, 0.150] n 30, worst male | 0.100 n 30, worst male |
        | clean disparity, image mean | 0.100 [0.000, 0.150] n 30, worst male | 0.100 n 30, worst male |
        | worst group, clean accuracy | 0.900 [0.596, 0.982] n 10, male | 0.900 [0.596, 0.982] n 10, male |
        | robust disparity, class mean | 0.450 [0.095, 0.675] n 30, worst female | 0.000 n 30 |
        | robust disparity, image mean | 0.450 [0.022, 0.675] n 30, worst female | 0.000 n 30 |
        | worst group, robust accuracy | 0.050 [0.009, 0.236] n 20, female | 0.500 [0.299, 0.701] n 20, female |
        | gap of error flow (mean of pairs) | 0.700 [0.456, 0.838] n 30, female \> male | 0.050 [-0.139, 0.302] n 30, female \> male |
        | gap of targeted flow (mean of pairs) | 0.750 n 50, female \> male | 0.000 n 50 |

        [low, high] is the 95 % interval of the true value, n the number of images or attacks behind it. Chance makes gaps and asymmetries larger, so they can lie above it.

        "chance" is the mean of a figure when the truth is symmetric and errors are as many; p is how often it then gets as large.

        Guessing is perfectly symmetric: asymmetry says something only next to robust accuracy.

        Worst and largest are chosen on the images they are reported on, so they look worse than they are.
        "#);
    }
}
