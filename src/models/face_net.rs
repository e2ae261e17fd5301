//! `face_net`: the residual network of dlib's face recogniser (King 2017, `dnn_face_recognition_ex.cpp`) in
//! the form of the npm package `@vladmandic/face-api`, 150x150 pixels to 128 numbers, whose published weights
//! [`super::read_face_api`] reads.
//!
//! A convolution of 7x7 and a maximum over 3x3, both of stride 2 and without padding, then fourteen residual
//! blocks of two 3x3 convolutions. Those that halve the picture have a first convolution without padding, and a
//! shortcut without weights: the mean over 2x2 with zeros for the channels that are new. Where their convolutions
//! come out a pixel smaller, zeros are added at the bottom and on the right. The mean over the picture and one
//! matrix give the embedding: of one person less than 0.6 apart, of two people more. A classifier has a linear
//! head on it; without classes the logits are the embedding.
//!
//! The published network has a scale and shift a channel after each convolution, and no BatchNorm. Here both are part
//! of the convolution's weights and bias: the same function, with half the parameters a channel.

use burn::module::Module;
use burn::tensor::activation::relu;
use burn::tensor::ops::PadMode;
use burn::tensor::{Device, Tensor};

use super::size::side_after;
use super::weights::{KeyMap, pair};
use super::{Classifier, Size};
use crate::Seed;
use crate::nn::{Conv2d, Linear, Normalize, average_pool, global_average_pool, max_pool};

/// Published name, channels in units of the width, and whether it halves the picture.
const BLOCKS: [(&str, usize, bool); 14] = [
    ("conv32_1", 1, false),
    ("conv32_2", 1, false),
    ("conv32_3", 1, false),
    ("conv64_down", 2, true),
    ("conv64_1", 2, false),
    ("conv64_2", 2, false),
    ("conv64_3", 2, false),
    ("conv128_down", 4, true),
    ("conv128_1", 4, false),
    ("conv128_2", 4, false),
    ("conv256_down", 8, true),
    ("conv256_1", 8, false),
    ("conv256_2", 8, false),
    ("conv256_down_out", 8, true),
];

/// What to build.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaceNetConfig {
    /// Number of classes `K`; 0 for the embedding itself.
    pub classes: usize,
    /// Mean of each channel, in units of pixels in `[0, 1]`.
    pub mean: [f32; 3],
    /// Standard deviation of each channel, in the same units.
    pub std: [f32; 3],
    /// Side of the square input in pixels, at least [`Self::LEAST_SIDE`].
    pub side: usize,
    /// Channels of the first block, 32 as published; the embedding has four times as many numbers.
    pub width: usize,
}

impl FaceNetConfig {
    /// The smallest side of which the last block leaves a pixel.
    pub const LEAST_SIDE: usize = 103;

    /// Mean of red, green and blue that the published weights expect, white being 255.
    pub const MEAN: [f32; 3] = [122.782, 117.001, 104.298];

    /// What they divide by (dlib's `input_rgb_image_sized`; face-api divides by 255).
    pub const STD: f32 = 256.0;

    /// The published form: 150x150 input and width 32.
    pub fn new(classes: usize) -> Self {
        let std = [Self::STD / 255.0; 3];
        Self { classes, mean: Self::MEAN.map(|mean| mean / 255.0), std, side: 150, width: 32 }
    }

    /// Parameters and cost.
    pub fn size(&self) -> Size {
        let (mut channels, mut side) = (self.width, side_after(self.side, 7, 2, 0));
        let mut size = Size::default().conv([3, channels], 7, side).more(channels);
        side = side_after(side, 3, 2, 0);
        for (_, width, halves) in BLOCKS {
            let (outputs, inside) =
                (width * self.width, if halves { side_after(side, 3, 2, 0) } else { side });
            size = size
                .conv([channels, outputs], 3, inside)
                .conv([outputs, outputs], 3, inside)
                .more(2 * outputs);
            channels = outputs;
            // Zeros make up for the pixel that the mean over 2x2 has more.
            side = if halves { side / 2 } else { side };
        }
        let embedding = 4 * self.width;
        let size = size.plus((channels * embedding) as u64, (channels * embedding) as u64);
        if self.classes == 0 { size } else { size.linear(embedding, self.classes, 1) }
    }
}

/// The network.
#[derive(Module, Debug)]
pub struct FaceNet {
    pub(super) normalize: Normalize,
    stem: Conv2d,
    blocks: Vec<Block>,
    /// Without a bias.
    pub(super) embed: Linear,
    head: Option<Linear>,
    side: usize,
    classes: usize,
}

#[derive(Module, Debug)]
struct Block {
    convs: [Conv2d; 2],
    halves: bool,
}

impl Block {
    fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let inside = self.convs[1].forward(self.convs[0].forward_relu(input.clone()));
        if !self.halves {
            return relu(inside + input);
        }
        let aside = average_pool(input, 2);
        let ([_, inner, height, width], [_, outer, rows, columns]) = (inside.dims(), aside.dims());
        let inside = with_zeros(inside, [0, rows - height, columns - width]);
        relu(inside + with_zeros(aside, [inner - outer, 0, 0]))
    }
}

/// The tensor with so many channels, rows and columns of zeros behind its own.
fn with_zeros(tensor: Tensor<4>, [channels, rows, columns]: [usize; 3]) -> Tensor<4> {
    if [channels, rows, columns] == [0; 3] {
        return tensor;
    }
    tensor.pad([(0, 0), (0, channels), (0, rows), (0, columns)], PadMode::Constant(0.0))
}

