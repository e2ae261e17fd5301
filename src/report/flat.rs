//! Figures as a flat list of names and numbers: what tables print, CSV holds and conditions speak of.

use serde::{Deserialize, Serialize};

use crate::metrics::{
    ChiSquare, ConfusionFigures, Figure, GroupFigures, GroupFlow, Inequality, Rate, RateMatrix,
    SymmetryFigures, TargetedFigures, named_of_rates,
};

/// One figure with what is known of its noise.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FlatFigure {
    /// The figure.
    pub value: f64,
    /// Lower end of its 95 % interval.
    pub low: Option<f64>,
    /// Upper end of its 95 % interval.
    pub high: Option<f64>,
    /// Number of images or attacks behind it.
    pub n: Option<u64>,
    /// What it would be by chance if the truth were symmetric.
    pub chance: Option<f64>,
    /// How often chance then reaches it.
    pub p_value: Option<f64>,
}

/// A p-value in words: three digits, or that it is below a thousandth.
pub fn p_words(p: f64) -> String {
    if p < 0.001 { "p < 0.001".to_owned() } else { format!("p {p:.3}") }
}

/// A list of figures in the order in which they are printed; in JSON a map.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FlatFigures(pub Vec<(String, FlatFigure)>);

impl From<f64> for FlatFigure {
    fn from(value: f64) -> Self {
        Self { value, low: None, high: None, n: None, chance: None, p_value: None }
    }
}

impl From<Rate> for FlatFigure {
    fn from(rate: Rate) -> Self {
        let Rate { value, low, high, n, .. } = rate;
        Self { low: Some(low), high: Some(high), n: Some(n), ..value.into() }
    }
}

impl From<Figure> for FlatFigure {
    fn from(figure: Figure) -> Self {
        let Figure { value, n, low, high, noise } = figure;
        let (chance, p_value) = (noise.map(|noise| noise.expected), noise.map(|noise| noise.p_value));
        Self { low, high, n: Some(n), chance, p_value, ..value.into() }
    }
}

impl From<ChiSquare> for FlatFigure {
    /// The statistic, with the p-value that needs no large counts where there is one.
    fn from(test: ChiSquare) -> Self {
        Self { p_value: Some(test.p_simulated.unwrap_or(test.p_value)), ..test.statistic.into() }
    }
}

impl FlatFigures {
    /// The figure of this name.
    pub fn get(&self, name: &str) -> Option<&FlatFigure> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, figure)| figure)
    }

    fn push(&mut self, name: impl Into<String>, figure: Option<impl Into<FlatFigure>>) {
        self.0.extend(figure.map(|figure| (name.into(), figure.into())));
    }

    /// Of a confusion matrix.
    pub fn of_confusion(found: &ConfusionFigures) -> Self {
        let mut flat = Self::default();
        flat.push("micro_accuracy", found.robustness.micro_accuracy);
        flat.push("macro_accuracy", found.robustness.macro_accuracy);
        flat.push("worst_class", found.source.lowest);
        flat.push("best_class", found.source.best.map(|best| best.rate));
        flat.push("worst_split_half", found.source.worst_split_half);
        flat.push("source_gap", found.source.gap);
        if let Some(inequality) = &found.source.inequality {
            flat.inequality(inequality);
        }
        flat.push("largest_share", found.target.largest_share.map(|largest| largest.rate));
        flat.push("share_gap", found.target.share_gap);
        flat.push("share_entropy", found.target.share_entropy);
        flat.push("largest_exposure", found.target.largest_exposure.map(|largest| largest.figure));
        flat.push("smallest_exposure", found.target.smallest_exposure.map(|smallest| smallest.figure));
        flat.push("exposure_gap", found.target.exposure_gap);
        if let Some(symmetry) = &found.symmetry {
            flat.symmetry("", symmetry);
        }
        if let Some(tests) = &found.tests {
            flat.push("test_rates", tests.rates);
            flat.push("test_marginal", tests.marginal);
            flat.push("test_bowker", tests.bowker);
            flat.push("test_stuart_maxwell", tests.stuart_maxwell);
        }
        flat
    }

    /// Of rates without counts: numbers alone.
    pub fn of_rates(rates: &RateMatrix) -> Self {
        Self(named_of_rates(rates).into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect())
    }

    /// Adds those of targeted attacks, whose names begin with `targeted_`.
    pub fn add_targeted(&mut self, found: &TargetedFigures) {
        self.push("targeted_success", found.micro_success);
        self.push("targeted_success_macro", found.macro_success);
        self.push("targeted_worst_source", found.worst_source.map(|worst| worst.figure));
        self.push("targeted_source_gap", found.source_gap);
        self.push("targeted_worst_target", found.worst_target.map(|worst| worst.figure));
        self.push("targeted_target_gap", found.target_gap);
        if let Some(symmetry) = &found.symmetry {
            self.symmetry("targeted_", symmetry);
        }
    }

    /// Adds those of one grouping of the classes, whose names begin with that of the column.
    pub fn add_groups(&mut self, column: &str, found: &GroupFigures) {
        let name = prefix(column);
        self.push(format!("{name}_disparity"), found.class_macro.map(|spread| spread.disparity));
        self.push(format!("{name}_disparity_images"), found.sample_weighted.map(|spread| spread.disparity));
        let worst = found.class_macro.and_then(|spread| found.per_group.get(spread.worst)?.class_macro);
        self.push(format!("{name}_worst_group"), worst);
        self.push(format!("{name}_flow_gap"), found.flow.largest_gap.map(|gap| gap.gap));
    }

    /// Adds that of targeted attacks between the groups of one column.
    pub fn add_targeted_flow(&mut self, column: &str, found: &GroupFlow) {
        self.push(format!("{}_targeted_flow_gap", prefix(column)), found.largest_gap.map(|gap| gap.gap));
    }

    fn symmetry(&mut self, prefix: &str, found: &SymmetryFigures) {
        self.push(format!("{prefix}a1"), Some(found.a1));
        self.push(format!("{prefix}a1_normalised"), found.a1_normalised);
        self.push(format!("{prefix}largest_gap"), Some(found.largest_gap.gap));
        self.push(format!("{prefix}penalty_training"), Some(found.penalty_training));
        self.push(format!("{prefix}penalty_evaluation"), Some(found.penalty_evaluation));
        self.push(format!("{prefix}log_penalty"), Some(found.log_penalty));
        self.push(format!("{prefix}frobenius_ratio"), found.frobenius_ratio);
        self.push(format!("{prefix}spectral_norm"), Some(found.spectral_norm));
    }

    fn inequality(&mut self, found: &Inequality) {
        self.push("worst_tenth", Some(found.worst_tenth));
        self.push("sd", Some(found.sd));
        self.push("cv", found.cv);
        self.push("gini", found.gini);
        self.push("theil", found.theil);
        self.push("worst_over_mean", found.worst_over_mean);
    }
}

