//! A drawing as pixels, twice as many along a side as it has units: a PNG file for those who cannot take SVG.
//!
//! Lines, discs and letters are filled by how much of a pixel they cover (the accumulation of signed areas of font-rs, by
//! `ab_glyph_rasterizer`), rectangles are whole pixels, so that neighbouring cells of a map meet without a seam.

use std::io::Cursor;

use ab_glyph_rasterizer::{Point, Rasterizer, point};
use image::imageops::{FilterType, overlay, resize};
use image::{ImageError, ImageFormat, Rgb, RgbImage};

use super::drawing::{Anchor, Colour, Drawing, Form, PALE, Text};
use super::letters::{Part, letter};

/// Pixels of a unit.
const SCALE: f64 = 2.0;

/// Corners of a disc.
const CORNERS: usize = 48;

/// A drawing as a PNG file.
///
/// # Errors
/// When it cannot be encoded, which only a drawing without a pixel cannot.
pub(super) fn png(drawing: &Drawing) -> Result<Vec<u8>, ImageError> {
    let mut bytes = Cursor::new(Vec::new());
    pixels(drawing).write_to(&mut bytes, ImageFormat::Png)?;
    Ok(bytes.into_inner())
}

fn pixels(drawing: &Drawing) -> RgbImage {
    let [width, height] = drawing.size.map(|length| (length * SCALE).ceil() as u32);
    let mut canvas = Canvas { pixels: RgbImage::from_pixel(width, height, Rgb([255; 3])) };
    for (form, colour) in &drawing.shapes {
        canvas.draw(form, *colour);
    }
    canvas.pixels
}

struct Canvas {
    pixels: RgbImage,
}

impl Canvas {
    fn draw(&mut self, form: &Form, colour: Colour) {
        match form {
            Form::Rect(at, size) => self.rect(*at, *size, colour),
            Form::Line(points, width, dashes) => {
                let parts: Vec<Part> =
                    broken(points, dashes).iter().flat_map(|ends| stroke(*ends, *width)).collect();
                self.fill(&parts, colour);
            }
            Form::Disc([x, y], radius) => {
                let corner = |at: usize| {
                    let angle = std::f64::consts::TAU * at as f64 / CORNERS as f64;
                    [x + radius * angle.cos(), y + radius * angle.sin()]
                };
                self.fill(&polygon(&(0..CORNERS).map(corner).collect::<Vec<_>>()), colour);
            }
            Form::Polygon(corners) => self.fill(&polygon(corners), colour),
            Form::Text(text) => self.fill(&written(text), colour),
            Form::Picture(at, size, png) => self.picture(*at, *size, png),
        }
    }

    fn rect(&mut self, at: [f64; 2], size: [f64; 2], colour: Colour) {
        let end = |axis: usize, length: u32| {
            let ends = [at[axis], at[axis] + size[axis]].map(|end| (end * SCALE).round().max(0.0) as u32);
            ends[0].min(length)..ends[1].min(length)
        };
        let (width, height) = self.pixels.dimensions();
        for y in end(1, height) {
            for x in end(0, width) {
                self.pixels.put_pixel(x, y, Rgb(colour));
            }
        }
    }

    /// Fills contours in units of the drawing. Where several go the same way round they are one.
    fn fill(&mut self, contours: &[Part], colour: Colour) {
        let parts: Vec<Part> =
            contours.iter().map(|part| part.map(|point| point.map(|at| at * SCALE))).collect();
        let points = || parts.iter().flat_map(Part::points);
        let ends = |axis: usize| {
            let low = points().map(|point| point[axis]).fold(f64::INFINITY, f64::min).floor();
            let high = points().map(|point| point[axis]).fold(f64::NEG_INFINITY, f64::max).ceil();
            (low, high - low)
        };
        let ((left, width), (top, height)) = (ends(0), ends(1));
        if !(width.is_finite() && height.is_finite()) {
            return;
        }
        let mut rasterizer = Rasterizer::new(width as usize + 1, height as usize + 1);
        let near = |[x, y]: [f64; 2]| -> Point { point((x - left) as f32, (y - top) as f32) };
        for part in &parts {
            match *part {
                Part::Line([from, to]) => rasterizer.draw_line(near(from), near(to)),
                Part::Curve([from, by, to]) => rasterizer.draw_quad(near(from), near(by), near(to)),
            }
        }
        let (left, top) = (left as i64, top as i64);
        rasterizer.for_each_pixel_2d(|x, y, covered| {
            let place = |at: i64| u32::try_from(at).ok();
            let pixel = place(left + i64::from(x)).zip(place(top + i64::from(y)));
            if let Some(pixel) = pixel.and_then(|(x, y)| self.pixels.get_pixel_mut_checked(x, y)) {
                let covered = covered.min(1.0);
                for (level, full) in pixel.0.iter_mut().zip(colour) {
                    *level = (f32::from(*level) * (1.0 - covered) + f32::from(full) * covered).round() as u8;
                }
            }
        });
    }

