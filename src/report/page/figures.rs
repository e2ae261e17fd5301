//! The plots of a page as files of their own, for papers: SVG, whose text stays text.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, context};
use serde::Serialize;

use super::matrix::Map;
use super::{Page, RunSource, Thresholds};

const HEAT: &str = include_str!("../../../assets/report/heat.svg");
const CHART: &str = include_str!("../../../assets/report/chart.svg");

/// Side of a map, in units of the drawing.
const SIDE: f64 = 480.0;

/// Above so many classes the names would stand in each other.
const MOST_NAMES: usize = 60;

/// Longest name beside a map, in characters.
const LONGEST: usize = 16;

/// Steps of a colour scale.
const STEPS: usize = 48;

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figure {
    /// Its name without an ending, such as `targeted_asymmetry`.
    pub name: String,
    /// Its text.
    pub svg: String,
}

/// A map as the template draws it.
#[derive(Serialize)]
struct Heat {
    title: String,
    width: f64,
    height: f64,
    left: f64,
    top: f64,
    side: f64,
    step: f64,
    text: f64,
    cells: Vec<Cell>,
    labels: Vec<Label>,
    scale: Vec<Step>,
    marks: Vec<Mark>,
    pictures: Vec<Strip>,
}

#[derive(Serialize)]
struct Cell {
    x: f64,
    y: f64,
    colour: String,
}

#[derive(Serialize)]
struct Label {
    name: String,
    middle: f64,
    across: f64,
}

#[derive(Serialize)]
struct Step {
    y: f64,
    height: f64,
    colour: String,
}

#[derive(Serialize)]
struct Mark {
    y: f64,
    text: String,
}

/// A pair of pictures below a map.
#[derive(Serialize)]
struct Strip {
    name: String,
    clean: String,
    attacked: String,
    x: f64,
    y: f64,
}

/// The maps of a run in the order of clusters, its curves and its training.
///
/// # Errors
/// When a template cannot be filled, which no run can cause.
pub fn figures(run: &RunSource) -> Result<Vec<Figure>, minijinja::Error> {
    let page = Page::of(std::slice::from_ref(run), &Thresholds::default());
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    // The ending decides how text is escaped.
    environment.add_template("heat.xml", HEAT)?;
    environment.add_template("chart.xml", CHART)?;
    let mut found = Vec::new();
    for map in &page.data.maps {
        for (kind, signed) in [("rate", false), ("asymmetry", true)] {
            let heat = heat(&page, map, signed);
            let svg = environment.get_template("heat.xml")?.render(context! { f => Serde(&heat) })?;
            found.push(Figure { name: format!("{}_{kind}", map.key), svg });
        }
    }
    for (kind, charts) in [("curve", &page.curves), ("training", &page.training)] {
        for (number, chart) in (1..).zip(charts) {
            let svg = environment.get_template("chart.xml")?.render(context! { c => Serde(chart) })?;
            found.push(Figure { name: format!("{kind}_{number}"), svg });
        }
    }
    Ok(found)
}

