use burn::tensor::Tensor;

use super::*;
use crate::attacks::{AutoAttackConfig, Goal, Magnitude, PgdConfig};
use crate::audit::fixtures::{Bench, CLASSES, Fake, IMAGES, STEP, Step, options, sorted};
use crate::audit::measure::distance;
use crate::audit::{Picked, Row, remake};
use crate::data::{Batch, ImageId};

#[test]
fn every_image_gets_each_of_its_rows_and_the_counts_are_those_of_the_rows() {
    let bench = Bench::new();
    let (outcome, rows) = bench.whole(&STEP, &options(4, TargetChoice::All), "all");
    assert_eq!(rows.len(), IMAGES * (1 + 1 + CLASSES - 1));
    let counted = Counts::from_rows(rows.iter().cloned().map(Ok), CLASSES).expect("valid rows");
    assert_eq!(outcome.counts, counted);
    let targeted = counted.attacks["step"].targeted.as_ref().expect("targeted rows");
    for source in 0..CLASSES {
        for target in 0..CLASSES {
            let made = if source == target { 0 } else { counted.clean.row_total(source) };
            assert_eq!(targeted.attempts(source, target), made);
        }
    }
    // Seven images are attacked without a target, ten with three each.
    assert_eq!(outcome.cost, Cost { forwards: 0, gradients: 7 + 30 });
}

#[test]
fn an_attack_that_does_nothing_is_measured_as_nothing() {
    let bench = Bench::new();
    let nothing = Fake { paint: |images| images, admits: true };
    let (_, rows) = bench.whole(&nothing, &options(3, TargetChoice::All), "nothing");
    for row in rows {
        assert_eq!((row.linf, row.l2, row.changed, row.prediction), (0.0, 0.0, 0.0, row.clean_prediction));
        let wrong = row.clean_prediction != row.label;
        match row.target {
            None => assert_eq!(row.success, row.attack == "fake" && wrong),
            Some(target) => assert_eq!(row.success, row.clean_prediction == target),
        }
        assert_eq!(wrong, row.margin < 0.0);
    }
}

#[test]
fn a_misclassified_image_is_not_attacked_without_a_target_and_is_not_robust() {
    let bench = Bench::new();
    let black = Fake { paint: |images: Tensor<4>| images.zeros_like(), admits: true };
    let (outcome, rows) = bench.whole(&black, &options(3, TargetChoice::List(vec![0])), "black");
    for row in rows.iter().filter(|row| row.attack == "fake" && row.clean_prediction != row.label) {
        assert_eq!(row.l2 == 0.0, row.target.is_none(), "{row:?}");
        assert!(row.success || row.target.is_some());
    }
    let untargeted = outcome.counts.attacks["fake"].untargeted.clone().expect("untargeted rows");
    for class in 0..CLASSES {
        assert!(untargeted.count(class, class) <= outcome.counts.clean.count(class, class));
    }
}

#[test]
fn a_stopped_audit_ends_with_the_rows_of_one_that_was_not() {
    let bench = Bench::new();
    let options = options(4, TargetChoice::Random(2));
    let (whole, rows) = bench.whole(&STEP, &options, "whole");
    for batches in 1..10 {
        let mut log = bench.log(&format!("stopped {batches}"));
        let first = bench.audit(&STEP, &options, &mut log, batches).expect("the first part");
        let path = log.path().to_owned();
        drop(log);
        let mut log = PredictionLog::open(&path).expect("the same log");
        let second = bench.audit(&STEP, &options, &mut log, usize::MAX).expect("the second part");
        assert!(!first.finished && second.finished, "after {batches} batches");
        assert_eq!(sorted(&path), rows, "after {batches} batches");
        assert_eq!(second.counts, whole.counts);
        assert_eq!(first.cost + second.cost, whole.cost, "nothing is attacked twice");
    }
}