    /// A picture in the middle of its place, in its own proportions; a grey place where it cannot be read.
    fn picture(&mut self, at: [f64; 2], size: [f64; 2], png: &[u8]) {
        let Ok(picture) = image::load_from_memory_with_format(png, ImageFormat::Png) else {
            return self.rect(at, size, PALE);
        };
        let picture = picture.to_rgb8();
        let lengths = [picture.width(), picture.height()].map(f64::from);
        let scale = (size[0] / lengths[0]).min(size[1] / lengths[1]) * SCALE;
        let [width, height] = lengths.map(|length| (length * scale).round().max(1.0));
        let filter = if scale < 1.0 { FilterType::Triangle } else { FilterType::CatmullRom };
        let fitted = resize(&picture, width as u32, height as u32, filter);
        let left = at[0] * SCALE + (size[0] * SCALE - width) / 2.0;
        let top = at[1] * SCALE + (size[1] * SCALE - height) / 2.0;
        overlay(&mut self.pixels, &fitted, left.round() as i64, top.round() as i64);
    }
}

/// A closed contour.
fn polygon(corners: &[[f64; 2]]) -> Vec<Part> {
    (0..corners.len()).map(|at| Part::Line([corners[at], corners[(at + 1) % corners.len()]])).collect()
}

/// A straight line of a width; all go the same way round.
fn stroke([from, to]: [[f64; 2]; 2], width: f64) -> Vec<Part> {
    let (x, y) = (to[0] - from[0], to[1] - from[1]);
    let length = x.hypot(y);
    if length == 0.0 {
        return Vec::new();
    }
    let side = [-y / length * width / 2.0, x / length * width / 2.0];
    let beside = |[x, y]: [f64; 2], sign: f64| [x + sign * side[0], y + sign * side[1]];
    polygon(&[beside(from, 1.0), beside(to, 1.0), beside(to, -1.0), beside(from, -1.0)])
}

/// The straight pieces of a line that is drawn and left out in turn.
fn broken(points: &[[f64; 2]], dashes: &[f64]) -> Vec<[[f64; 2]; 2]> {
    let whole = points.windows(2).map(|ends| [ends[0], ends[1]]);
    if dashes.is_empty() {
        return whole.collect();
    }
    let mut pieces = Vec::new();
    let (mut dash, mut left) = (0, dashes[0]);
    for [from, to] in whole {
        let length = (to[0] - from[0]).hypot(to[1] - from[1]);
        let place = |at: f64| [0, 1].map(|axis: usize| from[axis] + (to[axis] - from[axis]) * (at / length));
        let mut at = 0.0;
        while at < length {
            let end = (at + left).min(length);
            if dash % 2 == 0 {
                pieces.push([place(at), place(end)]);
            }
            left -= end - at;
            // What rounding leaves of a dash must not hold the walk up.
            if left <= 1e-9 {
                dash = (dash + 1) % dashes.len();
                left = dashes[dash];
            }
            at = end;
        }
    }
    pieces
}

