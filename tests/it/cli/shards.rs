//! Audits in shards, and their merge.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rand::RngExt as _;
use rand::seq::SliceRandom as _;
use syfar::Seed;

use super::{faces, fail, succeed, syfar, text, train, trained};

/// An audit with curves in batches of three: 3 batches unchanged, 3 without a target, 8 with one, and 2 x 3 of curves.
const CURVES: [&str; 10] = [
    "--attack",
    "pgd",
    "--set",
    "attack.steps=2",
    "--set",
    "batch_size=3",
    "--set",
    "curve.epsilon=['2/255', '16/255']",
    "--set",
    "noise_draws=50",
];

fn audit<'a>(model: &'a Path, out: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    [&["audit", "--model", text(model), "--data", faces(), "--out", text(out)][..], more].concat()
}

fn shard(words: &[&str], which: &str) {
    let printed = succeed(&[words, &["--shard", which]].concat());
    assert!(printed.contains(&format!("Shard {which}: ")) && printed.contains("syfar merge"), "{printed}");
}

/// All files of an audit that are the same however it was made: not the logs and the page, which say when and by which
/// command, and not what only shards have.
fn files(run: &Path) -> BTreeMap<String, Vec<u8>> {
    fn collect(root: &Path, place: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(place).expect("readable") {
            let path = entry.expect("entry").path();
            let name = path.strip_prefix(root).expect("inside").to_str().expect("UTF-8").to_owned();
            if ["events.jsonl", "report.html", ".lock", "shards", "pieces"].contains(&name.as_str()) {
                continue;
            }
            if path.is_dir() {
                collect(root, &path, found);
            } else {
                found.insert(name, fs::read(&path).expect("readable"));
            }
        }
    }
    let mut found = BTreeMap::new();
    collect(run, run, &mut found);
    found
}

fn assert_same(whole: &Path, merged: &Path) {
    let (expected, found) = (files(whole), files(merged));
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&found), names(&expected));
    assert!(expected.contains_key("predictions.csv.gz") && expected.contains_key("metrics.json"));
    for (name, bytes) in &expected {
        assert!(&found[name] == bytes, "{name} differs");
    }
    assert!(merged.join("report.html").is_file() && merged.join("events.jsonl").is_file());
}

#[test]
fn shards_in_one_directory_or_in_several_merge_to_the_files_of_one_run() {
    let place = tempfile::tempdir().expect("temporary directory");
    let model = trained().join("model");
    let whole = place.path().join("whole");
    succeed(&audit(&model, &whole, &CURVES));
    // One directory for all, merged in place.
    let shared = place.path().join("shared");
    let words = audit(&model, &shared, &CURVES);
    shard(&words, "1/2");
    let early = fail(1, &["merge", text(&shared)]);
    assert!(early.contains("pieces are missing") && early.contains("--shard 0/2"), "{early}");
    shard(&words, "0/2");
    let printed = succeed(&["merge", text(&shared)]);
    assert!(printed.contains("Merged") && printed.contains("robust accuracy"), "{printed}");
    assert_same(&whole, &shared);
    // A directory each, merged into a new one.
    let own: Vec<PathBuf> = (0..7).map(|index| place.path().join(format!("own-{index}"))).collect();
    for (index, out) in own.iter().enumerate() {
        shard(&audit(&model, out, &CURVES), &format!("{index}/7"));
    }
    let merged = place.path().join("merged");
    let runs: Vec<&str> = own.iter().map(|path| text(path)).collect();
    succeed(&[&["merge"], &runs[..], &["--out", text(&merged)]].concat());
    assert_same(&whole, &merged);
    // What was merged is an audit like any other.
    let compared = succeed(&["show", text(&whole), text(&merged)]);
    assert!(compared.contains("robust accuracy"), "{compared}");
    // A merge that was interrupted is made again.
    fs::remove_file(merged.join("metrics.json")).expect("removed");
    succeed(&[&["merge"], &runs[..], &["--out", text(&merged)]].concat());
    assert_same(&whole, &merged);

    refuses_what_is_not_one_audit(place.path(), &model, &own);
}