#[test]
fn the_parts_of_a_composed_attack_add_up_and_survive_a_stop() {
    let bench = Bench::new();
    let options = options(4, TargetChoice::Random(1));
    let config = AutoAttackConfig {
        epsilon: Magnitude::levels(2),
        steps: 3,
        queries: 10,
        ..AutoAttackConfig::default()
    };
    let attack = config.build().expect("valid");
    let (whole, rows) = bench.whole(&attack, &options, "whole");
    let counts = &whole.counts.attacks["autoattack"];
    let robust = rows.iter().filter(|row| row.attack == "autoattack" && row.target.is_none() && !row.success);
    let left = counts.untargeted_parts.figures(&attack.parts()).pop().and_then(|last| last.left);
    assert_eq!(left.map(|left| (left.successes, left.n)), Some((robust.count() as u64, IMAGES as u64)));
    // Three images are wrong unchanged, and no part is named for them.
    assert_eq!(counts.untargeted_parts.unaided, 3);
    assert!(!counts.untargeted_parts.turned.is_empty() || !counts.targeted_parts.turned.is_empty());
    assert_eq!(counts.targeted_parts.total, IMAGES as u64);

    let mut log = bench.log("stopped");
    let first = bench.audit(&attack, &options, &mut log, 5).expect("the first part");
    let second = bench.audit(&attack, &options, &mut log, usize::MAX).expect("the second part");
    assert!(!first.finished && second.finished);
    assert_eq!((second.counts, sorted(log.path())), (whole.counts, rows));
}

#[test]
fn a_log_that_was_cut_short_is_completed() {
    let bench = Bench::new();
    let options = options(4, TargetChoice::Random(1));
    let (_, rows) = bench.whole(&STEP, &options, "cut");
    let path = bench.directory.path().join("cut");
    let bytes = std::fs::read(&path).expect("readable");
    for part in [1, 2, 3] {
        std::fs::write(&path, &bytes[..bytes.len() * part / 4]).expect("written");
        let (_, again) = bench.whole(&STEP, &options, "cut");
        assert_eq!(again, rows);
    }
}

#[test]
fn the_batch_size_does_not_change_the_rows() {
    let bench = Bench::new();
    let rows = |size| bench.whole(&STEP, &options(size, TargetChoice::All), &size.to_string()).1;
    let expected = rows(64);
    for size in [1, 3, 7] {
        for (row, expected) in rows(size).into_iter().zip(&expected) {
            assert!((row.margin - expected.margin).abs() < 1e-4, "{row:?} {expected:?}");
            assert!((row.l2 - expected.l2).abs() < 1e-4 && (row.linf - expected.linf).abs() < 1e-6);
            let rounded = Row { margin: expected.margin, l2: expected.l2, linf: expected.linf, ..row };
            assert_eq!(rounded, *expected);
        }
    }
}

#[test]
fn easy_pairs_stop_early_whoever_shares_their_batch() {
    let bench = Bench::new();
    let run = |size: usize, early_stop: bool| {
        let config =
            PgdConfig { epsilon: Magnitude::levels(4), steps: 8, early_stop, ..PgdConfig::default() };
        let attack = config.build().expect("valid");
        bench.whole(&attack, &options(size, TargetChoice::All), &format!("{size} {early_stop}"))
    };
    let ((alone, _), (together, rows)) = (run(1, true), run(64, true));
    assert_eq!(together.cost, alone.cost, "no pair waits for another");
    let (whole, _) = run(64, false);
    assert_eq!((whole.cost.gradients, whole.attacks), (8 * whole.attacks, together.attacks));
    // Three pairs are reached unchanged and some more on the way; a pair that stands takes all steps.
    let attacked: Vec<&Row> = rows.iter().filter(|row| row.attack == "pgd" && row.l2 > 0.0).collect();
    let fallen = attacked.iter().filter(|row| row.success).count();
    assert!(fallen > 0 && fallen < attacked.len(), "{fallen} of {}", attacked.len());
    let least = 8 * (attacked.len() - fallen) as u64;
    assert!((least..whole.cost.gradients).contains(&together.cost.gradients), "{:?}", together.cost);
}

/// Does nothing without a target, and a large step with one.
struct Shy;

