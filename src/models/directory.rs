//! The model directory: `model.safetensors` and `config.json`.
//!
//! Loading is strict. A tensor that is missing, unused or misshapen is an error that lists it, because a
//! loader that shrugs evaluates an untrained network (the published AutoAttack script does).

use std::fs;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::store::{ModuleSnapshot, SafetensorsStore};
use burn::tensor::Device;

use super::{Architecture, ImportOptions, Imported, Network, Preprocessing, WeightFile, weights};
use crate::Seed;
use crate::nn::blank;

const FORMAT_VERSION: u32 = 1;

/// Why a model could not be saved or loaded.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A file or directory could not be read or written.
    #[error("{}: {source}. Check that the path exists, that you may use it and that the disk is not full.", path.display())]
    Io {
        /// What was touched.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// `config.json` does not say what it must.
    #[error("{}: {reason}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What was found and what was expected.
        reason: String,
    },
    /// `model.safetensors` does not fit the architecture.
    #[error("{}: {reason}", path.display())]
    Weights {
        /// The file.
        path: PathBuf,
        /// The tensors concerned.
        reason: String,
    },
}

/// What `config.json` holds.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Version of this file's layout.
    pub format_version: u32,
    /// What to build.
    pub architecture: Architecture,
    /// Class names in the order of the logits. None where the network ends in an embedding, before a head.
    pub classes: Vec<String>,
    /// Size and normalisation of the pictures.
    pub preprocessing: Preprocessing,
}

impl ModelConfig {
    /// The configuration of a model of today's format.
    pub fn new(architecture: Architecture, classes: Vec<String>, preprocessing: Preprocessing) -> Self {
        Self { format_version: FORMAT_VERSION, architecture, classes, preprocessing }
    }

    /// A network of this configuration, with weights drawn from a seed.
    pub fn build(&self, seed: Seed, device: &Device) -> Network {
        Network::new(self.architecture, self.classes.len(), &self.preprocessing, seed, device)
    }

    /// A network of this configuration whose weights are still to be read.
    pub(super) fn blank(&self, device: &Device) -> Network {
        blank(|| self.build(Seed::new(0), device))
    }

    /// What is wrong with the values: what was found, what was expected.
    ///
    /// # Errors
    /// A sentence that names the key.
    pub fn check(&self) -> Result<(), String> {
        let side = self.preprocessing.side;
        if self.format_version != FORMAT_VERSION {
            return Err(format!(
                "format_version is {}, this program reads {FORMAT_VERSION}. Use the version of syfar that wrote it.",
                self.format_version
            ));
        }
        if self.classes.len() < 2 && !(self.classes.is_empty() && self.architecture.embeds()) {
            return Err(format!("{} classes, at least 2 expected", self.classes.len()));
        }
        self.architecture.check_side(side).map_err(|reason| format!("preprocessing.{reason}"))?;
        self.preprocessing.check().map_err(|reason| format!("preprocessing.{reason}"))
    }
}

/// A network with the description that its file carries.
#[derive(Debug, Clone)]
pub struct Model {
    /// Architecture, classes, preprocessing.
    pub config: ModelConfig,
    /// The weights.
    pub network: Network,
}

impl Model {
    /// Writes a model directory. Each of its files is the old or the new one at any moment; the two fit
    /// together unless a model of another architecture or other classes was there before.
    ///
    /// # Errors
    /// [`ModelError::Io`] where the disk refuses; the old model is then as it was.
    pub fn save(&self, directory: &Path) -> Result<(), ModelError> {
        let weights = directory.join("model.safetensors");
        let written = fs::create_dir_all(directory).and_then(|()| {
            self.network.valid().save_into(&mut own_store(&weights)).map_err(std::io::Error::other)?;
            let mut file = tempfile::NamedTempFile::new_in(directory)?;
            serde_json::to_writer_pretty(&mut file, &self.config)?;
            file.as_file().sync_all()?;
            file.persist(directory.join("config.json")).map_err(|error| error.error)?;
            Ok(())
        });
        written.map_err(|source| ModelError::Io { path: directory.to_owned(), source })
    }

