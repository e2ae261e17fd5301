//! The region of an eyeglass attack: a frame drawn to measure, or a mask read from a PNG.

use std::path::{Path, PathBuf};

use super::AttackConfigError;
use super::config::within;

/// A pair of eyeglasses in front view: two oval rims, a bridge between them, and temples to the edges of
/// the picture. Drawn in code for any size of picture.
///
/// The defaults sit on the eyes of the Olivetti (ORL) faces after a centre crop to a square, and cover
/// about 6 % of a picture of 64x64, as much as the frame of Sharif et al. (CCS 2016) does of theirs.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FrameConfig {
    /// Height of the eyes, as a fraction of the picture's height from the top; 0.45 by default.
    pub eye_line: f32,
    /// Distance between the eyes, as a fraction of the picture's width; 0.34 by default.
    pub eye_distance: f32,
    /// Middle between the eyes, as a fraction of the picture's width from the left; 0.5 by default.
    pub centre: f32,
    /// Outer width of a rim, as a fraction of the picture's width; 0.3 by default.
    pub rim_width: f32,
    /// Outer height of a rim, as a fraction of the picture's height; 0.22 by default.
    pub rim_height: f32,
    /// Thickness of rims, bridge and temples, as a fraction of the picture's width; 0.03 by default. At
    /// least one pixel is drawn.
    pub thickness: f32,
}

impl Default for FrameConfig {
    fn default() -> Self {
        Self {
            eye_line: 0.45,
            eye_distance: 0.34,
            centre: 0.5,
            rim_width: 0.3,
            rim_height: 0.22,
            thickness: 0.03,
        }
    }
}

/// The exponent of the rims' outline `|x|^p + |y|^p = 1`: between an ellipse (2) and a rectangle.
const ROUNDNESS: f32 = 3.0;
/// How far above the eyes bridge and temples are, as a fraction of half the height of a rim.
const RISE: f32 = 0.3;

impl FrameConfig {
    /// Checks the values.
    ///
    /// # Errors
    /// Names the first fraction that is not one.
    pub fn validate(&self) -> Result<(), AttackConfigError> {
        within("frame.eye_line", self.eye_line, 0.0..=1.0)?;
        within("frame.eye_distance", self.eye_distance, 0.0..=1.0)?;
        within("frame.centre", self.centre, 0.0..=1.0)?;
        within("frame.rim_width", self.rim_width, 0.01..=1.0)?;
        within("frame.rim_height", self.rim_height, 0.01..=1.0)?;
        within("frame.thickness", self.thickness, 0.001..=0.5)
    }

    /// The eyes that the frame is made for, left and right, as `(x, y)` in pixels.
    pub(super) fn eyes(&self, [height, width]: [usize; 2]) -> [(f64, f64); 2] {
        let y = f64::from(self.eye_line) * height as f64;
        let x = |side: f32| f64::from(self.centre + side * self.eye_distance / 2.0) * width as f64;
        [(x(-1.0), y), (x(1.0), y)]
    }

    /// The frame in a picture of this size, row by row, `true` where it is.
    pub fn draw(&self, height: usize, width: usize) -> Vec<bool> {
        (0..height * width).map(|index| self.covers(index / width, index % width, height, width)).collect()
    }

    /// Whether the centre of a pixel is on the frame. All lengths are in pixels.
    fn covers(&self, row: usize, column: usize, height: usize, width: usize) -> bool {
        let (tall, wide) = (height as f32, width as f32);
        let thickness = (self.thickness * wide).max(1.0);
        let (half_width, half_height) = (self.rim_width * wide / 2.0, self.rim_height * tall / 2.0);
        // Mirrored at the middle, so that the frame is symmetric.
        let x = (column as f32 + 0.5 - self.centre * wide).abs() - self.eye_distance * wide / 2.0;
        let y = row as f32 + 0.5 - self.eye_line * tall;
        let within = |half_width: f32, half_height: f32| {
            half_width > 0.0
                && half_height > 0.0
                && (x / half_width).abs().powf(ROUNDNESS) + (y / half_height).abs().powf(ROUNDNESS) <= 1.0
        };
        let outside = !within(half_width, half_height);
        let rim = !outside && !within(half_width - thickness, half_height - thickness);
        // The bridge is on the inner side of the rims and the temples are on the outer side.
        let bar = outside && (y + RISE * half_height).abs() <= thickness / 2.0;
        rim || bar
    }
}

/// The share of the pixels that a mask covers.
pub fn coverage(mask: &[bool]) -> f64 {
    mask.iter().filter(|covered| **covered).count() as f64 / mask.len().max(1) as f64
}

