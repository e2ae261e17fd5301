//! From the landmarks of a face to the place of what is worn on it.

use std::collections::BTreeMap;
use std::path::Path;

use super::AttackConfigError;
use super::geometry::{Point, Similarity};
use crate::data::{ImageId, Landmarks};

/// Left eye, right eye, tip of the nose, left and right corner of the mouth (as seen in the picture) of an
/// aligned face, as fractions of the picture: the template of ArcFace (Deng, Guo, Xue and Zafeiriou, CVPR
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
