//! The exponential function and the normal distribution, on vectors.
#![allow(unsafe_code)]

use super::lanes::Lanes;

/// `exp(x)` for `x <= 88`, within two units in the last place; zero below -88. NaN stays NaN.
///
/// `x = n ln 2 + r` with an integer `n` and `|r| <= ln 2 / 2`; `exp(r)` is its Taylor polynomial of degree 7,
/// whose remainder is below a tenth of a unit. `ln 2` comes in two parts, so that `n ln 2` is exact (Cody and
/// Waite 1980).
#[inline(always)]
pub(super) fn exp<L: Lanes>(x: L) -> L {
    /// Adding it to a float leaves no digits after the point.
    const SHIFT: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    // SAFETY: `x` proves that the processor has the instruction set.
    let constant = |value: f32| unsafe { L::splat(value) };
    let x = x.max(constant(-88.0));
    let n = x.scaled_add(std::f32::consts::LOG2_E, constant(SHIFT)).sub(constant(SHIFT));
    let r = n.scaled_add(-LN_2_HIGH, x);
    let r = n.scaled_add(-LN_2_LOW, r);
    let mut sum = constant(1.0 / 5040.0);
    for factorial in [720.0, 120.0, 24.0, 6.0, 2.0, 1.0, 1.0] {
        sum = sum.mul_add(r, constant(1.0 / factorial));
    }
    sum.mul(n.power_of_two())
}

/// Distribution function and density of the normal distribution, the first within 2e-7.
///
/// The tail beyond `z = |x|` is `exp(-z²/2) P(s) / (z + 2)` with `s = (z - 2) / (z + 2)`, the form in which
/// Shepherd and Laframboise (1981) expand the scaled complementary error function. The coefficients of `P`
/// are a least-squares fit of the relative error at Chebyshev nodes of `0 <= z <= 13.3`, made with
/// `numpy.polynomial.polynomial.polyfit` from `0.5 * math.erfc(z / sqrt(2)) * exp(z * z / 2) * (z + 2)`.
#[inline(always)]
pub(super) fn normal<L: Lanes>(x: L) -> (L, L) {
    const P: [f32; 10] = [
        1.195_889_1e-4,
        6.272_242e-4,
        7.675_350_6e-4,
        -1.845_706_3e-3,
        -6.700_028e-3,
        -4.926_541_6e-4,
        3.671_314_2e-2,
        2.879_923e-2,
        -3.314_042e-1,
        6.724_08e-1,
    ];
    const DENSITY_AT_ZERO: f32 = 0.398_942_3;
    // SAFETY: `x` proves that the processor has the instruction set.
    let constant = |value: f32| unsafe { L::splat(value) };
    let one = constant(1.0);
    let z = x.max(x.scale(-1.0));
    let bell = exp(z.mul(z).scale(-0.5));
    let inverse = one.div(z.add(constant(2.0)));
    let s = inverse.scaled_add(-4.0, one);
    let mut sum = constant(P[0]);
    for coefficient in &P[1..] {
        sum = sum.mul_add(s, constant(*coefficient));
    }
    let tail = sum.mul(inverse).mul(bell);
    (x.if_negative(tail, one.sub(tail)), bell.scale(DENSITY_AT_ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::kernels::lanes::{Isa, Kernel, dispatch};

    /// `exp`, distribution function and density of each value.
    struct Evaluate<'a>(&'a [f32]);
    impl Kernel for Evaluate<'_> {
        type Output = Vec<[f32; 3]>;
        #[inline(always)]
        unsafe fn run<L: Lanes>(self) -> Vec<[f32; 3]> {
            let each = |x: &f32| {
                // SAFETY: the caller checked the instruction set.
                let x = unsafe { L::splat(*x) };
                let (below, density) = normal(x);
                [exp(x), below, density].map(|lanes| lanes.reduce(|first, _| first))
            };
            self.0.iter().map(each).collect()
        }
    }

    /// Φ(-z) by its continued fraction (Laplace) for large z, by its series for small.
    fn upper_tail(z: f64) -> f64 {
        let density = (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
        if z > 3.0 {
            return density / (1..200).rev().fold(z, |rest, k| z + f64::from(k) / rest);
        }
        let (mut term, mut sum) = (z, z);
        for k in 1..100 {
            term *= z * z / f64::from(2 * k + 1);
            sum += term;
        }
        0.5 - density * sum
    }

    #[test]
    fn exponential_and_normal_distribution_are_accurate() {
        let grid: Vec<f32> = (-8700..=4000).map(|i| i as f32 / 100.0).collect();
        for isa in Isa::available() {
            for (x, [exp, below, density]) in grid.iter().zip(dispatch(isa, Evaluate(&grid))) {
                let exact = f64::from(*x).exp();
                assert!((f64::from(exp) / exact - 1.0).abs() < 2.5e-7, "{isa:?} exp {x}: {exp} {exact}");
                let tail = upper_tail(f64::from(x.abs()));
                let exact = if *x < 0.0 { tail } else { 1.0 - tail };
                assert!((f64::from(below) - exact).abs() < 2e-7, "{isa:?} Φ {x}: {below} {exact}");
                if *x < 0.0 && *x > -5.0 {
                    assert!((f64::from(below) / exact - 1.0).abs() < 2e-6, "{isa:?} tail {x}");
                }
                let exact = (-f64::from(x * x) / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
                assert!((f64::from(density) - exact).abs() < 1e-7, "{isa:?} φ {x}");
            }
        }
    }

    #[test]
    fn the_ends_of_the_line_and_nan_are_kept() {
        for isa in Isa::available() {
            let ends = [f32::NEG_INFINITY, f32::INFINITY, f32::NAN];
            let found = dispatch(isa, Evaluate(&ends));
            assert_eq!(found[0][..], [0.0; 3]);
            assert_eq!(found[1][1..], [1.0, 0.0]);
            assert!(found[2].iter().all(|value| value.is_nan()));
        }
    }
}
