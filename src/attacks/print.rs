//! What a printer and a camera can show of a texture: total variation, non-printability, smoothing
//! (Sharif, Bhagavatula, Bauer and Reiter, "Accessorize to a crime", CCS 2016).
//!
//! - `TV(r) = sum sqrt((r_below - r)^2 + (r_right - r)^2)`, each channel by itself, over the texels that are
//!   part of the thing; a neighbour that is not part of it adds no difference. The root is kept at 1e-5 or
//!   more in the gradient.
//! - `NPS(r) = sum over texels of prod over printable colours c of |r - c|^2 / (3 * (80/255)^2)`.
//! - A Gaussian filter on each change of the texture, within the thing.
//!
//! Published code mixes up the two directions of the total variation and, in the step for
//! non-printability, masks another gradient than the one it uses.

use super::config::{at_most_one, within};
use super::{AttackConfigError, Magnitude};

/// Levels of the colours that stand for what a printer can show: neither black nor white nor anything
/// saturated, as on plain paper.
const LEVELS: [u8; 3] = [31, 128, 224];
/// Greys between them, which make 30 with the 27 mixtures of the levels.
const GREYS: [u8; 3] = [80, 104, 176];
/// The length that a distance between colours is divided by, after Sharif et al.: 80 levels a channel.
const UNIT: f64 = 80.0 / 255.0;

/// How much a texture is held to what can be printed. All terms are off by default.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PrintConfig {
    /// Largest change of a value in a step against total variation, in units of pixels in `[0, 1]`; 0 by
    /// default. Sharif et al. take 3/255.
    pub total_variation: Magnitude,
    /// The same against non-printability; 0 by default. Sharif et al. take 5/255.
    pub non_printability: Magnitude,
    /// Standard deviation, in texels, of the Gaussian filter on each change; 0 (default) is none. At most 8.
    pub smoothing: f32,
    /// Printable colours, RGB in 8 bits. By default 30 colours that stand for a printer that was not
    /// measured; measure yours for a claim about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub colours: Option<Vec<[u8; 3]>>,
}

impl Default for PrintConfig {
    fn default() -> Self {
        Self {
            total_variation: Magnitude::levels(0),
            non_printability: Magnitude::levels(0),
            smoothing: 0.0,
            colours: None,
        }
    }
}

impl PrintConfig {
    /// Checks the values.
    ///
    /// # Errors
    /// Names the first value that cannot be meant.
    pub fn validate(&self) -> Result<(), AttackConfigError> {
        at_most_one("print.total_variation", &self.total_variation)?;
        at_most_one("print.non_printability", &self.non_printability)?;
        within("print.smoothing", self.smoothing, 0.0..=8.0)?;
        match &self.colours {
            Some(colours) if !(1..=256).contains(&colours.len()) => Err(AttackConfigError::Value {
                key: "print.colours",
                found: format!("a list of {}", colours.len()),
                expected: "1 to 256 colours".to_owned(),
                advice: "write for example colours = [[31, 31, 31], [224, 128, 31]], or leave it out"
                    .to_owned(),
            }),
            _ => Ok(()),
        }
    }

    /// The printable colours in `[0, 1]`.
    pub(super) fn palette(&self) -> Vec<[f64; 3]> {
        let unit = |colour: [u8; 3]| colour.map(|level| f64::from(level) / 255.0);
        self.colours.clone().unwrap_or_else(printable_colours).into_iter().map(unit).collect()
    }
}

/// The default table: all mixtures of three levels, and three more greys.
fn printable_colours() -> Vec<[u8; 3]> {
    let mixtures = (0..27).map(|index| [LEVELS[index / 9], LEVELS[index / 3 % 3], LEVELS[index % 3]]);
    mixtures.chain(GREYS.map(|grey| [grey; 3])).collect()
}

/// A texture's grid: rows, columns, and which texels are part of the thing, row by row.
#[derive(Clone, Debug)]
pub(super) struct Grid {
    pub rows: usize,
    pub columns: usize,
    pub part: Vec<bool>,
}

impl Grid {
    /// Number of texels.
    pub fn texels(&self) -> usize {
        self.rows * self.columns
    }

