use super::super::fixtures::{SHAPE, batch, network, values};
use super::super::projection::distance;
use super::*;

#[test]
#[allow(clippy::float_cmp)] // Powers of two are exact.
fn the_schedule_agrees_with_the_reference_implementation() {
    // pyautoattack 0.2.0, square.SquareAttack(..., p_init=.8, resc_schedule=False).p_selection(i)
    let queries =
        [0, 10, 11, 50, 51, 200, 201, 500, 501, 1000, 1001, 2000, 2001, 4000, 4001, 6000, 6001, 8000, 8001];
    let halvings = [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9];
    // and max(int(round(math.sqrt(p * 32 * 32))), 1)
    let sides = [29, 29, 20, 20, 14, 14, 10, 10, 7, 7, 5, 5, 4, 4, 3, 3, 2, 2, 1];
    for index in 0..queries.len() {
        let found = share(0.8, queries[index]);
        assert_eq!(found, 0.8 / 2.0_f32.powi(halvings[index]), "query {}", queries[index]);
        assert_eq!(side(Norm::Linf, found, [3, 32, 32]), sides[index], "query {}", queries[index]);
    }
    for norm in [Norm::L2, Norm::L1] {
        assert_eq!(side(norm, 0.8, [3, 32, 32]), 29);
        assert_eq!(side(norm, 0.001, [3, 32, 32]), 3);
        assert_eq!(side(norm, 1.0, [3, 32, 8]), 8, "no larger than the picture");
    }
}

#[test]
fn bumps_agree_with_the_reference_implementation() {
    // pyautoattack 0.2.0, square.SquareAttack(..., norm=norm).eta(5), not turned.
    let l2 = [
        [0.049_162, 0.159_777, 0.159_777, 0.159_777, 0.049_162],
        [0.049_162, 0.159_777, 0.602_237, 0.159_777, 0.049_162],
        [-0.045_59, -0.148_168, -0.148_168, -0.148_168, -0.045_59],
        [-0.045_59, -0.148_168, -0.558_479, -0.148_168, -0.045_59],
        [-0.045_59, -0.148_168, -0.148_168, -0.148_168, -0.045_59],
    ];
    let l1 = [
        [0.004_119, 0.024_974, 0.024_974, 0.024_974, 0.004_119],
        [0.004_119, 0.024_974, 0.358_651, 0.024_974, 0.004_119],
        [-0.003_532, -0.021_413, -0.021_413, -0.021_413, -0.003_532],
        [-0.003_532, -0.021_413, -0.307_506, -0.021_413, -0.003_532],
        [-0.003_532, -0.021_413, -0.021_413, -0.021_413, -0.003_532],
    ];
    for (norm, expected) in [(Norm::L2, l2), (Norm::L1, l1)] {
        let (straight, turned) = (bump(norm, 5, false), bump(norm, 5, true));
        for (y, row) in expected.iter().enumerate() {
            for (x, expected) in row.iter().enumerate() {
                assert!((straight[5 * y + x] - expected).abs() < 1e-5, "{norm:?}");
                assert!((turned[5 * x + y] - expected).abs() < 1e-5, "{norm:?}");
            }
        }
    }
}

#[test]
fn an_l1_proposal_agrees_with_the_reference_implementation() {
    // pyautoattack 0.2.0, the lines of square.SquareAttack(..., norm="L1", eps=2.).attack_single_run from
    // `norms_window_1 = ` to `x_new = `, with x and x_best - x below as [1, 2, 4, 4], s = 3, (vh, vw) = (1, 0),
    // (vh2, vw2) = (0, 1), eta(3) not turned, and the signs 1 and -1.
    let clean: Vec<f32> = (0..32).map(|index| (7 * index % 32) as f32 / 31.0).collect();
    let mut change = vec![0.0_f32; 32];
    let before = [(3, -0.1), (6, -0.05), (12, 0.05), (15, 0.1), (18, 1.0 / 31.0)];
    let more = [(21, -0.125), (24, -0.075), (27, -0.025), (30, 0.025)];
    before.into_iter().chain(more).for_each(|(place, value)| change[place] = value);
    let mut search = Search::new(Norm::L1, 2.0, [2, 4, 4], &clean, Seed::new(0).rng());
    let (window, source) = (Window { top: 1, left: 0, side: 3 }, Window { top: 0, left: 1, side: 3 });
    search.move_bump(&mut change, window, source, &bump(Norm::L1, 3, false), &[1.0, -1.0]);
    let moved = [
        0.0, 0.0, 0.0, 0.0, 0.025_151, 0.427_57, -0.452_721, 0.0, -0.021_721, -0.021_721, -0.021_721, 0.0,
        0.456_15, -0.369_265, -0.021_721, 0.1, 0.0, 0.0, 0.0, 0.0, -0.026_689, -1.017_144, -0.026_689, 0.0,
        -0.315_01, 0.023_05, 0.023_05, 0.0, 0.023_05, 0.391_842, 0.135_736, 0.0,
    ];
    for (place, (found, expected)) in change.iter().zip(moved).enumerate() {
        assert!((found - expected).abs() < 2e-6, "{place}: {found} {expected}");
    }
    // Nine values change, as far as the box lets them, and their sum is the budget.
    let picture = search.picture(change);
    let places = [5, 6, 12, 13, 21, 24, 29];
    let expected = [0.353_433, 0.040_77, 0.930_401, 0.672_614, 0.0, 0.113_965, 0.575_77];
    for (place, found) in picture.iter().enumerate() {
        let expected = places.iter().position(|known| *known == place).map(|index| expected[index]);
        let expected = expected.unwrap_or(clean[place]);
        assert!((found - expected).abs() < 1e-5, "{place}: {found} {expected}");
    }
    search.proposed = picture;
    assert!((distance(Norm::L1, &clean, &search.proposed) - 2.0).abs() < 1e-5);
}

