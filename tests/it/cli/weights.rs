//! `syfar models`, `import`, `export` and `predict`.

use std::fs;
use std::path::Path;

use super::{SMALL, faces, fail, run, succeed, text, trained};

/// A picture of the drawn faces.
fn picture() -> String {
    let person = fs::read_dir(Path::new(faces()).join("test")).expect("listed").next().expect("a person");
    let mut files = fs::read_dir(person.expect("a person").path()).expect("listed");
    text(&files.next().expect("a picture").expect("a picture").path()).to_owned()
}

#[test]
fn architectures_are_listed_with_their_sizes() {
    let text = succeed(&["models", "--classes", "1000"]);
    for line in ["vgg16_torchvision 224 138.36 M 15.470 G", "resnet50_imagenet 224 25.56 M 4.089 G"] {
        let squeezed: Vec<String> =
            text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert!(squeezed.iter().any(|found| found == line), "{line}\n{text}");
    }
    assert!(succeed(&["models", "--side", "20"]).contains("takes multiples of 16"), "{text}");
    assert_eq!(run(&["models", "--classes", "1"]).status.code(), Some(2));
}

#[test]
fn a_model_goes_out_and_comes_back_the_same() {
    let place = tempfile::tempdir().expect("temporary directory");
    let model = trained().join("model");
    let (weights, back) = (place.path().join("w.safetensors"), place.path().join("back"));
    let said = succeed(&["export", "--model", text(&model), "--out", text(&weights)]);
    assert!(said.contains("load_state_dict"), "{said}");
    let import = |out: &Path, more: &[&str]| {
        let words = [
            "import",
            "--architecture",
            "face_cnn",
            "--side",
            "32",
            "--weights",
            text(&weights),
            "--out",
            text(out),
        ];
        [&words[..], more].concat().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let words = |words: &'_ [String]| words.iter().map(String::as_str).collect::<Vec<_>>().join("\u{1f}");
    let do_import = |out: &Path, more: &[&str]| {
        let line = words(&import(out, more));
        succeed(&line.split('\u{1f}').collect::<Vec<_>>())
    };
    let said = do_import(&back, &[]);
    assert!(said.contains("for 4 classes and pictures of 32 pixels"), "{said}");
    let bytes = |of: &Path| fs::read(of.join("model.safetensors")).expect("read");
    assert!(bytes(&model) == bytes(&back), "other weights came back");
    let read = |of: &Path| fs::read_to_string(of.join("config.json")).expect("read");
    assert!(read(&back).contains("\"channels\": \"rgb\""), "{}", read(&back));
    // A network that takes blue first is exported with a word about it.
    let blue = place.path().join("blue");
    assert!(do_import(&blue, &["--channels", "bgr"]).contains("32 pixels, blue first"));
    let warned = |model: &Path| {
        let output = run(&["export", "--model", text(model), "--out", text(&place.path().join("again"))]);
        assert!(output.status.success());
        String::from_utf8_lossy(&output.stderr).contains("blue first")
    };
    assert!(warned(&blue) && !warned(&back));
    // Another number of classes, a place that is taken, no such names.
    let other = place.path().join("other");
    let refused = |code, out: &Path, more: &[&str]| {
        let line = words(&import(out, more));
        fail(code, &line.split('\u{1f}').collect::<Vec<_>>())
    };
    let message = refused(1, &other, &["--classes", "7"]);
    assert!(message.contains("for 4 classes, 7 are named") && message.contains("--new-head"), "{message}");
    assert!(refused(2, &back, &[]).contains("there is a model"));
    let misread = |architecture: &str, side: &str| {
        let words = ["import", "--architecture", architecture, "--side", side, "--weights", text(&weights)];
        fail(2, &[&words[..], &["--out", text(&other)]].concat())
    };
    assert!(misread("resnet18_cifar", "32").contains("no last layer with 512 inputs"));
    assert!(misread("face_cnn", "33").contains("--side is 33, expected a multiple of 16"));
    let line = words(&import(&other, &["--channels", "grb"]));
    let output = run(&line.split('\u{1f}').collect::<Vec<_>>());
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("expected rgb or bgr"));
    assert!(refused(2, &other, &["--mean", "1,2", "--std", "1,1,1"]).contains("three numbers"));
    assert!(!other.exists(), "a model was begun");
}

