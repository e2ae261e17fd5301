//! Tables as nobody made them up by hand: whatever is read has figures within their ranges, or there is an error.
//!
//! Small ones, in which everything happens that ends a formula: classes without images, attacks that always or never
//! succeed, as many successes of every image, one image, one class, counts beyond all measure.

use std::fmt::Write as _;
use std::path::Path;

use clap::Parser as _;
use proptest::prelude::*;

use super::compare::{CompareArguments, comparison};
use super::input::{Input, TableArguments, known_text};
use super::measure::{measure, official};
use crate::Seed;
use crate::report::FlatFigure;

/// How often an attack succeeds on the images of a class.
#[derive(Clone, Copy, Debug)]
enum Success {
    Never,
    Always,
    /// As a coin says.
    Sometimes,
    /// Towards one target of each image, or on every other image without one: all images fare alike.
    Alike,
}

#[derive(Clone, Debug)]
struct Predictions {
    /// Images of each class and how they fare.
    classes: Vec<(usize, Success)>,
    untargeted: bool,
    /// Towards so many of the other classes.
    targets: usize,
    clean: bool,
    ids: bool,
    seed: u64,
}

fn predictions() -> impl Strategy<Value = Predictions> {
    let success = prop_oneof![
        Just(Success::Never),
        Just(Success::Always),
        Just(Success::Sometimes),
        Just(Success::Alike)
    ];
    let classes = prop::collection::vec((0..7_usize, success), 1..6);
    (classes, any::<bool>(), 0..5_usize, any::<bool>(), any::<bool>(), any::<u64>()).prop_map(
        |(classes, untargeted, targets, clean, ids, seed)| Predictions {
            classes,
            untargeted,
            targets,
            clean,
            ids,
            seed,
        },
    )
}

impl Predictions {
    fn csv(&self) -> String {
        let mut rng = Seed::new(self.seed).rng();
        let count = self.classes.len();
        let mut text = String::from(if self.ids {
            "id,label,prediction,target,attack,team\n"
        } else {
            "label,prediction,target,attack,team\n"
        });
        let mut row = |id: usize, label: usize, prediction: usize, target: Option<usize>, attack: &str| {
            if self.ids {
                let _ = write!(text, "i{id},");
            }
            let target = target.map_or_else(String::new, |target| target.to_string());
            let _ = writeln!(text, "{label},{prediction},{target},{attack},t{}", label % 2);
        };
        let mut id = 0;
        for (label, &(images, success)) in self.classes.iter().enumerate() {
            for image in 0..images {
                id += 1;
                if self.clean {
                    row(id, label, label, None, "clean");
                }
                let mut falls = |of_alike: bool| match success {
                    Success::Never => false,
                    Success::Always => true,
                    Success::Sometimes => rng.random(),
                    Success::Alike => of_alike,
                };
                if self.untargeted {
                    let to = if falls(image % 2 == 0) { (label + 1) % count } else { label };
                    row(id, label, to, None, "pgd");
                }
                for far in 1..=self.targets.min(count - 1) {
                    let target = (label + far) % count;
                    let to = if falls(image % self.targets + 1 == far) { target } else { label };
                    row(id, label, to, Some(target), "pgd");
                }
            }
        }
        text
    }
}

/// Counts of a confusion matrix, each row by its own measure.
fn counts() -> impl Strategy<Value = Vec<Vec<u64>>> {
    (1..6_usize).prop_flat_map(|classes| {
        let row = prop_oneof![
            Just(vec![0; classes]),
            prop::collection::vec(0..3_u64, classes),
            prop::collection::vec(0..200_u64, classes),
            prop::collection::vec(prop_oneof![Just(0), 0..1_u64 << 47], classes),
        ];
        prop::collection::vec(row, classes)
    })
}

fn matrix_csv<T: ToString>(rows: &[Vec<T>]) -> String {
    let row = |row: &Vec<T>| row.iter().map(T::to_string).collect::<Vec<_>>().join(",") + "\n";
    rows.iter().map(row).collect()
}

#[derive(clap::Parser)]
struct Tables {
    #[command(flatten)]
    tables: TableArguments,
}

#[derive(clap::Parser)]
struct Compare {
    #[command(flatten)]
    compare: CompareArguments,
}