    /// The texel below and the one to the right, where they are part of the thing.
    fn neighbours(&self, texel: usize) -> [Option<usize>; 2] {
        let below = (texel / self.columns + 1 < self.rows).then_some(texel + self.columns);
        let right = (texel % self.columns + 1 < self.columns).then_some(texel + 1);
        [below, right].map(|neighbour| neighbour.filter(|&texel| self.part[texel]))
    }
}

/// Gradient of the total variation of a texture `[C, texels]`.
pub(super) fn total_variation_gradient(texture: &[f32], grid: &Grid) -> Vec<f32> {
    let mut gradient = vec![0.0; texture.len()];
    for (values, sums) in texture.chunks(grid.texels()).zip(gradient.chunks_mut(grid.texels())) {
        for texel in (0..grid.texels()).filter(|&texel| grid.part[texel]) {
            let differences =
                grid.neighbours(texel).map(|other| other.map_or(0.0, |other| values[other] - values[texel]));
            let root = differences[0].hypot(differences[1]).max(1e-5);
            for (other, difference) in grid.neighbours(texel).into_iter().zip(differences) {
                if let Some(other) = other {
                    sums[other] += difference / root;
                    sums[texel] -= difference / root;
                }
            }
        }
    }
    gradient
}

/// Gradient of the non-printability score of a texture `[C, texels]`: C is 3, or else each channel is
/// compared with the means of the colours.
pub(super) fn non_printability_gradient(texture: &[f32], grid: &Grid, palette: &[[f64; 3]]) -> Vec<f32> {
    let channels = texture.len() / grid.texels();
    let mut gradient = vec![0.0; texture.len()];
    for texel in (0..grid.texels()).filter(|&texel| grid.part[texel]) {
        let at = |channel: usize| channel * grid.texels() + texel;
        if channels == 3 {
            let colour = [0, 1, 2].map(|channel| f64::from(texture[at(channel)]));
            for (channel, value) in score_gradient(colour, palette).into_iter().enumerate() {
                gradient[at(channel)] = value as f32;
            }
        } else {
            let greys: Vec<[f64; 3]> = palette.iter().map(|c| [c.iter().sum::<f64>() / 3.0; 3]).collect();
            for channel in 0..channels {
                let slopes = score_gradient([f64::from(texture[at(channel)]); 3], &greys);
                gradient[at(channel)] = slopes.iter().sum::<f64>() as f32;
            }
        }
    }
    gradient
}

fn distance([r, g, b]: [f64; 3], to: [f64; 3]) -> f64 {
    ((r - to[0]).powi(2) + (g - to[1]).powi(2) + (b - to[2]).powi(2)) / (3.0 * UNIT * UNIT)
}

/// Gradient of the product of the distances to all printable colours, by the product rule: no division,
/// so that a printable colour is no exception.
fn score_gradient(colour: [f64; 3], palette: &[[f64; 3]]) -> [f64; 3] {
    let distances: Vec<f64> = palette.iter().map(|&printable| distance(colour, printable)).collect();
    let mut after = vec![1.0; distances.len() + 1];
    for index in (0..distances.len()).rev() {
        after[index] = after[index + 1] * distances[index];
    }
    let (mut before, mut gradient) = (1.0, [0.0; 3]);
    for (index, printable) in palette.iter().enumerate() {
        let others = before * after[index + 1];
        for channel in 0..3 {
            gradient[channel] += others * 2.0 * (colour[channel] - printable[channel]) / (3.0 * UNIT * UNIT);
        }
        before *= distances[index];
    }
    gradient
}

