//! A drawn person: the traits that stay the same from picture to picture.
//!
//! Lengths are in units of half the picture: `x` from -1 (left) to 1, `y` from -1 (top) to 1, with the
//! middle of the face near the origin.

use rand::RngExt;

use crate::Seed;

/// Red, green and blue in `[0, 1]`.
pub(super) type Colour = [f32; 3];

/// How far a sibling is from the other on the way to an unrelated person: 0 would be a twin.
const SIBLING_CHANGE: f32 = 0.3;

const SKINS: [Colour; 4] = [[0.95, 0.80, 0.70], [0.87, 0.67, 0.53], [0.66, 0.46, 0.33], [0.42, 0.28, 0.20]];
const HAIRS: [Colour; 6] = [
    [0.08, 0.07, 0.07],
    [0.24, 0.15, 0.10],
    [0.42, 0.27, 0.15],
    [0.56, 0.26, 0.12],
    [0.80, 0.63, 0.36],
    [0.62, 0.60, 0.58],
];
const IRISES: [Colour; 3] = [[0.28, 0.17, 0.09], [0.30, 0.42, 0.25], [0.30, 0.48, 0.66]];

/// How the hair is worn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hair {
    Short,
    Fringe,
    Parted,
    Long,
    Bald,
}

/// All styles, the one without beards last.
const STYLES: [Hair; 5] = [Hair::Short, Hair::Fringe, Hair::Parted, Hair::Bald, Hair::Long];

/// The traits.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Person {
    pub skin: Colour,
    pub hair_colour: Colour,
    pub iris: Colour,
    pub hair: Hair,
    /// Height of the hairline above the middle of the face.
    pub hairline: f32,
    /// How much the hair is wider than the head.
    pub hair_volume: f32,
    pub beard: bool,
    pub head_width: f32,
    pub head_height: f32,
    /// How much the head narrows towards the chin.
    pub taper: f32,
    pub ears: f32,
    /// Half the distance between the eyes.
    pub eye_gap: f32,
    pub eye_height: f32,
    pub eye_width: f32,
    pub eye_opening: f32,
    /// How much the outer corner is higher than the inner one.
    pub eye_slant: f32,
    /// From the eye up to the brow.
    pub brow_gap: f32,
    pub brow_thickness: f32,
    pub brow_arch: f32,
    pub brow_slant: f32,
    pub nose_length: f32,
    pub nose_width: f32,
    /// From the tip of the nose down to the mouth.
    pub mouth_gap: f32,
    pub mouth_width: f32,
    pub lips: f32,
    pub lip_redness: f32,
}

impl Person {
    /// The person with this seed; with `sibling`, somebody much like the person with that seed.
    pub(super) fn new(seed: Seed, sibling: Option<Seed>, beard: bool) -> Self {
        let mut own = seed.rng();
        let mut other = sibling.map(Seed::rng);
        let mut gene = || {
            let value: f32 = own.random();
            match &mut other {
                None => value,
                Some(other) => {
                    let first: f32 = other.random();
                    first + SIBLING_CHANGE * (value - first)
                }
            }
        };
        // A style cannot be moved a little: siblings share it. Nobody is drawn with a beard and long hair,
        // so that the beard stays visible.
        let mut styles = sibling.unwrap_or(seed).purpose("hair").rng();
        let hair = STYLES[styles.random_range(0..STYLES.len() - usize::from(beard))];
        let mut between = |low: f32, high: f32| low + (high - low) * gene();
        Self {
            skin: along(&SKINS, between(0.0, 1.0)),
            hair_colour: along(&HAIRS, between(0.0, 1.0)),
            iris: along(&IRISES, between(0.0, 1.0)),
            hair,
            hairline: between(0.34, 0.50),
            hair_volume: between(0.05, 0.13),
            beard,
            head_width: between(0.46, 0.58),
            head_height: between(0.64, 0.76),
            taper: between(0.10, 0.36),
            ears: between(0.08, 0.13),
            eye_gap: between(0.19, 0.27),
            eye_height: between(0.02, 0.13),
            eye_width: between(0.085, 0.125),
            eye_opening: between(0.040, 0.066),
            eye_slant: between(-0.02, 0.04),
            brow_gap: between(0.10, 0.16),
            brow_thickness: between(0.018, 0.042),
            brow_arch: between(0.0, 0.05),
            brow_slant: between(-0.04, 0.04),
            nose_length: between(0.22, 0.32),
            nose_width: between(0.065, 0.115),
            mouth_gap: between(0.12, 0.18),
            mouth_width: between(0.13, 0.21),
            lips: between(0.022, 0.048),
            lip_redness: between(0.15, 0.6),
        }
    }
}

/// The colour at a place in `[0, 1]` along a row of colours.
fn along(colours: &[Colour], place: f32) -> Colour {
    let place = place * (colours.len() - 1) as f32;
    let index = (place as usize).min(colours.len() - 2);
    mix(colours[index], colours[index + 1], place - index as f32)
}

/// `from` at 0, `to` at 1.
pub(super) fn mix(from: Colour, to: Colour, share: f32) -> Colour {
    std::array::from_fn(|channel| from[channel] + (to[channel] - from[channel]) * share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn siblings_are_closer_than_strangers() {
        let numbers = |person: &Person| {
            [person.head_width / 0.12, person.eye_gap / 0.08, person.nose_length / 0.1, person.skin[0]]
        };
        let gap = |a: &Person, b: &Person| -> f32 {
            numbers(a).iter().zip(numbers(b)).map(|(a, b)| (a - b).abs()).sum()
        };
        let seed = Seed::new(0);
        let (mut siblings, mut strangers) = (0.0, 0.0);
        for index in 0..50 {
            let (one, two) = (seed.at(2 * index), seed.at(2 * index + 1));
            let first = Person::new(one, None, false);
            let sibling = Person::new(two, Some(one), false);
            assert_eq!(first.hair, sibling.hair);
            assert_ne!(first, sibling);
            siblings += gap(&first, &sibling);
            strangers += gap(&first, &Person::new(two, None, false));
        }
        assert!(siblings < 0.5 * strangers, "{siblings} {strangers}");
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "these values are exact")]
    fn colours_go_from_the_first_to_the_last() {
        assert_eq!(along(&SKINS, 0.0), SKINS[0]);
        assert_eq!(along(&SKINS, 1.0), SKINS[3]);
        assert_eq!(along(&[[0.0; 3], [1.0; 3], [0.0; 3]], 0.25), [0.5; 3]);
    }
}
