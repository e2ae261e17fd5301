//! A figure of `metrics.json` on its way to the page.

use serde::Serialize;
use serde_json::Value;

/// A number with everything that `metrics.json` has beside it, and where it stands there.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Shown {
    /// JSON pointer (RFC 6901) of the figure: of an object with `value`, or of a bare number.
    pub path: String,
    /// JSON pointer of the number itself.
    pub value_path: String,
    /// The number.
    pub value: f64,
    /// Lower end of its 95 % interval.
    pub low: Option<f64>,
    /// Upper end of its 95 % interval.
    pub high: Option<f64>,
    /// Number of images or attacks behind it.
    pub n: Option<u64>,
    /// What chance would show if the truth were symmetric.
    pub chance: Option<f64>,
    /// How often chance then reaches the number.
    pub p_value: Option<f64>,
}

impl Shown {
    /// The figure at a place; `None` where there is none. A report of an older version may have a bare number where
    /// there is an object today.
    pub fn at(metrics: &Value, path: &str) -> Option<Self> {
        let found = metrics.pointer(path)?;
        let path = path.to_owned();
        if let Some(value) = found.as_f64() {
            let value_path = path.clone();
            return Some(Self {
                path,
                value_path,
                value,
                low: None,
                high: None,
                n: None,
                chance: None,
                p_value: None,
            });
        }
        let number = |key: &str| found.get(key).and_then(Value::as_f64);
        let noise = |key: &str| found.get("noise").and_then(|noise| noise.get(key)?.as_f64());
        Some(Self {
            value_path: format!("{path}/value"),
            path,
            value: number("value")?,
            low: number("low"),
            high: number("high"),
            n: found.get("n").and_then(Value::as_u64),
            chance: noise("expected"),
            p_value: noise("p_value"),
        })
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
        let found = Shown::at(&metrics, "/a").expect("there");
        assert_eq!((found.value, found.low, found.high, found.n), (0.5, None, Some(0.7), Some(8)));
        assert_eq!(
            (found.chance, found.p_value, found.value_path.as_str()),
            (Some(0.1), Some(0.02), "/a/value")
        );
        let bare = Shown::at(&metrics, "/b/0").expect("a number");
        assert_eq!((bare.value, bare.value_path.as_str()), (0.25, "/b/0"));
        assert!(Shown::at(&metrics, "/b/1").is_none() && Shown::at(&metrics, "/c/d").is_none());
    }
}
