use super::*;

fn errors(counts: &ConfusionMatrix) -> SymmetryFigures {
    SymmetryFigures::of_confusion(counts, Seed::new(0), 0).unwrap()
}

fn close(value: f64, expected: f64) {
    assert!((value - expected).abs() < 1e-12, "{value} is not {expected}");
}

// import numpy as np
// c = np.array([[12, 5, 3, 0], [1, 10, 4, 5], [3, 3, 14, 0], [8, 0, 4, 8]])
// p = c / c.sum(1, keepdims=True); i, j = np.triu_indices(4, 1); a, b = p[i, j], p[j, i]
// pen = lambda e: (abs(a-b) / (a+b+e) * (a+b)).sum()
// print(abs(a-b).sum(), abs(a-b).sum() / (a+b).sum(), pen(.1), pen(1/4), abs(a-b))
// 1.1 0.6111111111111112 0.8207936507936509 0.5983003108003108 [0.2  0.  0.4  0.05  0.25  0.2]
#[test]
fn figures_of_errors() {
    let found = errors(&[[12, 5, 3, 0], [1, 10, 4, 5], [3, 3, 14, 0], [8, 0, 4, 8]].into());
    close(found.a1.value, 1.1);
    close(found.a1_normalised.unwrap().value, 0.611_111_111_111_111_2);
    close(found.penalty_training.value, 0.820_793_650_793_650_9);
    close(found.penalty_evaluation.value, 0.598_300_310_800_310_8);
    close(found.largest_gap.gap.value, 0.4);
    assert_eq!((found.largest_gap.from, found.largest_gap.to, found.pairs), (3, 0, 6));
    assert_eq!((found.largest_gap.forward, found.largest_gap.backward), (0.4, 0.0));
    assert_eq!((found.a1.n, found.a1.noise), (80, None));
}

// s = np.array([[0, 3, 1], [6, 0, 2], [5, 4, 0]]) / 10; i, j = np.triu_indices(3, 1)
// a, b = s[i, j], s[j, i]
// print(abs(a-b).sum(), abs(a-b).sum() / (a+b).sum(), pen(.1), pen(1/3))
// 0.8999999999999999 0.4285714285714285 0.7842857142857145 0.6046332046332047
#[test]
fn figures_of_targeted_attacks() {
    let counts = SuccessMatrix::with_attempts(10, [[0, 3, 1], [6, 0, 2], [5, 4, 0]]);
    let found = SymmetryFigures::of_success(&counts, Seed::new(0), 0).unwrap();
    close(found.a1.value, 0.9);
    close(found.a1_normalised.unwrap().value, 0.428_571_428_571_428_5);
    close(found.penalty_training.value, 0.784_285_714_285_714_5);
    close(found.penalty_evaluation.value, 0.604_633_204_633_204_7);
    assert_eq!((found.largest_gap.from, found.largest_gap.to, found.a1.n), (2, 0, 60));
}

// o = p - np.diag(p.diagonal()); s = a + b
// print(((np.log1p(a + 1e-6) - np.log1p(b + 1e-6))**2 * s)[s > .05].sum())
// print(np.linalg.norm(o - o.T) / np.linalg.norm(o + o.T), np.linalg.norm(o, 2))
// (errors)  0.07413548250267069 0.7347264857411617 0.5092299062812844
// (attacks) 0.1107776360557818 0.4353647708073434 0.849241320114578
#[test]
fn other_figures() {
    let of_errors = errors(&[[12, 5, 3, 0], [1, 10, 4, 5], [3, 3, 14, 0], [8, 0, 4, 8]].into());
    let counts = SuccessMatrix::with_attempts(10, [[0, 3, 1], [6, 0, 2], [5, 4, 0]]);
    let of_attacks = SymmetryFigures::of_success(&counts, Seed::new(0), 0).unwrap();
    close(of_errors.log_penalty.value, 0.074_135_482_502_670_69);
    close(of_errors.frobenius_ratio.unwrap().value, 0.734_726_485_741_161_7);
    close(of_errors.spectral_norm.value, 0.509_229_906_281_284_4);
    close(of_attacks.log_penalty.value, 0.110_777_636_055_781_8);
    close(of_attacks.frobenius_ratio.unwrap().value, 0.435_364_770_807_343_4);
    close(of_attacks.spectral_norm.value, 0.849_241_320_114_578);
    let rates = RateMatrix::of_success(&counts);
    close(penalty(&rates, 0.1), of_attacks.penalty_training.value);
    close(log_penalty(&rates), of_attacks.log_penalty.value);
    close(spectral_norm(&rates), of_attacks.spectral_norm.value);
}

