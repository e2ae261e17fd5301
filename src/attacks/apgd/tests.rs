use super::super::fixtures::{LinearModel, SHAPE, SIZE, batch, network, values};
use super::*;
use crate::data::ImageId;

#[test]
fn checkpoints_are_those_of_the_paper() {
    assert_eq!(checkpoints(Norm::Linf, 100), [22, 41, 57, 70, 80, 87, 93, 99]);
    // From the reference: k = 11, then 10, 9, 8, 7, .., never below 3.
    assert_eq!(checkpoints(Norm::L2, 50), [11, 21, 30, 38, 45]);
    assert_eq!(checkpoints(Norm::Linf, 3), [1, 2, 3]);
    assert_eq!(checkpoints(Norm::L1, 100)[..4], [4, 8, 12, 16]);
    assert_eq!(phases(Norm::L1, 100), [(3.0, 30), (2.0, 30), (1.0, 40)]);
    assert_eq!(phases(Norm::L1, 2), [(1.0, 2)]);
}

/// `log(1 + exp(g))` with `g(x) = sum a_i sin(b_i x_i)`, and its gradient.
fn landscape(point: &[f32]) -> (f32, Vec<f32>) {
    let a = [1.0_f32, -0.8, 0.6, 0.9, -0.5, 0.7];
    let b = [9.0_f32, 7.0, 11.0, 5.0, 13.0, 8.0];
    let g: f32 = (0..6).map(|i| a[i] * (b[i] * point[i]).sin()).sum();
    let outer = 1.0 / (1.0 + (-g).exp());
    let gradient = (0..6).map(|i| outer * a[i] * b[i] * (b[i] * point[i]).cos()).collect();
    (g.exp().ln_1p(), gradient)
}

/// The losses of the start and of each of 50 steps, and the best point.
fn climb(norm: Norm, epsilon: f32) -> (Vec<f32>, Path) {
    let clean = [0.5_f32, 0.1, 0.9, 0.35, 0.6, 0.75];
    let start = (0..6).map(|i| (clean[i] + [0.1, -0.1][i % 2]).clamp(0.0, 1.0)).collect();
    let rules = Rules { norm, epsilon, steps: 50 };
    let mut path = Path::new(&clean, start, None);
    path.begin(&rules);
    let mut losses = Vec::new();
    let mut look = |path: &mut Path| {
        let (loss, gradient) = landscape(&path.current);
        losses.push(loss);
        path.see(true, 1.0, loss, Some(&gradient));
        path.record();
    };
    look(&mut path);
    let (checks, mut before) = (checkpoints(norm, 50), 0);
    for step in 1..=50 {
        path.step(&rules, step == 1);
        look(&mut path);
        if checks.contains(&step) {
            path.check(&rules, step - before);
            before = step;
        }
    }
    (losses, path)
}

#[test]
fn a_climb_agrees_with_the_reference_implementation() {
    // pyautoattack 0.2.0, for each norm with its eps, x the clean point and x0 the start above, y = [1]:
    //   model = lambda x: torch.stack([(a * torch.sin(b * x.flatten(1))).sum(1), 0 * x[:, 0, 0, 0]], 1)
    //   apgd = APGDAttack(model, norm=norm, eps=eps, n_iter=50, n_restarts=1, loss="ce", device="cpu")
    //   apgd.init_hyperparam(x); apgd.attack_single_run(x, y, x_init=x0)
    // and the loss of each call of the model, of which these are numbers 0 to 5, 12, 22, 31, 39, 46, 50.
    let at = [0, 1, 2, 3, 4, 5, 12, 22, 31, 39, 46, 50];
    let reference: [(Norm, f32, [f32; 12], [f32; 6]); 3] = [
        (
            Norm::Linf,
            0.3,
            [
                0.241_729, 1.440_186, 0.938_934, 1.656_892, 1.688_35, 1.007_306, 1.379_039, 2.071_506,
                2.338_778, 2.387_632, 2.388_775, 2.388_976,
            ],
            [0.8, 0.0, 1.0, 0.309_82, 0.360_83, 0.976_67],
        ),
        (
            Norm::L2,
            0.5,
            [
                0.241_729, 1.784_183, 2.814_64, 2.602_625, 2.886_474, 3.250_448, 3.394_518, 3.504_471,
                3.570_114, 3.607_568, 3.627_997, 3.630_351,
            ],
            [0.841_79, 0.0, 0.731_09, 0.324_67, 0.826_39, 0.946_12],
        ),
        (
            Norm::L1,
            0.8,
            [
                0.241_729, 1.520_478, 2.524_853, 2.293_033, 2.316_032, 2.729_213, 2.851_664, 2.865_216,
                2.862_566, 2.862_566, 2.865_216, 2.865_216,
            ],
            [0.808_77, 0.0, 0.789_84, 0.35, 0.778_4, 0.852_67],
        ),
    ];
    for (norm, epsilon, expected, best) in reference {
        let (losses, path) = climb(norm, epsilon);
        for (&index, expected) in at.iter().zip(expected) {
            assert!(
                (losses[index] - expected).abs() < 2e-4,
                "{norm:?} {index}: {} {expected}",
                losses[index]
            );
        }
        for (found, expected) in path.best.iter().zip(best) {
            assert!((found - expected).abs() < 1e-3, "{norm:?}: {:?} {best:?}", path.best);
        }
    }
}