    /// Reads a model directory onto a device; the parameters are trainable if it is an autodiff device.
    ///
    /// # Errors
    /// [`ModelError`] naming the file, what was found and what was expected.
    pub fn load(directory: &Path, device: &Device) -> Result<Self, ModelError> {
        let config = read_config(&directory.join("config.json"))?;
        let path = directory.join("model.safetensors");
        let fail = |reason| ModelError::Weights { path: path.clone(), reason };
        let network = weights::load(config.blank(device), &WeightFile::open(&path)?)?;
        finite(&network).map_err(fail)?;
        Ok(Self { config, network })
    }
}

impl Model {
    /// The body of a saved model under a new head for other classes, whose weights are drawn from a seed.
    ///
    /// # Errors
    /// As for [`Model::load`], and where there are fewer than two classes.
    pub fn load_with_new_head(
        directory: &Path,
        classes: Vec<String>,
        seed: Seed,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let old = Self::load(directory, device)?;
        let config = ModelConfig { classes, ..old.config };
        let path = directory.join("config.json");
        config.check().map_err(|reason| ModelError::Config { path, reason })?;
        let network = config.build(seed, device).with_body_of(&old.network);
        Ok(Self { config, network })
    }
}

impl Model {
    /// A network of a configuration with the weights of a file of PyTorch. A new head, where it is asked for,
    /// is drawn from the seed.
    ///
    /// # Errors
    /// [`ModelError`] naming the file and what does not fit.
    pub fn import(
        config: ModelConfig,
        file: &WeightFile,
        options: &ImportOptions,
        seed: Seed,
        device: &Device,
    ) -> Result<(Self, Imported), ModelError> {
        let network = if options.new_head { config.build(seed, device) } else { config.blank(device) };
        let maps = network.key_maps();
        let (network, imported) = weights::import(network, &maps, file, options)?;
        let fail = |reason| ModelError::Weights { path: file.path().to_owned(), reason };
        finite(&network).map_err(fail)?;
        Ok((Self { config, network }, imported))
    }

    /// Writes the weights as safetensors under the names of PyTorch. Gives the number of tensors.
    ///
    /// # Errors
    /// [`ModelError::Io`] where the disk refuses.
    pub fn export(&self, path: &Path) -> Result<usize, ModelError> {
        weights::export(&self.network.valid(), &self.network.key_maps()[0], path)
    }
}

/// How the weights of a model directory are written.
fn own_store(path: &Path) -> SafetensorsStore {
    // One entry only: the order of several is not fixed, and equal models are to be equal files.
    SafetensorsStore::from_file(path)
        .skip_enum_variants(true)
        .clear_metadata()
        .metadata("producer", "syfar")
        .overwrite(true)
}

fn finite(network: &Network) -> Result<(), String> {
    match network.non_finite_tensors() {
        0 => Ok(()),
        broken => Err(format!(
            "{broken} tensors hold NaN or infinite values: the training diverged or the file is damaged. Use an earlier \
             checkpoint."
        )),
    }
}

