//! A drawing as a list of shapes, and as SVG, whose text stays text.
//!
//! Lengths are in units of the drawing, from its upper left corner; [`super::raster`] makes pixels of the same shapes.

use std::fmt::Write as _;

use super::super::pairs::base64;
pub(super) use crate::colours::Colour;

pub(super) const BLACK: Colour = [0, 0, 0];
pub(super) const WHITE: Colour = [255, 255, 255];
/// Lines of a grid, and the ground of bars.
pub(super) const PALE: Colour = [213, 218, 224];
/// Notes beside a drawing.
pub(super) const SOFT: Colour = [87, 96, 106];

/// A series of a chart: its colour, and how its line is broken, drawn and left out in turn.
pub(super) const SERIES: [(Colour, &[f64]); 6] = [
    ([0, 114, 178], &[]),
    ([213, 94, 0], &[7.0, 4.0]),
    ([0, 122, 90], &[2.0, 3.0]),
    ([176, 85, 143], &[9.0, 3.0, 2.0, 3.0]),
    ([122, 92, 0], &[14.0, 4.0]),
    ([61, 143, 184], &[4.0, 2.0]),
];

/// What a shape is, apart from its colour.
pub(super) enum Form {
    /// Upper left corner and size. Its edges are whole pixels, so that neighbours meet.
    Rect([f64; 2], [f64; 2]),
    /// A line through points, of a width, drawn and left out in turn.
    Line(Vec<[f64; 2]>, f64, &'static [f64]),
    /// Middle and radius.
    Disc([f64; 2], f64),
    /// Corners in turn.
    Polygon(Vec<[f64; 2]>),
    /// A line of text.
    Text(Text),
    /// Upper left corner, size and PNG file.
    Picture([f64; 2], [f64; 2], Vec<u8>),
}

/// A line of text.
pub(super) struct Text {
    pub words: String,
    /// Its place on the line that letters stand on.
    pub at: [f64; 2],
    /// What is at its place.
    pub anchor: Anchor,
    /// Units of an em.
    pub size: f64,
    /// Degrees that it is turned by around its place, clockwise.
    pub turned: f64,
}

/// Which part of a text is at its place.
#[derive(Clone, Copy)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// A drawing on white ground.
pub(super) struct Drawing {
    title: String,
    pub size: [f64; 2],
    pub shapes: Vec<(Form, Colour)>,
}

impl Drawing {
    /// One with its title at a place.
    pub fn new(title: &str, size: [f64; 2], at: [f64; 2]) -> Self {
        let mut drawing =
            Self { title: title.to_owned(), size, shapes: vec![(Form::Rect([0.0; 2], size), WHITE)] };
        drawing.text(title, at, Anchor::Start, 14.0);
        drawing
    }

    pub fn rect(&mut self, at: [f64; 2], size: [f64; 2], colour: Colour) {
        self.shapes.push((Form::Rect(at, size), colour));
    }

    pub fn line(&mut self, points: Vec<[f64; 2]>, width: f64, colour: Colour) {
        self.shapes.push((Form::Line(points, width, &[]), colour));
    }

    /// Black text.
    pub fn text(&mut self, words: &str, at: [f64; 2], anchor: Anchor, size: f64) {
        self.turned(words, at, anchor, size, 0.0);
    }

    /// Black text that is turned.
    pub fn turned(&mut self, words: &str, at: [f64; 2], anchor: Anchor, size: f64, turned: f64) {
        let text = Text { words: words.to_owned(), at, anchor, size, turned };
        self.shapes.push((Form::Text(text), BLACK));
    }

    /// As an SVG file.
    pub fn svg(&self) -> String {
        let [width, height] = self.size.map(Number);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             height=\"{height}\" font-family=\"DejaVu Sans, Helvetica, Arial, sans-serif\">\n<title>{}</title>\n",
            escaped(&self.title)
        );
        for (form, colour) in &self.shapes {
            let [red, green, blue] = colour;
            form.svg(&mut svg, &format!("#{red:02x}{green:02x}{blue:02x}"));
        }
        svg.push_str("</svg>");
        svg
    }
}