impl Attack for Shy {
    fn name(&self) -> &'static str {
        "shy"
    }

    fn perturb(&self, victim: &Victim, batch: &Batch, goal: &Goal, seed: Seed) -> Tensor<4> {
        match goal {
            Goal::Untargeted => batch.images.clone(),
            Goal::Targeted(_) => Step { epsilon: 0.2 }.perturb(victim, batch, goal, seed),
        }
    }

    fn admits(&self, clean: Tensor<4>, _: Tensor<4>) -> Vec<bool> {
        vec![true; clean.dims()[0]]
    }
}

#[test]
fn an_attack_that_overlooks_what_targets_reach_gives_itself_away() {
    let bench = Bench::new();
    let (outcome, rows) = bench.whole(&Shy, &options(4, TargetChoice::All), "shy");
    let reached: std::collections::BTreeSet<&str> = rows
        .iter()
        .filter(|row| row.target.is_some() && row.success && row.clean_prediction == row.label)
        .map(|row| row.image.as_str())
        .collect();
    assert!(!reached.is_empty(), "the step reaches some targets");
    // Seven images are right unchanged, and all of them stand.
    assert_eq!(outcome.counts.attacks["shy"].overlooked(), Some([7, reached.len()]));
}

#[test]
fn a_second_attack_shares_the_clean_rows() {
    let bench = Bench::new();
    bench.whole(&STEP, &options(4, TargetChoice::None), "two");
    let named = AuditOptions { name: Some("step-large".to_owned()), ..options(4, TargetChoice::None) };
    let (outcome, rows) = bench.whole(&Step { epsilon: 0.2 }, &named, "two");
    assert_eq!(rows.len(), 3 * IMAGES);
    assert_eq!(outcome.counts.attacks.keys().collect::<Vec<_>>(), ["step-large"]);
    assert_eq!((0..CLASSES).map(|class| outcome.counts.clean.row_total(class)).sum::<u64>(), IMAGES as u64);
}

#[test]
fn successes_of_a_weaker_attack_are_taken_over_and_not_made_again() {
    let bench = Bench::new();
    let (weak, _) = bench.whole(&STEP, &options(4, TargetChoice::All), "curve");
    let inherit = vec![Inherit { attack: "step".to_owned(), whole: false }];
    let name = Some("step-large".to_owned());
    let strong = AuditOptions { name, inherit, ..options(4, TargetChoice::All) };
    let (outcome, rows) = bench.whole(&Step { epsilon: 0.2 }, &strong, "curve");
    let of = |attack: &str| rows.iter().filter(|row| row.attack == attack).cloned().collect::<Vec<_>>();
    let (small, large) = (of("step"), of("step-large"));
    assert_eq!(small.len(), large.len());
    let mut taken = 0;
    for (small, large) in small.iter().zip(&large) {
        assert!(!small.success || large.success, "a success is lost");
        if small.success {
            taken += 1;
            assert_eq!(*large, Row { attack: "step-large".to_owned(), ..small.clone() });
        }
    }
    // Images that are wrong unchanged are successes of the untargeted attack without being attacked.
    assert!(taken > 3 && outcome.attacks as usize == large.len() - taken, "{taken} {}", outcome.attacks);
    assert!(outcome.attacks < weak.attacks);

    let inherit = vec![Inherit { attack: "step".to_owned(), whole: true }];
    let same = AuditOptions { name: Some("same".to_owned()), inherit, ..options(4, TargetChoice::All) };
    let (outcome, _) = bench.whole(&STEP, &same, "curve");
    assert_eq!(outcome.attacks, 0);
    assert_eq!(outcome.counts.attacks["same"].untargeted, weak.counts.attacks["step"].untargeted);
}