/// Seven directories that are one audit, and what must not be merged with them.
fn refuses_what_is_not_one_audit(place: &Path, model: &Path, own: &[PathBuf]) {
    let runs: Vec<&str> = own.iter().map(|path| text(path)).collect();
    let out = place.join("refused");
    let merge = |code: i32, runs: &[&str]| {
        let error = fail(code, &[&["merge"], runs, &["--out", text(&out)]].concat());
        assert!(!out.exists(), "something was written");
        error
    };
    let missing = merge(1, &runs[..6]);
    assert!(missing.contains("--shard 6/7") && missing.contains("run these shards of 7 again"), "{missing}");
    let again = merge(2, &[&runs[..], &runs[..1]].concat());
    assert!(again.contains("one directory; give it once"), "{again}");
    let copy = place.join("copy");
    succeed(&[&audit(model, &copy, &CURVES)[..], &["--shard", "3/7"]].concat());
    let twice = merge(1, &[&runs[..], &[text(&copy)]].concat());
    assert!(
        twice.contains("are there twice") && twice.contains("own-3") && twice.contains("copy"),
        "{twice}"
    );
    let other = place.join("other");
    succeed(&[&audit(model, &other, &CURVES)[..], &["--seed", "1", "--shard", "6/7"]].concat());
    let config = merge(1, &[&runs[..6], &[text(&other)]].concat());
    assert!(
        config.contains("shards of two audits") && config.contains("seed: 1 in the run, 0 now"),
        "{config}"
    );
    let joined = fail(1, &[&audit(model, &own[0], &CURVES)[..], &["--seed", "1", "--shard", "0/7"]].concat());
    assert!(joined.contains("seed: 0 in the run, 1 now"), "{joined}");
    // Pieces of another run that somebody copied beside those of this one.
    for entry in fs::read_dir(other.join("pieces")).expect("readable") {
        let path = entry.expect("entry").path();
        fs::copy(&path, own[0].join("pieces").join(path.file_name().expect("a name"))).expect("copied");
    }
    let foreign = merge(1, &runs);
    assert!(foreign.contains("are no pieces of this audit") && foreign.contains("own-0"), "{foreign}");
}

#[cfg(unix)]
#[test]
fn a_shard_that_is_killed_goes_on_and_nothing_is_lost_or_twice() {
    let place = tempfile::tempdir().expect("temporary directory");
    let model = trained().join("model");
    let more = ["--attack", "pgd", "--set", "attack.steps=150", "--set", "batch_size=1", "--targets", "all"];
    let (whole, out) = (place.path().join("whole"), place.path().join("out"));
    succeed(&audit(&model, &whole, &more));
    let words = audit(&model, &out, &more);
    let command = [&words[..], &["--shard", "0/1"]].concat();
    let pieces = || fs::read_dir(out.join("pieces")).map_or(0, |entries| entries.flatten().count());
    let mut child =
        syfar(&command).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary starts");
    let patience = Instant::now() + Duration::from_mins(2);
    // In the middle of the attacks: 8 clean pieces, the checks, 8 + 24 attacks.
    while pieces() < 14 && Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(2));
    }
    let taken = fail(1, &command);
    child.kill().expect("SIGKILL");
    assert!(!child.wait().expect("it ends").success(), "it was done before it could be killed");
    assert!(taken.contains("another process is writing"), "{taken}");
    assert!(pieces() < 41, "nothing was left to do");
    let early = fail(1, &["merge", text(&out)]);
    assert!(early.contains("pieces are missing") && early.contains("--shard 0/1"), "{early}");
    succeed(&command);
    succeed(&["merge", text(&out)]);
    assert_same(&whole, &out);
    // And again: nothing changes, and nothing is attacked.
    let printed = succeed(&command);
    assert!(printed.contains("0 made"), "{printed}");
    succeed(&["merge", text(&out)]);
    assert_same(&whole, &out);
}

