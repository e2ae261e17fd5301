//! What attacks do to pictures between two passes: in one walk over memory where they are in that of the CPU, else with
//! the framework's operators, which find the same values.
//!
//! Pictures are `[N, C, H, W]`; masks `[N or 1, 1, H, W]` are above 0.5 where the attack may write.

use burn::tensor::Tensor;

use super::projection::sign;
use super::threat::writable;
use crate::nn;

/// A step along the sign of a direction, back in the L-inf ball around the clean pictures and in `[0, 1]`.
pub(super) fn signed_in_ball(
    images: &Tensor<4>,
    direction: &Tensor<4>,
    clean: &Tensor<4>,
    length: f32,
    epsilon: f32,
) -> Tensor<4> {
    let moved = nn::pixelwise([images, direction, clean], |[value, direction, clean]| {
        (value + length * sign(direction)).max(clean - epsilon).min(clean + epsilon).clamp(0.0, 1.0)
    });
    moved.unwrap_or_else(|| {
        let (low, high) = (clean.clone().sub_scalar(epsilon), clean.clone().add_scalar(epsilon));
        let moved = images.clone() + direction.clone().sign().mul_scalar(length);
        moved.max_pair(low).min_pair(high).clamp(0.0, 1.0)
    })
}

/// A step along the sign of a direction where a mask allows it, in `[0, 1]`.
pub(super) fn signed_inside(
    images: &Tensor<4>,
    direction: &Tensor<4>,
    mask: &Tensor<4>,
    length: f32,
) -> Tensor<4> {
    let moved = nn::pixelwise([images, direction, mask], |[value, direction, mask]| {
        if mask > 0.5 { (value + length * sign(direction)).clamp(0.0, 1.0) } else { value }
    });
    moved.unwrap_or_else(|| added_inside(images, &direction.clone().sign().mul_scalar(length), mask))
}

/// A change added where a mask allows it, in `[0, 1]`.
pub(super) fn added_inside(images: &Tensor<4>, change: &Tensor<4>, mask: &Tensor<4>) -> Tensor<4> {
    let moved = nn::pixelwise([images, change, mask], |[value, change, mask]| {
        if mask > 0.5 { (value + change).clamp(0.0, 1.0) } else { value }
    });
    moved.unwrap_or_else(|| {
        let moved = (images.clone() + change.clone()).clamp(0.0, 1.0);
        images.clone().mask_where(writable(mask, images.dims()), moved)
    })
}

/// Values rounded to those of 8 bits inside a mask.
pub(super) fn rounded_inside(images: &Tensor<4>, mask: &Tensor<4>) -> Tensor<4> {
    let rounded =
        nn::pixelwise(
            [images, mask],
            |[value, mask]| {
                if mask > 0.5 { (value * 255.0).round() / 255.0 } else { value }
            },
        );
    rounded.unwrap_or_else(|| {
        let rounded = images.clone().mul_scalar(255.0).round().div_scalar(255.0);
        images.clone().mask_where(writable(mask, images.dims()), rounded)
    })
}

/// `a * a_factor + b * b_factor`.
pub(super) fn combined(a: &Tensor<4>, a_factor: f32, b: &Tensor<4>, b_factor: f32) -> Tensor<4> {
    let sum = nn::pixelwise([a, b], |[a, b]| a * a_factor + b * b_factor);
    sum.unwrap_or_else(|| a.clone().mul_scalar(a_factor) + b.clone().mul_scalar(b_factor))
}

/// The product of a batch and a mask.
pub(super) fn masked(batch: &Tensor<4>, mask: &Tensor<4>) -> Tensor<4> {
    nn::pixelwise([batch, mask], |[value, mask]| value * mask)
        .unwrap_or_else(|| batch.clone().mul(mask.clone()))
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{batch, values};
    use super::*;

    /// Pictures, a direction with zeros in it, and a mask of half of the pixels.
    fn case() -> [Tensor<4>; 3] {
        let (images, other) = (batch(3, 3, 0.0).images, batch(4, 3, 0.0).images.slice(1..4));
        let direction = (other.clone() - images.clone()).mask_fill(images.clone().lower_elem(0.2), 0.0);
        let mask = other.slice([0..1, 0..1]).greater_elem(0.5).float();
        [images, direction, mask]
    }

    #[test]
    fn one_walk_finds_what_the_framework_finds() {
        type Step = fn([&Tensor<4>; 3]) -> Tensor<4>;
        let steps: [Step; 6] = [
            |[images, direction, _]| {
                signed_in_ball(&images.clone().mul_scalar(0.9), direction, images, 0.3, 0.2)
            },
            |[images, direction, mask]| signed_inside(images, direction, mask, 0.3),
            |[images, direction, mask]| added_inside(images, direction, mask),
            |[images, _, mask]| rounded_inside(images, mask),
            |[images, direction, _]| combined(images, 0.4, direction, 0.7),
            |[_, direction, mask]| masked(direction, mask),
        ];
        let case = case();
        for (index, step) in steps.into_iter().enumerate() {
            let found = values(step(case.each_ref()));
            let expected = nn::with_stock(|| values(step(case.each_ref())));
            assert_ne!(found, values(case[0].clone()), "{index}: nothing happened");
            let gap = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(gap < 1e-6, "{index}: {gap}");
        }
    }

    #[test]
    fn what_a_mask_leaves_out_stays() {
        let [images, direction, mask] = case();
        let size = mask.dims()[2] * mask.dims()[3];
        let (moved, mask) = (values(signed_inside(&images, &direction, &mask, 0.3)), values(mask));
        let pairs = values(images).into_iter().zip(moved).enumerate();
        let (mut inside, mut outside) = (0, 0);
        for (index, (before, after)) in pairs {
            if mask[index % size] > 0.5 {
                inside += usize::from((before - after).abs() > 0.0);
            } else {
                outside += usize::from((before - after).abs() > 0.0);
            }
        }
        assert!(inside > 100 && outside == 0, "{inside} {outside}");
    }
}
