//! A budget or a step of an attack, in units of pixels in `[0, 1]`, as a person writes it.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

/// A distance in units of pixels in `[0, 1]`. Written as a fraction (`"8/255"`) or as a number
/// (`0.031`), and shown as it was written. Never negative, never infinite.
///
/// ```
/// use syfar::attacks::Magnitude;
/// let epsilon: Magnitude = "8/255".parse().unwrap();
/// assert_eq!(epsilon, Magnitude::levels(8));
/// assert_eq!(epsilon.value(), 8.0 / 255.0);
/// assert!("-0.1".parse::<Magnitude>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Magnitude {
    value: f64,
    written: String,
}

/// Why a text or a number is not a magnitude.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MagnitudeError {
    /// No text at all.
    #[error("found nothing, expected a fraction such as \"8/255\" or a number such as 0.031")]
    Empty,
    /// Neither a number nor two numbers around a slash.
    #[error("found \"{0}\", expected a fraction such as \"8/255\" or a number such as 0.031")]
    NotANumber(String),
    /// Below zero, infinite or not a number.
    #[error("found {0}, expected a finite number that is not negative")]
    OutOfRange(String),
    /// Such as `"8/0"`.
    #[error("found \"{0}\", expected a denominator above zero, such as in \"8/255\"")]
    Denominator(String),
}

impl Magnitude {
    /// So many of the 255 grey levels of an 8-bit picture.
    pub fn levels(count: u8) -> Self {
        Self { value: f64::from(count) / 255.0, written: format!("{count}/255") }
    }

    /// A number in units of pixels in `[0, 1]`; none if it is negative or not finite.
    pub fn of(value: f32) -> Option<Self> {
        value.to_string().parse().ok()
    }

    /// In units of pixels in `[0, 1]`.
    pub fn value(&self) -> f32 {
        self.value as f32
    }

    fn new(value: f64, written: &str) -> Result<Self, MagnitudeError> {
        // Attacks compute in f32, where 1e39 is infinite.
        if !(value as f32).is_finite() || value < 0.0 {
            return Err(MagnitudeError::OutOfRange(written.to_owned()));
        }
        Ok(Self { value, written: written.to_owned() })
    }
}

impl FromStr for Magnitude {
    type Err = MagnitudeError;

    fn from_str(text: &str) -> Result<Self, MagnitudeError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(MagnitudeError::Empty);
        }
        let number =
            |part: &str| part.trim().parse::<f64>().map_err(|_| MagnitudeError::NotANumber(text.to_owned()));
        let value = match text.split_once('/') {
            None => number(text)?,
            Some((numerator, denominator)) => {
                let (numerator, denominator) = (number(numerator)?, number(denominator)?);
                if !denominator.is_finite() || denominator <= 0.0 {
                    return Err(MagnitudeError::Denominator(text.to_owned()));
                }
                numerator / denominator
            }
        };
        Self::new(value, text)
    }
}

impl fmt::Display for Magnitude {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.written)
    }
}

impl Serialize for Magnitude {
    /// A fraction is a string; a number is a number.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.written.contains('/') {
            serializer.serialize_str(&self.written)
        } else {
            serializer.serialize_f64(self.value)
        }
    }
}

impl<'de> Deserialize<'de> for Magnitude {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MagnitudeVisitor)
    }
}

struct MagnitudeVisitor;

impl Visitor<'_> for MagnitudeVisitor {
    type Value = Magnitude;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a fraction such as \"8/255\" or a number such as 0.031")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Magnitude, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Magnitude, E> {
        Magnitude::new(number, &number.to_string()).map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Magnitude, E> {
        Magnitude::new(number as f64, &number.to_string()).map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Magnitude, E> {
        Magnitude::new(number as f64, &number.to_string()).map_err(E::custom)
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp)] // Equal values are meant.
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fractions_and_numbers_are_read_and_shown_as_written() {
        for (text, value) in
            [("8/255", 8.0 / 255.0), ("0.031", 0.031), ("1e-3", 1e-3), ("0", 0.0), ("1/2", 0.5)]
        {
            let magnitude: Magnitude = text.parse().expect(text);
            assert!((magnitude.value() - value).abs() < 1e-9);
            assert_eq!(magnitude.to_string(), text);
        }
        assert_eq!(" 8 / 255 ".parse::<Magnitude>().expect("spaces are harmless").value(), 8.0 / 255.0);
    }

    #[test]
    fn nonsense_is_an_error_that_says_what_was_found() {
        for text in ["-1/255", "nan", "inf", "-0.5", "eight", "8/", "/255", "8/255/2", "8/0", "8/nan", "1e39"]
        {
            let error = text.parse::<Magnitude>().expect_err(text).to_string();
            assert!(error.contains(text) && error.contains("expected"), "{text}: {error}");
        }
        assert_eq!("  ".parse::<Magnitude>(), Err(MagnitudeError::Empty));
    }

    #[test]
    fn a_configuration_keeps_the_written_form() {
        #[derive(serde::Serialize, serde::Deserialize)]
        struct Table {
            fraction: Magnitude,
            number: Magnitude,
            whole: Magnitude,
        }
        let table: Table =
            toml::from_str("fraction = \"8/255\"\nnumber = 0.031\nwhole = 2\n").expect("valid");
        assert_eq!(table.whole.to_string(), "2");
        let written = toml::to_string(&table).expect("serialisable");
        assert_eq!(written, "fraction = \"8/255\"\nnumber = 0.031\nwhole = 2.0\n");
        let json = serde_json::to_string(&table).expect("serialisable");
        assert_eq!(json, r#"{"fraction":"8/255","number":0.031,"whole":2.0}"#);
        assert!(toml::from_str::<Table>("fraction = -1\nnumber = 0\nwhole = 0\n").is_err());
        assert!(toml::from_str::<Table>("fraction = [1]\nnumber = 0\nwhole = 0\n").is_err());
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back_as_the_same_magnitude(numerator in 0_u32..1000, denominator in 1_u32..1000) {
            let magnitude: Magnitude = format!("{numerator}/{denominator}").parse().expect("a fraction");
            prop_assert_eq!(magnitude.to_string().parse::<Magnitude>(), Ok(magnitude));
        }

        #[test]
        fn no_text_panics(text in ".{0,12}") {
            if let Ok(magnitude) = text.parse::<Magnitude>() {
                prop_assert!(magnitude.value() >= 0.0);
            }
        }
    }
}
