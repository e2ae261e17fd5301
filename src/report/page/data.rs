//! What a page says, in the order in which it says it.

use serde::Serialize;

use super::bars::Bars;
use super::chart::Chart;
use super::comparison::Comparison;
use super::groups::GroupTable;
use super::matrix::MapData;
use super::pairs::Pair;
use super::source::Checks;
use super::verdict::Verdict;
use super::{PlacedFigure, Thresholds};

/// A page. [`Page::of`] makes it from runs, [`super::html()`] writes it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Page {
    pub(super) title: String,
    /// Version of the program that wrote it.
    pub(super) version: &'static str,
    pub(super) thresholds: Thresholds,
    /// Whether the audit goes on, so that what is missing may still come.
    pub(super) unfinished: bool,
    /// What a reader has to know first: what is missing, unfinished or old.
    pub(super) notes: Vec<String>,
    pub(super) verdict: Verdict,
    pub(super) checks: Option<Checks>,
    /// Clean and under attack.
    pub(super) accuracy: Vec<AccuracyRow>,
    /// Of all classes, beside those of groups.
    pub(super) overall: Overall,
    pub(super) symmetry: Vec<FigureRow>,
    /// What the heat maps show in words, one for each matrix.
    pub(super) maps: Vec<MapText>,
    /// Whether the pairs are of targeted attacks.
    pub(super) pairs_targeted: bool,
    pub(super) pairs: Vec<Pair>,
    pub(super) sources: Vec<Bars>,
    pub(super) targets: Vec<Bars>,
    pub(super) groups: Vec<GroupTable>,
    pub(super) curves: Vec<Chart>,
    pub(super) training: Vec<Chart>,
    pub(super) comparison: Option<Comparison>,
    /// How the run came about: name and value.
    pub(super) origin: Vec<(String, String)>,
    pub(super) config: String,
    pub(super) limits: Vec<String>,
    /// The matrices, for the script.
    #[serde(skip)]
    pub(super) data: MapData,
}

/// A figure clean and under attack.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct AccuracyRow {
    pub name: &'static str,
    pub clean: Option<PlacedFigure>,
    pub attacked: Option<PlacedFigure>,
}

/// Accuracies of all classes together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Overall {
    /// Mean clean accuracy of the classes.
    pub clean: Option<PlacedFigure>,
    /// Mean robust accuracy of the classes.
    pub robust: Option<PlacedFigure>,
    /// Robust accuracy of the pictures.
    pub robust_images: Option<PlacedFigure>,
}

/// A figure with its name.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct FigureRow {
    pub name: &'static str,
    pub figure: PlacedFigure,
}

/// A matrix in words, for those who do not see the map.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct MapText {
    pub key: &'static str,
    pub title: &'static str,
    pub text: String,
}