/// A Gaussian filter within the thing: the weights of the texels that are part of it are divided by their
/// sum. A deviation of 0 changes nothing.
pub(super) fn smoothed(texture: Vec<f32>, grid: &Grid, deviation: f32) -> Vec<f32> {
    if deviation <= 0.0 {
        return texture;
    }
    let reach = (3.0 * deviation).ceil() as isize;
    let weight = |distance: isize| (-0.5 * (distance as f32 / deviation).powi(2)).exp();
    let (rows, columns) = (grid.rows as isize, grid.columns as isize);
    let mut result = vec![0.0; texture.len()];
    for texel in (0..grid.texels()).filter(|&texel| grid.part[texel]) {
        let (row, column) = (texel as isize / columns, texel as isize % columns);
        let mut entries = Vec::new();
        for y in (row - reach).max(0)..=(row + reach).min(rows - 1) {
            for x in (column - reach).max(0)..=(column + reach).min(columns - 1) {
                let other = (y * columns + x) as usize;
                if grid.part[other] {
                    entries.push((other, weight(y - row) * weight(x - column)));
                }
            }
        }
        let sum: f32 = entries.iter().map(|entry| entry.1).sum();
        for (values, smooth) in texture.chunks(grid.texels()).zip(result.chunks_mut(grid.texels())) {
            smooth[texel] = entries.iter().map(|(other, weight)| weight * values[*other]).sum::<f32>() / sum;
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;

    fn grid() -> Grid {
        Grid { rows: 3, columns: 4, part: (0..12).map(|texel| texel != 5 && texel != 11).collect() }
    }

    fn texture(channels: usize) -> Vec<f32> {
        let mut rng = crate::Seed::new(4).rng();
        (0..12 * channels).map(|_| rng.random_range(0.0..1.0)).collect()
    }

    /// Straight from the formula.
    fn total_variation(texture: &[f32], grid: &Grid) -> f64 {
        let mut sum = 0.0;
        for values in texture.chunks(12) {
            for texel in (0..12).filter(|&texel| grid.part[texel]) {
                let to = |other: usize| f64::from(values[other]) - f64::from(values[texel]);
                let below = if texel < 8 && grid.part[texel + 4] { to(texel + 4) } else { 0.0 };
                let right = if texel % 4 < 3 && grid.part[texel + 1] { to(texel + 1) } else { 0.0 };
                sum += (below * below + right * right).sqrt();
            }
        }
        sum
    }

    fn non_printability(texture: &[f32], grid: &Grid, palette: &[[f64; 3]]) -> f64 {
        let part = (0..12).filter(|&texel| grid.part[texel]);
        part.map(|texel| {
            let colour = [0, 1, 2].map(|channel| f64::from(texture[channel * 12 + texel]));
            palette.iter().map(|&printable| distance(colour, printable)).product::<f64>()
        })
        .sum()
    }

    fn assert_agrees(gradient: &[f32], texture: &[f32], value: impl Fn(&[f32]) -> f64) {
        let largest = gradient.iter().fold(0.0_f32, |largest, slope| largest.max(slope.abs()));
        assert!(largest > 0.0);
        for index in 0..texture.len() {
            let moved = |by: f32| {
                let mut moved = texture.to_vec();
                moved[index] += by;
                value(&moved)
            };
            let expected = (moved(1e-3) - moved(-1e-3)) / 2e-3;
            let gap = (f64::from(gradient[index]) - expected).abs();
            assert!(gap < 2e-3 * f64::from(largest), "{index}: {} {expected}", gradient[index]);
        }
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let (grid, texture) = (grid(), texture(3));
        let found = total_variation_gradient(&texture, &grid);
        assert_agrees(&found, &texture, |moved| total_variation(moved, &grid));
        let palette: Vec<[f64; 3]> = PrintConfig::default().palette()[..5].to_vec();
        let found = non_printability_gradient(&texture, &grid, &palette);
        assert_agrees(&found, &texture, |moved| non_printability(moved, &grid, &palette));
    }

    /// What `scripts/parity/worn.py` writes: values and gradients of `PyTorch`, in its float64.
    #[derive(serde::Deserialize)]
    struct Reference {
        total_variation: Term,
        non_printability: Term,
        smoothed: Vec<f64>,
    }

    #[derive(serde::Deserialize)]
    struct Term {
        value: f64,
        gradient: Vec<f64>,
    }

    #[test]
    fn terms_agree_with_pytorch() {
        let text = include_str!("../../assets/parity/print.json");
        let reference: Reference = serde_json::from_str(text).expect("the golden");
        let (grid, palette) = (grid(), PrintConfig::default().palette());
        let texture: Vec<f32> = (0..36).map(|index| ((7 * index + 3) % 36) as f32 / 35.0).collect();
        let agrees = |what: &str, found: &[f32], expected: &[f64]| {
            assert_eq!(found.len(), expected.len(), "{what}");
            let largest = expected.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
            for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
                let gap = (f64::from(*found) - expected).abs();
                assert!(gap < 1e-5 * largest, "{what} {index}: {found} {expected}");
            }
        };
        let Reference { total_variation: variation, non_printability: score, smoothed: smooth } = reference;
        let found = [total_variation(&texture, &grid), non_printability(&texture, &grid, &palette)];
        for (found, term) in found.into_iter().zip([&variation, &score]) {
            assert!((found / term.value - 1.0).abs() < 1e-5, "{found} {}", term.value);
        }
        agrees("total variation", &total_variation_gradient(&texture, &grid), &variation.gradient);
        agrees("non-printability", &non_printability_gradient(&texture, &grid, &palette), &score.gradient);
        agrees("smoothing", &smoothed(texture, &grid, 1.0), &smooth);
    }

    #[test]
    fn there_are_thirty_colours_and_each_of_them_has_score_zero() {
        let palette = PrintConfig::default().palette();
        assert_eq!(palette.len(), 30);
        assert!(palette.iter().enumerate().all(|(index, colour)| !palette[..index].contains(colour)));
        for colour in &palette {
            assert!(palette.iter().map(|&other| distance(*colour, other)).product::<f64>().abs() < 1e-30);
            // Next to a printable colour the score falls towards it or is flat, and never is NaN.
            assert!(score_gradient(*colour, &palette).iter().all(|slope| slope.is_finite()));
        }
        let black = score_gradient([0.0; 3], &palette);
        assert!(black.iter().all(|slope| *slope < 0.0), "a black texel gets lighter: {black:?}");
    }

    #[test]
    fn a_flat_texture_has_no_variation_and_stays_flat_when_smoothed() {
        let (grid, flat) = (grid(), vec![0.25_f32; 36]);
        assert!(total_variation_gradient(&flat, &grid).iter().all(|slope| slope.abs() < 1e-6));
        for (index, value) in smoothed(flat, &grid, 1.5).into_iter().enumerate() {
            let expected = if grid.part[index % 12] { 0.25 } else { 0.0 };
            assert!((value - expected).abs() < 1e-6);
        }
    }

    #[test]
    fn smoothing_by_hand() {
        let grid = Grid { rows: 1, columns: 3, part: vec![true, true, false] };
        let found = smoothed(vec![1.0, 0.0, 9.0], &grid, 1.0);
        // Weights 1 and exp(-1/2); the third texel is no part.
        let side = (-0.5_f32).exp();
        assert!(
            (found[0] - 1.0 / (1.0 + side)).abs() < 1e-6 && (found[1] - side / (1.0 + side)).abs() < 1e-6
        );
        assert!(found[2].abs() < 1e-9);
        assert_eq!(smoothed(vec![1.0, 0.0, 9.0], &grid, 0.0), [1.0, 0.0, 9.0]);
    }

    #[test]
    fn grey_pictures_have_grey_printable_levels() {
        let grid = Grid { rows: 1, columns: 2, part: vec![true, true] };
        let palette = PrintConfig::default().palette();
        let found = non_printability_gradient(&[0.0, 1.0], &grid, &palette);
        assert!(found[0] < 0.0 && found[1] > 0.0, "black gets lighter and white darker: {found:?}");
    }

    #[test]
    fn values_that_cannot_be_meant_are_refused() {
        for (text, key) in [
            ("total_variation = 3", "total_variation"),
            ("non_printability = 5", "non_printability"),
            ("smoothing = -1.0", "smoothing"),
            ("colours = []", "colours"),
        ] {
            let config: PrintConfig = toml::from_str(text).expect(text);
            let error = config.validate().expect_err(text).to_string();
            assert!(error.contains(key) && error.contains("expected"), "{error}");
        }
        PrintConfig::default().validate().expect("the default is valid");
    }
}
