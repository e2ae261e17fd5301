//! The climb of textures that are worn: one texture on one picture or on several, in one place or in many
//! (expectation over transformations: Athalye, Engstrom, Ilyas and Kwok, "Synthesizing robust adversarial
//! examples", ICML 2018).
//!
//! Each view is a picture with a place of the thing on it. A step takes the gradient of the goal loss at
//! every view, brings it back to the texture, divides it by its largest absolute value, and takes the mean
//! `g` over the views; then, with the terms of `print`,
//! `r <- momentum * r + smooth(step * direction(g) - tv * |TV'| - nps * |NPS'|)` and
//! `texture <- clip(texture + r)`. The views stay the same for all steps, so that textures can be compared:
//! kept is the one that reaches the goal in most views, and of equals the one with the highest mean loss.
//! (Published code draws new places at every step and returns the last texture.) The victim is shown the
//! texture rounded to 8 bits, as it would be printed, and the gradient is passed straight through.

use burn::tensor::{Tensor, TensorData};

use super::Goal;
use super::print::{Grid, PrintConfig, non_printability_gradient, smoothed, total_variation_gradient};
use super::projection::sign;
use super::threat::host;
use super::warp::{Warp, eight_bit};
use crate::data::Batch;
use crate::models::Victim;

/// Pictures in one pass through the victim.
const TOGETHER: usize = 128;

/// A picture of a batch, and where the thing is on it.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub row: usize,
    pub warp: Warp,
}

/// What a step makes of a gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// Its sign.
    Sign,
    /// Itself.
    Proportional,
}

/// How textures are changed.
#[derive(Clone, Debug)]
pub(super) struct Brush {
    pub grid: Grid,
    pub channels: usize,
    /// Textures `[C, texels]` to start from: the best one is taken. At least one.
    pub starts: Vec<Vec<f32>>,
    pub steps: usize,
    pub step_size: f32,
    pub direction: Direction,
    pub momentum: f32,
    pub print: PrintConfig,
    /// Whether a texture is done once the goal is reached in all of its views.
    pub early_stop: bool,
}

/// A texture in progress.
struct Canvas {
    views: Vec<View>,
    texture: Vec<f32>,
    change: Vec<f32>,
    seen: Seen,
    best: Merit,
    best_texture: Vec<f32>,
    done: bool,
}

/// What the views of a texture came to.
#[derive(Clone, Debug, Default)]
struct Seen {
    reached: usize,
    loss: f64,
    /// Sum of the normalised gradients.
    gradient: Vec<f32>,
}

/// Views in which the goal is reached, and the sum of the losses.
type Merit = (usize, f64);

/// The best textures `[C, texels]` for some sets of views of a batch, rounded to 8 bits. Every set has at
/// least one view.
pub(super) fn climb(
    victim: &Victim,
    batch: &Batch,
    goal: &Goal,
    sets: Vec<Vec<View>>,
    brush: &Brush,
) -> Vec<Vec<f32>> {
    let studio = Studio { victim, batch, goal, clean: host(batch.images.clone()), brush };
    let mut canvases: Vec<Canvas> = sets.into_iter().map(|views| Canvas::new(views, brush)).collect();
    if brush.starts.len() > 1 {
        studio.choose_start(&mut canvases);
    }
    for _ in 0..brush.steps {
        studio.look(&mut canvases, true);
        for canvas in canvases.iter_mut().filter(|canvas| !canvas.done) {
            if !canvas.offer(brush.early_stop) {
                canvas.step(brush);
            }
        }
    }
    studio.look(&mut canvases, false);
    for canvas in canvases.iter_mut().filter(|canvas| !canvas.done) {
        canvas.offer(brush.early_stop);
    }
    canvases.into_iter().map(|canvas| canvas.best_texture).collect()
}

struct Studio<'a> {
    victim: &'a Victim,
    batch: &'a Batch,
    goal: &'a Goal,
    /// The pictures of the batch on the host.
    clean: Vec<f32>,
    brush: &'a Brush,
}

