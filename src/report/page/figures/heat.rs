//! Maps of cells: rates, or differences of a pair's two rates.

use super::super::Page;
use super::super::matrix::Map;
use super::drawing::{Anchor, Colour, Drawing, Form};
use super::{LONGEST, short};
use crate::colours::{diverging, rising};

/// Side of a map, in units of the drawing.
const SIDE: f64 = 480.0;

/// Above so many classes the names would stand in each other.
const MOST_NAMES: usize = 60;

/// Steps of a colour scale.
const STEPS: usize = 48;

/// Colour of what was not tried.
const UNTRIED: Colour = [222, 226, 230];

/// Longest of the two names below a picture, in characters.
const LONGEST_PAIRED: usize = 10;

/// From one example picture to the next, and from one row of them to the next.
const STRIP: [f64; 2] = [142.0, 90.0];

/// A map in the order of clusters, with its scale and, where they are of the same kind, the pictures of the worst pairs.
pub(super) fn heat(page: &Page, map: &Map, signed: bool) -> Drawing {
    let names = map.block == 1 && map.size <= MOST_NAMES;
    let (left, top) = (if names { 120.0 } else { 20.0 }, 32.0);
    let below = top + SIDE + if names { 100.0 } else { 24.0 };
    let shown = pictures(page, map);
    let rows = shown.len().div_ceil(4) as f64;
    let title = page.maps.iter().find(|text| text.key == map.key).map_or("", |text| text.title);
    let title = if signed { format!("{title}: there minus back") } else { title.to_owned() };
    let mut drawing = Drawing::new(&title, [left + SIDE + 100.0, below + STRIP[1] * rows], [left, 18.0]);
    let values = values(map, signed);
    let most = values.iter().flatten().fold(0.01, |most: f64, value| most.max(value.abs()));
    let colour = |value: f64| if signed { diverging(value / most) } else { rising(value / most) };
    let step = SIDE / map.size.max(1) as f64;
    drawing.rect([left, top], [SIDE; 2], UNTRIED);
    for (cell, value) in values.iter().enumerate() {
        let (row, column) = (cell / map.size, cell % map.size);
        if let Some(value) = value {
            let at = [left + column as f64 * step, top + row as f64 * step];
            drawing.rect(at, [step; 2], colour(*value));
        }
    }
    if names {
        let size = step.clamp(5.0, 11.0);
        for (at, &class) in map.orders["cluster"].iter().enumerate() {
            let middle = (at as f64 + 0.5) * step;
            let name = short(&page.data.classes[class], LONGEST);
            drawing.text(&name, [left - 6.0, top + middle + 4.0], Anchor::End, size);
            drawing.turned(&name, [left + middle, top + SIDE + 8.0], Anchor::End, size, -60.0);
        }
    }
    scale(&mut drawing, [left + SIDE + 20.0, top], if signed { -most } else { 0.0 }, most, colour);
    strip(&mut drawing, &shown, [left, below]);
    drawing
}

/// The colours from `low` to `most`, the largest above.
fn scale(drawing: &mut Drawing, [x, y]: [f64; 2], low: f64, most: f64, colour: impl Fn(f64) -> Colour) {
    let height = SIDE / STEPS as f64;
    for at in 0..STEPS {
        let share = 1.0 - (at as f64 + 0.5) / STEPS as f64;
        drawing.rect([x, y + at as f64 * height], [14.0, height], colour(low + share * (most - low)));
    }
    for (at, value) in [(0.0, most), (0.5, f64::midpoint(most, low)), (1.0, low)] {
        drawing.text(&format!("{value:.2}"), [x + 20.0, y + at * SIDE + 4.0], Anchor::Start, 11.0);
    }
}

