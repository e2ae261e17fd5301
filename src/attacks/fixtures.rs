//! What the tests of attacks attack: a linear classifier, whose best attack has a closed form, a small
//! network with random weights, and random pictures.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use rand::RngExt;

use crate::Seed;
use crate::data::{Batch, ImageId};
use crate::models::{Classifier, FaceCnn, FaceCnnConfig};

/// Side of the pictures, which have three channels.
pub const SIDE: usize = 16;
/// Values in a picture.
pub const SIZE: usize = 3 * SIDE * SIDE;
/// `[C, H, W]`.
pub const SHAPE: [usize; 3] = [3, SIDE, SIDE];

/// Logits that are linear in the pixels, without bias.
#[derive(Module, Debug)]
pub struct LinearModel {
    /// `[SIZE, K]`.
    weight: Param<Tensor<2>>,
    classes: usize,
}

impl LinearModel {
    /// Weights uniform in `±1/sqrt(SIZE)`.
    pub fn new(classes: usize, seed: u64) -> Self {
        let mut rng = Seed::new(seed).rng();
        let bound = 1.0 / (SIZE as f32).sqrt();
        let weights: Vec<f32> = (0..SIZE * classes).map(|_| rng.random_range(-bound..bound)).collect();
        let data = TensorData::new(weights, [SIZE, classes]);
        let weight = Tensor::from_data(data, &Device::default().autodiff());
        Self { weight: Param::from_tensor(weight), classes }
    }

    /// For each class one weight for each channel, the same at every pixel.
    pub fn of_channels(classes: &[[f32; 3]]) -> Self {
        let weights =
            (0..SIZE).flat_map(|index| classes.iter().map(move |class| class[index / (SIDE * SIDE)]));
        let data = TensorData::new(weights.collect::<Vec<f32>>(), [SIZE, classes.len()]);
        let weight = Tensor::from_data(data, &Device::default().autodiff());
        Self { weight: Param::from_tensor(weight), classes: classes.len() }
    }

    /// The weights `[SIZE, K]`, row by row.
    pub fn weights(&self) -> Vec<f32> {
        values(self.weight.val())
    }
}

impl Classifier for LinearModel {
    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        images.flatten(1, 3).matmul(self.weight.val())
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn input_shape(&self) -> [usize; 3] {
        SHAPE
    }
}

/// A small network with random weights.
pub fn network(classes: usize) -> FaceCnn {
    let config = FaceCnnConfig { side: SIDE, ..FaceCnnConfig::new(classes) };
    FaceCnn::new(&config, Seed::new(5), &Device::default().autodiff())
}

/// Random pictures with values in `[low, 1 - low]` and labels `0, 1, .., K - 1, 0, ..`.
pub fn batch(count: usize, classes: usize, low: f32) -> Batch {
    let values: Vec<f32> = (0..count)
        .flat_map(|image| {
            let mut rng = Seed::new(3).at(image as u64).rng();
            std::iter::repeat_with(move || rng.random_range(low..1.0 - low)).take(SIZE)
        })
        .collect();
    Batch {
        images: Tensor::from_data(TensorData::new(values, [count, 3, SIDE, SIDE]), &Device::default()),
        labels: (0..count).map(|image| image % classes).collect(),
        ids: (0..count).map(|image| ImageId(image as u64)).collect(),
        radius_scale: None,
    }
}

/// The values of a tensor.
pub fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data_as::<f32>().try_into_vec::<f32>().expect("f32")
}