impl Studio<'_> {
    /// Tries all starts on each canvas and leaves the best one there, the first among equals.
    fn choose_start(&self, canvases: &mut [Canvas]) {
        let mut best: Vec<(Option<Merit>, usize)> = vec![(None, 0); canvases.len()];
        for (index, start) in self.brush.starts.iter().enumerate() {
            for canvas in canvases.iter_mut() {
                canvas.texture.clone_from(start);
            }
            self.look(canvases, false);
            for (canvas, best) in canvases.iter_mut().zip(&mut best) {
                let merit = (canvas.seen.reached, canvas.seen.loss);
                if best.0.is_none_or(|highest| is_better(merit, highest)) {
                    *best = (Some(merit), index);
                }
                canvas.offer(self.brush.early_stop);
            }
        }
        for (canvas, (_, index)) in canvases.iter_mut().zip(best) {
            canvas.texture.clone_from(&self.brush.starts[index]);
        }
    }

    /// Shows all views of the textures that are not done to the victim.
    fn look(&self, canvases: &mut [Canvas], with_gradient: bool) {
        let mut queue = Vec::new();
        for (index, canvas) in canvases.iter_mut().enumerate().filter(|(_, canvas)| !canvas.done) {
            canvas.seen = Seen { gradient: vec![0.0; canvas.texture.len()], ..Seen::default() };
            queue.extend((0..canvas.views.len()).map(|view| (index, view)));
        }
        for chunk in queue.chunks(TOGETHER) {
            let printed: Vec<f32> =
                chunk.iter().flat_map(|&(canvas, view)| self.picture(&canvases[canvas], view)).collect();
            self.look_at(canvases, chunk, printed, with_gradient);
        }
    }

    /// A picture with the thing on it.
    fn picture(&self, canvas: &Canvas, view: usize) -> Vec<f32> {
        let size = self.clean.len() / self.batch.len();
        let view = &canvas.views[view];
        let mut picture = self.clean[view.row * size..][..size].to_vec();
        let printed: Vec<f32> = canvas.texture.iter().map(|value| eight_bit(*value)).collect();
        view.warp.paint(&printed, &mut picture, self.brush.channels);
        picture
    }

    fn look_at(
        &self,
        canvases: &mut [Canvas],
        chunk: &[(usize, usize)],
        pictures: Vec<f32>,
        with_gradient: bool,
    ) {
        let rows: Vec<usize> = chunk.iter().map(|&(canvas, view)| canvases[canvas].views[view].row).collect();
        let labels: Vec<usize> = rows.iter().map(|&row| self.batch.labels[row]).collect();
        let goal = self.goal.select(&rows);
        let [_, channels, height, width] = self.batch.shape();
        let data = TensorData::new(pictures, [chunk.len(), channels, height, width]);
        let images = Tensor::<4>::from_data(data, &self.batch.images.device());
        let (logits, loss, gradient) = if with_gradient {
            let found = self.victim.input_gradient(images, |logits| goal.loss(logits, &labels));
            (found.logits, found.loss, host(found.gradient))
        } else {
            let logits = self.victim.logits(images);
            (logits.clone(), goal.loss(logits, &labels), Vec::new())
        };
        let reached: Vec<bool> = goal.reached_by(logits, &labels).to_data().iter::<bool>().collect();
        let losses = loss.to_data();
        for (index, loss) in losses.iter::<f32>().enumerate() {
            let canvas = &mut canvases[chunk[index].0];
            canvas.seen.reached += usize::from(reached[index] && loss.is_finite());
            canvas.seen.loss += if loss.is_finite() { f64::from(loss) } else { f64::NEG_INFINITY };
            if with_gradient {
                let size = gradient.len() / chunk.len();
                canvas.gather(chunk[index].1, &gradient[index * size..][..size], self.brush);
            }
        }
    }
}

fn is_better(merit: Merit, than: Merit) -> bool {
    merit.0 > than.0 || (merit.0 == than.0 && merit.1 > than.1)
}

impl Canvas {
    fn new(views: Vec<View>, brush: &Brush) -> Self {
        let texture = brush.starts[0].clone();
        Self {
            views,
            change: vec![0.0; texture.len()],
            seen: Seen::default(),
            best: (0, f64::NEG_INFINITY),
            best_texture: rounded(&texture),
            texture,
            done: false,
        }
    }

    /// Adds the gradient at a view.
    fn gather(&mut self, view: usize, gradient: &[f32], brush: &Brush) {
        let mut pulled = self.views[view].warp.pull_back(gradient, brush.channels, brush.grid.texels());
        normalise(&mut pulled);
        self.seen.gradient.iter_mut().zip(pulled).for_each(|(sum, slope)| *sum += slope);
    }

