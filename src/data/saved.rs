//! Adversarial pictures as files of 8 bits.
//!
//! A change between two grey levels cannot be saved. Rounding it to the nearest level can leave a ball by half a
//! level in every value; rounding towards the clean picture, whose values are levels, makes every change smaller
//! or leaves it as it is, so the picture stays in every ball that it was in.

use std::io::Cursor;
use std::path::Path;

use image::{ImageFormat, RgbImage};

use super::DataError;
use super::picture::decode;
use super::split::read_file;
use crate::preprocessing::Framing;

/// How far below the next level a value may be, in levels, to be taken for that level: rounding of f32.
const CLOSE: f32 = 1e-3;

/// How values become levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// To the nearest level: right inside a region, where any value is allowed.
    Nearest,
    /// To the level on the side of the clean picture: right in a ball.
    TowardsClean,
}

impl Rounding {
    /// The levels of an adversarial picture, given the clean one; both have values in `[0, 1]`.
    pub fn levels(self, clean: &[f32], adversarial: &[f32]) -> Vec<u8> {
        clean.iter().zip(adversarial).map(|(clean, value)| self.level(255.0 * clean, 255.0 * value)).collect()
    }

    fn level(self, clean: f32, value: f32) -> u8 {
        let level = match self {
            Self::Nearest => value.round(),
            Self::TowardsClean if value >= clean => (value + CLOSE).floor(),
            Self::TowardsClean => (value - CLOSE).ceil(),
        };
        level.clamp(0.0, 255.0) as u8
    }
}

/// A PNG of the levels of one square picture, `[3, side, side]` channel by channel.
///
/// # Errors
/// When the picture cannot be encoded.
pub fn encode_png(path: &Path, levels: &[u8], side: usize) -> Result<Vec<u8>, DataError> {
    let plane = side * side;
    let picture = RgbImage::from_fn(side as u32, side as u32, |x, y| {
        let at = y as usize * side + x as usize;
        image::Rgb([levels[at], levels[plane + at], levels[2 * plane + at]])
    });
    let mut bytes = Cursor::new(Vec::new());
    let failed = |error: image::ImageError| DataError::Write {
        path: path.to_path_buf(),
        source: std::io::Error::other(error),
    };
    picture.write_to(&mut bytes, ImageFormat::Png).map_err(failed)?;
    Ok(bytes.into_inner())
}

/// The values in `[0, 1]` of a saved picture, `[3, side, side]` channel by channel.
///
/// # Errors
/// When the file is missing, no picture, or has another size.
pub fn read_saved(path: &Path, side: usize) -> Result<Vec<f32>, DataError> {
    read_picture(path, &side.into())
}

/// The values in `[0, 1]` of any picture, cropped and resized, `[3, side, side]` channel by channel.
///
/// # Errors
/// When the file is missing, longer than 256 MiB, no picture, or does not contain what is to be kept.
pub fn read_picture(path: &Path, framing: &Framing) -> Result<Vec<f32>, DataError> {
    let bytes = read_file(path)?;
    let picture = decode(path, &bytes, framing)?;
    let channel = |channel: usize| picture.pixels().map(move |rgb| f32::from(rgb.0[channel]) / 255.0);
    Ok((0..3).flat_map(channel).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn levels_by_hand() {
        let clean = [100.0 / 255.0; 4];
        let moved = [107.6 / 255.0, 92.4 / 255.0, 108.0 / 255.0, 92.0 / 255.0];
        assert_eq!(Rounding::TowardsClean.levels(&clean, &moved), [107, 93, 108, 92]);
        assert_eq!(Rounding::Nearest.levels(&clean, &moved), [108, 92, 108, 92]);
        assert_eq!(Rounding::TowardsClean.levels(&[1.0, 0.0], &[1.0, 0.0]), [255, 0]);
    }

    proptest! {
        #[test]
        fn a_ball_of_whole_levels_is_kept_and_used_exactly(level in 0_u8.., budget in 0_u8..40, up: bool) {
            // As an attack computes it: clean +- epsilon in f32, clipped.
            let (clean, epsilon) = (f32::from(level) / 255.0, f32::from(budget) / 255.0);
            let moved = if up { clean + epsilon } else { clean - epsilon }.clamp(0.0, 1.0);
            let saved = Rounding::TowardsClean.levels(&[clean], &[moved])[0];
            let expected = if up { level.saturating_add(budget) } else { level.saturating_sub(budget) };
            prop_assert_eq!(saved, expected);
        }

        #[test]
        fn a_change_never_grows(level in 0_u8.., value in 0.0_f32..=1.0) {
            let clean = f32::from(level) / 255.0;
            let saved = f32::from(Rounding::TowardsClean.levels(&[clean], &[value])[0]) / 255.0;
            prop_assert!((saved - clean).abs() <= (value - clean).abs() + 1e-5);
            prop_assert!((saved - value).abs() < 1.0 / 255.0 + 1e-5, "less than a level is lost");
        }
    }

    #[test]
    fn a_file_gives_back_what_was_saved() {
        let place = tempfile::tempdir().expect("a temporary folder");
        let path = place.path().join("a.png");
        let levels: Vec<u8> = (0..3 * 16).map(|index| index as u8 * 5).collect();
        std::fs::write(&path, encode_png(&path, &levels, 4).expect("encoded")).expect("written");
        let values = read_saved(&path, 4).expect("read");
        assert_eq!(Rounding::Nearest.levels(&values, &values), levels);
        let error = read_saved(&place.path().join("b.png"), 4).expect_err("missing").to_string();
        assert!(error.contains("b.png"), "{error}");
        // A file that has its length and no content on the disk.
        let long = std::fs::File::create(&path).expect("made");
        long.set_len((256 << 20) + 1).expect("the file system knows holes");
        let error = read_saved(&path, 4).expect_err("too long").to_string();
        assert!(error.contains("268435457 bytes, expected at most"), "{error}");
    }
}
