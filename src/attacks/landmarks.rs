//! From the landmarks of a face to the place of what is worn on it.

use std::collections::BTreeMap;
use std::path::Path;

use super::AttackConfigError;
use super::geometry::{Point, Similarity};
use crate::data::{ImageId, Landmarks};

/// Left eye, right eye, tip of the nose, left and right corner of the mouth (as seen in the picture) of an
/// aligned face, as fractions of the picture: the template of `ArcFace` (Deng, Guo, Xue and Zafeiriou, CVPR
/// 2019) for pictures of 112 pixels.
pub(super) const FIVE_POINTS: [Point; 5] = [
    (38.2946 / 112.0, 51.6963 / 112.0),
    (73.5318 / 112.0, 51.5014 / 112.0),
    (56.0252 / 112.0, 71.7366 / 112.0),
    (41.5493 / 112.0, 92.3655 / 112.0),
    (70.7299 / 112.0, 92.2041 / 112.0),
];

/// For each picture of a file of landmarks the similarity that brings the points of a thing's own place (in
/// pixels; the first of the five, so two are the eyes) nearest to its landmarks. None without a file.
///
/// # Errors
/// When the file cannot be used, or a face is a single point.
pub(super) fn places(
    path: Option<&Path>,
    [height, width]: [usize; 2],
    own: &[Point],
) -> Result<Option<BTreeMap<ImageId, Similarity>>, AttackConfigError> {
    let Some(path) = path else { return Ok(None) };
    if height != width {
        return Err(AttackConfigError::Value {
            key: "landmarks",
            found: format!("for pictures of {height} x {width} pixels"),
            expected: "square pictures, as the data set makes them".to_owned(),
            advice: "leave `landmarks` out".to_owned(),
        });
    }
    let landmarks = Landmarks::read(path, width)?;
    let place = |(id, points): (ImageId, [Point; 5])| {
        let place = Similarity::fit(own, &points[..own.len()]);
        place.map(|place| (id, place)).ok_or_else(|| AttackConfigError::Value {
            key: "landmarks",
            found: format!("a face whose landmarks are one point, in {}", path.display()),
            expected: "five points that differ".to_owned(),
            advice: "correct the row".to_owned(),
        })
    };
    landmarks.faces().map(place).collect::<Result<_, _>>().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Seed;
    use crate::attacks::{Attack, EyeglassConfig, FaceMaskConfig, FrameConfig};
    use crate::stable_hash;

    /// A folder with one picture of 64 x 64 pixels and a row of landmarks.
    fn folder(points: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a temporary folder");
        image::GrayImage::new(64, 64).save(root.path().join("a.png")).expect("written");
        let header = "picture,left_eye_x,left_eye_y,right_eye_x,right_eye_y,nose_x,nose_y,\
                      mouth_left_x,mouth_left_y,mouth_right_x,mouth_right_y";
        let text = format!("{header}\na.png,{points}\n");
        std::fs::write(root.path().join("landmarks.csv"), text).expect("written");
        root
    }

    fn covered(attack: &dyn Attack) -> Vec<bool> {
        let id = ImageId(stable_hash(b"a.png"));
        attack.covered(&[id], Seed::new(0)).expect("a place").swap_remove(0)
    }

    #[test]
    fn landmarks_of_an_aligned_face_leave_the_mask_in_its_place() {
        let aligned: Vec<String> = FIVE_POINTS
            .iter()
            .flat_map(|(x, y)| [x * 64.0, y * 64.0])
            .map(|value| value.to_string())
            .collect();
        let root = folder(&aligned.join(","));
        let landmarks = Some(root.path().join("landmarks.csv"));
        let with =
            FaceMaskConfig { landmarks, ..FaceMaskConfig::default() }.build([3, 64, 64]).expect("valid");
        let without = FaceMaskConfig::default().build([3, 64, 64]).expect("valid");
        let pairs = covered(&with).into_iter().zip(covered(&without));
        assert!(pairs.filter(|(with, without)| with != without).count() <= 4, "but for rounding at edges");
    }

    #[test]
    fn the_frame_goes_to_the_eyes() {
        // The eyes are 16 pixels apart on a vertical line: the face lies on its side.
        let root = folder("40,20,40.5,36,30,28,20,24,20,32");
        let landmarks = Some(root.path().join("landmarks.csv"));
        let attack =
            EyeglassConfig { landmarks, ..EyeglassConfig::default() }.build([3, 64, 64]).expect("valid");
        let mask = covered(&attack);
        let own = FrameConfig::default();
        // The frame is drawn for eyes that are 0.34 * 64 pixels apart; the eyes are no part of it.
        let size = 16.0 / (0.34 * 64.0);
        let share = mask.iter().filter(|is| **is).count() as f64
            / own.draw(64, 64).iter().filter(|is| **is).count() as f64;
        assert!((share - size * size).abs() < 0.2, "{share} {}", size * size);
        assert!(!mask[20 * 64 + 40] && !mask[36 * 64 + 40], "the eyes are free");
        let columns: Vec<usize> = (0..64 * 64).filter(|&pixel| mask[pixel]).map(|pixel| pixel % 64).collect();
        assert!(columns.iter().all(|column| (33..48).contains(column)), "the frame is upright");
    }

    #[test]
    fn landmarks_in_one_point_are_an_error() {
        let root = folder("40,20,40.0000001,20,40,20,40,20,40,20");
        let landmarks = Some(root.path().join("landmarks.csv"));
        let error = EyeglassConfig { landmarks, ..EyeglassConfig::default() }
            .build([3, 64, 64])
            .expect_err("a point");
        assert!(error.to_string().contains("one point"), "{error}");
    }
}
