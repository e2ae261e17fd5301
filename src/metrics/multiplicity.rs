//! Many tests at once.

/// Benjamini and Hochberg's adjusted p-values (Journal of the Royal Statistical Society B 57, 1995), in the
/// order given: calling everything at most `q` significant lets a part `q` of the calls be false on average.
pub fn benjamini_hochberg(p_values: &[f64]) -> Vec<f64> {
    let count = p_values.len() as f64;
    let mut adjusted = vec![1.0; p_values.len()];
    let mut smallest = 1.0_f64;
    for (rank, at) in ascending(p_values).into_iter().enumerate().rev() {
        smallest = smallest.min(p_values[at] * count / (rank + 1) as f64);
        adjusted[at] = smallest;
    }
    adjusted
}

/// Holm's adjusted p-values (Scandinavian Journal of Statistics 6, 1979), in the order given: calling
/// everything at most `p` significant makes any false call with a chance of at most `p`.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let count = p_values.len();
    let mut adjusted = vec![1.0; count];
    let mut largest = 0.0_f64;
    for (rank, at) in ascending(p_values).into_iter().enumerate() {
        largest = largest.max(p_values[at] * (count - rank) as f64).min(1.0);
        adjusted[at] = largest;
    }
    adjusted
}

fn ascending(values: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn close(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?}");
    }

    // By hand, sorted p: 0.005 0.01 0.03 0.04. Benjamini-Hochberg p n / rank: 0.02 0.02 0.04 0.04.
    // Holm p (n - rank + 1), cumulative maximum: 0.02 0.03 0.06 0.06.
    #[test]
    fn by_hand() {
        close(&benjamini_hochberg(&[0.01, 0.04, 0.03, 0.005]), &[0.02, 0.04, 0.04, 0.02]);
        close(&holm(&[0.01, 0.04, 0.03, 0.005]), &[0.03, 0.06, 0.06, 0.02]);
        close(&holm(&[0.6, 0.7]), &[1.0, 1.0]);
        close(&benjamini_hochberg(&[]), &[]);
    }

    proptest! {
        #[test]
        fn adjusting_never_helps_and_holm_is_stricter(p in prop::collection::vec(0.0..=1.0_f64, 1..20)) {
            for ((p, q), h) in p.iter().zip(benjamini_hochberg(&p)).zip(holm(&p)) {
                prop_assert!(*p <= q + 1e-12 && q <= h + 1e-12 && h <= 1.0);
            }
        }
    }
}