#[test]
fn what_was_saved_is_what_is_judged() {
    let bench = Bench::new();
    let load = |rows: &[usize]| Ok(bench.batch.select(rows));
    let seen = std::cell::RefCell::new(Vec::new());
    // Black pictures, whatever the attack made.
    let save = |clean: &Batch, targets: &[Option<usize>], adversarial: Tensor<4>| {
        assert_eq!((clean.len(), targets.len()), (adversarial.dims()[0], adversarial.dims()[0]));
        seen.borrow_mut().extend_from_slice(targets);
        Ok(adversarial.zeros_like())
    };
    let pictures = Pictures {
        labels: &bench.batch.labels,
        ids: &bench.batch.ids,
        names: &bench.names,
        load: &load,
        save: Some(&save),
    };
    let nothing = Fake { paint: |images| images, admits: true };
    let (mut log, stop) = (bench.log("saved"), StopFlag::default());
    let options = options(4, TargetChoice::List(vec![0]));
    super::audit(&bench.victim, pictures, &nothing, &options, &mut log, &stop, &mut |_, _| ())
        .expect("an audit");
    let attacked: Vec<Row> = sorted(log.path()).into_iter().filter(|row| row.l2 > 0.0).collect();
    assert_eq!(attacked.len(), seen.borrow().len());
    assert!(attacked.iter().all(|row| row.prediction == attacked[0].prediction), "all are black");
    assert!(seen.borrow().contains(&None) && seen.borrow().contains(&Some(0)));
}

#[test]
fn a_picture_that_breaks_a_rule_is_an_error_with_image_and_attack() {
    let bench = Bench::new();
    let options = options(4, TargetChoice::None);
    let nan = bench.error(&Fake { paint: |images| images * f32::NAN, admits: true }, &options);
    assert!(nan.contains("\"fake\"") && nan.contains("0.png") && nan.contains("value NaN"), "{nan}");
    let bright = bench.error(&Fake { paint: |images| images + 1.0, admits: true }, &options);
    assert!(bright.contains("outside [0, 1]"), "{bright}");
    let outside = bench.error(&Fake { paint: |images| images, admits: false }, &options);
    assert!(outside.contains("outside its threat model"), "{outside}");
    let smaller = Fake { paint: |images: Tensor<4>| images.narrow(0, 0, 1), admits: true };
    assert!(bench.error(&smaller, &options).contains("shape [1, 3, 16, 16], not [4, 3, 16, 16]"));
    // No picture of these attacks is in the log: only the clean rows are.
    let rows = sorted(&bench.directory.path().join("error"));
    assert_eq!(rows.len(), IMAGES);
    assert!(rows.iter().all(|row| row.attack == CLEAN));
}

#[test]
fn what_cannot_be_audited_is_an_error_that_says_why() {
    let mut bench = Bench::new();
    let valid = options(4, TargetChoice::None);
    assert!(bench.error(&STEP, &options(0, TargetChoice::None)).contains("batch size is 0"));
    assert!(bench.error(&STEP, &options(4, TargetChoice::List(vec![4]))).contains("a target is class 4"));
    for name in ["", "clean", "a/b"] {
        let named = AuditOptions { name: Some(name.to_owned()), ..valid.clone() };
        assert!(bench.error(&STEP, &named).contains("the attack is called"));
    }
    bench.names[3] = "0.png".to_owned();
    assert!(bench.error(&STEP, &valid).contains("two images are called 0.png"));
    bench.batch.labels[1] = 9;
    assert!(bench.error(&STEP, &valid).contains("the label of 1.png is class 9"));
}

#[test]
fn rows_of_another_audit_are_not_mixed_in() {
    let mut bench = Bench::new();
    bench.whole(&STEP, &options(4, TargetChoice::List(vec![0, 1])), "error");
    let fewer = bench.error(&STEP, &options(4, TargetChoice::List(vec![0])));
    assert!(fewer.contains("(target 1) that is not one of its targets; start a new run"), "{fewer}");
    let none = AuditOptions { untargeted: false, ..options(4, TargetChoice::List(vec![0, 1])) };
    assert!(bench.error(&STEP, &none).contains("(target none) that this audit does not make"));
    bench.names[0] = "other.png".to_owned();
    let other = bench.error(&STEP, &options(4, TargetChoice::List(vec![0, 1])));
    assert!(other.contains("image 0.png under attack \"clean\"") && other.contains("not in this data set"));
}

/// Bytes of memory that this process holds.
#[cfg(target_os = "linux")]
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("Linux has it");
    // A page is 4 KiB nearly everywhere; the test only compares.
    pages.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("a number of pages") * 4096
}

