//! What a picture goes through before the first convolution, as data.
//!
//! Crop, size and interpolation belong to decoding ([`Framing`]): what comes out are pixels in `[0, 1]`, red,
//! green, blue, and budgets of attacks are in their units. Channel order, range, mean and standard deviation
//! belong to the first layer of the network.

/// Largest side that pictures are resized to, in pixels.
pub const LARGEST_SIDE: usize = 4096;

/// Which part of a picture is kept, before it is resized to a square.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Crop {
    /// The largest square in the middle: nothing is distorted.
    #[default]
    Square,
    /// The square in the middle with this share of the shorter side. Resizing the shorter side to 256 and
    /// then cropping 224 is a share of 0.875.
    Centre {
        /// Above 0, at most 1; 0.875 by default.
        #[serde(default = "of_imagenet")]
        share: f32,
    },
    /// A rectangle in pixels of the file, counted from its top left corner. A picture that does not contain
    /// it is refused. What is no square is distorted.
    Box {
        /// Columns to the left of it.
        #[serde(default)]
        left: u32,
        /// Rows above it.
        #[serde(default)]
        top: u32,
        /// Its columns, at least 1; to be given.
        #[serde(default)]
        width: u32,
        /// Its rows, at least 1; to be given.
        #[serde(default)]
        height: u32,
    },
    /// Everything. What is no square is distorted.
    Whole,
}

fn of_imagenet() -> f32 {
    0.875
}

/// How pictures are resized, by the filters of the library `image`. All but `area` widen their filter when
/// they shrink, as Pillow does, so that every pixel counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Interpolation {
    /// A triangle (`FilterType::Triangle`).
    #[default]
    Bilinear,
    /// Catmull and Rom's cubic, a = -1/2 (`FilterType::CatmullRom`).
    Bicubic,
    /// The mean of the pixels that fall into each (`thumbnail`); where a side has to grow, bilinear.
    Area,
}

/// In which order the first layer hands the channels on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Channels {
    /// Red, green, blue.
    #[default]
    Rgb,
    /// Blue, green, red, as networks from Caffe and `OpenCV` expect them.
    Bgr,
}

/// From the file to square pictures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Framing {
    /// Side of the square in pixels.
    pub side: usize,
    /// What is kept.
    pub crop: Crop,
    /// How it is resized.
    pub interpolation: Interpolation,
}

impl From<usize> for Framing {
    /// The largest square in the middle, bilinearly.
    fn from(side: usize) -> Self {
        Self { side, crop: Crop::default(), interpolation: Interpolation::default() }
    }
}

impl Framing {
    /// What is wrong with the values: what was found, what was expected.
    ///
    /// # Errors
    /// A sentence that names the key.
    pub fn check(&self) -> Result<(), String> {
        if self.side == 0 || self.side > LARGEST_SIDE {
            return Err(format!("side is {}, expected 1 to {LARGEST_SIDE} pixels", self.side));
        }
        match self.crop {
            Crop::Centre { share } if !(share > 0.0 && share <= 1.0) => {
                Err(format!("crop.share is {share}, expected a number above 0 and up to 1"))
            }
            Crop::Box { width, height, .. } if width == 0 || height == 0 => {
                Err(format!("crop is {width}x{height} pixels, expected at least 1x1"))
            }
            _ => Ok(()),
        }
    }
}

/// All of it. In files a `preset` stands for the keys that are not given beside it.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(from = "Given")]
pub struct Preprocessing {
    /// Side of the square input in pixels.
    pub side: usize,
    /// What is kept of a picture.
    pub crop: Crop,
    /// How that is resized.
    pub interpolation: Interpolation,
    /// Mean of red, green and blue (in this order whatever `channels` says), in units of `range`.
    pub mean: [f32; 3],
    /// Standard deviation of red, green and blue, in the same units.
    pub std: [f32; 3],
    /// Order of the channels in the network.
    pub channels: Channels,
    /// The value of white before mean and standard deviation: 1, or 255.
    pub range: f32,
}

impl Default for Preprocessing {
    /// 64 x 64, mean 0.5, standard deviation 0.25.
    fn default() -> Self {
        Self {
            side: 64,
            crop: Crop::default(),
            interpolation: Interpolation::default(),
            mean: [0.5; 3],
            std: [0.25; 3],
            channels: Channels::default(),
            range: 1.0,
        }
    }
}

impl Preprocessing {
    /// Its part in decoding.
    pub fn framing(&self) -> Framing {
        Framing { side: self.side, crop: self.crop, interpolation: self.interpolation }
    }

    /// Mean and standard deviation of red, green and blue in units of pixels in `[0, 1]`.
    pub fn unit_mean_and_std(&self) -> ([f32; 3], [f32; 3]) {
        (self.mean.map(|mean| mean / self.range), self.std.map(|std| std / self.range))
    }

    /// What is wrong with the values: what was found, what was expected.
    ///
    /// # Errors
    /// A sentence that names the key.
    pub fn check(&self) -> Result<(), String> {
        self.framing().check()?;
        if ![1.0, 255.0].contains(&self.range) {
            return Err(format!("range is {}, expected 1 or 255, the value of white", self.range));
        }
        if self.std.iter().any(|std| !(std.is_finite() && *std > 0.0)) {
            return Err("std must be positive".to_owned());
        }
        if self.mean.iter().any(|mean| !mean.is_finite()) {
            return Err("mean must be finite".to_owned());
        }
        Ok(())
    }
}

