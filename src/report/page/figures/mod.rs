//! The plots of a page as files of their own, for papers: SVG, whose text stays text, and the same as PNG.

mod chart;
mod drawing;
mod heat;
mod letters;
mod lists;
mod raster;

use image::ImageError;

use self::drawing::Drawing;
use super::{Page, RunSource, Thresholds};

/// Longest name in a drawing, in characters.
const LONGEST: usize = 16;

/// One plot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figure {
    /// Its name without an ending, such as `targeted_asymmetry`.
    pub name: String,
    /// As a text of SVG.
    pub svg: String,
    /// As a PNG file, two pixels for a unit of the other.
    pub png: Vec<u8>,
}

/// The plots of the first run, its maps in the order of clusters, its bars, curves and training; and the comparison of
/// all runs, where there are several.
///
/// # Errors
/// When a PNG file cannot be made, which no run can cause.
pub fn figures(runs: &[RunSource]) -> Result<Vec<Figure>, ImageError> {
    let page = Page::of(runs, &Thresholds::default());
    let mut found: Vec<(String, Drawing)> = Vec::new();
    for map in &page.data.maps {
        for (kind, signed) in [("rate", false), ("asymmetry", true)] {
            found.push((format!("{}_{kind}", map.key), heat::heat(&page, map, signed)));
        }
    }
    for (kind, lists) in [("sources", &page.sources), ("targets", &page.targets)] {
        found.extend(lists.iter().map(|bars| (format!("{kind}_{}", bars.key), lists::bars(bars))));
    }
    for (kind, charts) in [("curve", &page.curves), ("training", &page.training)] {
        let numbered = (1..).zip(charts);
        found.extend(numbered.map(|(number, chart)| (format!("{kind}_{number}"), chart::chart(chart))));
    }
    let compared = page.comparison.as_ref().and_then(lists::comparison);
    found.extend(compared.map(|drawing| ("comparison".to_owned(), drawing)));
    found
        .into_iter()
        .map(|(name, drawing)| Ok(Figure { name, svg: drawing.svg(), png: raster::png(&drawing)? }))
        .collect()
}

/// A name that fits.
fn short(name: &str, longest: usize) -> String {
    if name.chars().count() <= longest {
        name.to_owned()
    } else {
        name.chars().take(longest - 1).chain(['…']).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{hostile, run};
    use super::*;

    #[test]
    fn every_plot_is_two_files_and_names_are_escaped() {
        let mut other = run(hostile());
        other.name = "runs/<b>".into();
        let found = figures(&[run(hostile()), other]).expect("encoded");
        let names: Vec<&str> = found.iter().map(|figure| figure.name.as_str()).collect();
        let maps = ["targeted", "untargeted", "clean"]
            .map(|key| [format!("{key}_rate"), format!("{key}_asymmetry")]);
        let rest = [
            "sources_untargeted",
            "sources_targeted",
            "targets_untargeted",
            "targets_targeted",
            "curve_1",
            "training_1",
            "training_2",
            "comparison",
        ];
        assert_eq!(names, [maps.concat(), rest.map(ToOwned::to_owned).to_vec()].concat());
        for figure in &found {
            assert!(figure.svg.starts_with("<svg") && figure.svg.ends_with("</svg>"), "{}", figure.name);
            assert!(!figure.svg.contains("<script") && !figure.svg.contains("<img"), "{}", figure.name);
            let size: Vec<f64> = ["width=\"", "height=\""]
                .map(|key| figure.svg.split(key).nth(1).and_then(|rest| rest.split('"').next()))
                .iter()
                .map(|length| length.and_then(|length| length.parse().ok()).expect("a length"))
                .collect();
            let png = image::load_from_memory(&figure.png).expect("PNG");
            assert_eq!([png.width(), png.height()], [0, 1].map(|axis: usize| (2.0 * size[axis]) as u32));
        }
        assert!(found[0].svg.contains("&lt;script") && found[13].svg.contains("runs/&lt;b&gt;"));
    }

    #[test]
    fn a_run_without_figures_has_none_and_one_run_no_comparison() {
        assert!(figures(&[RunSource::default()]).expect("nothing to encode").is_empty());
        let found = figures(&[run(hostile())]).expect("encoded");
        assert!(found.iter().all(|figure| figure.name != "comparison"));
    }
}