/// Does nothing, except in the process that the next test starts: alone, so that no other test's memory
/// is counted.
#[cfg(target_os = "linux")]
#[test]
fn measured_process() {
    if std::env::var_os("SYFAR_TEST_MEMORY").is_none() {
        return;
    }
    let bench = Bench::new();
    let rows: Vec<usize> = (0..200).map(|row| row % IMAGES).collect();
    let labels: Vec<usize> = rows.iter().map(|&row| bench.batch.labels[row]).collect();
    let ids: Vec<ImageId> = (0..200).map(ImageId).collect();
    let names: Vec<String> = (0..200).map(|row| row.to_string()).collect();
    let load = |wanted: &[usize]| {
        let known: Vec<usize> = wanted.iter().map(|&row| rows[row]).collect();
        Ok(bench.batch.select(&known))
    };
    let pictures = Pictures { labels: &labels, ids: &ids, names: &names, load: &load, save: None };
    let mut sizes = Vec::new();
    let mut progress = |at: Progress, _: &Counts| {
        if at.stage == Stage::Targeted {
            sizes.push(resident());
        }
    };
    let options = AuditOptions { untargeted: false, ..options(2, TargetChoice::All) };
    let stop = StopFlag::default();
    super::audit(&bench.victim, pictures, &STEP, &options, &mut bench.log("memory"), &stop, &mut progress)
        .expect("an audit");
    // A single reading depends on what is allocated just then: the most of many readings does not.
    let most = |sizes: &[u64]| *sizes.iter().max().expect("a reading");
    println!("\nmemory {} {}", most(&sizes[..60]), most(&sizes[240..300]));
}

#[test]
fn a_picture_is_made_again_as_its_row_says() {
    let bench = Bench::new();
    let (_, rows) = bench.whole(&STEP, &options(3, TargetChoice::All), "rows");
    let load = |rows: &[usize]| Ok(bench.batch.select(rows));
    let targeted = rows.iter().filter(|row| row.target == Some(1));
    let picked: Vec<Picked> = targeted
        .map(|row| {
            let image = bench.names.iter().position(|name| *name == row.image).expect("a picture");
            Picked { image, target: row.target, prediction: row.prediction }
        })
        .collect();
    let again =
        |picked: &[Picked]| remake(&bench.victim, &load, &STEP, Seed::new(9), picked).expect("pictures");
    let made = again(&picked);
    assert_eq!(made.iter().map(|one| one.picked).collect::<Vec<_>>(), picked);
    for one in &made {
        let row = rows.iter().find(|row| row.target == Some(1) && row.image == bench.names[one.picked.image]);
        let found = distance(&one.clean, &one.attacked, 256);
        assert!((found.l2 - row.expect("its row").l2).abs() < 1e-4);
    }
    let other = Picked { prediction: (picked[0].prediction + 1) % CLASSES, ..picked[0] };
    assert!(again(&[other]).is_empty(), "another prediction than that of the row");
    assert!(again(&[]).is_empty());
}

#[cfg(target_os = "linux")]
#[test]
fn memory_does_not_grow_with_the_number_of_batches() {
    let program = std::env::current_exe().expect("path of the test program");
    let output = std::process::Command::new(program)
        .args(["--exact", "audit::perform::tests::measured_process", "--nocapture"])
        .env("SYFAR_TEST_MEMORY", "1")
        .env("RAYON_NUM_THREADS", "2")
        // The allocator of glibc otherwise raises these by itself, once, by what was freed last: a jump of
        // many megabytes that comes or does not.
        .env("MALLOC_MMAP_THRESHOLD_", "131072")
        .env("MALLOC_TRIM_THRESHOLD_", "131072")
        .env("MALLOC_ARENA_MAX", "1")
        .output()
        .expect("the test program starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.strip_prefix("memory ")).expect("the process ended well");
    let sizes: Vec<f64> = line.split(' ').map(|size| size.parse().expect("a number")).collect();
    let growth = sizes[1] / sizes[0];
    assert!(growth < 1.05, "batches 240 to 300 need {growth} times the memory of the first 60");
}
