use super::*;
use crate::Seed;
use crate::models::{FaceNet, FaceNetConfig, Victim};
use burn::module::Module;
use proptest::prelude::*;

/// A narrow network with weights by formula, as `scripts/parity/face_net.py --golden` has it: manifest and
/// weights.
fn narrow() -> (FaceNet, Vec<serde_json::Value>, Vec<u8>) {
    let config = FaceNetConfig { width: 3, side: 104, ..FaceNetConfig::new(0) };
    let mut network = FaceNet::new(&config, Seed::new(0), &Device::default());
    let mut shapes = Vec::new();
    for (name, conv) in network.convolutions() {
        let [outputs, inputs, height, width] = conv.weight.dims();
        shapes.push((format!("{name}/conv/filters"), vec![height, width, inputs, outputs]));
        for part in ["conv/bias", "scale/weights", "scale/biases"] {
            shapes.push((format!("{name}/{part}"), vec![outputs]));
        }
    }
    shapes.push(("fc".to_owned(), network.embed.weight.dims().to_vec()));
    let (mut entries, mut bytes) = (Vec::new(), Vec::new());
    for (number, (name, shape)) in (1_u64..).zip(shapes) {
        let (min, scale) = match shape.len() {
            1 if name.ends_with("scale/weights") => (0.8, 0.4 / 255.0),
            1 => (-0.1, 0.2 / 255.0),
            last => {
                let min = -1.0 / (shape[..last - 1].iter().product::<usize>() as f64).sqrt();
                (min, -2.0 * min / 255.0)
            }
        };
        let count = shape.iter().product::<usize>() as u64;
        let byte = |i: u64| (((i * 2_654_435_761 + number * 40503 * 65537) % (1 << 32)) >> 24) as u8;
        // Every third tensor as raw numbers: the published file has both kinds.
        if number % 3 == 0 {
            entries.push(serde_json::json!({"name": name, "shape": shape, "dtype": "float32"}));
            for i in 0..count {
                bytes.extend(((min + scale * f64::from(byte(i))) as f32).to_le_bytes());
            }
        } else {
            let how = serde_json::json!({"dtype": "uint8", "scale": scale, "min": min});
            entries.push(
                serde_json::json!({"name": name, "shape": shape, "dtype": "float32", "quantization": how}),
            );
            bytes.extend((0..count).map(byte));
        }
    }
    (network, entries, bytes)
}

fn load(network: FaceNet, entries: &[serde_json::Value], bytes: &[u8]) -> Result<FaceNet, String> {
    let manifest = serde_json::to_vec(&serde_json::json!([{"weights": entries, "paths": ["a.bin"]}]));
    let entries = parse_manifest(&manifest.expect("JSON"))?;
    let mut network = Network::FaceNet(network);
    fill(&mut network, parse_weights(&entries, bytes)?, &Device::default())?;
    match network {
        Network::FaceNet(network) => Ok(network),
        _ => Err("another network".to_owned()),
    }
}

fn close(found: &[f32], expected: &[f32]) {
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 2e-5, "{found}, expected {expected}");
    }
}

#[test]
fn embeddings_and_gradients_are_those_of_pytorch() {
    let (network, entries, bytes) = narrow();
    let network = load(network, &entries, &bytes).expect("whole").valid();
    let victim = Victim::new(&network);
    let golden: [(usize, [f32; 14], f32, f32); 2] = [
        (
            103,
            [
                0.04159, -0.431_887, 0.359_438, -0.361_112, 0.234_799, 0.264_872, -0.857_832, 0.666_303,
                -0.160_991, -0.120_175, 0.313_535, -0.606_883, 0.044_614, -0.438_482,
            ],
            0.055_071_8,
            -0.000_261_763_6,
        ),
        (
            104,
            [
                0.086_313, -0.251_322, 0.039_344, 0.043_974, -0.081_705, 0.177_299, -0.158_368, 0.134_425,
                0.017_939, -0.136_293, 0.184_263, -0.087_041, 0.088_414, -0.255_354,
            ],
            0.044_691_1,
            -7.246_17e-6,
        ),
    ];
    for (side, expected, norm, at) in golden {
        let count = 2 * 3 * side * side;
        let pixel = |i: usize| ((i as u64 * 2_246_822_519 % (1 << 32)) >> 24) as f32 / 255.0;
        let pixels: Vec<f32> = (0..count).map(pixel).collect();
        let images = Tensor::from_data(TensorData::new(pixels, [2, 3, side, side]), &Device::default());
        let found = victim.input_gradient(images, |embedding| embedding.slice([0..2, 0..1]).squeeze_dim(1));
        close(&found.logits.try_to_vec_as::<f32>().expect("f32"), &expected);
        let gradient = found.gradient.try_to_vec_as::<f32>().expect("f32");
        let length = gradient.iter().map(|value| value * value).sum::<f32>().sqrt();
        assert!((length / norm - 1.0).abs() < 1e-3, "{length}, expected {norm}");
        let here = gradient[((3 + 2) * side + 50) * side + 51];
        assert!((here - at).abs() < 1e-3 * at.abs() + 1e-8, "{here}, expected {at}");
    }
}