#[test]
fn a_classifier_that_guesses_evenly_is_symmetric() {
    let found = errors(&[[5; 4]; 4].into());
    assert_eq!((found.a1.value, found.penalty_training.value), (0.0, 0.0));
    close(found.a1_normalised.unwrap().value, 0.0);
    close(found.largest_gap.gap.value, 0.0);
}

#[test]
fn a_constant_classifier_has_the_asymmetry_of_all_other_classes() {
    let found = errors(&[[7, 0, 0, 0], [7, 0, 0, 0], [7, 0, 0, 0], [7, 0, 0, 0]].into());
    close(found.a1.value, 3.0);
    close(found.a1_normalised.unwrap().value, 1.0);
    close(found.largest_gap.gap.value, 1.0);
}

#[test]
fn without_errors_nothing_is_asymmetric_and_no_share_exists() {
    let found = errors(&[[3, 0], [0, 3]].into());
    assert_eq!((found.a1.value, found.a1_normalised), (0.0, None));
}

#[test]
fn a_pair_with_an_absent_class_is_left_out() {
    let found = errors(&[[2, 2, 4], [2, 6, 0], [0, 0, 0]].into());
    assert_eq!(found.pairs, 1);
    close(found.a1.value, 0.0);
    assert_eq!(SymmetryFigures::of_confusion(&[[1, 1], [0, 0]].into(), Seed::new(0), 9), None);
    assert_eq!(SymmetryFigures::of_confusion(&ConfusionMatrix::new(0), Seed::new(0), 9), None);
}

#[test]
fn every_figure_of_symmetry_gets_a_noise_floor() {
    let found = SymmetryFigures::of_confusion(&[[8, 2], [4, 6]].into(), Seed::new(0), 20).unwrap();
    for figure in [found.a1, found.a1_normalised.unwrap(), found.largest_gap.gap] {
        let noise = figure.noise.unwrap();
        assert_eq!(noise.draws, 20);
        close(noise.expected + noise.excess, figure.value);
    }
}

#[test]
fn intervals_stay_inside_the_range_of_their_figures() {
    let mut counts = ConfusionMatrix::new(6);
    (0..6).for_each(|class| counts.add_images(class, 0, 2));
    let found = SymmetryFigures::of_confusion(&counts, Seed::new(0), 200).unwrap();
    assert!((found.a1.value - 5.0).abs() < 1e-12);
    assert!(found.a1.high.unwrap() <= 6.0, "six classes err at most always: {:?}", found.a1);
    assert!(
        (found.a1_normalised.unwrap().high.unwrap() - 1.0).abs() < 1e-12,
        "wholly one-sided truths are possible"
    );
}

#[test]
fn what_chance_explains_may_be_zero() {
    // Forty classes of two images, each taken for the next two.
    let mut counts = ConfusionMatrix::new(40);
    (0..40).flat_map(|class| [1, 7].map(|step| (class, (class * 3 + step) % 40))).for_each(|(i, j)| {
        if i != j {
            counts.add_images(i, j, 1);
        }
    });
    let found = SymmetryFigures::of_confusion(&counts, Seed::new(0), 200).unwrap();
    assert!(found.a1.noise.unwrap().p_value > 0.05 && found.a1.low.unwrap() < 1e-12, "{:?}", found.a1);
}

/// More than 2^32 events a pair, and laws that no table holds whole.
#[test]
fn intervals_of_very_many_images_are_narrow() {
    let half = 5_u64 << 40;
    let counts = [[half, half], [half / 5 * 4, half / 5 * 6]].into();
    let found = SymmetryFigures::of_confusion(&counts, Seed::new(0), 200).unwrap();
    let (low, high) = (found.a1.low.unwrap(), found.a1.high.unwrap());
    assert!((0.08..=0.1).contains(&low) && (0.1..0.12).contains(&high), "{low} {high}");
    assert!(found.a1.noise.unwrap().expected < 1e-3);
}