/// Rates or gaps in the order of clusters, row by row; nothing on the diagonal of single classes and where nothing
/// was tried.
fn values(map: &Map, signed: bool) -> Vec<Option<f64>> {
    let size = map.size;
    let order = &map.orders["cluster"];
    let rate = |row: usize, column: usize| {
        let whole = map.cells.get("all");
        let (from, to) = if whole.is_some() { (order[row], order[column]) } else { (row, column) };
        if whole.is_some() && from == to {
            return None;
        }
        let cells = whole.unwrap_or_else(|| &map.cells["cluster"]);
        let at = from * size + to;
        let tries = if cells.tries.len() == size { cells.tries[from] } else { cells.tries[at] };
        (tries > 0).then(|| cells.hits[at] as f64 / tries as f64)
    };
    let value = |cell: usize| {
        let (row, column) = (cell / size, cell % size);
        if signed { Some(rate(row, column)? - rate(column, row)?) } else { rate(row, column) }
    };
    (0..size * size).map(value).collect()
}

/// A pair's name, and its picture clean and attacked.
type Shown<'a> = (String, [&'a Vec<u8>; 2]);

/// The pictures of the worst pairs, if the pairs are of this map.
fn pictures<'a>(page: &'a Page, map: &Map) -> Vec<Shown<'a>> {
    if (map.key == "targeted") != page.pairs_targeted {
        return Vec::new();
    }
    let shown = page.pairs.iter().filter_map(|pair| Some((pair, pair.example.as_ref()?)));
    shown
        .map(|(pair, pictures)| {
            let [clean, attacked, _] = &pictures.files;
            let name = format!("{} → {}", short(&pair.from, LONGEST_PAIRED), short(&pair.to, LONGEST_PAIRED));
            (name, [clean, attacked])
        })
        .collect()
}

/// Four pairs in a row.
fn strip(drawing: &mut Drawing, shown: &[Shown], [left, top]: [f64; 2]) {
    for (at, (name, files)) in shown.iter().enumerate() {
        let (x, y) = (left + STRIP[0] * (at % 4) as f64, top + STRIP[1] * (at / 4) as f64);
        for (place, file) in files.iter().enumerate() {
            let at = [x + 66.0 * place as f64, y];
            drawing.shapes.push((Form::Picture(at, [64.0; 2], (*file).clone()), UNTRIED));
        }
        drawing.text(name, [x, y + 78.0], Anchor::Start, 10.0);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::{hostile, run};
    use super::super::super::{RunSource, Thresholds};
    use super::*;

    #[test]
    fn a_map_has_its_cells_its_scale_and_its_names() {
        let page = Page::of(&[run(hostile())], &Thresholds::default());
        let rate = heat(&page, &page.data.maps[0], false).svg();
        // 30 cells, the ground of the drawing and of the map, 48 steps of the scale.
        assert_eq!(rate.matches("<rect").count(), 30 + 2 + STEPS);
        assert!(rate.contains("#ffea46") && rate.contains("&lt;script"));
        assert_eq!(rate.matches("rotate(-60)").count(), 6);
        let gap = heat(&page, &page.data.maps[0], true).svg();
        assert!(gap.contains("#b35806") && gap.contains("#053061"), "both ends of the scale");
    }

    #[test]
    fn pictures_stand_below_the_map_that_their_pair_is_of() {
        let mut source: RunSource = run(hostile());
        let page = Page::of(std::slice::from_ref(&source), &Thresholds::default());
        let (from, to) = crate::report::page::worst_pairs(&source.counts, 1).1[0];
        (source.examples[0].from, source.examples[0].to) = (from, to);
        let with = Page::of(&[source], &Thresholds::default());
        let images =
            |page: &Page, map: usize| heat(page, &page.data.maps[map], false).svg().matches("<image").count();
        assert_eq!([images(&page, 0), images(&with, 0), images(&with, 1)], [2, 2, 0]);
        assert!(
            heat(&with, &with.data.maps[0], false).size[1] > heat(&with, &with.data.maps[1], false).size[1]
        );
    }

    #[test]
    fn gaps_are_opposite_across_the_diagonal() {
        let page = Page::of(&[run(hostile())], &Thresholds::default());
        let gaps = values(&page.data.maps[0], true);
        for row in 0..6 {
            for column in (0..6).filter(|&column| column != row) {
                let (there, back) =
                    (gaps[row * 6 + column].expect("tried"), gaps[column * 6 + row].expect("tried"));
                assert!((there + back).abs() < 1e-12);
            }
        }
        assert!(gaps[0].is_none() && gaps.iter().flatten().any(|gap| *gap > 0.0));
    }
}
