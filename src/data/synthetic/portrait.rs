//! Paints a person in a shot, layer over layer, with anti-aliased edges.

use image::{Rgb, RgbImage};
use rand::RngExt;

use super::person::{Colour, Hair, Person, mix};
use super::shape::{bow, coverage, ellipse, line};
use super::shot::Shot;
use crate::Seed;

const BLACK: Colour = [0.05, 0.04, 0.04];
const WHITE: Colour = [0.94, 0.93, 0.91];
const RED: Colour = [0.72, 0.22, 0.22];

/// The picture, `side x side`. `seed` is that of the noise.
pub(super) fn portrait(person: &Person, shot: &Shot, side: usize, seed: Seed) -> RgbImage {
    let mut rng = seed.rng();
    let unit = 2.0 / side as f32;
    let (cos, sin) = shot.rotation;
    RgbImage::from_fn(side as u32, side as u32, |column, row| {
        let (u, v) = ((column as f32 + 0.5) * unit - 1.0, (row as f32 + 0.5) * unit - 1.0);
        let (x, y) = ((u - shot.shift.0) / shot.scale, (v - shot.shift.1 - 0.06) / shot.scale);
        let mut pixel = Pixel {
            x: cos * x + sin * y,
            y: cos * y - sin * x,
            size: unit / shot.scale,
            colour: shot.background,
        };
        pixel.paint(person, shot);
        let light = shot.brightness * (1.0 + shot.light.0 * u + shot.light.1 * v);
        Rgb(pixel.colour.map(|value| {
            let noise = shot.noise * (rng.random::<f32>() + rng.random::<f32>() - 1.0);
            ((value * light + noise).clamp(0.0, 1.0) * 255.0 + 0.5) as u8
        }))
    })
}

/// A point of the picture in the coordinates of the face, and what has been painted there so far.
struct Pixel {
    x: f32,
    y: f32,
    /// Width of a pixel in these coordinates.
    size: f32,
    colour: Colour,
}

impl Pixel {
    /// Paints a shape over what is there.
    fn over(&mut self, colour: Colour, opacity: f32, distance: f32) {
        let share = opacity * coverage(distance, self.size);
        if share > 0.0 {
            self.colour = mix(self.colour, colour, share);
        }
    }

    fn paint(&mut self, person: &Person, shot: &Shot) {
        let head = head(self.x, self.y, person);
        self.body(person, shot);
        let shade = mix(person.skin, BLACK, 0.35);
        // The side away from the middle is darker: the head is round.
        let edge = (self.x / person.head_width).powi(2).min(1.0);
        self.over(mix(person.skin, shade, 0.7 * edge * edge), 1.0, head);
        // The features move over the head when it turns.
        let (x, y) = (self.x, self.y);
        self.x -= shot.turn.0;
        self.y -= shot.turn.1;
        if person.beard {
            self.beard(person, head);
        }
        for eye in [-1.0, 1.0] {
            self.eye(person, shot, eye);
        }
        self.nose(person);
        self.mouth(person, shot);
        (self.x, self.y) = (x + 0.5 * shot.turn.0, y);
        self.front_hair(person, head);
    }

    /// Hair behind the head, neck, clothes and ears.
    fn body(&mut self, person: &Person, shot: &Shot) {
        let (x, y) = (self.x, self.y);
        let (wide, high) = (person.head_width + person.hair_volume, person.head_height + person.hair_volume);
        if person.hair == Hair::Long {
            let down = line(x, y, (0.0, -0.1), (0.0, 0.55), wide + 0.06);
            self.over(mix(person.hair_colour, BLACK, 0.3), 1.0, down);
        }
        let neck = line(x, y, (0.0, 0.4), (0.0, 1.2), 0.62 * person.head_width);
        self.over(mix(person.skin, BLACK, 0.35), 1.0, neck);
        self.over(shot.clothes, 1.0, ellipse(x, y, (0.0, 1.35), 0.95, 0.52));
        if person.hair != Hair::Bald {
            let back = ellipse(x, y, (0.0, -0.06), wide, high).max(y - 0.05);
            self.over(mix(person.hair_colour, BLACK, 0.2), 1.0, back);
        }
        for ear in [-1.0, 1.0] {
            let centre = (ear * (person.head_width + 0.01), -person.eye_height + 0.08);
            self.over(
                mix(person.skin, BLACK, 0.15),
                1.0,
                ellipse(x, y, centre, 0.6 * person.ears, person.ears),
            );
        }
    }

    fn front_hair(&mut self, person: &Person, head: f32) {
        let (x, y) = (self.x, self.y);
        let u = x / person.head_width;
        let line = match person.hair {
            // A rim at the temples.
            Hair::Bald => -0.80 + 1.1 * u * u * u * u,
            Hair::Short => -person.hairline + 0.28 * u * u * u * u,
            Hair::Fringe => -person.hairline + 0.14 + 0.02 * u * u,
            Hair::Parted => -person.hairline + 0.22 * u + 0.30 * u * u,
            Hair::Long => -person.hairline - 0.08 + 0.75 * u * u,
        };
        let above = (y - line) * 0.8;
        let volume = if person.hair == Hair::Bald { 0.0 } else { 0.8 * person.hair_volume };
        let low = if person.hair == Hair::Long { 0.5 } else { 0.0 };
        let region = above.max(head - volume).max(y - low);
        // A sheen above.
        let sheen = coverage(ellipse(x, y, (0.1, -0.62), 0.3, 0.08), 0.2) * 0.25;
        self.over(mix(person.hair_colour, WHITE, sheen), 1.0, region);
    }

