//! Where the rectangle of [`super::Roa`] goes.

use std::collections::BTreeSet;

use burn::tensor::{Device, Int, Tensor, TensorData};
use rand::Rng;

use super::super::ascent::Ascent;
use super::super::threat::{host, writable};
use super::{Corner, Roa, Search};
use crate::Seed;
use crate::data::class_tensor;

/// The value of the rectangle before its contents are optimised.
const GREY: f32 = 0.5;
/// Values of all pictures in one forward pass of the search for a place, unless a batch has more: the activations of
/// a network are some tens of times as many.
const TOGETHER: usize = 1 << 20;

/// For each image the best place of those that were tried.
struct Found {
    corners: Vec<Corner>,
    /// The goal losses there.
    losses: Vec<f32>,
}

impl Roa {
    /// The mask `[N, 1, H, W]` of the place of each image.
    pub(super) fn place(&self, ascent: &mut Ascent, seed: Seed) -> Tensor<4> {
        let candidates = match (self.config.search, self.config.place) {
            (Search::Gradient { candidates }, None) => self.steepest(ascent, candidates, seed),
            (Search::CoarseToFine { spacing, .. }, None) => {
                vec![self.corners_at(&self.coarse(spacing)); ascent.batch.len()]
            }
            _ => vec![self.corners(); ascent.batch.len()],
        };
        let corners = candidates.iter().map(|corners| corners[0]).collect();
        let mut found = Found { corners, losses: vec![f32::NEG_INFINITY; candidates.len()] };
        let losses = self.try_places(ascent, &candidates, &mut found);
        if let (Search::CoarseToFine { spacing, best }, None) = (self.config.search, self.config.place) {
            let fine: Vec<_> = losses.iter().map(|losses| self.fine(losses, spacing, best)).collect();
            self.try_places(ascent, &fine, &mut found);
        }
        self.rectangles(&found.corners, self.picture, &ascent.batch.images.device())
    }

    fn corners(&self) -> Vec<Corner> {
        self.tops.iter().flat_map(|&top| self.lefts.iter().map(move |&left| (top, left))).collect()
    }

    fn corners_at(&self, indices: &[[usize; 2]]) -> Vec<Corner> {
        indices.iter().map(|&[row, column]| (self.tops[row], self.lefts[column])).collect()
    }

    /// Indices of every `spacing`th place in both directions, the last ones included.
    fn coarse(&self, spacing: usize) -> Vec<[usize; 2]> {
        let [rows, columns] =
            [&self.tops, &self.lefts].map(|places| super::offsets(places.len(), 1, spacing));
        rows.iter().flat_map(|&row| columns.iter().map(move |&column| [row, column])).collect()
    }

    /// The places nearer than `spacing` to one of the `best` coarse places of an image, without the coarse ones, whose
    /// goal losses are given.
    fn fine(&self, losses: &[f32], spacing: usize, best: usize) -> Vec<Corner> {
        let coarse = self.coarse(spacing);
        let mut order: Vec<usize> = (0..coarse.len()).collect();
        order.sort_by(|&a, &b| losses[b].total_cmp(&losses[a]));
        let around = |index: usize, places: &[usize]| {
            index.saturating_sub(spacing - 1)..(index + spacing).min(places.len())
        };
        let near = order.iter().take(best).flat_map(|&index| {
            let [row, column] = coarse[index];
            let columns = around(column, &self.lefts);
            around(row, &self.tops).flat_map(move |row| columns.clone().map(move |column| [row, column]))
        });
        let near: BTreeSet<[usize; 2]> = near.collect();
        let tried: BTreeSet<[usize; 2]> = coarse.iter().copied().collect();
        self.corners_at(&near.difference(&tried).copied().collect::<Vec<_>>())
    }

    /// The places with the largest sums of squared gradients, for each image.
    fn steepest(&self, ascent: &mut Ascent, candidates: usize, seed: Seed) -> Vec<Vec<Corner>> {
        let all = self.corners();
        let scores = self.scores(ascent.gradient(ascent.batch.images.clone()));
        let ids = ascent.batch.ids.iter();
        let ranked = scores.chunks(all.len()).zip(ids).map(|(scores, id)| {
            let order = descending(scores, seed.at(id.0));
            order.into_iter().take(candidates).map(|place| all[place]).collect()
        });
        ranked.collect()
    }

    /// Sums of squared gradients in each place, `[N, places]` row by row.
    fn scores(&self, gradient: Tensor<4>) -> Vec<f32> {
        let squares = gradient.square().sum_dim(1);
        let strips = window_sums(squares, 2, &self.tops, self.config.height);
        host(window_sums(strips, 3, &self.lefts, self.config.width))
    }

