//! Attacks that are worn: where they are, what they learn, and what goes wrong with masks and landmarks.

use std::fs;
use std::path::Path;

use super::{events, faces, fail, succeed, text, train, trained};

fn audit<'a>(model: &'a Path, out: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    [&["audit", "--model", text(model), "--data", faces(), "--out", text(out)][..], more].concat()
}

/// The rows of a finished audit.
fn rows(run: &Path) -> String {
    let file = fs::File::open(run.join("predictions.csv.gz")).expect("rows");
    let mut text = String::new();
    let mut reader = flate2::read::MultiGzDecoder::new(file);
    std::io::Read::read_to_string(&mut reader, &mut text).expect("UTF-8");
    text
}

#[test]
fn a_face_mask_is_audited_and_its_place_is_shown() {
    let place = tempfile::tempdir().expect("temporary directory");
    let (model, out) = (trained().join("model"), place.path().join("out"));
    let printed = succeed(&audit(&model, &out, &["--attack", "face-mask", "--set", "attack.steps=2"]));
    assert!(printed.contains("face-mask covers 3") && printed.contains("placement.png"), "{printed}");
    let sheet = image::open(out.join("placement.png")).expect("a picture").into_rgb8();
    // Four people next to each other, each unchanged and with the mask in one colour.
    assert_eq!(sheet.dimensions(), (4 * 34 + 2, 2 * 34 + 2));
    let flat = |top: u32| {
        let inside = |x: u32, y: u32| sheet.get_pixel(2 + x, top + y).0 == [255, 0, 200];
        (0..32).flat_map(|y| (0..32).map(move |x| (x, y))).filter(|&(x, y)| inside(x, y)).count()
    };
    assert_eq!(flat(2), 0);
    assert!((320..360).contains(&flat(36)), "{}", flat(36));
    assert!(out.join("success_face-mask.csv").is_file());
    assert!(!out.join("textures").exists(), "it learns nothing");
}

#[test]
fn a_patch_is_learned_on_one_split_and_the_same_after_a_resume() {
    let place = tempfile::tempdir().expect("temporary directory");
    let model = trained().join("model");
    let more = [
        "--attack",
        "universal-patch",
        "--targets",
        "2",
        "--set",
        "attack.steps=3",
        "--set",
        "attack.pictures=8",
    ];
    let (first, second) = (place.path().join("a"), place.path().join("b"));
    let printed = succeed(&audit(&model, &first, &more));
    assert!(printed.contains("universal-patch covers"), "{printed}");
    assert!(printed.contains("learned before: 2"), "{printed}");
    assert_eq!(events(&first, "lesson").first(), Some(&serde_json::json!({"done": 0, "total": 2})));
    assert_eq!(events(&first, "lessons")[0]["textures"], 2);
    for texture in ["any.png", "to_2.png"] {
        let patch = image::open(first.join("textures").join(texture)).expect("a texture").into_rgb8();
        assert_eq!(patch.dimensions(), (10, 10), "a tenth of 32 x 32 pixels");
    }
    succeed(&audit(&model, &second, &[&more[..], &["--set", "batch_size=3"]].concat()));
    let changes = |run: &Path| -> Vec<String> {
        let rows = rows(run);
        // All but the margin, the last digit of which may depend on the batch.
        let line = |line: &str| {
            line.split(',').enumerate().filter(|(at, _)| *at != 7).map(|(_, cell)| cell).collect()
        };
        rows.lines().map(line).collect()
    };
    assert_eq!(changes(&first), changes(&second), "the batch size has no influence");
    // Without its rows the audit begins again, with the same patch.
    let before = rows(&first);
    fs::remove_file(first.join("predictions.csv.gz")).expect("removed");
    succeed(&audit(&model, &first, &[&more[..], &["--resume"]].concat()));
    assert_eq!(rows(&first), before);
    // Nobody is attacked towards themselves: 8 pictures, 2 of them of the target.
    assert_eq!(before.lines().filter(|line| line.contains("universal-patch,2,")).count(), 6, "{before}");
}

#[test]
fn eyeglasses_of_a_person_move_and_are_kept_as_pictures() {
    let place = tempfile::tempdir().expect("temporary directory");
    let (model, out) = (trained().join("model"), place.path().join("out"));
    let more = [
        "--attack",
        "eyeglasses",
        "--targets",
        "none",
        "--set",
        "attack.steps=2",
        "--set",
        "attack.person.pictures=3",
        "--set",
        "attack.motion.draws=2",
        "--set",
        "attack.print.total_variation=3/255",
        "--set",
        "attack.print.non_printability=5/255",
        "--set",
        "attack.print.smoothing=1.0",
    ];
    succeed(&audit(&model, &out, &more));
    let textures = fs::read_dir(out.join("textures")).expect("textures").count();
    assert_eq!(textures, 4, "one for each person");
    let frame = image::open(out.join("textures/3.png")).expect("a texture").into_rgba8();
    assert!(frame.pixels().any(|pixel| pixel.0[3] == 0) && frame.pixels().any(|pixel| pixel.0[3] == 255));
}

#[test]
fn attacks_that_learn_are_refused_where_there_is_nothing_to_learn_from() {
    let place = tempfile::tempdir().expect("temporary directory");
    let out = place.path().join("out");
    for set in
        ["validation.attack={kind='universal-patch'}", "objective.base.attack={kind='universal-patch'}"]
    {
        let message = fail(2, &train(text(&out), &["--set", set]));
        assert!(message.contains("syfar audit") && message.contains("expected"), "{message}");
    }
    assert!(!out.exists(), "a run was begun");
}