/// Runs shards of 200, two at a time, and kills those that have a delay after it; how many were killed at work.
#[cfg(unix)]
fn many_shards(words: &[&str], shards: &[(usize, Option<Duration>)]) -> usize {
    let (next, killed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let one = |index: usize, delay: Option<Duration>| {
        let which = format!("{index}/200");
        let mut command = syfar(&[words, &["--shard", &which]].concat());
        let command = command.env("RAYON_NUM_THREADS", "1").stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the binary starts");
        if let Some(delay) = delay {
            std::thread::sleep(delay);
            child.kill().expect("SIGKILL");
        }
        let ended = child.wait().expect("it ends");
        let died = ended.code().is_none();
        assert!(ended.success() || (died && delay.is_some()), "shard {which}: {ended}");
        killed.fetch_add(usize::from(died), Ordering::Relaxed);
    };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some((index, delay)) = shards.get(next.fetch_add(1, Ordering::Relaxed)) {
                    one(*index, *delay);
                }
            });
        }
    });
    killed.into_inner()
}

/// Minutes of work: `cargo test --test it two_hundred -- --ignored --nocapture`.
#[cfg(unix)]
#[test]
#[ignore = "200 processes, minutes"]
fn two_hundred_shards_of_which_twenty_were_killed_merge_to_the_files_of_one_run() {
    let place = tempfile::tempdir().expect("temporary directory");
    let [data, run, whole, out] = ["data", "run", "whole", "out"].map(|name| place.path().join(name));
    succeed(&["data", "synthetic-faces", "--people", "10", "--images", "10", "--out", text(&data)]);
    let mut train = train(text(&run), &[]);
    train[2] = text(&data);
    succeed(&train);
    let model = run.join("model");
    // 20 pictures unchanged, without a target, and towards each of 9 others: 220 pieces, and the checks.
    let more = ["--attack", "pgd", "--set", "attack.steps=20", "--set", "batch_size=1", "--targets", "all"];
    let command =
        |out| [&["audit", "--model", text(&model), "--data", text(&data), "--out", out][..], &more].concat();
    succeed(&command(text(&whole)));
    let words = command(text(&out));
    let start = Instant::now();
    assert_eq!(many_shards(&words, &[(1, None)]), 0);
    let usual = start.elapsed();
    let mut rng = Seed::new(0).rng();
    let mut unlucky: Vec<usize> = (0..200).filter(|index| *index != 1).collect();
    unlucky.shuffle(&mut rng);
    unlucky.truncate(20);
    let mut delay = |index| unlucky.contains(&index).then(|| usual.mul_f64(rng.random::<f64>()));
    let shards: Vec<(usize, Option<Duration>)> = (0..200).map(|index| (index, delay(index))).collect();
    let killed = many_shards(&words, &shards);
    let early = fail(1, &["merge", text(&out)]);
    assert!(early.contains("pieces are missing"), "{early}");
    let again: Vec<(usize, Option<Duration>)> = unlucky.iter().map(|index| (*index, None)).collect();
    assert_eq!(many_shards(&words, &again), 0);
    let all = start.elapsed();
    succeed(&["merge", text(&out)]);
    assert_same(&whole, &out);
    println!(
        "one shard took {usual:?}, all {all:?}; {killed} of 20 were killed at work, and what was merged said: {early}"
    );
}

#[test]
fn an_attack_that_learns_is_the_same_in_shards() {
    let place = tempfile::tempdir().expect("temporary directory");
    let model = trained().join("model");
    let (whole, out) = (place.path().join("whole"), place.path().join("out"));
    let more = [
        "--attack",
        "universal-patch",
        "--targets",
        "random:1",
        "--set",
        "attack.steps=3",
        "--set",
        "attack.pictures=8",
        "--set",
        "batch_size=2",
    ];
    succeed(&audit(&model, &whole, &more));
    for which in ["0/3", "1/3", "2/3"] {
        shard(&audit(&model, &out, &more), which);
    }
    succeed(&["merge", text(&out)]);
    assert!(out.join("textures/any.png").is_file());
    assert_same(&whole, &out);
}

