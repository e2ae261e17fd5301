use super::*;
use crate::report::FlatFigure;

fn runs(name: &str, accuracy: &[f64], asymmetry: &[f64]) -> MethodRuns {
    let figure =
        |value: f64| FlatFigure { low: Some(value - 0.004), high: Some(value + 0.004), ..value.into() };
    let each = accuracy.iter().zip(asymmetry).enumerate();
    let runs = each.map(|(seed, (accuracy, asymmetry))| {
        let figures = [
            ("micro_accuracy", figure(*accuracy)),
            ("a1_normalised", figure(*asymmetry)),
            ("train.seconds", (*accuracy * 1000.0).into()),
        ];
        (seed as u64, FlatFigures(figures.map(|(name, figure)| (name.to_owned(), figure)).to_vec()))
    });
    MethodRuns { name: name.to_owned(), runs: runs.collect() }
}

fn input(methods: Vec<MethodRuns>) -> ExperimentInput {
    ExperimentInput {
        data: "faces".to_owned(),
        model: "cnn".to_owned(),
        baseline: "plain".to_owned(),
        methods,
        figures: ["micro_accuracy", "a1_normalised", "train.seconds", "worst_class"]
            .map(str::to_owned)
            .to_vec(),
        same_pictures: true,
        family: Family::Methods,
    }
}

fn three() -> Vec<MethodRuns> {
    vec![
        runs("plain", &[0.50, 0.52, 0.48, 0.51], &[0.40, 0.41, 0.39, 0.40]),
        runs("steady", &[0.60, 0.63, 0.58, 0.61], &[0.40, 0.39, 0.42, 0.38]),
        runs("lucky", &[0.90, 0.40, 0.90, 0.40], &[0.50, 0.52, 0.49, 0.51]),
    ]
}

#[test]
fn the_best_is_marked_only_where_it_is_significant() {
    let table = ExperimentTable::of(&input(three()));
    assert_eq!(table.figures.len(), 3, "a figure that no run has is left out");
    let accuracy = &table.figures[0];
    // The largest mean, .65, is that of two lucky seeds: nothing is marked.
    assert!(accuracy.cells[1].significant() && !accuracy.cells[2].significant());
    assert!(accuracy.cells.iter().all(|cell| !cell.best));
    let without = ExperimentTable::of(&input(three()[..2].to_vec()));
    assert!(without.figures[0].cells[1].best);
    // Of asymmetry the least mean is one of two that do not differ.
    assert!(without.figures[1].cells.iter().all(|cell| !cell.best));
}

#[test]
fn p_values_are_adjusted_over_the_family() {
    let of = |family| {
        let table = ExperimentTable::of(&ExperimentInput { family, ..input(three()) });
        let cell = table.figures[0].cells[1].clone();
        (cell.difference.and_then(|found| found.p_seeds).expect("tested"), cell.p_holm.expect("adjusted"))
    };
    let (raw, methods) = of(Family::Methods);
    assert!((methods - 2.0 * raw).abs() < 1e-12, "two methods, the smaller p");
    // Four tests; accuracy of `steady` has the smallest p but for asymmetry of `lucky`.
    let (_, table) = of(Family::Table);
    assert!(table > methods && table <= 4.0 * raw + 1e-12, "{table} {raw}");
}

#[test]
fn durations_are_shown_and_not_tested() {
    let table = ExperimentTable::of(&input(three()));
    let seconds = table.figures.last().expect("a line");
    assert_eq!((seconds.name.as_str(), seconds.better), ("train.seconds", Better::Neither));
    assert!(seconds.cells.iter().all(|cell| cell.difference.is_none() && cell.spread.is_some()));
}

#[test]
fn one_seed_has_no_spread_and_says_so() {
    let table =
        ExperimentTable::of(&input(vec![runs("plain", &[0.5], &[0.4]), runs("other", &[0.9], &[0.1])]));
    for text in [experiment_terminal(&table), experiment_markdown(&table)] {
        assert!(text.contains("One seed: there is no standard deviation"), "{text}");
        assert!(!text.contains('±') && !text.contains("Difference from") && text.contains("0.900"), "{text}");
    }
}

#[test]
fn missing_seeds_are_counted_and_pairs_are_those_that_both_have() {
    let mut methods = three();
    methods[1].runs.remove(1);
    let table = ExperimentTable::of(&input(methods));
    assert_eq!(table.figures[0].cells[1].difference.expect("pairs").seeds, 3);
    let text = experiment_terminal(&table);
    assert!(text.contains("3 to 4 seeds (plain 4, steady 3, lucky 4)"), "{text}");
}

#[test]
fn the_forms_agree() {
    let table = ExperimentTable::of(&input(three()[..2].to_vec()));
    insta::assert_snapshot!(experiment_markdown(&table), @r"
    ## faces, cnn

    | figure | plain | steady |
    |---|---|---|
    | micro\_accuracy (high) | 0.502 ± 0.017 | **0.605 ± 0.021 \*\*** |
    | a1\_normalised (low) | 0.400 ± 0.008 | 0.397 ± 0.017 |
    | train.seconds | 502.5 ± 17.1 | 605.0 ± 20.8 |

    Difference from plain:

    | figure | steady |
    |---|---|
    | micro\_accuracy (high) | +0.102 [+0.095, +0.110], p \< 0.001, p2 \< 0.001 |
    | a1\_normalised (low) | -0.003 [-0.040, +0.035], p 0.846, p2 0.850 |

    Mean ± standard deviation over 4 seeds (plain 4, steady 4). (high), (low): which values one wants. Differences from plain are paired by seed, with their 95 % t interval; p is from the paired t test, adjusted with Holm over the methods under each figure. All seeds are tested on the same pictures, whose luck does not average out: p2 adds their sampling variance, undivided. \* p at most 0.05, \*\* p and p2 at most 0.05. Best: the best mean, and significantly better than plain (for plain itself: all others significantly worse). Durations have no test.
    ");
    let mut csv = Vec::new();
    experiment_csv(&mut csv, std::slice::from_ref(&table)).expect("written");
    let csv = String::from_utf8(csv).expect("UTF-8");
    assert_eq!(csv.lines().count(), 1 + 3 * 2);
    assert!(csv.contains("\nfaces,cnn,steady,micro_accuracy,4,0.605,"), "{csv}");
    assert_eq!(serde_json::to_value(&table).expect("JSON")["figures"][0]["cells"][1]["best"], true);
}

#[test]
fn names_say_which_values_one_wants() {
    for name in ["clean.micro_accuracy", "worst_class", "gender_worst_group", "worst_split_half"] {
        assert_eq!(Better::of(name), Better::Higher, "{name}");
    }
    for name in ["source_gap", "targeted_worst_target", "targeted_success", "pgd.a1_normalised", "theil"] {
        assert_eq!(Better::of(name), Better::Lower, "{name}");
    }
    for name in ["train.seconds", "test_bowker"] {
        assert_eq!(Better::of(name), Better::Neither, "{name}");
    }
}