/// What published networks expect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// torchvision's classifiers: 256 bilinearly, then 224 from the middle.
    Imagenet,
    /// CIFAR-10 in its 32x32 pixels, with the statistics of its training pictures.
    Cifar10,
    /// VGG-Face (Parkhi, Vedaldi and Zisserman 2015): 224, values up to 255, the published mean subtracted,
    /// blue first.
    VggFace,
    /// timm's vision transformers of the "augreg" weights: bicubic, 0.9 of the middle, into `[-1, 1]`.
    Timm,
}

impl Preset {
    /// What it stands for.
    pub fn preprocessing(self) -> Preprocessing {
        let base = Preprocessing { side: 224, ..Preprocessing::default() };
        match self {
            Self::Imagenet => Preprocessing {
                crop: Crop::Centre { share: 0.875 },
                mean: [0.485, 0.456, 0.406],
                std: [0.229, 0.224, 0.225],
                ..base
            },
            Self::Cifar10 => Preprocessing {
                side: 32,
                mean: [0.4914, 0.4822, 0.4465],
                std: [0.2471, 0.2435, 0.2616],
                ..base
            },
            Self::VggFace => Preprocessing {
                mean: [129.1863, 104.7624, 93.594],
                std: [1.0; 3],
                channels: Channels::Bgr,
                range: 255.0,
                ..base
            },
            Self::Timm => Preprocessing {
                crop: Crop::Centre { share: 0.9 },
                interpolation: Interpolation::Bicubic,
                std: [0.5; 3],
                ..base
            },
        }
    }
}

/// The keys as they stand in a file.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    preset: Option<Preset>,
    side: Option<usize>,
    crop: Option<Crop>,
    interpolation: Option<Interpolation>,
    mean: Option<[f32; 3]>,
    std: Option<[f32; 3]>,
    channels: Option<Channels>,
    range: Option<f32>,
}

impl From<Given> for Preprocessing {
    fn from(given: Given) -> Self {
        let base = given.preset.map_or_else(Self::default, Preset::preprocessing);
        Self {
            side: given.side.unwrap_or(base.side),
            crop: given.crop.unwrap_or(base.crop),
            interpolation: given.interpolation.unwrap_or(base.interpolation),
            mean: given.mean.unwrap_or(base.mean),
            std: given.std.unwrap_or(base.std),
            channels: given.channels.unwrap_or(base.channels),
            range: given.range.unwrap_or(base.range),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Preprocessing, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn files_of_before_are_read_as_they_were_meant() {
        let old = r#"{"side": 96, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.3]}"#;
        let expected = Preprocessing {
            side: 96,
            mean: [0.5, 0.4, 0.3],
            std: [0.2, 0.2, 0.3],
            ..Preprocessing::default()
        };
        assert_eq!(read(old), Ok(expected));
    }

    #[test]
    fn a_preset_gives_the_keys_that_are_absent_and_what_is_written_is_read_back() {
        let given = read(r#"{"side": 160, "preset": "timm"}"#).expect("known");
        assert_eq!(given, Preprocessing { side: 160, ..Preset::Timm.preprocessing() });
        for preset in [Preset::Imagenet, Preset::Cifar10, Preset::VggFace, Preset::Timm] {
            let whole = preset.preprocessing();
            assert_eq!(whole.check(), Ok(()));
            assert_eq!(read(&serde_json::to_string(&whole).expect("JSON")), Ok(whole.clone()));
            let table = toml::to_string(&whole).expect("TOML");
            assert_eq!(toml::from_str::<Preprocessing>(&table), Ok(whole));
        }
    }

    #[test]
    fn units_of_the_range_become_units_of_the_picture() {
        let (mean, std) = Preset::VggFace.preprocessing().unit_mean_and_std();
        assert!((mean[0] - 0.506_613).abs() < 1e-6 && (std[2] - 1.0 / 255.0).abs() < 1e-9);
    }

    #[test]
    fn what_cannot_be_meant_is_named() {
        let base = Preprocessing::default();
        let cases = [
            (Preprocessing { side: 0, ..base.clone() }, "side is 0"),
            (Preprocessing { range: 256.0, ..base.clone() }, "range is 256, expected 1 or 255"),
            (Preprocessing { std: [1.0, 0.0, 1.0], ..base.clone() }, "std must be positive"),
            (Preprocessing { mean: [f32::NAN; 3], ..base.clone() }, "mean must be finite"),
            (Preprocessing { crop: Crop::Centre { share: 1.5 }, ..base.clone() }, "crop.share is 1.5"),
            (
                Preprocessing { crop: Crop::Box { left: 0, top: 0, width: 0, height: 4 }, ..base },
                "crop is 0x4 pixels",
            ),
        ];
        for (given, expected) in cases {
            let found = given.check().expect_err("wrong");
            assert!(found.contains(expected), "{found}");
        }
        assert!(read(r#"{"preset": "vggface"}"#).expect_err("unknown").contains("vgg-face"));
        let partial = read(r#"{"crop": {"kind": "box", "left": 1}}"#).expect("known keys");
        assert!(partial.check().expect_err("no size").contains("crop is 0x0 pixels"));
        assert!(read(r#"{"crop": {"kind": "box", "lefft": 1}}"#).expect_err("unknown").contains("lefft"));
        assert!(read(r#"{"sides": 3}"#).expect_err("unknown").contains("sides"));
    }
}