    /// A full beard: below a line from the ears over the moustache, around the mouth.
    fn beard(&mut self, person: &Person, head: f32) {
        let (x, y) = (self.x, self.y);
        let u = x / person.head_width;
        let mouth = mouth_height(person);
        let line = mouth - 0.55 * person.mouth_gap + 0.12 * (1.0 - u * u) * u * u - 0.30 * u * u * u * u;
        let chin = (line - y).max(head - 0.02);
        let gap = -ellipse(x, y, (0.0, mouth + 0.01), person.mouth_width * 0.95, 0.075);
        self.over(mix(person.hair_colour, BLACK, 0.15), 0.9, chin.max(gap));
    }

    /// The left (-1) or right (1) eye with its brow.
    fn eye(&mut self, person: &Person, shot: &Shot, side: f32) {
        // Mirrored, so that both eyes are drawn as the right one.
        let (x, y) = (side * self.x - person.eye_gap, self.y + person.eye_height);
        let slanted = y + person.eye_slant * x / person.eye_width;
        let opening = person.eye_opening * shot.eyes_open;
        let ball = ellipse(x, slanted, (0.0, 0.0), person.eye_width, opening);
        self.over(mix(person.skin, BLACK, 0.45), 0.5, ball - 0.025);
        self.over(WHITE, 1.0, ball);
        let centre = (side * shot.gaze, 0.0);
        let iris = 0.92 * person.eye_opening;
        self.over(person.iris, 1.0, ellipse(x, y, centre, iris, iris).max(ball));
        self.over(BLACK, 1.0, ellipse(x, y, centre, 0.45 * iris, 0.45 * iris).max(ball));
        let glint = (centre.0 + side * 0.015, -0.018);
        self.over([1.0; 3], 0.9, ellipse(x, y, glint, 0.012, 0.012).max(ball));
        let lid = bow(x, slanted + opening, person.eye_width, opening * 0.9, 0.0, 0.014);
        self.over(BLACK, 0.85, lid);
        let brow = bow(
            x - 0.01,
            y + person.brow_gap + 0.5 * person.brow_arch,
            person.eye_width * 1.25,
            person.brow_arch,
            person.brow_slant,
            person.brow_thickness,
        );
        self.over(mix(person.hair_colour, BLACK, 0.35), 0.95, brow);
    }

    fn nose(&mut self, person: &Person) {
        let (x, y) = (self.x, self.y);
        let shade = mix(person.skin, BLACK, 0.4);
        let tip = nose_tip(person);
        let bridge = (0.45 * person.nose_width, -person.eye_height + 0.04);
        self.over(shade, 0.45, line(x, y, bridge, (0.8 * person.nose_width, tip - 0.04), 0.014));
        self.over(mix(person.skin, WHITE, 0.3), 0.5, line(x, y, (0.0, -0.05), (0.0, tip - 0.06), 0.018));
        let bottom = bow(x, y - tip, person.nose_width, -0.035, 0.0, 0.018);
        self.over(shade, 0.75, bottom);
        for nostril in [-1.0, 1.0] {
            let centre = (nostril * 0.5 * person.nose_width, tip - 0.005);
            self.over(BLACK, 0.7, ellipse(x, y, centre, 0.24 * person.nose_width, 0.014));
        }
    }

    fn mouth(&mut self, person: &Person, shot: &Shot) {
        let (x, y) = (self.x, self.y - mouth_height(person));
        let lip = mix(mix(person.skin, RED, person.lip_redness), BLACK, 0.12);
        let (width, bend) = (person.mouth_width * (1.0 + 2.0 * shot.smile), -shot.smile);
        let open = shot.mouth_open;
        self.over(lip, 1.0, bow(x, y + 0.5 * person.lips, width, bend + 0.4 * person.lips, 0.0, person.lips));
        let lower =
            bow(x, y - 0.6 * person.lips - open, 0.9 * width, bend - 0.5 * open, 0.0, 1.15 * person.lips);
        self.over(mix(lip, WHITE, 0.08), 1.0, lower);
        self.over(BLACK, 0.85, bow(x, y - 0.4 * open, width, bend, 0.0, 0.010 + 0.6 * open));
        if open > 0.015 {
            self.over(WHITE, 0.9, bow(x, y, 0.7 * width, bend, 0.0, 0.3 * open));
        }
    }
}

/// Distance to the outline of the head: an ellipse that narrows below the eyes.
fn head(x: f32, y: f32, person: &Person) -> f32 {
    let down = (y / person.head_height).clamp(0.0, 1.0);
    let narrow = 1.0 - person.taper * down * down;
    ellipse(x / narrow, y, (0.0, 0.0), person.head_width, person.head_height) * narrow
}

fn nose_tip(person: &Person) -> f32 {
    person.nose_length - person.eye_height
}

fn mouth_height(person: &Person) -> f32 {
    nose_tip(person) + person.mouth_gap
}