fn search(norm: Norm, epsilon: f32) -> Search {
    let clean: Vec<f32> = values(batch(1, 2, 0.3).images);
    Search::new(norm, epsilon, SHAPE, &clean, Seed::new(4).rng())
}

#[test]
fn linf_proposals_change_one_square_by_the_whole_budget() {
    let mut search = search(Norm::Linf, 0.1);
    let at_the_border = |picture: &[f32], clean: &[f32]| {
        picture.iter().zip(clean).all(|(value, clean)| ((value - clean).abs() - 0.1).abs() < 1e-6)
    };
    assert!(at_the_border(&search.proposed, &search.clean), "stripes of the budget");
    search.judge(0.0);
    let mut corners = std::collections::BTreeSet::new();
    for _ in 0..400 {
        search.propose(0.1);
        assert!(at_the_border(&search.proposed, &search.clean));
        let [_, height, width] = SHAPE;
        let differs = |place: &usize| (search.proposed[*place] - search.best[*place]).abs() > 1e-6;
        let places: Vec<usize> = (0..search.clean.len()).filter(differs).collect();
        let rows: Vec<usize> = places.iter().map(|place| place / width % height).collect();
        let columns: Vec<usize> = places.iter().map(|place| place % width).collect();
        for positions in [&rows, &columns] {
            let ends = positions.iter().min().zip(positions.iter().max());
            assert!(ends.is_none_or(|(first, last)| last - first < 5), "sqrt(0.1) of 16 is 5");
        }
        corners.extend(rows.iter().max().copied());
        search.judge(-1.0);
    }
    assert!(corners.contains(&(SHAPE[1] - 1)), "the last row is reached");
}

#[test]
fn l2_proposals_stay_on_the_border_of_the_ball() {
    let mut search = search(Norm::L2, 0.4);
    for query in 0..200 {
        let far = distance(Norm::L2, &search.clean, &search.proposed);
        assert!((far - 0.4).abs() < 1e-4, "query {query}: {far}");
        search.judge(query as f32);
        search.propose(share(0.8, query));
    }
}

#[test]
fn l1_proposals_stay_in_the_ball_and_in_the_box() {
    // The grid has 25 bumps of length 1 in each of 3 channels, so the first picture is on the border of both balls.
    // Later a bump can be higher than the box has room for, and then some of the budget is left.
    for epsilon in [6.0_f32, 40.0] {
        let mut search = search(Norm::L1, epsilon);
        for query in 0..200 {
            assert!(search.proposed.iter().all(|value| (0.0..=1.0).contains(value)));
            let far = distance(Norm::L1, &search.clean, &search.proposed);
            assert!(far <= epsilon * (1.0 + 1e-6), "query {query}: {far}");
            assert!(query > 0 || far > epsilon * (1.0 - 1e-5), "the start: {far} of {epsilon}");
            search.judge(query as f32);
            search.propose(share(0.8, query));
        }
    }
}

#[test]
fn only_a_higher_margin_is_kept() {
    let mut search = search(Norm::Linf, 0.1);
    let first = search.proposed.clone();
    search.judge(0.5);
    assert_eq!(search.best, first);
    search.propose(0.5);
    search.judge(f32::NAN);
    search.propose(0.5);
    search.judge(0.4);
    assert_eq!(search.best, first);
    search.propose(0.5);
    let better = search.proposed.clone();
    search.judge(0.6);
    assert_eq!(search.best, better);
}

#[test]
fn it_asks_for_no_gradient_and_no_more_than_its_queries() {
    let victim = Victim::new(&network(3));
    let config = SquareConfig { queries: 7, early_stop: false, ..SquareConfig::default() };
    config.build().expect("valid").perturb(&victim, &batch(2, 3, 0.0), &Goal::Untargeted, Seed::new(0));
    // The clean pictures, the stripes, and the queries.
    assert_eq!((victim.cost().gradients, victim.cost().forwards), (0, 2 * (1 + 1 + 7)));
}
