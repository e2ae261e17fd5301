use super::*;
use proptest::prelude::*;

fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
}

// By hand for rows of 20: pairs (0,1): 5 and 1, (0,2): 3 and 3, (1,2): 4 and 0. Bowker's statistic is
// 16/6 + 0 + 16/4 = 20/3 with 3 degrees of freedom.
// from math import erfc, exp, pi, sqrt
// x = 20 / 3; print(erfc(sqrt(x / 2)) + sqrt(2 * x / pi) * exp(-x / 2))  # survival function for df 3
// 0.08331630551120188
#[test]
fn bowker_by_hand() {
    let counts = [[12, 5, 3], [1, 15, 4], [3, 0, 17]].into();
    let found = SymmetryTests::of(&counts, Seed::new(0), 500).unwrap();
    let bowker = found.bowker.unwrap();
    close(bowker.statistic, 20.0 / 3.0);
    close(bowker.p_value, 0.083_316_305_511_201_88);
    assert_eq!((bowker.df, found.pairs_tested), (3, 3));
    assert!((0.01..0.15).contains(&bowker.p_simulated.unwrap()));
}

#[test]
fn counts_are_not_rates_where_classes_are_of_different_size() {
    let found = SymmetryTests::of(&[[30, 10], [5, 15]].into(), Seed::new(0), 100).unwrap();
    assert_eq!((found.bowker, found.stuart_maxwell), (None, None));
    // Both rates are 1/4.
    close(found.rates.unwrap().statistic, 0.0);
    close(found.rates.unwrap().p_simulated.unwrap(), 1.0);
}

// One pair: Pearson's chi-squared of the 2x2 table, times (N - 1) / N. For [[15, 5], [19, 1]] of 40:
// 40 (15 * 1 - 5 * 19)^2 / (20 * 20 * 34 * 6) = 256000 / 81600 = 160 / 51, times 39 / 40 = 52 / 17.
#[test]
fn one_pair_is_pearsons_statistic() {
    let found = SymmetryTests::of(&[[15, 5], [1, 19]].into(), Seed::new(0), 0).unwrap();
    close(found.rates.unwrap().statistic, 52.0 / 17.0);
    assert_eq!(found.rates.unwrap().p_simulated, None);
}

// from math import comb
// p = [comb(20, x) * comb(20, 6 - x) / comb(40, 6) for x in range(7)]
// print(sum(q for q in p if q < p[5] * (1 - 1e-9)) + .5 * sum(q for q in p if abs(q / p[5] - 1) < 1e-9))
// 0.10098010098010098
#[test]
fn a_pair_is_tested_by_fishers_mid_p() {
    let pair = PairCounts { low: 0, high: 1, trials: [20, 20], events: [5, 1] };
    let chance = PairChance::of(20, 20, 6);
    let tests = pair_tests(&[pair], &[chance]);
    close(tests[0].p_value, 0.100_980_100_980_100_98);
    assert_eq!((tests[0].from, tests[0].to), (0, 1));
    close(tests[0].q_value, tests[0].p_value);
}

#[test]
fn without_errors_there_is_nothing_to_test() {
    let found = SymmetryTests::of(&[[3, 0], [0, 3]].into(), Seed::new(0), 9).unwrap();
    assert_eq!((found.bowker, found.rates, found.marginal, found.pairs_tested), (None, None, None, 0));
    assert_eq!(SymmetryTests::of(&ConfusionMatrix::new(3), Seed::new(0), 9), None);
}

#[test]
fn the_clearest_pair_is_listed_first() {
    let counts = [[50, 50, 0], [10, 60, 30], [0, 0, 100]].into();
    let found = SymmetryTests::of(&counts, Seed::new(0), 100).unwrap();
    let listed: Vec<(usize, usize)> =
        found.significant_pairs.iter().map(|test| (test.from, test.to)).collect();
    assert_eq!(listed, [(1, 2), (0, 1)]);
}

proptest! {
    #[test]
    fn transposed_counts_of_equal_rows_give_the_same_statistics(
        cells in prop::array::uniform3(0_u64..9),
    ) {
        let [a, b, c] = cells;
        // Circulant: rows and columns have the same sums, so the transpose has equal rows too.
        let counts = [[20, a, b], [b, 20, a], [a, b, 20]];
        let transposed: [[u64; 3]; 3] = std::array::from_fn(|i| std::array::from_fn(|j| counts[j][i]));
        let [p, q] = [counts, transposed].map(|counts| SymmetryTests::of(&counts.into(), Seed::new(c), 0).unwrap());
        prop_assert_eq!(p.bowker.is_some(), q.bowker.is_some());
        if let (Some(p), Some(q)) = (p.bowker, q.bowker) {
            prop_assert!((p.statistic - q.statistic).abs() < 1e-9);
        }
        if let Some(margins) = p.marginal {
            prop_assert!(margins.statistic < 1e-9);
        }
    }
}