impl FaceNet {
    /// Names as in a PyTorch module of the same shape: `stem`, `blocks.0.convs.0`, `embed`, `head`.
    pub(super) fn key_maps(&self) -> Vec<KeyMap> {
        let convs =
            (0..self.blocks.len()).flat_map(|i| [0, 1].map(|conv| format!("blocks.{i}.convs.{conv}")));
        let others = ["stem", "embed", "head"].map(str::to_owned);
        vec![KeyMap::new("syfar", convs.chain(others).map(|name| pair(name.clone(), name)).collect())]
    }

    /// A network with weights drawn from a seed.
    pub fn new(config: &FaceNetConfig, seed: Seed, device: &Device) -> Self {
        let conv = |channels: [usize; 2], kernel, stride, padding, seed: Seed| {
            let conv = Conv2d::new(channels, kernel, stride, padding, seed.purpose("weight"), device);
            conv.with_bias(seed.purpose("bias"), device)
        };
        let mut channels = config.width;
        let mut blocks = Vec::new();
        for (index, (_, width, halves)) in BLOCKS.into_iter().enumerate() {
            let outputs = width * config.width;
            let (stride, padding) = if halves { (2, 0) } else { (1, 1) };
            let seed = seed.purpose("block").at(index as u64);
            let first = conv([channels, outputs], 3, stride, padding, seed.at(0));
            let convs = [first, conv([outputs, outputs], 3, 1, 1, seed.at(1))];
            blocks.push(Block { convs, halves });
            channels = outputs;
        }
        let size = 4 * config.width;
        let embed = Linear::new(channels, size, seed.purpose("embed"), device);
        let has_head = config.classes > 0;
        Self {
            normalize: Normalize::new(&config.mean, &config.std),
            stem: conv([3, config.width], 7, 2, 0, seed.purpose("stem")),
            blocks,
            embed: Linear { bias: None, ..embed },
            head: has_head.then(|| Linear::new(size, config.classes, seed.purpose("head"), device)),
            side: config.side,
            classes: if has_head { config.classes } else { size },
        }
    }

    /// The embedding `[N, 4 width]` of pixels `[N, 3, side, side]` in `[0, 1]`. Distances are Euclidean.
    pub fn embedding(&self, images: Tensor<4>) -> Tensor<2> {
        let stem = max_pool(self.stem.forward_relu(self.normalize.forward(images)), 3, 2, 0);
        let features = self.blocks.iter().fold(stem, |x, block| block.forward(x));
        self.embed.forward(global_average_pool(features))
    }

    /// Every convolution with its published name.
    pub(super) fn convolutions(&mut self) -> Vec<(String, &mut Conv2d)> {
        let mut named = vec![("conv32_down".to_owned(), &mut self.stem)];
        for ((name, ..), block) in BLOCKS.iter().zip(&mut self.blocks) {
            for (number, conv) in (1..).zip(&mut block.convs) {
                named.push((format!("{name}/conv{number}"), conv));
            }
        }
        named
    }
}

impl Classifier for FaceNet {
    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let embedding = self.embedding(images);
        match &self.head {
            Some(head) => head.forward(embedding),
            None => embedding,
        }
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn input_shape(&self) -> [usize; 3] {
        [3, self.side, self.side]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::fixtures::assert_agrees_with_stock;

    #[test]
    fn the_size_is_that_of_what_is_built() {
        for classes in [0, 7] {
            let config = FaceNetConfig { width: 3, side: 104, ..FaceNetConfig::new(classes) };
            let model = FaceNet::new(&config, Seed::new(3), &Device::default());
            assert_eq!(model.num_params(), config.size().parameters as usize);
        }
    }

    #[test]
    fn the_network_agrees_with_itself_on_the_operators_of_burn() {
        let config = FaceNetConfig { width: 3, side: 104, ..FaceNetConfig::new(5) };
        assert_agrees_with_stock(|device| FaceNet::new(&config, Seed::new(3), device));
    }

    #[test]
    fn it_has_the_parameters_of_the_published_one() {
        let net = FaceNet::new(&FaceNetConfig::new(0), Seed::new(0), &Device::default());
        // Filters of the published file, one bias for its bias, scale and shift, and the last matrix.
        let convs = 32 * 3 * 49
            + 9 * (6 * 32 * 32
                + 32 * 64
                + 7 * 64 * 64
                + 64 * 128
                + 5 * 128 * 128
                + 128 * 256
                + 7 * 256 * 256);
        let biases = 7 * 32 + 8 * 64 + 6 * 128 + 8 * 256;
        assert_eq!(net.num_params(), convs + biases + 256 * 128);
        assert_eq!((net.classes(), net.input_shape()), (128, [3, 150, 150]));
    }

    #[test]
    fn the_smallest_side_leaves_a_pixel() {
        let config = FaceNetConfig { width: 2, side: FaceNetConfig::LEAST_SIDE, ..FaceNetConfig::new(0) };
        let net = FaceNet::new(&config, Seed::new(1), &Device::default());
        let images = Tensor::full([1, 3, config.side, config.side], 0.3, &Device::default());
        let found = net.forward(images).try_into_vec_as::<f32>().expect("f32");
        assert!(found.len() == 8 && found.iter().all(|value| value.is_finite()));
    }
}
