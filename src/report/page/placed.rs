//! A figure of `metrics.json` on its way to the page.

use serde::Serialize;
use serde_json::Value;

use crate::report::FlatFigure;

/// A figure and where it stands in `metrics.json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlacedFigure {
    /// JSON pointer (RFC 6901) of the figure: of an object with `value`, or of a bare number.
    pub path: String,
    /// JSON pointer of the number itself.
    pub value_path: String,
    /// The number with what is known of its noise.
    #[serde(flatten)]
    pub number: FlatFigure,
}

impl PlacedFigure {
    /// The figure at a place; `None` where there is none. A report of an older version may have a bare number where
    /// there is an object today.
    pub fn at(metrics: &Value, path: &str) -> Option<Self> {
        let found = metrics.pointer(path)?;
        let path = path.to_owned();
        if let Some(value) = found.as_f64() {
            return Some(Self { value_path: path.clone(), path, number: value.into() });
        }
        let number = |key: &str| found.get(key).and_then(Value::as_f64);
        let noise = |key: &str| found.get("noise").and_then(|noise| noise.get(key)?.as_f64());
        let number = FlatFigure {
            value: number("value")?,
            low: number("low"),
            high: number("high"),
            n: found.get("n").and_then(Value::as_u64),
            chance: noise("expected"),
            p_value: noise("p_value"),
        };
        Some(Self { value_path: format!("{path}/value"), path, number })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn objects_and_bare_numbers_are_figures_and_null_is_none() {
        let metrics = json!({
            "a": {"value": 0.5, "n": 8, "low": null, "high": 0.7, "noise": {"expected": 0.1, "p_value": 0.02}},
            "b": [0.25, null],
        });
        let found = PlacedFigure::at(&metrics, "/a").expect("there");
        let number = found.number;
        assert_eq!((number.value, number.low, number.high, number.n), (0.5, None, Some(0.7), Some(8)));
        assert_eq!(
            (number.chance, number.p_value, found.value_path.as_str()),
            (Some(0.1), Some(0.02), "/a/value")
        );
        let bare = PlacedFigure::at(&metrics, "/b/0").expect("a number");
        assert_eq!((bare.number.value, bare.value_path.as_str()), (0.25, "/b/0"));
        assert!(PlacedFigure::at(&metrics, "/b/1").is_none() && PlacedFigure::at(&metrics, "/c/d").is_none());
    }
}
