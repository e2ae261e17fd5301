//! The climb that all iterative attacks share: judge every picture, keep the best one of each image, and
//! stop working on an image once its goal is reached.
//!
//! Published attacks often return the last iterate. A step too many can undo a success, so here whatever
//! was shown to the victim counts, the clean picture first. One picture is better than another when it
//! reaches the goal and the other does not, and otherwise when its goal loss is higher; a loss that is
//! not finite never wins.
//!
//! Where the victim's search is not exact (bfloat16), pictures compete with what it said; a success is asked again
//! before its image leaves the work.

use burn::tensor::{Int, Tensor, TensorData};

use super::loss::Loss;
use super::projection::within;
use super::threat::host;
use super::{Goal, Norm};
use crate::data::{Batch, class_tensor};
use crate::models::Victim;
use crate::nn;

/// The state of an iterative attack on `n` images: their current pictures and what goes along with them.
pub(super) trait Iterate: Sized {
    /// The pictures that the victim is shown next, `[n, C, H, W]` in `[0, 1]`.
    fn pictures(&self) -> Tensor<4>;

    /// One step that raises the goal loss. `gradient` `[n, C, H, W]` is its gradient at the pictures,
    /// divided by its largest absolute value image by image; where it vanishes it is zero.
    #[must_use]
    fn step(self, gradient: Tensor<4>) -> Self;

    /// The state of some of the images.
    #[must_use]
    fn select(self, rows: Tensor<1, Int>) -> Self;
}

/// A loss at some pictures, on the host.
pub(super) struct Slope {
    /// The loss of each picture.
    pub losses: Vec<f32>,
    /// Its gradient with respect to each picture, one after another; 0 where it is not finite.
    pub gradients: Vec<f32>,
}

/// An attack in progress on a batch.
pub(super) struct Ascent<'a> {
    victim: &'a Victim,
    /// Whether images that reached their goal are dropped: right for an evaluation, where success is
    /// all that counts, and wrong for training, where the strongest picture is wanted.
    early_stop: bool,
    /// The images that are still worked on, clean.
    pub batch: Batch,
    /// Their goals.
    pub goal: Goal,
    /// Their positions in the batch that was attacked.
    rows: Vec<usize>,
    best: Best,
    finished: Vec<(Vec<usize>, Tensor<4>)>,
}

impl<'a> Ascent<'a> {
    /// The best pictures that an attack finds for a batch. The clean pictures are judged before it
    /// starts; it is not started when nothing is left to do.
    pub fn run(
        victim: &'a Victim,
        batch: &Batch,
        goal: &Goal,
        early_stop: bool,
        attack: impl FnOnce(&mut Self),
    ) -> Tensor<4> {
        let clean = batch.images.clone();
        if batch.is_empty() {
            return clean;
        }
        let best = Best::new(clean.clone(), victim.logits(clean), goal, &batch.labels);
        let rows = (0..batch.len()).collect();
        let (batch, goal) = (batch.clone(), goal.clone());
        let mut ascent = Self { victim, early_stop, batch, goal, rows, best, finished: Vec::new() };
        ascent.drop_reached();
        if !ascent.is_done() {
            attack(&mut ascent);
        }
        ascent.finish()
    }

    /// Whether no image is left to work on.
    pub fn is_done(&self) -> bool {
        self.rows.is_empty()
    }

    /// The goal loss of each row of logits, `[N, K]` to `[N]`.
    pub fn loss(&self, logits: Tensor<2>) -> Tensor<1> {
        self.goal.loss(logits, &self.batch.labels)
    }

    /// The normalised gradient of the goal loss at some pictures of the images that are worked on, which
    /// are judged too.
    pub fn gradient(&mut self, images: Tensor<4>) -> Tensor<4> {
        self.gradient_of(Loss::Ce, images)
    }

    /// The normalised gradient of another loss that is raised for the same goal; the pictures are judged.
    pub fn gradient_of(&mut self, loss: Loss, images: Tensor<4>) -> Tensor<4> {
        let raised = |logits| loss.of_goal(&self.goal, logits, &self.batch.labels);
        let found = self.victim.search_gradient(images.clone(), raised);
        self.offer(images, found.logits);
        normalise(found.gradient)
    }

    /// Loss and gradient at some pictures, without judging them: that is up to the caller, who gets the
    /// logits too.
    pub fn slope(&self, images: Tensor<4>, loss: impl FnOnce(Tensor<2>) -> Tensor<1>) -> (Slope, Tensor<2>) {
        let found = self.victim.input_gradient(images, loss);
        let broken = found.gradient.clone().is_finite().bool_not();
        let gradients = host(found.gradient.mask_fill(broken, 0.0));
        (Slope { losses: found.loss.to_data().iter::<f32>().collect(), gradients }, found.logits)
    }

