//! Files of PyTorch as they are and as they could be, and networks that come back as they went.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use proptest::prelude::*;

use super::*;
use crate::Seed;
use crate::models::fixtures::narrow;
use crate::models::parity::{by_formula, folder};
use crate::models::{
    Architecture, Classifier, Network, ResNet, ResNetConfig, Stem, Vgg, VggConfig, VggHead, Vit, VitConfig,
    WideResNetConfig,
};

fn resnet(classes: usize) -> Network {
    let config = ResNetConfig { width: 2, side: 16, stem: Stem::Cifar, ..ResNetConfig::new(classes) };
    Network::ResNet(ResNet::new(&config, Seed::new(1), &Device::default()))
}

fn vgg(seed: u64) -> Network {
    let head = VggHead::Face;
    let config = VggConfig { width: 1, side: 64, convs: VggConfig::DEPTH_11, head, ..VggConfig::new(5) };
    Network::Vgg(Vgg::new(&config, Seed::new(seed), &Device::default()))
}

fn vit(side: usize, seed: u64) -> Network {
    let config = VitConfig { side, width: 12, depth: 1, ..VitConfig::tiny(5) };
    Network::Vit(Vit::new(&config, Seed::new(seed), &Device::default()))
}

fn read(network: Network, file: &WeightFile, options: &ImportOptions) -> Result<(Network, Imported), String> {
    let maps = network.key_maps();
    import(network, &maps, file, options).map_err(|error| error.to_string())
}

fn open(path: &Path) -> Result<WeightFile, String> {
    WeightFile::open(path).map_err(|error| error.to_string())
}

/// A file with tensors of zeros and ones.
fn made(place: &Path, shapes: &BTreeMap<String, Vec<usize>>) -> WeightFile {
    let path = place.join("made.safetensors");
    let mut writer = Writer::new(std::fs::File::create(&path).expect("made"), shapes).expect("written");
    for shape in shapes.values() {
        writer.write(&vec![0.5; shape.iter().product()]).expect("written");
    }
    writer.finish().expect("all written").flush().expect("written");
    open(&path).expect("opened")
}

/// The file of a network, with its names and shapes.
fn shapes(network: &Network) -> BTreeMap<String, Vec<usize>> {
    let slots = slots::slots(network, &network.key_maps()[0]);
    slots.into_iter().map(|slot| (slot.theirs.expect("a name"), slot.shape)).collect()
}

fn bytes_of(network: &Network) -> Vec<u8> {
    let place = tempfile::tempdir().expect("temporary directory");
    let path = place.path().join("out.safetensors");
    export(network, &network.key_maps()[0], &path).expect("written");
    std::fs::read(path).expect("read")
}

fn logits(network: &Network) -> Vec<f32> {
    let [channels, height, width] = network.input_shape();
    let images = Tensor::full([1, channels, height, width], 0.25, &Device::default());
    network.valid().forward(images).try_into_vec_as::<f32>().expect("f32")
}

#[test]
fn a_checkpoint_of_a_trainer_is_read() {
    let file = open(&folder().join("checkpoint.pth")).expect("opened");
    let (_, imported) = read(resnet(5), &file, &ImportOptions::default()).expect("read");
    // Twenty convolutions with a BatchNorm of four tensors each, and the last layer.
    let expected = Imported {
        source: "RobustBench",
        prefix: "state_dict.module.".to_owned(),
        tensors: 20 * 5 + 2,
        beside: 1,
        idle: 20,
        interpolated: None,
    };
    assert_eq!(imported, expected);
    assert_eq!((file.classes(16), file.classes(17)), (Some(5), None));
    // Half precision: eleven bits, fewer below 6e-5.
    let names: Vec<String> = shapes(&resnet(5)).into_keys().collect();
    let name = "layer4.1.conv2.weight";
    let index = names.iter().position(|other| other == name).expect("there");
    let values = file.values(&format!("state_dict.module.{name}")).expect("read");
    let formula = by_formula(name, &[16, 16, 3, 3], index);
    assert_eq!(values.len(), formula.len());
    assert!(
        values.iter().zip(&formula).all(|(a, b)| (a - b).abs() <= (b.abs() * 4.9e-4).max(3e-8)),
        "{:?}",
        &values[..4]
    );
}

#[test]
fn the_format_before_1_6_is_read() {
    let file = open(&folder().join("legacy.pt")).expect("opened");
    let (_, imported) = read(vgg(1), &file, &ImportOptions::default()).expect("read");
    assert_eq!(
        (imported.source, imported.prefix.as_str(), imported.tensors),
        ("VGG-Face (conv_1_1)", "", 22)
    );
    let index = file.names().position(|name| name == "fc7.weight").expect("there");
    assert_eq!(file.values("fc7.weight").expect("read"), by_formula("fc7.weight", &[64, 64], index));
}

