//! Adversarial pictures as files.

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use syfar::data::{Dataset, read_saved};

use super::{events, faces, fail, run, succeed, text, trained};

fn attack<'a>(out: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    static MODEL: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    let model = MODEL.get_or_init(|| trained().join("model"));
    [&["attack", "--model", text(model), "--data", faces(), "--out", text(out)][..], more].concat()
}

const PGD: [&str; 6] = ["--attack", "pgd", "--eps", "8/255", "--set", "attack.steps=3"];

fn rows(out: &Path) -> Vec<Vec<String>> {
    let text = fs::read_to_string(out.join("attacked.csv")).expect("rows");
    text.lines().map(|line| line.split(',').map(ToOwned::to_owned).collect()).collect()
}

#[test]
fn saved_pictures_are_within_the_ball_of_the_clean_ones() {
    let place = tempfile::tempdir().expect("temporary directory");
    let out = place.path().join("out");
    let printed = succeed(&attack(&out, &[&PGD[..], &["--targets", "0,1"]].concat()));
    assert!(printed.contains("within the threat model"), "{printed}");
    let rows = rows(&out);
    assert_eq!(rows[0][..4], ["image", "class", "target", "file"]);
    // 8 test pictures: those of two classes have one target, the others two.
    assert_eq!(rows.len() - 1, 2 * 2 + 4 * 2);
    let data = Dataset::open(faces().as_ref(), 32).expect("faces");
    let clean = data.test.batch(&(0..8).collect::<Vec<_>>(), &Device::default()).expect("pictures").images;
    let clean: Vec<f32> = clean.to_data().iter::<f32>().collect();
    let mut changed = 0;
    for row in &rows[1..] {
        let at = data.test.paths().iter().position(|path| *path == row[0]).expect("a test picture");
        let saved = read_saved(&out.join(&row[3]), 32).expect("a picture");
        let linf =
            saved.iter().zip(&clean[at * saved.len()..]).fold(0.0_f32, |m, (a, b)| m.max((a - b).abs()));
        assert!(linf <= 8.0 / 255.0 + 1e-6, "{row:?}: {linf}");
        assert!((linf - row[7].parse::<f32>().expect("a number")).abs() < 1e-6, "{row:?}: {linf}");
        assert_eq!(row[6] == "true", row[5] == row[2], "success is that the prediction is the target");
        assert!(
            row[3].starts_with(&format!("images/{}/", row[1]))
                && row[3].ends_with(&format!(".to-{}.png", row[2]))
        );
        changed += usize::from(linf > 7.5 / 255.0);
    }
    assert!(changed > 0, "no picture uses the budget");
}

#[test]
fn a_folder_goes_on_and_nothing_is_overwritten() {
    let place = tempfile::tempdir().expect("temporary directory");
    let out = place.path().join("out");
    let words = attack(&out, &[&PGD[..], &["--targets", "0"]].concat());
    let resumed = [&words[..], &["--resume"]].concat();
    succeed(&words);
    let first = rows(&out);
    assert!(fail(1, &words).contains("resume"));
    succeed(&resumed);
    assert_eq!(rows(&out), first);
    // Without the rows everything is made again, and finds its own files.
    fs::remove_file(out.join("predictions.csv.gz")).expect("removed");
    succeed(&resumed);
    assert_eq!(rows(&out), first);
    // A file that somebody else put there stays.
    fs::remove_file(out.join("predictions.csv.gz")).expect("removed");
    let file = out.join(&first[1][3]);
    fs::write(&file, "mine").expect("written");
    let message = fail(1, &resumed);
    assert!(message.contains("other contents") && message.contains("nothing is overwritten"), "{message}");
    assert_eq!(fs::read_to_string(&file).expect("still there"), "mine");
    // A picture that was lost is noticed, and an audit does not go on with such a directory.
    fs::remove_file(&file).expect("removed");
    succeed(&resumed);
    fs::remove_file(&file).expect("removed");
    assert!(fail(1, &resumed).contains("is missing"));
    let told = events(&out, "failed");
    let says = |at: usize, words| told[at]["error"].to_string().contains(words);
    assert!(told.len() == 2 && says(0, "other contents") && says(1, "is missing"), "{told:?}");
    let words: Vec<&str> =
        resumed.iter().map(|word| if *word == "attack" { "audit" } else { *word }).collect();
    assert_ne!(run(&words).status.code(), Some(0));
}

#[test]
fn what_cannot_be_saved_or_meant_is_refused() {
    let place = tempfile::tempdir().expect("temporary directory");
    let out = place.path().join("out");
    let message = |more: &[&str]| fail(2, &attack(&out, more));
    let small = message(&["--attack", "pgd", "--eps", "0.5/255"]);
    assert!(small.contains("0.5/255") && small.contains("less than one grey level"), "{small}");
    assert!(message(&["--attack", "pgd", "--eps", "8"]).contains("8/255"));
    assert!(message(&["--attack", "pgd", "--eps", "much"]).contains("--eps"));
    assert!(message(&["--attack", "eyeglasses", "--eps", "8/255"]).contains("region"));
    assert!(message(&["--attack", "pgd", "--targets", "0;1"]).contains("expected none, all"));
    assert!(message(&["--attack", "pgd", "--set", "attack.steps=0"]).contains("steps"));
    assert!(message(&[]).contains("--attack NAME"));
    assert!(!out.exists(), "a directory was begun");
    let mine = place.path().join("mine");
    fs::create_dir(&mine).expect("made");
    fs::write(mine.join("thesis.tex"), "").expect("written");
    assert!(fail(1, &attack(&mine, &PGD)).contains("not empty"));
}

#[test]
fn colours_of_eyeglasses_are_saved_as_they_are() {
    let place = tempfile::tempdir().expect("temporary directory");
    let out = place.path().join("out");
    succeed(&attack(&out, &["--attack", "eyeglasses", "--set", "attack.steps=2", "--targets", "2"]));
    let rows = rows(&out);
    assert!(
        rows[1..].iter().any(|row| row[9].parse::<f32>().is_ok_and(|changed| changed > 0.03)),
        "{rows:?}"
    );
}