impl Form {
    fn svg(&self, svg: &mut String, colour: &str) {
        let points = |points: &[[f64; 2]]| {
            let points = points.iter().map(|point| format!("{},{}", Number(point[0]), Number(point[1])));
            points.collect::<Vec<_>>().join(" ")
        };
        // Writing to a string cannot fail.
        let _ = match self {
            Self::Rect(at, size) => {
                let ([x, y], [width, height]) = (at.map(Number), size.map(Number));
                writeln!(
                    svg,
                    "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" fill=\"{colour}\" \
                     shape-rendering=\"crispEdges\"/>"
                )
            }
            Self::Line(through, width, dashes) => {
                let dashes: Vec<String> = dashes.iter().map(ToString::to_string).collect();
                writeln!(
                    svg,
                    "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{}\" \
                     stroke-dasharray=\"{}\"/>",
                    points(through),
                    Number(*width),
                    if dashes.is_empty() { "none".to_owned() } else { dashes.join(" ") }
                )
            }
            Self::Disc(at, radius) => {
                let ([x, y], radius) = (at.map(Number), Number(*radius));
                writeln!(svg, "<circle cx=\"{x}\" cy=\"{y}\" r=\"{radius}\" fill=\"{colour}\"/>")
            }
            Self::Polygon(corners) => {
                writeln!(svg, "<polygon points=\"{}\" fill=\"{colour}\"/>", points(corners))
            }
            Self::Text(text) => text.svg(svg, colour),
            Self::Picture(at, size, png) => {
                let ([x, y], [width, height]) = (at.map(Number), size.map(Number));
                writeln!(
                    svg,
                    "<image href=\"data:image/png;base64,{}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"/>",
                    base64(png)
                )
            }
        };
    }
}

impl Text {
    fn svg(&self, svg: &mut String, colour: &str) -> std::fmt::Result {
        let anchor = match self.anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let [x, y] = self.at.map(Number);
        let place = if self.turned == 0.0 {
            format!("x=\"{x}\" y=\"{y}\"")
        } else {
            format!("transform=\"translate({x} {y}) rotate({})\"", Number(self.turned))
        };
        let (size, words) = (Number(self.size), escaped(&self.words));
        writeln!(
            svg,
            "<text {place} text-anchor=\"{anchor}\" font-size=\"{size}\" fill=\"{colour}\">{words}</text>"
        )
    }
}

/// A number of at most three decimals.
struct Number(f64);

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", (self.0 * 1000.0).round() / 1000.0)
    }
}

/// Text of XML. Characters that XML does not know are spaces.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\u{fffe}' | '\u{ffff}' => safe.push(' '),
            c if c.is_control() => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_is_an_element_and_text_is_escaped() {
        let mut drawing = Drawing::new("<a & \u{1}b>", [20.0, 10.0], [1.0, 2.0]);
        drawing.rect([1.0, 2.0], [1.0 / 3.0, 4.0], [255, 0, 16]);
        drawing.line(vec![[0.0, 1.0], [2.0, 3.5]], 2.0, BLACK);
        drawing.shapes.push((Form::Line(vec![[0.0, 0.0], [9.0, 0.0]], 1.0, SERIES[1].1), SERIES[1].0));
        drawing.shapes.push((Form::Disc([5.0, 5.0], 2.5), BLACK));
        drawing.shapes.push((Form::Polygon(vec![[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), BLACK));
        drawing.shapes.push((Form::Picture([1.0, 1.0], [8.0, 8.0], vec![1]), BLACK));
        drawing.turned("c", [3.0, 4.0], Anchor::End, 11.0, -60.0);
        let svg = drawing.svg();
        for part in [
            "viewBox=\"0 0 20 10\" width=\"20\" height=\"10\"",
            "<title>&lt;a &amp;  b&gt;</title>",
            "<rect x=\"0\" y=\"0\" width=\"20\" height=\"10\" fill=\"#ffffff\"",
            "<text x=\"1\" y=\"2\" text-anchor=\"start\" font-size=\"14\" fill=\"#000000\">&lt;a &amp;  b&gt;</text>",
            "<rect x=\"1\" y=\"2\" width=\"0.333\" height=\"4\" fill=\"#ff0010\"",
            "<polyline points=\"0,1 2,3.5\" fill=\"none\" stroke=\"#000000\" stroke-width=\"2\"",
            "stroke=\"#d55e00\" stroke-width=\"1\" stroke-dasharray=\"7 4\"/>",
            "<circle cx=\"5\" cy=\"5\" r=\"2.5\"",
            "<polygon points=\"0,0 1,0 0,1\"",
            "<image href=\"data:image/png;base64,AQ==\" x=\"1\" y=\"1\" width=\"8\" height=\"8\"/>",
            "<text transform=\"translate(3 4) rotate(-60)\" text-anchor=\"end\"",
        ] {
            assert!(svg.contains(part), "{part} is not in {svg}");
        }
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>"));
    }
}
