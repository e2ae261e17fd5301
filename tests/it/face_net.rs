//! The published face recogniser on published pictures. Neither is part of this project, so these tests are run
//! where somebody has fetched them:
//!
//! ```sh
//! scripts/fetch-face-test-data /tmp/face-data
//! SYFAR_FACE_DATA=/tmp/face-data cargo test --test it face_net -- --ignored --nocapture
//! ```

use std::path::PathBuf;

use burn::tensor::{Device, Tensor, TensorData};
use syfar::data::Dataset;
use syfar::models::{Classifier, Crop, Framing, Model};

fn data(name: &str) -> PathBuf {
    let folder = std::env::var_os("SYFAR_FACE_DATA").expect("SYFAR_FACE_DATA is the folder with the data");
    PathBuf::from(folder).join(name)
}

fn model() -> Model {
    Model::load(&data("face-net"), &Device::default()).expect("the published network")
}

fn embeddings(model: &Model, images: Tensor<4>) -> Vec<Vec<f32>> {
    let values = model.network.forward(images).try_into_vec_as::<f32>().expect("f32");
    values.chunks(128).map(<[f32]>::to_vec).collect()
}

fn distance(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f32>().sqrt()
}

/// The pictures of `face_recognition` 1.3.0 by left edge, upper edge and side of what is shown: eyes and mouth were
/// found by looking, the side is the mean distance from an eye to the mouth over 0.45, and the mean of the three points
/// stands at 0.5 and 0.43 of it, as face-api aligns faces.
const FACES: [(&str, [u32; 3]); 4] = [
    ("obama", [354, 129, 285]),
    ("obama2", [128, 271, 356]),
    ("obama3", [650, 303, 293]),
    ("biden", [421, 237, 325]),
];

#[test]
#[ignore = "needs data: see the head of tests/it/face_net.rs"]
fn pictures_of_one_person_are_near_and_of_two_people_far() {
    let model = model();
    let embedding = |(name, [left, top, side]): (&str, [u32; 3])| {
        let path = data("face_recognition").join(format!("{name}.jpg"));
        let whole = image::open(path).expect("the picture").into_rgb8();
        let face = image::imageops::crop_imm(&whole, left, top, side, side).to_image();
        let face = image::imageops::resize(&face, 150, 150, image::imageops::FilterType::Triangle);
        let pixels: Vec<f32> = (0..3)
            .flat_map(|channel| face.pixels().map(move |rgb| f32::from(rgb.0[channel]) / 255.0))
            .collect();
        let images = Tensor::from_data(TensorData::new(pixels, [1, 3, 150, 150]), &Device::default());
        embeddings(&model, images).remove(0)
    };
    let found = FACES.map(embedding);
    for second in 0..FACES.len() {
        for first in 0..second {
            let apart = distance(&found[first], &found[second]);
            println!("{} and {}: {apart:.3}", FACES[first].0, FACES[second].0);
            assert_eq!(apart > 0.6, FACES[second].0 == "biden", "{apart}");
        }
    }
    // scripts/parity/face_net.py on the same crops.
    assert!((distance(&found[0], &found[1]) - 0.408).abs() < 0.01);
    assert!((distance(&found[1], &found[3]) - 0.793).abs() < 0.01);
}

#[test]
#[ignore = "needs data: see the head of tests/it/face_net.rs"]
fn it_tells_the_people_of_orl_apart() {
    let model = model();
    let crop = Crop::Box { left: 0, top: 20, width: 92, height: 92 };
    let faces = Dataset::open(&data("orl"), Framing { crop, ..150.into() }).expect("the faces");
    let mut found: Vec<(usize, Vec<f32>)> = Vec::new();
    for split in [&faces.train, &faces.val, &faces.test] {
        let rows: Vec<usize> = (0..split.len()).collect();
        for rows in rows.chunks(40) {
            let batch = split.batch(rows, &Device::default()).expect("good pictures");
            found.extend(batch.labels.iter().copied().zip(embeddings(&model, batch.images)));
        }
    }
    let mut pairs: Vec<(f32, bool)> = Vec::new();
    for second in 0..found.len() {
        for first in 0..second {
            pairs.push((distance(&found[first].1, &found[second].1), found[first].0 == found[second].0));
        }
    }
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
    // Pairs of one person that are nearer than a pair of two people, over all such comparisons.
    let (mut same, mut ordered) = (0_u64, 0_u64);
    for (_, is_same) in &pairs {
        same += u64::from(*is_same);
        ordered += if *is_same { 0 } else { same };
    }
    let area = ordered as f64 / (same * (pairs.len() as u64 - same)) as f64;
    println!("{} pairs, {same} of one person, area under the curve {area:.4}", pairs.len());
    assert_eq!((pairs.len(), same), (79_800, 1_800));
    assert!(area >= 0.98, "{area}");
}