#[test]
fn a_whole_module_is_its_state_dict_and_must_fit() {
    let file = open(&folder().join("module.pt")).expect("opened");
    assert_eq!(file.names().collect::<Vec<_>>(), ["0.bias", "0.weight"]);
    let message = read(vgg(1), &file, &ImportOptions::default()).expect_err("does not fit");
    assert!(message.contains("missing tensors") && message.contains("0.weight"), "{message}");
}

#[test]
fn every_difference_is_listed() {
    let place = tempfile::tempdir().expect("temporary directory");
    let mut tensors = shapes(&vgg(1));
    tensors.remove("features.3.bias");
    tensors.insert("features.0.weight".to_owned(), vec![1, 1, 3, 3]);
    tensors.insert("extra.weight".to_owned(), vec![2]);
    let message =
        read(vgg(1), &made(place.path(), &tensors), &ImportOptions::default()).expect_err("differs");
    for part in [
        "missing tensors: features.3.bias",
        "does not have: extra.weight",
        "[1, 1, 3, 3], [1, 3, 3, 3] expected",
    ] {
        assert!(message.contains(part), "{message}");
    }
    let classes: BTreeMap<_, _> = shapes(&resnet(7));
    let message =
        read(resnet(5), &made(place.path(), &classes), &ImportOptions::default()).expect_err("classes");
    assert!(message.contains("for 7 classes, 5 are named") && message.contains("--new-head"), "{message}");
}

#[test]
fn a_new_head_stays_as_it_was_drawn() {
    let place = tempfile::tempdir().expect("temporary directory");
    let file = made(place.path(), &shapes(&resnet(7)));
    let options = ImportOptions { new_head: true, ..ImportOptions::default() };
    let drawn = resnet(5);
    let Network::ResNet(before) = &drawn else { panic!("made above") };
    let head = before.head_values();
    let (network, imported) = read(drawn.clone(), &file, &options).expect("read");
    let Network::ResNet(after) = &network else { panic!("made above") };
    assert_eq!((after.head_values(), imported.tensors), (head, 20 * 5));
    assert!(logits(&network) != logits(&drawn), "the body is that of the file");
}

#[test]
fn two_copies_of_the_weights_are_asked_about() {
    let place = tempfile::tempdir().expect("temporary directory");
    let tensors: BTreeMap<String, Vec<usize>> = ["state_dict", "ema"]
        .iter()
        .flat_map(|place| {
            shapes(&vgg(1)).into_iter().map(move |(name, shape)| (format!("{place}.{name}"), shape))
        })
        .collect();
    let file = made(place.path(), &tensors);
    let message = read(vgg(1), &file, &ImportOptions::default()).expect_err("twice");
    assert!(message.contains("ema.") && message.contains("--prefix"), "{message}");
    let options = ImportOptions { prefix: Some("ema.".to_owned()), ..ImportOptions::default() };
    let (_, imported) = read(vgg(1), &file, &options).expect("read");
    assert_eq!((imported.tensors, imported.beside), (22, 22));
}

#[test]
fn a_wide_network_may_bring_a_block_that_it_never_uses() {
    let place = tempfile::tempdir().expect("temporary directory");
    let config = WideResNetConfig { depth: 10, widen: 1, side: 8, ..WideResNetConfig::new(3) };
    let network = Network::WideResNet(config.build(Seed::new(1), &Device::default()));
    let mut tensors = shapes(&network);
    tensors.insert("sub_block1.layer.0.bn1.weight".to_owned(), vec![16]);
    let (_, imported) =
        read(network, &made(place.path(), &tensors), &ImportOptions::default()).expect("read");
    assert_eq!(imported.idle, 1);
}

#[test]
fn positions_of_another_size_are_interpolated_and_nothing_else() {
    let place = tempfile::tempdir().expect("temporary directory");
    let file = made(place.path(), &shapes(&vit(64, 1)));
    let (network, imported) = read(vit(32, 2), &file, &ImportOptions::default()).expect("read");
    assert_eq!(imported.interpolated, Some((4, 2)));
    assert!(logits(&network).iter().all(|logit| logit.is_finite()));
    let mut tensors = shapes(&vit(64, 1));
    tensors.insert("pos_embed".to_owned(), vec![1, 16, 12]);
    let message =
        read(vit(32, 2), &made(place.path(), &tensors), &ImportOptions::default()).expect_err("no square");
    assert!(message.contains("pos_embed"), "{message}");
}