    /// Tries grey at the candidates of each image and returns the goal losses there; the best one beside that of before
    /// is kept, the first one among equals.
    fn try_places(
        &self,
        ascent: &mut Ascent,
        candidates: &[Vec<Corner>],
        found: &mut Found,
    ) -> Vec<Vec<f32>> {
        let images = ascent.batch.images.clone();
        let device = images.device();
        let at_once = (TOGETHER / images.dims()[1..].iter().product::<usize>()).max(candidates.len());
        let trials = candidates.iter().enumerate();
        let trials: Vec<(usize, Corner)> =
            trials.flat_map(|(image, corners)| corners.iter().map(move |&corner| (image, corner))).collect();
        let mut losses = vec![Vec::new(); candidates.len()];
        for group in trials.chunks(at_once) {
            let (rows, corners): (Vec<usize>, Vec<Corner>) = group.iter().copied().unzip();
            let inside = self.rectangles(&corners, self.picture, &device);
            let pictures = grey(images.clone().select(0, class_tensor(&rows, &device)), &inside);
            let tried = ascent.offer_several(&rows, pictures);
            for (&(image, corner), loss) in group.iter().zip(tried) {
                losses[image].push(loss);
                if loss > found.losses[image] {
                    (found.corners[image], found.losses[image]) = (corner, loss);
                }
            }
        }
        losses
    }

    /// The masks of some rectangles in a picture of a height and width, one a row: `[corners, 1, H, W]`.
    fn rectangles(&self, corners: &[Corner], [height, width]: [usize; 2], device: &Device) -> Tensor<4> {
        let place = |values: Vec<f32>| -> Tensor<4> {
            Tensor::from_data(TensorData::new(values, [corners.len(), 1, 1, 1]), device)
        };
        let along = |size: usize| Tensor::<1, Int>::arange(0..size as i64, device).float();
        let within = |distance: Tensor<4>, length: usize| {
            let after = distance.clone().greater_equal_elem(0.0);
            after.bool_and(distance.lower_elem(length as f32)).float()
        };
        let top = place(corners.iter().map(|corner| corner.0 as f32).collect());
        let left = place(corners.iter().map(|corner| corner.1 as f32).collect());
        let rows = within(along(height).reshape([1, 1, height, 1]) - top, self.config.height);
        let columns = within(along(width).reshape([1, 1, 1, width]) - left, self.config.width);
        rows * columns
    }
}

/// Sums over windows of a length at some offsets along a dimension.
fn window_sums(values: Tensor<4>, dim: usize, offsets: &[usize], length: usize) -> Tensor<4> {
    let device = values.device();
    let mut zeros = values.dims();
    zeros[dim] = 1;
    let sums = Tensor::cat(vec![Tensor::zeros(zeros, &device), values.cumsum(dim)], dim);
    let at = |shift: usize| {
        let index: Vec<usize> = offsets.iter().map(|offset| offset + shift).collect();
        sums.clone().select(dim, class_tensor(&index, &device))
    };
    at(length) - at(0)
}

/// Positions from the largest value to the smallest; equal values come in random order, so that an image
/// without a gradient is not always covered in the same corner (Wu et al. take a random place as well).
fn descending(values: &[f32], seed: Seed) -> Vec<usize> {
    let mut rng = seed.rng();
    let mut order: Vec<(f32, u64, usize)> =
        values.iter().enumerate().map(|(place, &value)| (value, rng.next_u64(), place)).collect();
    order.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    order.into_iter().map(|(_, _, place)| place).collect()
}

/// Paints some pixels grey.
pub(super) fn grey(images: Tensor<4>, inside: &Tensor<4>) -> Tensor<4> {
    let shape = images.dims();
    images.mask_fill(writable(inside, shape), GREY)
}

#[cfg(test)]
mod tests {
    use super::super::super::fixtures::{SHAPE, SIDE, SIZE, batch, network, values};
    use super::super::super::{Goal, RoaConfig};
    use super::*;
    use crate::models::Victim;

    fn small(search: Search) -> Roa {
        let config = RoaConfig { height: 6, width: 5, stride: 4, search, ..RoaConfig::default() };
        config.build(SHAPE).expect("fits")
    }

    #[test]
    fn window_sums_agree_with_a_direct_sum() {
        let images = batch(2, 2, 0.0).images;
        let attack = small(Search::Exhaustive);
        let scores = attack.scores(images.clone());
        let pixels = values(images);
        let direct = |image: usize, top: usize, left: usize| -> f32 {
            let at = |channel: usize, y: usize, x: usize| {
                pixels[image * SIZE + (channel * SIDE + y) * SIDE + x].powi(2)
            };
            let square = |y| (left..left + 5).map(move |x| (y, x));
            (top..top + 6).flat_map(square).map(|(y, x)| (0..3).map(|c| at(c, y, x)).sum::<f32>()).sum()
        };
        let places = attack.tops.iter().flat_map(|&top| attack.lefts.iter().map(move |&left| (top, left)));
        let places: Vec<Corner> = places.collect();
        assert_eq!(scores.len(), 2 * places.len());
        for (index, score) in scores.iter().enumerate() {
            let (top, left) = places[index % places.len()];
            let expected = direct(index / places.len(), top, left);
            assert!((score - expected).abs() < 1e-3, "{score} {expected}");
        }
    }

