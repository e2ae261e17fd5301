//! One picture of a person: what changes from picture to picture.

use rand::RngExt;

use super::person::Colour;
use crate::Seed;

/// Pose, expression, light and surroundings.
#[derive(Clone, Debug)]
pub(super) struct Shot {
    /// Cosine and sine of the rotation.
    pub rotation: (f32, f32),
    pub scale: f32,
    pub shift: (f32, f32),
    /// How far the features move across the head when it turns.
    pub turn: (f32, f32),
    /// Positive for a smile.
    pub smile: f32,
    /// How far the mouth is open.
    pub mouth_open: f32,
    /// Factor on the opening of the eyes.
    pub eyes_open: f32,
    pub gaze: f32,
    /// Factor on all light.
    pub brightness: f32,
    /// Change of the light per unit of `x` and `y`.
    pub light: (f32, f32),
    pub background: Colour,
    pub clothes: Colour,
    /// Largest noise of a pixel.
    pub noise: f32,
}

impl Shot {
    pub(super) fn new(seed: Seed) -> Self {
        let mut rng = seed.rng();
        let mut between = |low: f32, high: f32| low + (high - low) * rng.random::<f32>();
        // The tangent of half the angle gives sine and cosine by arithmetic alone, which rounds the same
        // on every machine. 0.1 is 11 degrees.
        let t = between(-0.1, 0.1);
        Self {
            rotation: ((1.0 - t * t) / (1.0 + t * t), 2.0 * t / (1.0 + t * t)),
            scale: between(1.10, 1.32),
            shift: (between(-0.09, 0.09), between(-0.07, 0.07)),
            turn: (between(-0.08, 0.08), between(-0.04, 0.04)),
            smile: between(-0.02, 0.05),
            mouth_open: between(-0.03, 0.04).max(0.0),
            eyes_open: between(0.65, 1.1),
            gaze: between(-0.03, 0.03),
            brightness: between(0.8, 1.12),
            light: (between(-0.30, 0.30), between(-0.20, 0.12)),
            background: tinted(between(0.35, 0.65), [between(-1.0, 1.0), between(-1.0, 1.0)]),
            clothes: tinted(between(0.15, 0.7), [between(-2.0, 2.0), between(-2.0, 2.0)]),
            noise: between(0.02, 0.08),
        }
    }
}

/// A grey with some warmth or cold, and some green or purple.
fn tinted(grey: f32, [warm, green]: [f32; 2]) -> Colour {
    [grey + 0.06 * warm, grey + 0.04 * green, grey - 0.06 * warm]
}