#[test]
fn what_is_exported_under_any_names_comes_back_bit_by_bit() {
    let place = tempfile::tempdir().expect("temporary directory");
    let path = place.path().join("out.safetensors");
    let mut sources = std::collections::BTreeSet::new();
    for architecture in Architecture::ALL {
        let [first, second] = [1, 2].map(|seed| narrow(architecture, 3, seed));
        let bytes = bytes_of(&first);
        assert!(bytes != bytes_of(&second));
        for map in first.key_maps() {
            export(&first, &map, &path).expect("written");
            let file = open(&path).expect("opened");
            let (back, imported) = read(second.clone(), &file, &ImportOptions::default()).expect(map.source);
            assert_eq!(imported.source, map.source, "{architecture}");
            assert!(bytes == bytes_of(&back), "{architecture} by {}", map.source);
            assert_eq!(logits(&first), logits(&back));
            sources.insert(map.source);
        }
    }
    let expected =
        ["RobustBench", "VGG-Face (conv1_1)", "VGG-Face (conv_1_1)", "syfar", "timm", "torchvision"];
    assert_eq!(Vec::from_iter(sources), expected);
}

#[test]
fn an_embedding_without_a_head_comes_back() {
    let place = tempfile::tempdir().expect("temporary directory");
    let path = place.path().join("out.safetensors");
    let [first, second] = [1, 2].map(|seed| narrow(Architecture::FaceNet, 0, seed));
    std::fs::write(&path, bytes_of(&first)).expect("written");
    let file = open(&path).expect("opened");
    assert_eq!(file.classes(Architecture::FaceNet.head_inputs(104)), None);
    let (back, _) = read(second, &file, &ImportOptions::default()).expect("read");
    assert!(bytes_of(&first) == bytes_of(&back));
}

#[test]
fn the_number_of_classes_is_read_from_the_last_layer_of_every_architecture() {
    let place = tempfile::tempdir().expect("temporary directory");
    for architecture in Architecture::ALL {
        let network = narrow(architecture, 3, 1);
        let inputs = architecture.head_inputs(network.input_shape()[1]);
        for map in network.key_maps() {
            let head = slots::slots(&network, &map).into_iter().find(|slot| slot.head).expect("a head");
            let name = head.theirs.expect("a name");
            let file = made(place.path(), &BTreeMap::from([(name, vec![7, inputs])]));
            assert_eq!(file.classes(inputs), Some(7), "{architecture} by {}", map.source);
        }
    }
}

/// A zip archive with these entries.
fn archive(path: &Path, entries: &[(&str, &[u8])], method: zip::CompressionMethod) {
    let mut writer = zip::ZipWriter::new(std::fs::File::create(path).expect("made"));
    let options = zip::write::SimpleFileOptions::default().compression_method(method);
    for (name, bytes) in entries {
        writer.start_file(*name, options).expect("begun");
        writer.write_all(bytes).expect("written");
    }
    writer.finish().expect("finished");
}