    /// Lets the texture compete that was just seen. Gives true when nothing is left to do.
    fn offer(&mut self, early_stop: bool) -> bool {
        let merit = (self.seen.reached, self.seen.loss);
        if is_better(merit, self.best) {
            self.best = merit;
            self.best_texture = rounded(&self.texture);
        }
        self.done |= early_stop && self.best.0 == self.views.len();
        self.done
    }

    fn step(&mut self, brush: &Brush) {
        let count = self.views.len() as f32;
        let mut push: Vec<f32> = match brush.direction {
            Direction::Sign => self.seen.gradient.iter().map(|slope| sign(*slope)).collect(),
            Direction::Proportional => self.seen.gradient.iter().map(|slope| slope / count).collect(),
        };
        for value in &mut push {
            *value *= brush.step_size;
        }
        for (weight, term) in self.terms(brush) {
            push.iter_mut().zip(term).for_each(|(value, slope)| *value -= weight * slope);
        }
        let push = smoothed(push, &brush.grid, brush.print.smoothing);
        for ((value, change), push) in self.texture.iter_mut().zip(&mut self.change).zip(push) {
            *change = brush.momentum * *change + push;
            *value = (*value + *change).clamp(0.0, 1.0);
        }
    }

    /// The gradients of the terms that hold the texture to what can be printed, with their weights.
    fn terms(&self, brush: &Brush) -> Vec<(f32, Vec<f32>)> {
        let (variation, printable) =
            (brush.print.total_variation.value(), brush.print.non_printability.value());
        let mut terms = Vec::new();
        if variation > 0.0 {
            terms.push((variation, total_variation_gradient(&self.texture, &brush.grid)));
        }
        if printable > 0.0 {
            let palette = brush.print.palette();
            terms.push((printable, non_printability_gradient(&self.texture, &brush.grid, &palette)));
        }
        for term in &mut terms {
            normalise(&mut term.1);
        }
        terms
    }
}

fn rounded(texture: &[f32]) -> Vec<f32> {
    texture.iter().map(|value| eight_bit(*value)).collect()
}

