//! Random changes of training pictures: a mirror image and a shift.
//!
//! Each picture's change is keyed by its own id, so it does not depend on which other pictures are in the
//! batch, or on where it is in it.

use burn::tensor::{Tensor, TensorData};
use rand::RngExt;
use rayon::prelude::*;

use super::{Batch, ImageId};
use crate::Seed;

/// How training pictures are changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AugmentConfig {
    /// Mirror every second picture, on average. Default true.
    pub flip: bool,
    /// Largest shift in either direction of either axis, in pixels; what a shift leaves empty repeats the
    /// edge. Default 4.
    pub shift: usize,
}

impl Default for AugmentConfig {
    fn default() -> Self {
        Self { flip: true, shift: 4 }
    }
}

/// The batch with each picture mirrored and shifted at random. Labels and ids stay.
///
/// The same seed gives the same change to the same picture: pass one seed per epoch.
#[must_use]
pub fn augment(batch: &Batch, config: &AugmentConfig, seed: Seed) -> Batch {
    if *config == (AugmentConfig { flip: false, shift: 0 }) || batch.is_empty() {
        return batch.clone();
    }
    let [_, channels, height, width] = batch.shape();
    let before = pixels(batch);
    let mut after = vec![0.0; before.len()];
    let size = channels * height * width;
    after.par_chunks_mut(size).zip(before.par_chunks(size)).zip(&batch.ids).for_each(
        |((after, before), &id)| {
            let change = Change::draw(config, seed, id);
            for (to, from) in after.chunks_mut(height * width).zip(before.chunks(height * width)) {
                change.copy_channel(from, to, width);
            }
        },
    );
    let images = Tensor::from_data(TensorData::new(after, batch.shape()), &batch.images.device());
    Batch { images, ..batch.clone() }
}

fn pixels(batch: &Batch) -> Vec<f32> {
    batch.images.try_to_vec_as().expect("pixels are floats on every device")
}

/// What happens to one picture.
struct Change {
    flip: bool,
    /// How far the window moves, in pixels.
    down: isize,
    right: isize,
}

impl Change {
    fn draw(config: &AugmentConfig, seed: Seed, id: ImageId) -> Self {
        let mut rng = seed.at(id.0).rng();
        // More than any picture is wide, so that no number in a file can overflow.
        let shift = config.shift.min(1 << 20) as i64;
        // Drawn in any case, so that switching mirroring off does not move the shifts.
        let flip: bool = rng.random();
        Self {
            flip: flip && config.flip,
            down: rng.random_range(-shift..=shift) as isize,
            right: rng.random_range(-shift..=shift) as isize,
        }
    }

    fn copy_channel(&self, from: &[f32], to: &mut [f32], width: usize) {
        let height = from.len() / width;
        for (y, row) in to.chunks_mut(width).enumerate() {
            let source = &from[moved(y, self.down, height) * width..][..width];
            for (x, value) in row.iter_mut().enumerate() {
                let x = moved(x, self.right, width);
                *value = source[if self.flip { width - 1 - x } else { x }];
            }
        }
    }
}

/// The position `by` further, or the nearest one that exists.
fn moved(position: usize, by: isize, length: usize) -> usize {
    position.saturating_add_signed(by).min(length - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    fn batch(count: usize) -> Batch {
        let values: Vec<f32> = (0..count * 3 * 8 * 6).map(|value| value as f32).collect();
        Batch {
            images: Tensor::from_data(TensorData::new(values, [count, 3, 8, 6]), &Device::default()),
            labels: (0..count).collect(),
            ids: (0..count).map(|id| ImageId(id as u64 * 77)).collect(),
            radius_scale: None,
        }
    }

    #[test]
    fn the_change_of_a_picture_does_not_depend_on_its_batch() {
        let (all, config, seed) = (batch(9), AugmentConfig::default(), Seed::new(3));
        let rows = [7, 2, 5];
        let selected_first = augment(&all.select(&rows), &config, seed);
        let selected_last = augment(&all, &config, seed).select(&rows);
        assert_eq!(pixels(&selected_first), pixels(&selected_last));
        assert_eq!(selected_first.ids, selected_last.ids);
        assert_ne!(pixels(&augment(&all, &config, seed.at(1))), pixels(&augment(&all, &config, seed)));
    }

    #[test]
    fn nothing_changes_when_everything_is_off() {
        let all = batch(4);
        let off = AugmentConfig { flip: false, shift: 0 };
        assert_eq!(pixels(&augment(&all, &off, Seed::new(0))), pixels(&all));
    }

    #[test]
    fn mirroring_alone_keeps_or_mirrors_whole_pictures_about_equally() {
        let all = batch(200);
        let changed = pixels(&augment(&all, &AugmentConfig { flip: true, shift: 0 }, Seed::new(0)));
        let mut mirrored = 0;
        for (after, before) in changed.chunks(144).zip(pixels(&all).chunks(144)) {
            let mirror: Vec<f32> = before.chunks(6).flat_map(|row| row.iter().rev().copied()).collect();
            assert!(after == before || after == mirror);
            mirrored += usize::from(after == mirror);
        }
        assert!((70..=130).contains(&mirrored), "{mirrored} of 200");
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "values are copied, not computed")]
    fn a_shift_moves_the_window_and_repeats_the_edge() {
        let from = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let shifted = |down, right, flip| {
            let mut to = [0.0; 6];
            Change { flip, down, right }.copy_channel(&from, &mut to, 3);
            to
        };
        assert_eq!(shifted(0, 1, false), [2.0, 3.0, 3.0, 5.0, 6.0, 6.0]);
        assert_eq!(shifted(-1, -2, false), [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]);
        assert_eq!(shifted(1, 0, true), [6.0, 5.0, 4.0, 6.0, 5.0, 4.0]);
        assert_eq!(shifted(9, 9, false), [6.0; 6]);
    }

    #[test]
    fn all_shifts_up_to_the_limit_occur() {
        let config = AugmentConfig { flip: true, shift: 2 };
        let shifts: std::collections::BTreeSet<_> = (0..500)
            .map(|id| Change::draw(&config, Seed::new(1), ImageId(id)))
            .map(|change| (change.down, change.right))
            .collect();
        assert_eq!(shifts.len(), 25);
    }
}