/// The pickle of a state dict with one tensor.
fn tensor(name: &str, storage: u64, shape: &[u64], strides: &[u64]) -> Vec<u8> {
    let number = |value: &u64| [b"\x8a\x08".as_slice(), &value.to_le_bytes()].concat();
    let tuple =
        |values: &[u64]| [b"(", &values.iter().flat_map(number).collect::<Vec<u8>>()[..], b"t"].concat();
    let mut pickle = b"\x80\x02}X".to_vec();
    pickle.extend((name.len() as u32).to_le_bytes());
    pickle.extend(name.as_bytes());
    pickle.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n");
    pickle.extend(b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpu");
    pickle.extend([number(&storage), b"tQK\x00".to_vec(), tuple(shape), tuple(strides)].concat());
    pickle.extend(b"\x89}tRs.");
    pickle
}

#[test]
fn a_shape_without_its_numbers_is_not_believed() {
    let place = tempfile::tempdir().expect("temporary directory");
    // A million classes of no input each take no byte.
    let empty = made(place.path(), &BTreeMap::from([("fc.weight".to_owned(), vec![1_000_000, 0])]));
    assert_eq!(empty.classes(512), None);
    // One number that is read again and again.
    let path = place.path().join("repeated.pt");
    for (name, shape) in [("fc.weight", vec![1_000_000, 512]), ("pos_embed", vec![1, 1_000_001, 192])] {
        let pickle = tensor(name, 1, &shape, &vec![0; shape.len()]);
        archive(&path, &[("a/data.pkl", &pickle), ("a/data/0", &[0; 4])], zip::CompressionMethod::Stored);
        let file = open(&path).expect("a small file");
        assert_eq!(file.classes(512), None);
        let message = file.values(name).expect_err("gigabytes").to_string();
        assert!(message.contains(name) && message.contains("contiguous"), "{message}");
    }
    let file = made(place.path(), &BTreeMap::from([("model.head.weight".to_owned(), vec![7, 3])]));
    assert_eq!((file.classes(3), file.classes(7)), (Some(7), None));
}

#[test]
fn hostile_files_are_refused_with_a_reason() {
    let place = tempfile::tempdir().expect("temporary directory");
    let path = place.path().join("weights.pt");
    let refused = |expected: &str| {
        let message = open(&path).expect_err(expected);
        assert!(message.contains(expected) && message.contains("weights.pt"), "{message}");
    };
    let (stored, deflated) = (zip::CompressionMethod::Stored, zip::CompressionMethod::Deflated);
    archive(&path, &[("a/data.pkl", b"}."), ("a/data/0", &vec![0; 1 << 20])], deflated);
    refused("is compressed");
    archive(&path, &[("a/data.pkl", &vec![b'N'; 5 << 20])], stored);
    refused("this is no state dict");
    archive(&path, &[("a/constants.pkl", b"N."), ("a/data.pkl", b"N.")], stored);
    refused("TorchScript");
    archive(&path, &[("a/data.pkl", b"}.")], stored);
    refused("no tensor in it");
    archive(&path, &[("a/data.pkl", b"cposix\nsystem\n(X\x04\x00\x00\x00trueetR.")], stored);
    refused("state dict");
    archive(&path, &[("b/other", b"}.")], stored);
    refused("data.pkl");
    // A tensor of 2^60 numbers in a storage that claims as many.
    archive(&path, &[("a/data.pkl", &tensor("a", 1 << 60, &[1 << 60], &[1])), ("a/data/0", &[0; 4])], stored);
    refused("weights.pt");
    let whole = std::fs::read(folder().join("checkpoint.pth")).expect("read");
    std::fs::write(&path, &whole[..whole.len() / 2]).expect("written");
    refused("complete");
    let legacy = std::fs::read(folder().join("legacy.pt")).expect("read");
    std::fs::write(&path, &legacy[..legacy.len() / 2]).expect("written");
    refused("end");
    let mut endless = legacy[..15].to_vec();
    endless.resize(5 << 20, b'N');
    std::fs::write(&path, &endless).expect("written");
    refused("this is no state dict");
    std::fs::write(&path, b"GIF89a").expect("written");
    refused("neither safetensors nor");
    std::fs::write(&path, b"").expect("written");
    refused("neither safetensors nor");
    std::fs::write(&path, b"\x80\x02}q\x00.").expect("written");
    refused("torch.save");
    let mut tar = vec![0; 512];
    tar[257..262].copy_from_slice(b"ustar");
    std::fs::write(&path, &tar).expect("written");
    refused("0.1.10");
    assert!(matches!(
        WeightFile::open(&place.path().join("none")),
        Err(crate::models::ModelError::Io { .. })
    ));
    assert!(WeightFile::open(place.path()).is_err(), "a directory");
}

/// Reads all that a file promises, as far as it is small.
fn read_all(path: &Path) {
    let Ok(file) = WeightFile::open(path) else { return };
    for name in file.names() {
        let shape = file.shape(name).expect("named");
        let count = shape.iter().try_fold(1_usize, |count, side| count.checked_mul(*side));
        if count.is_some_and(|count| count < 1 << 20) {
            let _ = file.values(name);
        }
    }
}

fn samples() -> Vec<Vec<u8>> {
    let mut samples: Vec<Vec<u8>> =
        ["module.pt", "legacy.pt"].map(|name| std::fs::read(folder().join(name)).expect("read")).into();
    samples.push(bytes_of(&vgg(1)));
    samples
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_the_readers_panic(
        kind in 0_usize..3,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        near in prop::collection::vec((0_usize..400, any::<u8>()), 0..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        static SAMPLES: std::sync::OnceLock<Vec<Vec<u8>>> = std::sync::OnceLock::new();
        let mut bytes = SAMPLES.get_or_init(samples)[kind].clone();
        for (index, value) in changes {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        // The descriptions are at the start.
        for (at, value) in near {
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let place = tempfile::tempdir().expect("temporary directory");
        let path: PathBuf = place.path().join("fuzzed");
        std::fs::write(&path, &bytes).expect("written");
        read_all(&path);
    }

    #[test]
    fn no_pickle_makes_the_reader_panic(opcodes in prop::collection::vec(any::<u8>(), 0..200)) {
        let place = tempfile::tempdir().expect("temporary directory");
        let path = place.path().join("fuzzed.pt");
        let pickle = [b"\x80\x02".as_slice(), &opcodes, b"."].concat();
        archive(&path, &[("a/data.pkl", &pickle), ("a/data/0", &[0; 64])], zip::CompressionMethod::Stored);
        read_all(&path);
        let magic = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.";
        std::fs::write(&path, [magic.as_slice(), &pickle].concat()).expect("written");
        read_all(&path);
    }
}