#[test]
fn starts_are_on_the_border_and_have_their_own_numbers() {
    let clean = vec![0.5; 300];
    for norm in [Norm::Linf, Norm::L2, Norm::L1] {
        let start = |id: u64| random_start(norm, &clean, 0.25, &mut Seed::new(0).at(id).rng());
        assert!((distance(norm, &clean, &start(1)) - 0.25).abs() < 1e-5, "{norm:?}");
        assert_eq!(start(1), start(1));
        assert_ne!(start(1), start(2));
    }
}

#[test]
fn a_loss_that_is_not_a_number_is_no_best_point() {
    let mut path = Path::new(&[0.5], vec![0.6], None);
    for (point, loss) in [(0.6, f32::NAN), (0.7, 1.0), (0.8, f32::NAN)] {
        path.current = vec![point];
        path.see(true, 1.0, loss, Some(&[1.0]));
        path.record();
    }
    assert_eq!((path.best, path.best_loss), (vec![0.7], 1.0));
}

#[test]
fn averaging_over_evaluations_changes_nothing_where_nothing_is_random() {
    let victim = Victim::new(&network(3));
    let batch = batch(3, 3, 0.0);
    let run = |eot| {
        let config = ApgdConfig { eot, steps: 5, early_stop: false, ..ApgdConfig::default() };
        values(config.build().expect("valid").perturb(&victim, &batch, &Goal::Untargeted, Seed::new(0)))
    };
    let gap = run(1).iter().zip(run(2)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(gap < 1e-4, "{gap}");
}

#[test]
fn a_gradient_of_zero_moves_nothing() {
    for norm in [Norm::Linf, Norm::L2, Norm::L1] {
        let rules = Rules { norm, epsilon: 0.2, steps: 10 };
        let mut path = Path::new(&[0.5, 0.5], vec![0.6, 0.5], None);
        path.begin(&rules);
        path.see(true, 1.0, 0.0, Some(&[0.0, 0.0]));
        path.record();
        path.step(&rules, true);
        assert_eq!(path.current, [0.6, 0.5], "{norm:?}");
    }
}

#[test]
fn sparse_steps_move_the_steepest_values() {
    let victim = Victim::new(&LinearModel::new(2, 1));
    let pictures = batch(1, 2, 0.2);
    let config = ApgdConfig {
        norm: Norm::L1,
        epsilon: "5".parse().expect("a magnitude"),
        early_stop: false,
        ..ApgdConfig::default()
    };
    let attack = config.build().expect("valid");
    let found = values(attack.perturb(&victim, &pictures, &Goal::Untargeted, Seed::new(0)));
    let clean = values(pictures.images);
    let changed = changed(&clean, &found);
    // At least 0.2 and at most 0.8 of change fits into a value.
    assert!((6.0..SIZE as f32 / 8.0).contains(&changed), "{changed}");
    assert_eq!((SHAPE[0] * SHAPE[1] * SHAPE[2], pictures.ids[0]), (SIZE, ImageId(0)));
}