/// Why a picture is no mask.
#[derive(Debug, thiserror::Error)]
pub enum MaskError {
    /// It cannot be opened or decoded.
    #[error("cannot read the mask {path}: {source}; expected a PNG, white where the attack may write")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: image::ImageError,
    },
    /// Its size is not that of the pictures.
    #[error("the mask {path} has {} x {} pixels (width x height), expected {} x {}, the size of the model's pictures; resize it, or set `resample = true`",
        found.0, found.1, expected.0, expected.1)]
    Size {
        /// The file.
        path: PathBuf,
        /// Its width and height.
        found: (usize, usize),
        /// Width and height of the pictures.
        expected: (usize, usize),
    },
    /// Nothing may be written.
    #[error(
        "the mask {path} has no pixel of at least half brightness, expected white where the attack may write"
    )]
    Black {
        /// The file.
        path: PathBuf,
    },
}

/// Reads a mask, row by row, `true` where the picture is at least half as bright as white. Published code
/// multiplies by the grey levels of the file, so that soft edges leak the clean picture; a mask is binary.
///
/// # Errors
/// When the file cannot be read, has another size, or is black everywhere.
pub fn mask_from_png(path: &Path, height: usize, width: usize) -> Result<Vec<bool>, MaskError> {
    let (found, grey) = decode(path)?;
    let expected = (width, height);
    if found != expected {
        return Err(MaskError::Size { path: path.to_owned(), found, expected });
    }
    not_black(path, grey)
}

/// The same for a file of any size: each pixel of the mask takes the pixel of the file in which its centre
/// lies, when both are laid over each other. Nothing is cut off, so another aspect is squeezed.
///
/// # Errors
/// When the file cannot be read, or the mask is black everywhere.
pub fn mask_resampled_from_png(path: &Path, height: usize, width: usize) -> Result<Vec<bool>, MaskError> {
    let ((columns, rows), bright) = decode(path)?;
    // The centre of pixel i of n is at (2 i + 1) / (2 n).
    let nearest = |index: usize, of: usize, from: usize| (2 * index + 1) * from / (2 * of);
    let pixel = |index: usize| {
        let (row, column) = (nearest(index / width, height, rows), nearest(index % width, width, columns));
        bright[row * columns + column]
    };
    not_black(path, (0..height * width).map(pixel).collect())
}

/// Width and height of a file, and which of its pixels are at least half as bright as white.
fn decode(path: &Path) -> Result<((usize, usize), Vec<bool>), MaskError> {
    let decoded = image::ImageReader::open(path)
        .and_then(image::ImageReader::with_guessed_format)
        .map_err(image::ImageError::IoError)
        .and_then(image::ImageReader::decode)
        .map_err(|source| MaskError::Unreadable { path: path.to_owned(), source })?;
    let size = (decoded.width() as usize, decoded.height() as usize);
    Ok((size, decoded.to_luma16().pixels().map(|pixel| pixel.0[0] >= 1 << 15).collect()))
}