/// Figures that are no rates of anything: they may be larger than one.
const UNBOUNDED: [&str; 14] = [
    "cv",
    "theil",
    "a1",
    "penalty_training",
    "penalty_evaluation",
    "log_penalty",
    "frobenius_ratio",
    "spectral_norm",
    "test_rates",
    "test_marginal",
    "test_bowker",
    "test_stuart_maxwell",
    "worst_over_mean",
    "rho",
];

fn sound(name: &str, figure: &FlatFigure) -> Result<(), TestCaseError> {
    let FlatFigure { value, low, high, chance, p_value, .. } = *figure;
    let bare = name.strip_prefix("targeted_").unwrap_or(name);
    // The gap of a flow has a sign.
    let least = if bare.ends_with("flow_gap") { -1.0 } else { -1e-9 };
    let most = if UNBOUNDED.contains(&bare) { f64::MAX } else { 1.0 + 1e-9 };
    for number in [Some(value), low, high, chance].into_iter().flatten() {
        prop_assert!(number.is_finite() && (least..=most).contains(&number), "{}: {:?}", name, figure);
    }
    prop_assert!(p_value.is_none_or(|p| (0.0..=1.0).contains(&p)), "{}: {:?}", name, figure);
    prop_assert!(low <= high && low.is_some() == high.is_some(), "{}: {:?}", name, figure);
    Ok(())
}

/// Reads and measures the file and writes its figures in all forms.
fn examined(file: &Path, arguments: &[&str]) -> Result<(), TestCaseError> {
    let given = Tables::try_parse_from([&["tables"], arguments].concat()).expect("arguments");
    let input = match given.tables.open(file) {
        Ok(Input::Data(input)) => input,
        Ok(Input::Figures(_)) => return Err(TestCaseError::fail("a table was read as a report")),
        Err(error) => {
            prop_assert!(format!("{error:#}").contains("table.csv"), "{:#}", error);
            return Ok(());
        }
    };
    let document = measure(&input, 0, Some(30)).expect("figures");
    for (name, figure) in document.parts.iter().flat_map(|part| &part.figures.0) {
        sound(name, figure)?;
    }
    prop_assert!(!document.table().contains("NaN") && !document.markdown().contains("NaN"));
    document.write_csv(&mut Vec::new()).expect("CSV");
    let text = serde_json::to_string(&document).expect("JSON");
    let known = known_text(&text, Path::new("m.json")).expect("its own report");
    prop_assert_eq!(known.parts.len(), document.parts.len());
    let _ = official(&input);
    Ok(())
}

/// Compares two files; that they do not fit together is an answer too.
fn compared(base: &Path, candidate: &Path) -> Result<(), TestCaseError> {
    let paths = [base, candidate].map(|path| path.to_str().expect("UTF-8"));
    let given = Compare::try_parse_from(["compare", paths[0], paths[1], "--draws", "30", "--classes", "5"])
        .expect("arguments");
    if let Ok(found) = comparison(&given.compare) {
        prop_assert!(!found.text(false).contains("NaN"), "{}", found.text(false));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn predictions_have_figures(base in predictions(), candidate in predictions()) {
        let directory = tempfile::tempdir().expect("a directory");
        let [first, second] = ["table.csv", "second-table.csv"].map(|name| directory.path().join(name));
        std::fs::write(&first, base.csv()).expect("written");
        std::fs::write(&second, candidate.csv()).expect("written");
        examined(&first, &["--group-column", "team"])?;
        examined(&second, &[])?;
        compared(&first, &second)?;
    }

    #[test]
    fn matrices_have_figures(base in counts(), candidate in counts()) {
        let directory = tempfile::tempdir().expect("a directory");
        let [first, second] = ["table.csv", "second-table.csv"].map(|name| directory.path().join(name));
        std::fs::write(&first, matrix_csv(&base)).expect("written");
        examined(&first, &["--numbers", "counts"])?;
        let rates = |row: &Vec<u64>| {
            let sum = row.iter().sum::<u64>().max(1) as f64;
            row.iter().map(|&count| count as f64 / sum).collect()
        };
        std::fs::write(&second, matrix_csv(&candidate.iter().map(rates).collect::<Vec<Vec<f64>>>())).expect("written");
        examined(&second, &["--numbers", "rates"])?;
        std::fs::write(&second, matrix_csv(&candidate)).expect("written");
        compared(&first, &second)?;
    }
}