    #[test]
    fn equal_scores_keep_their_order() {
        let order = descending(&[1.0, 4.0, 1.0, 3.0, 2.0], Seed::new(0));
        assert_eq!(order[..3], [1, 3, 4]);
        let first: std::collections::BTreeSet<usize> =
            (0..50).map(|seed| descending(&[0.0; 5], Seed::new(seed))[0]).collect();
        assert_eq!(first.len(), 5, "equal places all get their turn");
    }

    #[test]
    fn the_place_is_where_grey_hurts_most() {
        let victim = Victim::new(&network(3));
        let batch = batch(3, 3, 0.0);
        let attack = small(Search::Exhaustive);
        let mut found = Vec::new();
        Ascent::run(&victim, &batch, &Goal::Untargeted, false, |ascent| {
            assert_eq!(attack.corners().len(), 4 * 4, "every place");
            found = host(attack.place(ascent, Seed::new(0)));
        });
        let highest: Vec<(f32, usize)> = (0..3)
            .map(|image| {
                let one = batch.select(&[image]);
                let places =
                    attack.tops.iter().flat_map(|&top| attack.lefts.iter().map(move |&left| (top, left)));
                let losses = places.map(|(top, left)| {
                    let mask = attack.rectangles(&[(top, left)], [SIDE, SIDE], &one.images.device());
                    let logits = victim.logits(grey(one.images.clone(), &mask));
                    (values(Goal::Untargeted.loss(logits, &one.labels))[0], top * SIDE + left)
                });
                losses.fold((f32::NEG_INFINITY, 0), |best, next| if next.0 > best.0 { next } else { best })
            })
            .collect();
        for (image, (_, corner)) in highest.into_iter().enumerate() {
            let mask = &found[image * SIDE * SIDE..][..SIDE * SIDE];
            assert_eq!(mask.iter().position(|value| *value > 0.5), Some(corner));
            assert_eq!(mask.iter().filter(|value| **value > 0.5).count(), 30);
        }
    }

    /// How many pictures a search shows to the victim for 4 images, and the places that it chooses.
    fn searched(search: Search, stride: usize) -> (u64, Vec<f32>) {
        let config = RoaConfig { height: 6, width: 5, stride, search, ..RoaConfig::default() };
        let attack = config.build(SHAPE).expect("fits");
        let (victim, batch) = (Victim::new(&network(3)), batch(4, 3, 0.0));
        let mut found = (0, Vec::new());
        Ascent::run(&victim, &batch, &Goal::Untargeted, false, |ascent| {
            let before = victim.cost();
            found.1 = host(attack.place(ascent, Seed::new(0)));
            found.0 = (victim.cost() - before).forwards;
        });
        found
    }

    #[test]
    fn around_all_coarse_places_lie_all_places() {
        let (all, exhaustive) = searched(Search::Exhaustive, 1);
        assert_eq!(all, 4 * 11 * 12);
        for spacing in [1, 2, 3, 5, 40] {
            let (tried, found) = searched(Search::CoarseToFine { spacing, best: 1000 }, 1);
            assert_eq!(found, exhaustive, "{spacing}");
            assert_eq!(tried, all, "no place twice with a spacing of {spacing}");
        }
    }

    #[test]
    fn a_coarse_search_tries_fewer_places() {
        // 11 x 12 places; of them 5 x 5 coarse ones, and around one of them at most 5 x 5 without the coarse one.
        let (tried, _) = searched(Search::CoarseToFine { spacing: 3, best: 1 }, 1);
        assert!((4 * 26..4 * (25 + 25)).contains(&tried), "{tried}");
    }

    #[test]
    fn fine_places_lie_around_the_best_coarse_ones() {
        let search = Search::CoarseToFine { spacing: 4, best: 1 };
        let config = RoaConfig { height: 6, width: 5, stride: 1, search, ..RoaConfig::default() };
        let attack = config.build(SHAPE).expect("fits");
        let coarse = attack.corners_at(&attack.coarse(4));
        assert_eq!(coarse[..4], [(0, 0), (0, 4), (0, 8), (0, 11)]);
        let mut losses = vec![0.0; coarse.len()];
        losses[1] = 1.0;
        let near = attack.fine(&losses, 4, 1);
        let around = |left: usize| (0..4).map(move |top| (top, left));
        let mut expected: Vec<Corner> = (1..8).flat_map(around).filter(|&corner| corner != (0, 4)).collect();
        expected.sort_unstable();
        assert_eq!(near, expected);
        let all = vec![0.0; attack.corners().len()];
        assert!(attack.fine(&all, 1, 3).is_empty(), "with a spacing of 1 all places are coarse");
    }
}