fn read_config(path: &Path) -> Result<ModelConfig, ModelError> {
    let text = fs::read_to_string(path).map_err(|source| ModelError::Io { path: path.to_owned(), source })?;
    let fail = |reason| ModelError::Config { path: path.to_owned(), reason };
    let config: ModelConfig = serde_json::from_str(&text).map_err(|error| fail(error.to_string()))?;
    config.check().map_err(fail)?;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::Classifier;
    use crate::models::fixtures::{narrow, narrow_blueprint};
    use burn::module::Param;
    use burn::tensor::Tensor;

    fn model(classes: usize) -> Model {
        let names = (0..classes).map(|class| format!("person {class}")).collect();
        let preprocessing = Preprocessing { side: 16, ..Preprocessing::default() };
        let config = ModelConfig::new(Architecture::FaceCnn, names, preprocessing);
        let network = config.build(Seed::new(1), &Device::default());
        Model { config, network }
    }

    fn logits(model: &Model) -> Vec<f32> {
        let images = Tensor::full([1, 3, 16, 16], 0.25, &Device::default());
        model.network.valid().forward(images).try_into_vec_as::<f32>().expect("f32")
    }

    #[test]
    fn a_saved_model_gives_the_same_logits_and_can_be_replaced() {
        let place = tempfile::tempdir().expect("temporary directory");
        let directory = place.path().join("deep/model");
        let first = model(3);
        first.save(&directory).expect("saved");
        let second = model(4);
        second.save(&directory).expect("replaced");
        let loaded = Model::load(&directory, &Device::default()).expect("loaded");
        assert_eq!(loaded.config, second.config);
        assert_eq!(logits(&loaded), logits(&second));
        let left: Vec<_> = fs::read_dir(&directory).expect("listed").collect();
        assert_eq!(left.len(), 2, "temporary files were left behind");
    }

    #[test]
    fn every_architecture_comes_back_bit_by_bit_and_can_be_trained() {
        let place = tempfile::tempdir().expect("temporary directory");
        let path = place.path().join("model.safetensors");
        for architecture in Architecture::ALL {
            let network = narrow(architecture, 3, 1);
            let written = |network: &Network, path: &Path| {
                let mut store = own_store(path);
                network.valid().save_into(&mut store).expect("written");
                fs::read(path).expect("read")
            };
            let bytes = written(&network, &path);
            let device = Device::default().autodiff();
            let side = network.input_shape()[1];
            let into =
                blank(|| narrow_blueprint(architecture, 3, side, [0.5; 3]).build(Seed::new(0), &device));
            let back = weights::load(into, &WeightFile::open(&path).expect("opened")).expect("loaded");
            assert!(bytes == written(&back, &place.path().join("again")), "{architecture}");
            // All that is tracked in a network whose weights were drawn, and nothing else.
            let drawn = narrow_blueprint(architecture, 3, side, [0.5; 3]).build(Seed::new(0), &device);
            assert_eq!(tracked(&back), tracked(&drawn), "{architecture}");
        }
    }

    /// Whether each parameter and buffer gets a gradient.
    fn tracked(network: &Network) -> Vec<bool> {
        struct Tracked(Vec<bool>);
        impl burn::module::ModuleVisitor for Tracked {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                self.0.push(param.val().is_require_grad());
            }
        }
        let mut tracked = Tracked(Vec::new());
        network.visit(&mut tracked);
        tracked.0
    }

    #[test]
    fn weights_of_another_shape_are_refused_by_name() {
        let place = tempfile::tempdir().expect("temporary directory");
        let (three, four) = (place.path().join("three"), place.path().join("four"));
        model(3).save(&three).expect("saved");
        model(4).save(&four).expect("saved");
        fs::copy(four.join("model.safetensors"), three.join("model.safetensors")).expect("copied");
        let message = Model::load(&three, &Device::default()).expect_err("shapes differ").to_string();
        assert!(message.contains("head.weight") && message.contains("model.safetensors"), "{message}");
    }

    #[test]
    fn damaged_files_are_errors() {
        let place = tempfile::tempdir().expect("temporary directory");
        let directory = place.path().join("model");
        assert!(matches!(Model::load(&directory, &Device::default()), Err(ModelError::Io { .. })));
        let mut broken = model(3);
        let Network::FaceCnn(network) = broken.network else { panic!("built above") };
        broken.network = Network::FaceCnn(network.map(&mut Poison));
        broken.save(&directory).expect("saved");
        let message = Model::load(&directory, &Device::default()).expect_err("NaN").to_string();
        assert!(message.contains("NaN"), "{message}");
        fs::write(directory.join("model.safetensors"), b"\xff\xff\xff\xff\xff\xff\xff\x7f{}")
            .expect("written");
        assert!(matches!(Model::load(&directory, &Device::default()), Err(ModelError::Weights { .. })));
        fs::write(directory.join("config.json"), "{\"classes\": 3}").expect("written");
        assert!(matches!(Model::load(&directory, &Device::default()), Err(ModelError::Config { .. })));
    }

    struct Poison;
    impl burn::module::ModuleMapper for Poison {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|tensor| tensor.mul_scalar(f32::NAN))
        }
    }
}