#[test]
fn a_new_head_on_imported_weights_is_trained() {
    let place = tempfile::tempdir().expect("temporary directory");
    let weights = place.path().join("w.safetensors");
    succeed(&["export", "--model", text(&trained().join("model")), "--out", text(&weights)]);
    let imported = place.path().join("imported");
    let words = ["import", "--architecture", "face_cnn", "--side", "32", "--weights", text(&weights)];
    succeed(&[&words[..], &["--classes", "9", "--new-head", "--out", text(&imported)]].concat());
    let out = place.path().join("run");
    let from = format!("model.from='{}'", text(&imported));
    let words = ["train", "--data", faces(), "--out", text(&out)];
    let more = ["--set", &from, "--set", "model.new_head=true", "--set", "train.trainable=head"];
    let said = succeed(&[&words[..], &SMALL[2..], &more].concat());
    assert!(said.contains("Trained in"), "{said}");
    // The body is as it was: all that the exports have in common but the last layer.
    let tuned = place.path().join("tuned.safetensors");
    succeed(&["export", "--model", text(&out.join("model")), "--out", text(&tuned)]);
    let numbers = |path: &Path| {
        let bytes = fs::read(path).expect("read");
        let header =
            usize::try_from(u64::from_le_bytes(bytes[..8].try_into().expect("eight"))).expect("small");
        let json: serde_json::Value = serde_json::from_slice(&bytes[8..8 + header]).expect("json");
        let offsets = &json["blocks.3.norm.weight"]["data_offsets"];
        let end = usize::try_from(offsets[1].as_u64().expect("a number")).expect("small");
        bytes[8 + header..8 + header + end].to_vec()
    };
    assert!(numbers(&weights) == numbers(&tuned), "the body was trained");
}

#[test]
fn predictions_are_printed_and_saved() {
    let place = tempfile::tempdir().expect("temporary directory");
    let (model, picture) = (trained().join("model"), picture());
    let model = text(&model);
    let said = succeed(&["predict", "--model", model, &picture, "--json", "--input-gradient"]);
    let json: serde_json::Value = serde_json::from_str(&said).expect("json");
    let answer = &json["pictures"][0];
    let numbers = |value: &serde_json::Value| -> Vec<f64> {
        value.as_array().expect("a list").iter().map(|v| v.as_f64().expect("a number")).collect()
    };
    let (logits, gradient) = (numbers(&answer["logits"]), numbers(&answer["input_gradient"]));
    assert_eq!((logits.len(), gradient.len()), (4, 3 * 32 * 32));
    assert_eq!(answer["label"], answer["prediction"]);
    assert!((numbers(&answer["probabilities"]).iter().sum::<f64>() - 1.0).abs() < 1e-5);
    assert!(gradient.iter().any(|value| *value != 0.0));
    assert!(succeed(&["predict", "--model", model, &picture, &picture]).lines().count() >= 3);
    // The same pixels as an array: 8-bit pictures over 255.
    let out = place.path().join("logits.npy");
    let pixels = place.path().join("pixels.npy");
    let mut bytes =
        b"\x93NUMPY\x01\x00\x76\x00{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3, 32, 32), }"
            .to_vec();
    bytes.resize(127, b' ');
    bytes.push(b'\n');
    bytes.extend((0..2 * 3 * 32 * 32).map(|i| (i * 7 % 256) as u8));
    fs::write(&pixels, &bytes).expect("written");
    let words = ["predict", "--model", model, "--npy", text(&pixels), "--npy-out", text(&out)];
    let said = succeed(&[&words[..], &["--input-gradient", "--label", "1"]].concat());
    assert!(said.contains("logits-gradient.npy"), "{said}");
    let length = |name: &str| fs::metadata(place.path().join(name)).expect("written").len();
    assert_eq!(
        (length("logits.npy"), length("logits-gradient.npy")),
        (128 + 4 * 8, 128 + 4 * 2 * 3 * 32 * 32)
    );
    let json: serde_json::Value =
        serde_json::from_str(&succeed(&["predict", "--model", model, "--npy", text(&pixels), "--json"]))
            .expect("json");
    let saved = fs::read(&out).expect("read");
    for (value, bytes) in
        numbers(&json["pictures"][1]["logits"]).iter().zip(saved[128 + 16..].chunks_exact(4))
    {
        let saved = f32::from_le_bytes(bytes.try_into().expect("four"));
        // With a gradient the logits are those of its pass, which rounds differently.
        assert!((f64::from(saved) - value).abs() < 1e-5 * (1.0 + value.abs()));
    }
}

#[test]
fn what_cannot_be_predicted_is_said() {
    let model = trained().join("model");
    let model = text(&model);
    let picture = picture();
    assert!(fail(2, &["predict", "--model", model, &picture, "--input-gradient"]).contains("--json"));
    let words = ["predict", "--model", model, &picture, "--json", "--input-gradient"];
    assert!(fail(2, &[&words[..], &["--label", "nobody"]].concat()).contains("0 to 3"));
    assert!(fail(1, &["predict", "--model", model, "/nowhere.png"]).contains("nowhere.png"));
    assert!(fail(1, &["predict", "--model", model, "--npy", &picture]).contains("header"));
    assert_eq!(run(&["predict", "--model", model]).status.code(), Some(2));
    let words = ["import", "--architecture", "resnet18_cifar", "--out", "/nowhere/model", "--weights"];
    assert!(fail(1, &[&words[..], &[&picture]].concat()).contains("neither safetensors nor"));
    let unknown =
        run(&["import", "--architecture", "vgg19", "--weights", &picture, "--out", "/nowhere/model"]);
    assert_eq!(unknown.status.code(), Some(2));
    let unknown = String::from_utf8_lossy(&unknown.stderr);
    assert!(unknown.contains("vgg16_torchvision"), "{unknown}");
}