/// What is done to a good manifest and good weights.
type Change<'a> = &'a dyn Fn(&mut Vec<serde_json::Value>, &mut Vec<u8>);

#[test]
fn each_fault_is_named() {
    let fault = |change: Change| {
        let (network, mut entries, mut bytes) = narrow();
        change(&mut entries, &mut bytes);
        load(network, &entries, &bytes).expect_err("broken")
    };
    let cases: [(Change, &str); 9] = [
        (&|_, bytes| bytes.truncate(bytes.len() - 1), "it ends inside fc"),
        (&|_, bytes| bytes.push(0), "it goes on for 1 bytes"),
        (
            &|entries, _| entries[0]["name"] = "conv32_up/conv/filters".into(),
            "conv32_down/conv/filters is missing",
        ),
        (
            &|entries, _| entries[0]["name"] = "conv32_up/conv/filters".into(),
            "conv32_up/conv/filters is of no use",
        ),
        (&|entries, _| entries[0]["name"] = "fc".into(), "fc is in the manifest twice"),
        (
            &|entries, _| entries[0]["shape"] = serde_json::json!([7, 3, 7, 3]),
            "[7, 3, 7, 3], expected [7, 7, 3, 3]",
        ),
        (&|entries, _| entries[0]["quantization"]["dtype"] = "uint16".into(), "stored as uint16"),
        (&|entries, _| entries[0]["quantization"]["scale"] = 1e39.into(), "NaN or infinite"),
        (
            &|entries, _| entries[0]["shape"] = serde_json::json!([usize::MAX, 7, 3, 3]),
            "it ends inside conv32_down",
        ),
    ];
    for (change, expected) in cases {
        let found = fault(change);
        assert!(found.contains(expected), "{found}");
    }
    for manifest in ["", "{}", "[{}]", r#"[{"weights": [{"name": 3}]}]"#] {
        assert!(parse_manifest(manifest.as_bytes()).expect_err("no manifest").contains("not a manifest"));
    }
}

#[test]
fn files_that_are_not_there_or_not_those_are_named() {
    let place = tempfile::tempdir().expect("temporary directory");
    let (manifest, weights) = (place.path().join("m.json"), place.path().join("w.bin"));
    let message = || read_face_api(&manifest, &weights, &Device::default()).expect_err("broken").to_string();
    assert!(message().contains("m.json"));
    std::fs::write(&manifest, "[]").expect("written");
    std::fs::write(&weights, "").expect("written");
    let found = message();
    assert!(found.contains("w.bin") && found.contains("conv256_down_out/conv2/scale/biases is missing"));
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(
        manifest in proptest::collection::vec(any::<u8>(), 0..200),
        weights in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        if let Ok(entries) = parse_manifest(&manifest) {
            let _ = parse_weights(&entries, &weights);
        }
    }

    #[test]
    fn no_manifest_makes_the_reader_panic(
        shape in proptest::collection::vec(prop_oneof![0_usize..9, Just(usize::MAX), Just(1 << 40)], 0..5),
        quantization in proptest::option::of((any::<f64>(), any::<f64>())),
        weights in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let quantization =
            quantization.map(|(scale, min)| Quantization { dtype: "uint8".into(), scale, min });
        let entry = Entry { name: "fc".into(), shape, dtype: "float32".into(), quantization };
        if let Ok(tensors) = parse_weights(&[entry], &weights) {
            let config = FaceNetConfig { width: 1, side: 103, ..FaceNetConfig::new(0) };
            let network = FaceNet::new(&config, Seed::new(0), &Device::default());
            prop_assert!(fill(&mut Network::FaceNet(network), tensors, &Device::default()).is_err());
        }
    }
}