/// Divides by the largest absolute value. What is not finite becomes zero before; zeros stay zeros.
fn normalise(values: &mut [f32]) {
    values.iter_mut().filter(|value| !value.is_finite()).for_each(|value| *value = 0.0);
    let largest = values.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    if largest > 0.0 {
        for value in values {
            *value /= largest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Magnitude;
    use super::super::fixtures::{LinearModel, SHAPE, SIDE, SIZE, batch, values};
    use super::*;

    /// The left part of the picture, whose texels are its pixels.
    fn grid() -> Grid {
        Grid { rows: SIDE, columns: SIDE, part: (0..SIDE * SIDE).map(|texel| texel % SIDE < 5).collect() }
    }

    fn view(row: usize, grid: &Grid) -> View {
        View { row, warp: Warp::new([SIDE, SIDE], [SIDE, SIDE], |texel| grid.part[texel], Some) }
    }

    fn brush(grid: &Grid, print: &PrintConfig) -> Brush {
        Brush {
            grid: grid.clone(),
            channels: SHAPE[0],
            starts: vec![vec![0.5; SIZE]],
            steps: 20,
            step_size: 0.05,
            direction: Direction::Sign,
            momentum: 0.0,
            print: print.clone(),
            early_stop: false,
        }
    }

    #[test]
    fn one_texture_on_several_pictures_reaches_the_common_optimum() {
        // Untargeted, both pictures with label 0 and two classes: the margin of each rises with the same
        // weights, so the best texture is 1 where they are positive and 0 where they are negative.
        let model = LinearModel::new(2, 1);
        let (grid, print) = (grid(), PrintConfig::default());
        let mut batch = batch(2, 1, 0.0);
        batch.labels = vec![0, 0];
        let sets = vec![vec![view(0, &grid), view(1, &grid)]];
        let found = climb(&Victim::new(&model), &batch, &Goal::Untargeted, sets, &brush(&grid, &print));
        let weights = model.weights();
        for (index, value) in found[0].iter().enumerate().filter(|(index, _)| index % SIDE < 5) {
            let up = weights[2 * index + 1] > weights[2 * index];
            assert!((value - f32::from(up)).abs() < 1e-6, "{index}: {value}");
        }
    }

    #[test]
    fn a_texture_does_not_depend_on_the_other_textures() {
        let model = super::super::fixtures::network(3);
        let (grid, print) = (grid(), PrintConfig::default());
        let (victim, batch) = (Victim::new(&model), batch(3, 3, 0.0));
        let set = |rows: &[usize]| rows.iter().map(|&row| view(row, &grid)).collect::<Vec<View>>();
        let goal = Goal::Targeted(vec![1, 2, 0]);
        let run = |sets| climb(&victim, &batch, &goal, sets, &brush(&grid, &print));
        let both = run(vec![set(&[0, 2]), set(&[1])]);
        assert_eq!(both[1..], run(vec![set(&[1])])[..]);
        assert_eq!(both[..1], run(vec![set(&[0, 2])])[..]);
    }

    #[test]
    fn terms_and_momentum_by_hand() {
        let grid = Grid { rows: 1, columns: 2, part: vec![true, true] };
        let print = PrintConfig { total_variation: "0.1".parse().expect("0.1"), ..PrintConfig::default() };
        let brush = Brush {
            channels: 1,
            starts: vec![vec![0.2, 0.6]],
            step_size: 0.2,
            direction: Direction::Proportional,
            momentum: 0.5,
            ..brush(&grid, &print)
        };
        let mut canvas = Canvas::new(vec![View { row: 0, warp: Warp::default() }; 2], &brush);
        // The mean of two views is (1/2, 0). TV falls when the first rises and the second falls.
        canvas.seen.gradient = vec![1.0, 0.0];
        canvas.step(&brush);
        let close = |found: &[f32], expected: [f32; 2]| {
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?}");
        };
        close(&canvas.change, [0.1 + 0.1, -0.1]);
        close(&canvas.texture, [0.4, 0.5]);
        canvas.seen.gradient = vec![0.0, 0.0];
        canvas.step(&brush);
        close(&canvas.change, [0.2, -0.15]);
        close(&canvas.texture, [0.6, 0.35]);
    }

    #[test]
    fn total_variation_makes_a_texture_smoother() {
        let model = LinearModel::new(3, 2);
        let (grid, victim, batch) = (grid(), Victim::new(&model), batch(1, 3, 0.0));
        let variation = |print: &PrintConfig| {
            let sets = vec![vec![view(0, &grid)]];
            let found = climb(&victim, &batch, &Goal::Untargeted, sets, &brush(&grid, print));
            let differences = (0..SIDE).flat_map(|y| (0..4).map(move |x| y * SIDE + x));
            differences.map(|at| (found[0][at] - found[0][at + 1]).abs()).sum::<f32>()
        };
        let rough = variation(&PrintConfig::default());
        let print = PrintConfig { total_variation: Magnitude::levels(60), ..PrintConfig::default() };
        assert!(variation(&print) < 0.8 * rough, "{} {rough}", variation(&print));
        let print = PrintConfig { smoothing: 1.5, ..PrintConfig::default() };
        assert!(variation(&print) < 0.8 * rough, "{} {rough}", variation(&print));
    }

    #[test]
    fn the_best_start_is_taken_and_reaching_the_goal_beats_the_loss() {
        assert!(is_better((2, 0.0), (1, 9.0)) && is_better((1, 2.0), (1, 1.0)));
        assert!(!is_better((1, 1.0), (1, 1.0)) && !is_better((3, f64::NEG_INFINITY), (3, 0.0)));
        let model = LinearModel::new(2, 1);
        let (grid, print) = (grid(), PrintConfig::default());
        let (victim, batch) = (Victim::new(&model), batch(1, 2, 0.0));
        let starts = vec![vec![0.0; SIZE], vec![1.0; SIZE], vec![0.5; SIZE]];
        let losses: Vec<f32> = starts
            .iter()
            .map(|start| {
                let mut picture = values(batch.images.clone());
                view(0, &grid).warp.paint(start, &mut picture, 3);
                let data = TensorData::new(picture, [1, 3, SIDE, SIDE]);
                let logits = victim.logits(Tensor::from_data(data, &batch.images.device()));
                values(Goal::Untargeted.loss(logits, &batch.labels))[0]
            })
            .collect();
        let highest = (0..3).max_by(|&a, &b| losses[a].total_cmp(&losses[b])).expect("three");
        let none = Brush { steps: 0, starts: starts.clone(), ..brush(&grid, &print) };
        let found = climb(&victim, &batch, &Goal::Untargeted, vec![vec![view(0, &grid)]], &none);
        assert_eq!(found[0], rounded(&starts[highest]));
    }
}