#[test]
fn places_outside_the_picture_are_refused() {
    let place = tempfile::tempdir().expect("temporary directory");
    let (model, out) = (trained().join("model"), place.path().join("out"));
    let message = |attack, set| fail(2, &audit(&model, &out, &["--attack", attack, "--set", set]));
    let sticker = message("roa", "attack={height=8, width=8, place={top=25, left=0}}");
    assert!(sticker.contains("place.top") && sticker.contains("at most 24"), "{sticker}");
    let patch = message("universal-patch", "attack.area=0.5");
    assert!(patch.contains("attack: `area`") && patch.contains("32 x 32"), "{patch}");
    let steps = message("face-mask", "attack.steps=0");
    assert!(steps.contains("steps") && steps.contains("at least 1"), "{steps}");
    let shift = message("eyeglasses", "attack.motion.shift=4");
    assert!(shift.contains("motion.shift") && shift.contains("0.25"), "{shift}");
    assert!(!out.exists(), "a run was begun");
}

#[test]
fn a_mask_of_another_size_is_resampled_when_that_is_asked_for() {
    let place = tempfile::tempdir().expect("temporary directory");
    let (model, mask) = (trained().join("model"), place.path().join("mask.png"));
    image::GrayImage::from_fn(64, 48, |_, y| image::Luma([if y < 12 { 255 } else { 0 }]))
        .save(&mask)
        .expect("written");
    let set = format!("attack.mask={}", text(&mask));
    let more = ["--targets", "none", "--set", "attack.steps=1", "--set", &set];
    let refused = fail(2, &audit(&model, &place.path().join("a"), &more));
    assert!(refused.contains("64 x 48") && refused.contains("32 x 32"), "{refused}");
    assert!(refused.contains("resample = true"), "{refused}");
    let more = [&more[..], &["--set", "attack.resample=true"]].concat();
    let printed = succeed(&audit(&model, &place.path().join("b"), &more));
    assert!(printed.contains("covers 25.0 %"), "{printed}");
    image::GrayImage::from_pixel(64, 64, image::Luma([255])).save(&mask).expect("written");
    let printed = succeed(&audit(&model, &place.path().join("c"), &more));
    assert!(printed.contains("covers 100.0 %") && printed.contains("everything"), "{printed}");
}

const POINTS: &str = "left_eye_x,left_eye_y,right_eye_x,right_eye_y,nose_x,nose_y,\
                      mouth_left_x,mouth_left_y,mouth_right_x,mouth_right_y";

/// The test pictures of a folder of faces, by their paths.
fn test_pictures(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for person in fs::read_dir(root.join("test")).expect("people") {
        let person = person.expect("an entry").file_name().into_string().expect("UTF-8");
        for file in fs::read_dir(root.join("test").join(&person)).expect("pictures") {
            let file = file.expect("an entry").file_name().into_string().expect("UTF-8");
            found.push(format!("test/{person}/{file}"));
        }
    }
    found.sort();
    found
}

#[test]
fn landmarks_that_cannot_be_meant_are_refused_with_their_line() {
    let place = tempfile::tempdir().expect("temporary directory");
    let (model, out) = (trained().join("model"), place.path().join("out"));
    let root = place.path().join("faces");
    succeed(&["data", "synthetic-faces", "--people", "4", "--images", "10", "--out", text(&root)]);
    let side = image::open(root.join(&test_pictures(&root)[0])).expect("a picture").width();
    let good = |picture: &String| {
        let at = |share: f64| format!("{:.1}", share * f64::from(side));
        let points = [0.34, 0.46, 0.66, 0.46, 0.5, 0.64, 0.37, 0.82, 0.63, 0.82].map(at).join(",");
        format!("{picture},{points}\n")
    };
    let pictures = test_pictures(&root);
    let rows: Vec<String> = pictures.iter().map(good).collect();
    let set = format!("attack.landmarks={}", text(&root.join("landmarks.csv")));
    let words = |more: &'static str| {
        let fixed = ["audit", "--model", text(&model), "--data", text(&root), "--out", text(&out)];
        let more = ["--attack", "face-mask", "--targets", "none", "--set", "attack.steps=1", "--set", more];
        fixed
            .iter()
            .chain(&more)
            .map(|word| (*word).to_owned())
            .chain(["--set".to_owned(), set.clone()])
            .collect()
    };
    let with = |rows: &[String], words: Vec<String>| {
        let text = format!("picture,{POINTS}\n{}", rows.concat());
        fs::write(root.join("landmarks.csv"), text).expect("written");
        words
    };
    let refused = |rows: &[String]| {
        let words = with(rows, words("seed=0"));
        fail(2, &words.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let missing = refused(&rows[1..]);
    assert!(missing.contains(&pictures[0]) && missing.contains("no row"), "{missing}");
    let unknown = refused(&[&rows[..], &[good(&"test/nobody/1.png".to_owned())]].concat());
    assert!(unknown.contains("line 10") && unknown.contains("test/nobody/1.png"), "{unknown}");
    let far = rows[0].replacen(&format!("{:.1}", 0.34 * f64::from(side)), "4000", 1);
    let outside = refused(&[&[far][..], &rows[1..]].concat());
    assert!(outside.contains("line 2") && outside.contains("another picture"), "{outside}");
    let twice = refused(&[&rows[..], &rows[..1]].concat());
    assert!(twice.contains("line 10") && twice.contains("already"), "{twice}");
    assert!(!out.exists(), "a run was begun");
    let good = with(&rows, words("seed=0"));
    let printed = succeed(&good.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(printed.contains("face-mask covers"), "{printed}");
}
