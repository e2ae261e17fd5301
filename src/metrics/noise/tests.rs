use super::*;

/// A truth with the same accuracy everywhere and errors spread evenly, and as many images of each class.
fn even(classes: usize, accuracy: f64, images: u64) -> ConfusionNull {
    let error = (1.0 - accuracy) / (classes - 1) as f64;
    let cell = |at: usize| if at.is_multiple_of(classes + 1) { 0.0 } else { error };
    ConfusionNull { totals: vec![images; classes], errors: (0..classes * classes).map(cell).collect() }
}

fn expected(null: &impl SymmetricNull) -> [f64; 3] {
    let drawn = Asymmetry::of(&null.draw(&mut Seed::new(0).rng())).unwrap();
    let floors = Floors::of(&drawn, null, Seed::new(1), 4000);
    [floors.largest_gap, floors.a1, floors.a1_normalised].map(|floor| floor.unwrap().expected)
}

// import numpy as np
// rng = np.random.default_rng(0); K, r = 10, .5; iu = np.triu_indices(K, 1)
// p = np.full((K, K), (1 - r) / (K - 1)); np.fill_diagonal(p, r)
// for n in (20, 50, 1000):
//     c = np.array([rng.multinomial(n, p) for _ in range(20000)]) / n; t = c.transpose(0, 2, 1)
//     d = abs(c - t)[:, *iu]; print(d.max(1).mean(), d.sum(1).mean(), (d.sum(1) / (c + t)[:, *iu].sum(1)).mean())
// 0.18424999999999997 2.4464424999999994 0.4901712202755769
// 0.114656 1.608041 0.3218781745930231
// 0.0253016 0.36727105000000004 0.07346236005109286
#[test]
fn the_floor_of_ten_classes_half_of_them_wrong() {
    let golden = [(20, [0.184, 2.446, 0.490]), (50, [0.115, 1.608, 0.322]), (1000, [0.0253, 0.367, 0.0735])];
    for (images, floors) in golden {
        // Five standard errors of 4000 draws are below 1.5 % of each.
        for (found, floor) in expected(&even(10, 0.5, images)).into_iter().zip(floors) {
            assert!((found / floor - 1.0).abs() < 0.015, "{images} images: {found} is not {floor}");
        }
    }
}

// rng = np.random.default_rng(0); K = 6; iu = np.triu_indices(K, 1)
// t = rng.binomial(20, .3, (40000, K, K)) / 20; u = t.transpose(0, 2, 1); d = abs(t - u)[:, *iu]
// print(d.max(1).mean(), d.sum(1).mean(), (d.sum(1) / (t + u)[:, *iu].sum(1)).mean())
// 0.29446125 1.7221012500000001 0.19185032592374918
#[test]
fn the_floor_of_targeted_attacks() {
    let null = SuccessNull::of(&SuccessMatrix::with_attempts(20, [[6; 6]; 6]));
    for (found, floor) in expected(&null).into_iter().zip([0.294, 1.722, 0.192]) {
        assert!((found / floor - 1.0).abs() < 0.02, "{found} is not {floor}");
    }
}

#[test]
fn the_symmetrised_errors_pool_both_directions() {
    let null = ConfusionNull::of(&[[6, 4, 0], [2, 17, 1], [0, 0, 5]].into());
    let golden = [0.0, 6.0 / 30.0, 0.0, 6.0 / 30.0, 0.0, 1.0 / 25.0, 0.0, 1.0 / 25.0, 0.0];
    assert!(null.errors.iter().zip(golden).all(|(error, golden)| (error - golden).abs() < 1e-12));
}

#[test]
fn a_class_that_receives_too_much_is_lowered_symmetrically() {
    let null = ConfusionNull::of(&[[9, 0, 0, 0], [9, 0, 0, 0], [9, 0, 0, 0], [9, 0, 0, 0]].into());
    let third = 1.0 / 3.0;
    let golden = [[0.0, third, third, third], [third, 0., 0., 0.], [third, 0., 0., 0.], [third, 0., 0., 0.]];
    assert!(null.errors.iter().zip(golden.concat()).all(|(error, golden)| (error - golden).abs() < 1e-12));
}

#[test]
fn errors_into_an_absent_class_take_no_part_but_take_their_room() {
    let null = ConfusionNull::of(&[[0, 4, 6], [4, 0, 6], [0, 0, 0]].into());
    assert_eq!(null.errors, [0.0, 0.4, 0.6, 0.4, 0.0, 0.6, 0.0, 0.0, 0.0]);
    let rates = null.draw(&mut Seed::new(0).rng());
    assert_eq!((rates.rate(0, 0), rates.rate(2, 0)), (Some(0.0), None));
}

#[test]
fn threads_do_not_change_the_floor() {
    let null = even(4, 0.5, 20);
    let observed = Asymmetry::of(&null.draw(&mut Seed::new(0).rng())).unwrap();
    let with_threads = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| Floors::of(&observed, &null, Seed::new(2), 300).a1)
    };
    assert_eq!(with_threads(1), with_threads(4));
}

#[test]
fn a_constant_classifier_is_not_chance() {
    let mut counts = ConfusionMatrix::new(5);
    (0..5).for_each(|label| counts.add_images(label, 0, 20));
    let observed = Asymmetry::of(&RateMatrix::of_confusion(&counts)).unwrap();
    let floor = Floors::of(&observed, &ConfusionNull::of(&counts), Seed::new(0), 199).a1.unwrap();
    assert!((floor.p_value - 1.0 / 200.0).abs() < 1e-12);
}

#[test]
fn an_exactly_symmetric_matrix_is_always_reached() {
    let floor = NoiseFloor::of(0.0, &[0.5, 0.25]).unwrap();
    assert_eq!(floor, NoiseFloor { expected: 0.375, excess: -0.375, p_value: 1.0, draws: 2 });
    assert_eq!(NoiseFloor::of(0.0, &[]), None);
}

#[test]
fn binomial_draws_have_their_mean_and_range() {
    let mut rng = Seed::new(0).rng();
    for (n, rate) in [(20, 0.05), (20, 0.95), (1000, 0.3), (1000, 1.0), (7, 0.0)] {
        let draws: Vec<u64> = (0..4000).map(|_| binomial(n, rate, &mut rng)).collect();
        assert!(draws.iter().all(|&drawn| drawn <= n));
        let mean = draws.iter().sum::<u64>() as f64 / 4000.0;
        let error = (n as f64 * rate * (1.0 - rate) / 4000.0).sqrt();
        assert!((mean - n as f64 * rate).abs() <= 5.0 * error, "{n} {rate}: {mean}");
    }
}