impl Serialize for FlatFigures {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().map(|(name, figure)| (name, figure)))
    }
}

impl<'de> Deserialize<'de> for FlatFigures {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> serde::de::Visitor<'de> for InOrder {
            type Value = FlatFigures;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a map of figures by name")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<FlatFigures, A::Error> {
                let mut figures = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    figures.push(entry);
                }
                Ok(FlatFigures(figures))
            }
        }
        from.deserialize_map(InOrder)
    }
}

/// The name of a column as names of figures begin with it.
fn prefix(column: &str) -> String {
    column.chars().map(|c| if c.is_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Seed;
    use crate::metrics::ConfusionMatrix;
    use crate::report::example::plain;

    #[test]
    fn rates_have_the_figures_of_their_counts_without_intervals() {
        let mut counts = ConfusionMatrix::new(4);
        let rows = [[12, 5, 3, 0], [1, 10, 4, 5], [0, 0, 0, 0], [8, 0, 4, 8]];
        for (cell, images) in rows.concat().into_iter().enumerate() {
            counts.add_images(cell / 4, cell % 4, images);
        }
        let of_counts = FlatFigures::of_confusion(&ConfusionFigures::of(&counts, Seed::new(0), 0));
        let of_rates = FlatFigures::of_rates(&RateMatrix::of_confusion(&counts));
        assert!(of_rates.0.len() > 15);
        for (name, figure) in &of_rates.0 {
            let counted = of_counts.get(name).unwrap_or_else(|| panic!("{name}"));
            assert!(
                (figure.value - counted.value).abs() < 1e-9,
                "{name}: {} {}",
                figure.value,
                counted.value
            );
            assert_eq!((figure.n, figure.low), (None, None));
        }
    }

    #[test]
    fn figures_keep_their_order_and_noise_in_json() {
        let report = plain();
        let mut flat = FlatFigures::of_confusion(report.untargeted.as_ref().expect("attacked"));
        flat.add_targeted(report.targeted.as_ref().expect("targeted"));
        flat.add_groups("Skin tone", report.groups[0].untargeted.as_ref().expect("groups"));
        assert_eq!(flat.0[0].0, "micro_accuracy");
        assert!((flat.get("worst_class").expect("there").value).abs() < 1e-12);
        assert!(flat.get("a1").and_then(|figure| figure.chance).is_some());
        assert!((flat.get("skin_tone_disparity").expect("there").value - 0.45).abs() < 1e-12);
        assert!((flat.get("targeted_success").expect("there").value - 0.42).abs() < 1e-12);
        let json = serde_json::to_string(&flat).expect("JSON");
        assert_eq!(serde_json::from_str::<FlatFigures>(&json).expect("its own JSON"), flat);
    }
}