    /// Lets those of some pictures compete that are within a distance of the clean ones; an attack may
    /// look further than it may go.
    pub fn offer_within(&mut self, images: Tensor<4>, logits: Tensor<2>, norm: Norm, epsilon: f32) {
        let size = images.dims()[1..].iter().product::<usize>().max(1);
        let (clean, values) = (host(self.batch.images.clone()), host(images.clone()));
        let pairs = clean.chunks(size).zip(values.chunks(size));
        let outside: Vec<f32> =
            pairs.map(|(clean, value)| f32::from(!within(norm, epsilon, clean, value))).collect();
        let outside = Tensor::<1>::from_data(outside.as_slice(), &images.device());
        let mut offered = Best::new(images, logits, &self.goal, &self.batch.labels);
        offered.reached = offered.reached * outside.clone().neg().add_scalar(1.0);
        offered.loss = offered.loss.mask_fill(outside.greater_elem(0.5), f32::NEG_INFINITY);
        self.best.keep_better(offered);
    }

    /// Positions of the images that are worked on in the batch that was attacked.
    pub fn rows(&self) -> &[usize] {
        &self.rows
    }

    /// Number of classes `K`.
    pub fn classes(&self) -> usize {
        self.victim.classes()
    }

    /// Lets some pictures of the images that are worked on compete, given their logits `[N, K]`.
    pub fn offer(&mut self, images: Tensor<4>, logits: Tensor<2>) {
        let offered = Best::new(images, logits, &self.goal, &self.batch.labels);
        self.best.keep_better(offered);
    }

    /// Shows the victim several pictures of each image, or none, and lets them compete: `pictures` `[M, C, H, W]` with the
    /// image of each among those that are worked on. Returns their goal losses, minus infinity where that is not finite.
    pub fn offer_several(&mut self, images: &[usize], pictures: Tensor<4>) -> Vec<f32> {
        let device = pictures.device();
        let labels: Vec<usize> = images.iter().map(|&image| self.batch.labels[image]).collect();
        let logits = self.victim.logits(pictures.clone());
        let offered = Best::new(pictures, logits, &self.goal.select(images), &labels);
        let [reached, losses] = [&offered.reached, &offered.loss]
            .map(|merits| merits.to_data().iter::<f32>().collect::<Vec<_>>());
        let mut first: Vec<Option<usize>> = vec![None; self.rows.len()];
        for (row, &image) in images.iter().enumerate() {
            let merit = |row: usize| (reached[row], losses[row]);
            if first[image].is_none_or(|before| merit(row) > merit(before)) {
                first[image] = Some(row);
            }
        }
        let rows: Vec<usize> = first.iter().map(|row| row.unwrap_or(0)).collect();
        let absent: Vec<f32> = first.iter().map(|row| f32::from(row.is_none())).collect();
        let absent = Tensor::<1>::from_data(absent.as_slice(), &device).greater_elem(0.5);
        let mut best = offered.select(&class_tensor(&rows, &device));
        best.reached = best.reached.mask_fill(absent.clone(), 0.0);
        best.loss = best.loss.mask_fill(absent, f32::NEG_INFINITY);
        self.best.keep_better(best);
        losses
    }

    /// The victim's logits.
    pub fn logits(&self, images: Tensor<4>) -> Tensor<2> {
        self.victim.logits(images)
    }

    /// Takes some steps up the goal loss and judges every picture on the way, the first and the last
    /// included.
    pub fn climb<I: Iterate>(&mut self, iterate: I, steps: usize) {
        self.climb_on(Loss::Ce, iterate, steps);
    }

    /// The same up another loss that is raised for the same goal.
    pub fn climb_on<I: Iterate>(&mut self, loss: Loss, mut iterate: I, steps: usize) {
        for _ in 0..steps {
            let mut gradient = self.gradient_of(loss, iterate.pictures());
            if let Some(kept) = self.drop_reached() {
                if self.is_done() {
                    return;
                }
                iterate = iterate.select(kept.clone());
                gradient = gradient.select(0, kept);
            }
            iterate = iterate.step(gradient);
        }
        let last = iterate.pictures();
        let logits = self.logits(last.clone());
        self.offer(last, logits);
        self.drop_reached();
    }