fn not_black(path: &Path, mask: Vec<bool>) -> Result<Vec<bool>, MaskError> {
    if mask.contains(&true) { Ok(mask) } else { Err(MaskError::Black { path: path.to_owned() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(mask: &[bool], width: usize) -> String {
        let line = |row: &[bool]| row.iter().map(|covered| if *covered { '#' } else { '.' }).collect();
        mask.chunks(width).map(line).collect::<Vec<String>>().join("\n")
    }

    #[test]
    fn the_default_frame_covers_six_percent_of_a_face() {
        for side in [48, 64, 112, 224] {
            let mask = FrameConfig::default().draw(side, side);
            let share = coverage(&mask);
            assert!((0.05..0.07).contains(&share), "{side}: {share}");
        }
    }

    #[test]
    fn the_default_frame_looks_like_eyeglasses() {
        let mask = FrameConfig::default().draw(64, 64);
        insta::assert_snapshot!(picture(&mask[21 * 64..37 * 64], 64), @r"
        ................................................................
        ...............############..........############...............
        .............################......################.............
        ............###............###....###............###............
        ............##..............##....##..............##............
        ##############...............######...............##############
        #############................######................#############
        ............#................##..##................#............
        ............#................##..##................#............
        ............##...............##..##...............##............
        ............##..............###..###..............##............
        ............###.............##....##.............###............
        .............###..........####....####..........###.............
        ..............###############......###############..............
        ................##########............##########................
        ................................................................
        ");
        assert!(!mask[..21 * 64].contains(&true) && !mask[37 * 64..].contains(&true));
    }

    #[test]
    fn the_frame_is_symmetric_and_reaches_both_edges() {
        for (height, width) in [(64, 64), (112, 92), (33, 47), (16, 16)] {
            let mask = FrameConfig::default().draw(height, width);
            let rows: Vec<&[bool]> = mask.chunks(width).collect();
            assert!(rows.iter().all(|row| row.iter().eq(row.iter().rev())), "{height} x {width}");
            assert!(
                rows.iter().any(|row| row[0] && row[width / 2]),
                "{height} x {width}: no bridge or temple"
            );
        }
    }

    #[test]
    fn the_frame_goes_where_the_eyes_are() {
        let middle = |config: FrameConfig| {
            let mask = config.draw(64, 64);
            let rows = mask.chunks(64).enumerate().filter(|(_, row)| row.contains(&true));
            let rows: Vec<usize> = rows.map(|(row, _)| row).collect();
            (rows[0] + rows[rows.len() - 1] + 1) as f32 / 128.0
        };
        for eye_line in [0.3, 0.5, 0.6] {
            let found = middle(FrameConfig { eye_line, ..FrameConfig::default() });
            assert!((found - eye_line).abs() < 0.02, "{found}");
        }
    }

    #[test]
    fn fractions_outside_their_range_are_errors() {
        let bad = [
            FrameConfig { eye_line: 1.5, ..FrameConfig::default() },
            FrameConfig { eye_distance: -0.1, ..FrameConfig::default() },
            FrameConfig { thickness: 0.0, ..FrameConfig::default() },
            FrameConfig { centre: f32::NAN, ..FrameConfig::default() },
        ];
        for (config, key) in bad.iter().zip(["eye_line", "eye_distance", "thickness", "centre"]) {
            let error = config.validate().expect_err(key).to_string();
            assert!(error.contains(key) && error.contains("expected"), "{error}");
        }
    }

    /// A PNG of 4 x 2 pixels.
    fn written(levels: [u8; 8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("mask.png");
        image::GrayImage::from_raw(4, 2, levels.to_vec()).expect("8 pixels").save(&path).expect("written");
        (folder, path)
    }

    #[test]
    fn a_mask_is_binarised_at_one_half() {
        let (_folder, path) = written([0, 127, 128, 255, 1, 200, 100, 0]);
        let mask = mask_from_png(&path, 2, 4).expect("a mask");
        assert_eq!(mask, [false, false, true, true, false, true, false, false]);
        assert!((coverage(&mask) - 0.375).abs() < 1e-12);
    }

    #[test]
    fn a_resampled_mask_takes_the_nearest_pixels() {
        let (_folder, path) = written([0, 255, 0, 255, 0, 0, 255, 255]);
        let row = |text: &str| text.chars().map(|c| c == '#').collect::<Vec<bool>>();
        let large = mask_resampled_from_png(&path, 4, 8).expect("a mask");
        assert_eq!(large, [row("..##..##"), row("..##..##"), row("....####"), row("....####")].concat());
        let same = mask_resampled_from_png(&path, 2, 4).expect("a mask");
        assert_eq!(same, mask_from_png(&path, 2, 4).expect("a mask"));
        // One row of two: the centres are in the second row of the file, in its second and fourth column.
        assert_eq!(mask_resampled_from_png(&path, 1, 2).expect("a mask"), row(".#"));
        assert_eq!(mask_resampled_from_png(&path, 1, 1).expect("a mask"), row("#"));
    }

    #[test]
    fn useless_masks_are_errors_that_name_the_file() {
        let (folder, path) = written([0, 100, 0, 0, 0, 0, 0, 127]);
        let black = mask_from_png(&path, 2, 4).expect_err("black").to_string();
        assert!(black.contains("mask.png") && black.contains("expected white"), "{black}");
        let size = mask_from_png(&path, 64, 32).expect_err("size").to_string();
        assert!(size.contains("mask.png") && size.contains("4 x 2") && size.contains("32 x 64"), "{size}");
        assert!(size.contains("resample"), "{size}");
        let missing = mask_from_png(&folder.path().join("no.png"), 2, 4).expect_err("missing").to_string();
        assert!(missing.contains("no.png"), "{missing}");
        std::fs::write(&path, "not a picture").expect("written");
        let broken = mask_from_png(&path, 2, 4).expect_err("broken").to_string();
        assert!(broken.contains("mask.png") && broken.contains("expected a PNG"), "{broken}");
    }
}