/// The outlines of a text at its place.
fn written(text: &Text) -> Vec<Part> {
    let letters: Vec<_> = text.words.chars().map(letter).collect();
    let width: f64 = letters.iter().map(|letter| letter.advance).sum();
    let mut pen = match text.anchor {
        Anchor::Start => 0.0,
        Anchor::Middle => -width / 2.0,
        Anchor::End => -width,
    };
    let (sine, cosine) = text.turned.to_radians().sin_cos();
    let mut parts = Vec::new();
    for letter in letters {
        let place = |[right, up]: [f64; 2]| {
            let (x, y) = ((pen + right) * text.size, -up * text.size);
            [text.at[0] + x * cosine - y * sine, text.at[1] + x * sine + y * cosine]
        };
        parts.extend(letter.outline.iter().map(|part| part.map(place)));
        pen += letter.advance;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::super::drawing::BLACK;
    use super::*;

    /// The darkness of every pixel of a drawing that is black on white, row by row.
    fn dark(size: [f64; 2], form: Form) -> Vec<Vec<f64>> {
        let mut drawing = Drawing::new("", size, [0.0; 2]);
        drawing.shapes.push((form, BLACK));
        let pixels = pixels(&drawing);
        pixels.rows().map(|row| row.map(|pixel| 1.0 - f64::from(pixel.0[0]) / 255.0).collect()).collect()
    }

    fn total(rows: &[Vec<f64>]) -> f64 {
        rows.iter().flatten().sum()
    }

    #[test]
    fn shapes_cover_their_area() {
        // Areas in pixels: four a square unit.
        let triangle = Form::Polygon(vec![[2.0, 2.0], [8.0, 2.0], [2.0, 8.0]]);
        assert!((total(&dark([10.0, 10.0], triangle)) - 4.0 * 18.0).abs() < 0.5);
        let disc = total(&dark([10.0, 10.0], Form::Disc([5.0, 5.0], 3.0)));
        assert!((disc - 4.0 * std::f64::consts::PI * 9.0).abs() < 1.0, "{disc}");
        let slant = Form::Line(vec![[2.0, 2.0], [8.0, 10.0]], 1.5, &[]);
        assert!((total(&dark([12.0, 12.0], slant)) - 4.0 * 15.0).abs() < 0.5);
        // Back over itself: what is covered twice is covered once.
        let back = Form::Line(vec![[2.0, 5.0], [8.0, 5.0], [2.0, 5.0]], 2.0, &[]);
        assert!((total(&dark([10.0, 10.0], back)) - 4.0 * 12.0).abs() < 0.5);
        assert!(total(&dark([10.0, 10.0], Form::Line(vec![[1.0, 1.0]; 2], 2.0, &[]))) < 1e-9);
    }

    #[test]
    fn rectangles_are_whole_pixels_and_meet() {
        let thirds = [0.0, 1.0, 2.0].map(|at| (at * 10.0 / 3.0, (at + 1.0) * 10.0 / 3.0));
        let mut sum = vec![vec![0.0; 20]; 20];
        for (left, right) in thirds {
            let cell = dark([10.0, 10.0], Form::Rect([left, 0.0], [right - left, 10.0]));
            for (row, found) in sum.iter_mut().zip(&cell) {
                row.iter_mut().zip(found).for_each(|(sum, dark)| *sum += dark);
            }
        }
        assert!(sum.iter().flatten().all(|&dark| (dark - 1.0).abs() < 1e-9));
        // What sticks out is cut off.
        assert!((total(&dark([2.0, 2.0], Form::Rect([-1.0, 1.0], [9.0, 9.0]))) - 8.0).abs() < 1e-9);
        let square = [[-9.0, -9.0], [9.0, -9.0], [9.0, 9.0], [-9.0, 9.0]];
        assert!((total(&dark([4.0, 4.0], Form::Polygon(square.to_vec()))) - 64.0).abs() < 1e-6);
    }

    #[test]
    fn lines_are_broken_by_length_across_corners() {
        let found = broken(&[[0.0, 0.0], [5.0, 0.0], [5.0, 6.0]], &[3.0, 1.0]);
        assert_eq!(
            found,
            [
                [[0.0, 0.0], [3.0, 0.0]],
                [[4.0, 0.0], [5.0, 0.0]],
                [[5.0, 0.0], [5.0, 2.0]],
                [[5.0, 3.0], [5.0, 6.0]]
            ]
        );
        assert_eq!(broken(&[[0.0, 0.0], [5.0, 0.0]], &[]).len(), 1);
        assert!(broken(&[[1.0, 1.0]; 3], &[3.0, 1.0]).is_empty());
    }

    fn text(words: &str, anchor: Anchor, turned: f64) -> Form {
        Form::Text(Text { words: words.into(), at: [40.0, 20.0], anchor, size: 16.0, turned })
    }

    /// Left, right, upper and lower end of what is dark, in units.
    fn ends(rows: &[Vec<f64>]) -> [f64; 4] {
        let dark = |value: &f64| *value > 0.3;
        let columns: Vec<bool> = (0..rows[0].len()).map(|x| rows.iter().any(|row| dark(&row[x]))).collect();
        let lines: Vec<bool> = rows.iter().map(|row| row.iter().any(dark)).collect();
        let of = |dark: &[bool]| {
            let first = dark.iter().position(|&dark| dark).expect("something");
            let last = dark.iter().rposition(|&dark| dark).expect("something") + 1;
            [first, last].map(|at| at as f64 / SCALE)
        };
        let ([left, right], [top, bottom]) = (of(&columns), of(&lines));
        [left, right, top, bottom]
    }

    #[test]
    fn text_stands_at_its_place_and_turns_around_it() {
        // H of the font: advance 1540, stems from 201 to 1339, height 1493, of 2048 units an em.
        let em = |units: f64| 16.0 * units / 2048.0;
        let close = |found: [f64; 4], expected: [f64; 4]| {
            let near = found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 0.6);
            assert!(near, "{found:?} {expected:?}");
        };
        let start = ends(&dark([60.0, 40.0], text("H", Anchor::Start, 0.0)));
        close(start, [40.0 + em(201.0), 40.0 + em(1339.0), 20.0 - em(1493.0), 20.0]);
        let end = ends(&dark([60.0, 40.0], text("HH", Anchor::End, 0.0)));
        close(end, [40.0 - em(2.0 * 1540.0 - 201.0), 40.0 - em(201.0), 20.0 - em(1493.0), 20.0]);
        let middle = ends(&dark([60.0, 40.0], text("H", Anchor::Middle, 0.0)));
        close(middle, [40.0 - em(569.0), 40.0 + em(569.0), 20.0 - em(1493.0), 20.0]);
        // A quarter clockwise: right is down, up is right.
        let turned = ends(&dark([60.0, 60.0], text("H", Anchor::Start, 90.0)));
        close(turned, [40.0, 40.0 + em(1493.0), 20.0 + em(201.0), 20.0 + em(1339.0)]);
        // An o has a hole.
        let ring = dark([60.0, 40.0], text("o", Anchor::Middle, 0.0));
        assert!(ring[(2.0 * (20.0 - em(560.0))) as usize][80] < 0.05);
        assert!(total(&dark([60.0, 40.0], text(" \u{202e}", Anchor::Start, 0.0))) < 1e-9);
    }

    #[test]
    fn pictures_keep_their_proportions_and_broken_ones_are_grey() {
        let mut bytes = Cursor::new(Vec::new());
        RgbImage::new(4, 8).write_to(&mut bytes, ImageFormat::Png).expect("memory");
        let shown = dark([10.0, 10.0], Form::Picture([1.0, 1.0], [8.0, 8.0], bytes.into_inner()));
        assert_eq!(ends(&shown).map(|end| (SCALE * end) as u32), [6, 14, 2, 18]);
        let broken = dark([10.0, 10.0], Form::Picture([1.0, 1.0], [8.0, 8.0], vec![1]));
        assert!((broken[10][10] - (1.0 - f64::from(PALE[0]) / 255.0)).abs() < 1e-9);
    }

    #[test]
    fn a_file_is_a_png_of_twice_the_size() {
        let file = png(&Drawing::new("A title", [70.0, 20.5], [4.0, 14.0])).expect("encoded");
        let read = image::load_from_memory_with_format(&file, ImageFormat::Png).expect("PNG").to_rgb8();
        assert_eq!(read.dimensions(), (140, 41));
        assert!(read.pixels().any(|pixel| pixel.0 == [0; 3]), "the title is there");
    }
}