    /// With early stopping, takes the images that reached their goal out of the work. If there were any,
    /// returns the positions of the others among those that were worked on.
    pub fn drop_reached(&mut self) -> Option<Tensor<1, Int>> {
        let kept = self.drop_reached_rows()?;
        Some(class_tensor(&kept, &self.batch.images.device()))
    }

    /// The same for attacks that keep the states of their images on the host: those of the images that
    /// are done leave.
    pub fn drop_reached_from<S>(&mut self, states: &mut Vec<S>) {
        if let Some(kept) = self.drop_reached_rows() {
            let mut kept = kept.into_iter().peekable();
            let mut row = 0;
            states.retain(|_| {
                row += 1;
                kept.next_if_eq(&(row - 1)).is_some()
            });
        }
    }

    /// Pictures of the images that are worked on, given on the host, as a batch.
    pub fn pictures<'p>(&self, pictures: impl Iterator<Item = &'p [f32]>) -> Tensor<4> {
        let values: Vec<f32> = pictures.flatten().copied().collect();
        Tensor::from_data(TensorData::new(values, self.batch.shape()), &self.batch.images.device())
    }

    /// The positions of the images that are left, if there were any that are not.
    fn drop_reached_rows(&mut self) -> Option<Vec<usize>> {
        if !self.early_stop || self.is_done() {
            return None;
        }
        let mut reached = self.best.reached_rows();
        if self.victim.searches_nearby() && reached.contains(&true) {
            self.ask_again(&reached);
            reached = self.best.reached_rows();
        }
        if !reached.contains(&true) {
            return None;
        }
        let (done, kept): (Vec<usize>, Vec<usize>) = (0..reached.len()).partition(|&row| reached[row]);
        let device = self.batch.images.device();
        let images = self.best.images.clone().select(0, class_tensor(&done, &device));
        self.finished.push((done.iter().map(|&row| self.rows[row]).collect(), images));
        self.rows = kept.iter().map(|&row| self.rows[row]).collect();
        if !kept.is_empty() {
            self.batch = self.batch.select(&kept);
            self.goal = self.goal.select(&kept);
            self.best = self.best.clone().select(&class_tensor(&kept, &device));
        }
        Some(kept)
    }

    /// Judges the best pictures of some of the images anew, by exact logits.
    fn ask_again(&mut self, which: &[bool]) {
        let rows: Vec<usize> = (0..which.len()).filter(|&row| which[row]).collect();
        let images = self.best.images.clone().select(0, class_tensor(&rows, &self.best.images.device()));
        let labels: Vec<usize> = rows.iter().map(|&row| self.batch.labels[row]).collect();
        let logits = self.victim.logits(images.clone());
        let exact = Best::new(images, logits, &self.goal.select(&rows), &labels);
        let replaced = |all: &Tensor<1>, some: &Tensor<1>| {
            let mut values: Vec<f32> = all.to_data().iter().collect();
            rows.iter().zip(some.to_data().iter::<f32>()).for_each(|(&row, value)| values[row] = value);
            Tensor::from_data(values.as_slice(), &all.device())
        };
        self.best.reached = replaced(&self.best.reached, &exact.reached);
        self.best.loss = replaced(&self.best.loss, &exact.loss);
    }

    /// The best pictures of all images in the order of the batch.
    fn finish(mut self) -> Tensor<4> {
        if !self.is_done() {
            self.finished.push((self.rows, self.best.images));
        }
        let (rows, parts): (Vec<Vec<usize>>, Vec<Tensor<4>>) = self.finished.into_iter().unzip();
        let rows = rows.concat();
        let mut position = vec![0; rows.len()];
        rows.iter().enumerate().for_each(|(index, &row)| position[row] = index);
        let device = parts[0].device();
        Tensor::cat(parts, 0).select(0, class_tensor(&position, &device))
    }
}

/// A picture of each image with its merit.
#[derive(Clone)]
struct Best {
    /// `[N, C, H, W]`.
    images: Tensor<4>,
    /// 1 where it reaches the goal and 0 elsewhere, `[N]`. (On Burn's CPU device the rows that are
    /// selected from a tensor of booleans are no booleans any more.)
    reached: Tensor<1>,
    /// Its goal loss, minus infinity where that is not finite, `[N]`.
    loss: Tensor<1>,
}

impl Best {
    fn new(images: Tensor<4>, logits: Tensor<2>, goal: &Goal, labels: &[usize]) -> Self {
        let loss = goal.loss(logits.clone(), labels);
        let finite = loss.clone().is_finite();
        let reached = goal.reached_by(logits, labels).bool_and(finite.clone()).float();
        Self { images, reached, loss: loss.mask_fill(finite.bool_not(), f32::NEG_INFINITY) }
    }