#[test]
fn a_merge_needs_the_model_and_the_pictures_of_the_shards() {
    let place = tempfile::tempdir().expect("temporary directory");
    let (model, data, out) =
        (place.path().join("model"), place.path().join("faces"), place.path().join("out"));
    copy(&trained().join("model"), &model);
    copy(Path::new(faces()), &data);
    let words = ["audit", "--model", text(&model), "--data", text(&data), "--out", text(&out)];
    let more = ["--attack", "fgsm", "--targets", "none", "--shard", "0/1"];
    succeed(&[&words[..], &more].concat());
    let weights = model.join("model.safetensors");
    let before = fs::read(&weights).expect("weights");
    let mut other = before.clone();
    let last = other.len() - 4;
    other[last] ^= 1;
    fs::write(&weights, &other).expect("written");
    let changed = fail(1, &["merge", text(&out)]);
    assert!(changed.contains("another program, model or data set") && changed.contains("model.safetensors"));
    fs::write(&weights, before).expect("written");
    let picture = fs::read_dir(data.join("test")).expect("classes").flatten().next().expect("a class").path();
    let mut pictures: Vec<PathBuf> =
        fs::read_dir(&picture).expect("pictures").flatten().map(|entry| entry.path()).collect();
    pictures.sort();
    fs::copy(&pictures[0], &pictures[1]).expect("copied");
    let changed = fail(1, &["merge", text(&out)]);
    assert!(changed.contains("data_hash"), "{changed}");
    // With fewer files: the rows alone.
    fs::remove_dir_all(&data).expect("removed");
    let gone = fail(1, &["merge", text(&out)]);
    assert!(gone.contains("under the paths that the shards had"), "{gone}");
}

#[test]
fn shards_that_make_no_sense_are_refused_before_any_work() {
    let place = tempfile::tempdir().expect("temporary directory");
    let out = place.path().join("out");
    let missing = place.path().join("no-model");
    let words = |which| [&audit(&missing, &out, &[])[..], &["--shard", which]].concat();
    for (which, expected) in [
        ("5/4", "expected 0/4 to 3/4"),
        ("4/4", "counted from 0"),
        ("0/0", "expected at least 1"),
        ("one", "expected I/N"),
        ("kubernetes", "kubernetes/200"),
    ] {
        let error = fail(2, &words(which));
        assert!(error.contains(expected) && !error.contains("no-model"), "{error}");
    }
    let output =
        syfar(&words("slurm")).env_remove("SLURM_ARRAY_TASK_ID").output().expect("the binary starts");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("SLURM_ARRAY_TASK_ID is not set"), "{error}");
    assert!(!out.exists());
    // A run in one piece and one in shards do not mix.
    let model = trained().join("model");
    let more = ["--attack", "fgsm", "--targets", "none", "--set", "checks.depth=off"];
    let (whole, pieces) = (place.path().join("whole"), place.path().join("pieces"));
    succeed(&audit(&model, &whole, &more));
    let mixed = fail(2, &[&audit(&model, &whole, &more)[..], &["--shard", "0/1"]].concat());
    assert!(mixed.contains("holds an audit in one piece"), "{mixed}");
    let none = fail(2, &["merge", text(&whole)]);
    assert!(none.contains("holds no pieces"), "{none}");
    // Variables of Slurm, and an array of one.
    let mut array = syfar(&[&audit(&model, &pieces, &more)[..], &["--shard", "slurm/1"]].concat());
    let done = array.env("SLURM_ARRAY_TASK_ID", "0").output().expect("the binary starts");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let unmerged = fail(2, &[&audit(&model, &pieces, &more)[..], &["--resume"]].concat());
    assert!(unmerged.contains("are not merged") && unmerged.contains("syfar merge"), "{unmerged}");
    let several = fail(2, &["merge", text(&pieces), text(&whole)]);
    assert!(several.contains("holds no pieces"), "{several}");
    let rows = succeed(&["merge", text(&pieces), "--rows-only"]);
    assert!(rows.contains("Merged") && !pieces.join("metrics.json").exists(), "{rows}");
    succeed(&[&audit(&model, &pieces, &more)[..], &["--resume"]].concat());
    assert_same(&whole, &pieces);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("readable") {
        let path = entry.expect("entry").path();
        let there = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &there);
        } else {
            fs::copy(&path, &there).expect("copied");
        }
    }
}
