//! Position embeddings for another size of picture.
//!
//! timm (`resample_abs_pos_embed`) treats the positions of the patches as a picture of `n x n` pixels with a channel a
//! feature and resizes it bicubically with antialiasing; the class token keeps its own. The kernel is that of
//! Keys (IEEE Trans. ASSP 1981) with a = -1/2, as PyTorch takes it with antialiasing (without, it takes -3/4). For
//! a smaller picture the kernel is widened by the ratio; weights outside the picture are left out and the
//! others sum to one.

/// Parameter of the kernel.
const A: f64 = -0.5;

/// Positions `[1 + from * from, width]`, the class token first, to `[1 + to * to, width]`.
pub(super) fn resized(values: &[f32], from: usize, to: usize, width: usize) -> Vec<f32> {
    let (class, grid) = values.split_at(width);
    let weights = weights(from, to);
    // Rows of the picture first, then columns; both are sums of rows of memory.
    let rows = mixed(grid, &weights, 1, from * width);
    let all = mixed(&rows, &weights, to, width);
    [class, &all].concat()
}

/// For each of `outer` pieces: `weights` of lines of `line` numbers.
fn mixed(values: &[f32], weights: &[Vec<(usize, f64)>], outer: usize, line: usize) -> Vec<f32> {
    let mut mixed = Vec::with_capacity(outer * weights.len() * line);
    for piece in values.chunks_exact(values.len() / outer) {
        for taps in weights {
            let sum =
                |i| taps.iter().map(|&(at, weight)| weight * f64::from(piece[at * line + i])).sum::<f64>();
            mixed.extend((0..line).map(|i| sum(i) as f32));
        }
    }
    mixed
}

/// For each new place the old places that it is made of, with their weights.
fn weights(from: usize, to: usize) -> Vec<Vec<(usize, f64)>> {
    let ratio = from as f64 / to as f64;
    let stretch = ratio.max(1.0);
    let place = |new: usize| {
        let center = ratio * (new as f64 + 0.5);
        let first = (center - 2.0 * stretch + 0.5).max(0.0) as usize;
        let end = ((center + 2.0 * stretch + 0.5) as usize).min(from);
        let taps = (first..end).map(|old| (old, cubic((old as f64 - center + 0.5) / stretch)));
        let taps: Vec<(usize, f64)> = taps.collect();
        let sum: f64 = taps.iter().map(|(_, weight)| weight).sum();
        taps.into_iter().map(|(old, weight)| (old, weight / sum)).collect()
    };
    (0..to).map(place).collect()
}

/// The kernel.
fn cubic(x: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_resized_as_in_timm() {
        let text = include_str!("../../../assets/parity/models/models.json");
        let cases: serde_json::Value = serde_json::from_str(text).expect("json");
        let numbers = |key: &str| -> Vec<f32> {
            let list = cases["positions"][key].as_array().expect("a list");
            list.iter().map(|v| v.as_f64().expect("a number") as f32).collect()
        };
        // resample_abs_pos_embed(before, [to, to], [6, 6])
        for to in [4, 9] {
            let (found, expected) = (resized(&numbers("before"), 6, to, 2), numbers(&format!("to_{to}")));
            assert_eq!(found.len(), expected.len());
            let gap = found.iter().zip(&expected).fold(0.0_f32, |m, (a, b)| m.max((a - b).abs()));
            assert!(gap < 2e-6, "{to}: {gap}");
        }
        assert_eq!(resized(&numbers("before"), 6, 6, 2), numbers("before"));
    }
}