    fn reached_rows(&self) -> Vec<bool> {
        self.reached.to_data().iter::<f32>().map(|is| is > 0.5).collect()
    }

    fn keep_better(&mut self, other: Self) {
        let first = other.reached.clone().greater(self.reached.clone());
        let alike = other.reached.clone().equal(self.reached.clone());
        let better = first.bool_or(alike.bool_and(other.loss.clone().greater(self.loss.clone())));
        let rows: Vec<bool> = better.to_data().iter::<bool>().collect();
        self.images = nn::chosen(&self.images, &other.images, &rows).unwrap_or_else(|| {
            let shape = self.images.dims();
            let wide = better.clone().reshape([shape[0], 1, 1, 1]).expand(shape);
            self.images.clone().mask_where(wide, other.images)
        });
        self.loss = self.loss.clone().mask_where(better, other.loss);
        self.reached = self.reached.clone().max_pair(other.reached);
    }

    fn select(self, rows: &Tensor<1, Int>) -> Self {
        Self {
            images: self.images.select(0, rows.clone()),
            reached: self.reached.select(0, rows.clone()),
            loss: self.loss.select(0, rows.clone()),
        }
    }
}

/// Divides each image's values by the largest absolute one. What is not finite becomes zero before, and
/// an image of zeros stays one: the published attacks divide zero by zero there.
pub(super) fn normalise(gradient: Tensor<4>) -> Tensor<4> {
    if let Some(found) = nn::normalised(&gradient) {
        return found;
    }
    let broken = gradient.clone().is_finite().bool_not();
    let gradient = gradient.mask_fill(broken, 0.0);
    let largest = gradient.clone().max_abs_dims(&[1, 2, 3]);
    let nothing = largest.clone().equal_elem(0.0);
    gradient / largest.mask_fill(nothing, 1.0)
}

#[cfg(test)]
#[allow(clippy::float_cmp)] // Equal values are meant.
mod tests {
    use super::super::cross_entropy;
    use super::super::fixtures::{LinearModel, SIDE, batch, network, values};
    use super::*;
    use crate::nn::Precision;
    use burn::tensor::Device;

    /// One image of one pixel whose value says which iterate it is, with its logits for two classes.
    fn iterate(value: f32, logits: [f32; 2]) -> Best {
        let device = Device::default();
        let images = Tensor::from_data([[[[value]]]], &device);
        Best::new(images, Tensor::from_data([logits], &device), &Goal::Untargeted, &[0])
    }

    fn winner(iterates: &[[f32; 2]]) -> f32 {
        let mut best = iterate(0.0, iterates[0]);
        for (index, logits) in iterates.iter().enumerate().skip(1) {
            best.keep_better(iterate(index as f32, *logits));
        }
        values(best.images)[0]
    }

    #[test]
    fn reaching_the_goal_beats_the_loss_and_the_loss_decides_between_equals() {
        assert_eq!(winner(&[[1.0, 0.0], [0.5, 0.0], [0.8, 0.0]]), 1.0, "none reaches it");
        assert_eq!(winner(&[[0.0, 1.0], [0.1, 0.0]]), 0.0, "only the first reaches it");
        assert_eq!(winner(&[[1.0, 0.0], [0.0, 0.1], [0.0, 2.0], [0.0, 1.0]]), 2.0, "three reach it");
        assert_eq!(winner(&[[0.0, 1.0], [0.0, 1.0]]), 0.0, "the earlier one stays");
    }

    #[test]
    fn a_loss_that_is_not_finite_never_wins() {
        let (nan, inf) = (f32::NAN, f32::INFINITY);
        assert_eq!(winner(&[[1.0, 0.0], [nan, 1.0], [-inf, inf], [nan, nan]]), 0.0);
        assert_eq!(winner(&[[nan, 0.0], [1.0, 0.0], [inf, inf]]), 1.0, "even a clean picture can lose");
    }