fn heat(page: &Page, map: &Map, signed: bool) -> Heat {
    let names = map.block == 1 && map.size <= MOST_NAMES;
    let (left, top) = (if names { 120.0 } else { 20.0 }, 32.0);
    let step = SIDE / map.size.max(1) as f64;
    let values = values(map, signed);
    let most = values.iter().flatten().fold(0.01, |most: f64, value| most.max(value.abs()));
    let colour = |value: f64| if signed { diverging(value / most) } else { rising(value / most) };
    let place = |at: usize| (at as f64 * step * 1000.0).round() / 1000.0;
    let cells = values.iter().enumerate().filter_map(|(cell, value)| {
        let (row, column) = (cell / map.size, cell % map.size);
        value.map(|value| Cell { x: left + place(column), y: top + place(row), colour: colour(value) })
    });
    let order = &map.orders["cluster"];
    let label = |at: usize| Label {
        name: short(&page.data.classes[order[at]]),
        middle: top + place(at) + step / 2.0,
        across: left + place(at) + step / 2.0,
    };
    let height = SIDE / STEPS as f64;
    let scale = (0..STEPS).map(|at| {
        let share = 1.0 - (at as f64 + 0.5) / STEPS as f64;
        let value = if signed { 2.0 * share - 1.0 } else { share };
        Step { y: top + at as f64 * height, height, colour: colour(value * most) }
    });
    let low = if signed { -most } else { 0.0 };
    let marks = [(0.0, most), (0.5, f64::midpoint(most, low)), (1.0, low)];
    let below = top + SIDE + if names { 100.0 } else { 24.0 };
    let pictures = strip(page, map, left, below);
    let rows = pictures.len().div_ceil(4) as f64;
    let title = page.maps.iter().find(|text| text.key == map.key).map_or("", |text| text.title);
    Heat {
        title: if signed { format!("{title}: there minus back") } else { title.to_owned() },
        width: left + SIDE + 100.0,
        height: below + 90.0 * rows,
        left,
        top,
        side: SIDE,
        step,
        text: step.clamp(5.0, 11.0),
        cells: cells.collect(),
        labels: if names { (0..map.size).map(label).collect() } else { Vec::new() },
        scale: scale.collect(),
        marks: marks.map(|(at, value)| Mark { y: top + at * SIDE, text: format!("{value:.2}") }).into(),
        pictures,
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

/// The pictures of the worst pairs, four in a row, below the map that the pairs are of.
fn strip(page: &Page, map: &Map, left: f64, top: f64) -> Vec<Strip> {
    if (map.key == "targeted") != page.pairs_targeted {
        return Vec::new();
    }
    let shown = page.pairs.iter().filter_map(|pair| Some((pair, pair.example.as_ref()?)));
    shown
        .enumerate()
        .map(|(at, (pair, pictures))| Strip {
            name: format!("{} → {}", short(&pair.from), short(&pair.to)),
            clean: pictures.clean.clone(),
            attacked: pictures.attacked.clone(),
            x: left + 142.0 * (at % 4) as f64,
            y: top + 90.0 * (at / 4) as f64,
        })
        .collect()
}

fn short(name: &str) -> String {
    if name.chars().count() <= LONGEST {
        name.to_owned()
    } else {
        name.chars().take(LONGEST - 1).chain(['…']).collect()
    }
}

/// Cividis (Nuñez, Anderton and Renslow 2018) in seven steps.
fn rising(share: f64) -> String {
    const COLOURS: [[f64; 3]; 7] = [
        [0.0, 32.0, 77.0],
        [37.0, 57.0, 110.0],
        [83.0, 87.0, 109.0],
        [124.0, 123.0, 120.0],
        [166.0, 157.0, 117.0],
        [213.0, 195.0, 96.0],
        [255.0, 234.0, 70.0],
    ];
    between(&COLOURS, share)
}

/// Blue through nearly white to orange, for values from -1 to 1.
fn diverging(value: f64) -> String {
    const COLOURS: [[f64; 3]; 5] = [
        [5.0, 48.0, 97.0],
        [67.0, 147.0, 195.0],
        [247.0, 247.0, 247.0],
        [241.0, 163.0, 64.0],
        [179.0, 88.0, 6.0],
    ];
    between(&COLOURS, f64::midpoint(value, 1.0))
}

fn between(colours: &[[f64; 3]], share: f64) -> String {
    let at = share.clamp(0.0, 1.0) * (colours.len() - 1) as f64;
    let low = (at as usize).min(colours.len() - 2);
    let mix = |channel: usize| {
        let (from, to) = (colours[low][channel], colours[low + 1][channel]);
        (from + (to - from) * (at - low as f64)).round() as u8
    };
    format!("#{:02x}{:02x}{:02x}", mix(0), mix(1), mix(2))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{hostile, run};
    use super::*;

    #[test]
    fn every_plot_is_a_file_and_names_are_escaped() {
        let found = figures(&run(hostile())).expect("the templates are whole");
        let names: Vec<&str> = found.iter().map(|figure| figure.name.as_str()).collect();
        let maps = ["targeted", "untargeted", "clean"]
            .map(|key| [format!("{key}_rate"), format!("{key}_asymmetry")]);
        let rest = ["curve_1", "training_1", "training_2"].map(ToOwned::to_owned);
        assert_eq!(names, [maps.concat(), rest.to_vec()].concat());
        for figure in &found {
            assert!(figure.svg.starts_with("<svg") && figure.svg.ends_with("</svg>"), "{}", figure.name);
            assert!(!figure.svg.contains("<script") && !figure.svg.contains("<img"), "{}", figure.name);
        }
        // 30 cells, the ground of the drawing and of the map, 48 steps of the scale.
        assert_eq!(found[0].svg.matches("<rect").count(), 30 + 2 + STEPS);
        assert!(found[0].svg.contains("#ffea46") && found[0].svg.contains("&lt;script"));
        assert!(found[2].svg.matches("<image").count() == 0);
    }

    #[test]
    fn colours_at_the_ends_and_in_the_middle() {
        assert_eq!([rising(0.0), rising(1.0), rising(2.0)], ["#00204d", "#ffea46", "#ffea46"]);
        assert_eq!([diverging(-1.0), diverging(0.0), diverging(1.0)], ["#053061", "#f7f7f7", "#b35806"]);
        // Half way between the first two colours.
        assert_eq!(between(&[[0.0, 10.0, 20.0], [10.0, 20.0, 41.0]], 0.5), "#050f1f");
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