    /// Four pictures for the first image of three, none for the second, one for the third.
    #[test]
    fn of_several_pictures_of_an_image_the_best_one_competes() {
        let victim = Victim::new(&LinearModel::of_channels(&[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]));
        let device = Device::default();
        let picture = |red: f32, green: f32| {
            let channels =
                [red, green, 0.0].map(|value| Tensor::<4>::full([1, 1, SIDE, SIDE], value, &device));
            Tensor::cat(channels.to_vec(), 1)
        };
        let clean = [picture(0.9, 0.1), picture(0.8, 0.1), picture(0.7, 0.1)];
        let batch =
            Batch { images: Tensor::cat(clean.to_vec(), 0), labels: vec![0, 0, 0], ..batch(3, 2, 0.0) };
        let offered = [
            picture(0.5, 0.3),
            picture(0.3, 0.4),
            picture(0.2, 0.6),
            picture(f32::NAN, 1.0),
            picture(0.9, 0.1),
        ];
        let mut losses = Vec::new();
        let best = Ascent::run(&victim, &batch, &Goal::Untargeted, false, |ascent| {
            losses = ascent.offer_several(&[0, 0, 0, 0, 2], Tensor::cat(offered.to_vec(), 0));
        });
        assert!(losses[0] < losses[1] && losses[1] < losses[2], "{losses:?}");
        assert_eq!(losses[3], f32::NEG_INFINITY);
        let kept = [offered[2].clone(), clean[1].clone(), clean[2].clone()];
        assert_eq!(values(best), values(Tensor::cat(kept.to_vec(), 0)));
    }

    /// Pictures that are right by so little that bfloat16 takes some for wrong: none of them may leave the work.
    #[test]
    fn successes_in_bfloat16_are_asked_again() {
        let Ok(victim) = Victim::with_precision(&network(5), Precision::Bfloat16) else { return };
        let batch = nearly_wrong(&victim, 64);
        let loss = |logits| cross_entropy(logits, &batch.labels);
        let found = victim.search_gradient(batch.images.clone(), loss);
        let mistaken = predictions(&found.logits).iter().zip(&batch.labels).filter(|(a, b)| a != b).count();
        assert!(mistaken > 5, "{mistaken} of 64");
        let mut left = Vec::new();
        let best = Ascent::run(&victim, &batch, &Goal::Untargeted, true, |ascent| {
            ascent.gradient(ascent.batch.images.clone());
            ascent.drop_reached();
            left = ascent.rows().to_vec();
        });
        assert_eq!(left, (0..64).collect::<Vec<_>>());
        assert_eq!(values(best), values(batch.images));
    }

    /// Pictures between two of different classes, the last ones on the line that still are of the first one's.
    fn nearly_wrong(victim: &Victim, count: usize) -> Batch {
        let many = batch(16 * count, 5, 0.0).images;
        let classes = predictions(&victim.logits(many.clone()));
        let first = (0..classes.len()).filter(|&row| classes[row] == classes[0]).cycle();
        let other = (0..classes.len()).filter(|&row| classes[row] != classes[0]).cycle();
        let pick = |rows: Vec<usize>| many.clone().select(0, class_tensor(&rows, &many.device()));
        let mut right = pick(first.take(count).collect());
        let mut wrong = pick(other.take(count).collect());
        assert_eq!(wrong.dims()[0], count, "all pictures are of one class");
        for _ in 0..30 {
            let middle = (right.clone() + wrong.clone()) / 2.0;
            let is_right: Vec<bool> = predictions(&victim.logits(middle.clone()))
                .iter()
                .map(|class| *class == classes[0])
                .collect();
            let is_right = Tensor::<1, burn::tensor::Bool>::from_data(is_right.as_slice(), &many.device());
            let is_right = is_right.reshape([count, 1, 1, 1]).expand(middle.dims());
            right = right.mask_where(is_right.clone(), middle.clone());
            wrong = middle.mask_where(is_right, wrong);
        }
        Batch { images: right, labels: vec![classes[0]; count], ..batch(count, 5, 0.0) }
    }

    fn predictions(logits: &Tensor<2>) -> Vec<usize> {
        logits.clone().argmax(1).to_data().iter::<i64>().map(|class| class as usize).collect()
    }

    #[test]
    fn gradients_are_normalised_image_by_image() {
        let device = Device::default();
        let gradient = Tensor::<4>::from_data(
            [
                [[[2.0, -4.0]]],
                [[[0.0, 0.0]]],
                [[[1e-30, 5e-31]]],
                [[[f32::NAN, 3.0]]],
                [[[f32::INFINITY, -1.0]]],
            ],
            &device,
        );
        let expected = [0.5, -1.0, 0.0, 0.0, 1.0, 0.5, 0.0, 1.0, 0.0, -1.0];
        assert_eq!(values(normalise(gradient.clone())), expected);
        assert_eq!(nn::with_stock(|| values(normalise(gradient))), expected);
    }
}
