use rand::RngExt;

use super::*;
use crate::Seed;
use crate::attacks::Attack;
use crate::audit::fixtures::{Bench, IMAGES, STEP, Step, options};
use crate::audit::{
    Counts, Inherit, PredictionLog, Progress, ShardOutcome, Tally, TargetChoice, audit, audit_shard,
    read_rows,
};
use crate::data::{Batch, ImageId};
use crate::models::{FaceCnn, FaceCnnConfig, Victim};
use crate::run::StopFlag;

/// Many pictures: those of a bench again and again, under names of their own.
struct Many {
    bench: Bench,
    rows: Vec<usize>,
    labels: Vec<usize>,
    ids: Vec<ImageId>,
    names: Vec<String>,
}

impl Many {
    fn new(images: usize) -> Self {
        let bench = Bench::new();
        let rows: Vec<usize> = (0..images).map(|row| row % IMAGES).collect();
        Self {
            labels: rows.iter().map(|&row| bench.batch.labels[row]).collect(),
            ids: (0..images as u64).map(|id| ImageId(id * 31)).collect(),
            names: (0..images).map(|row| format!("{row}.png")).collect(),
            bench,
            rows,
        }
    }

    fn load(&self, wanted: &[usize]) -> Batch {
        let mut batch =
            self.bench.batch.select(&wanted.iter().map(|&row| self.rows[row]).collect::<Vec<_>>());
        batch.ids = wanted.iter().map(|&row| self.ids[row]).collect();
        batch
    }

    fn with_pictures<T>(&self, then: impl FnOnce(Pictures) -> T) -> T {
        let load = |wanted: &[usize]| Ok(self.load(wanted));
        then(Pictures { labels: &self.labels, ids: &self.ids, names: &self.names, load: &load, save: None })
    }

    /// The file of rows of an audit in one piece.
    fn whole(&self, attacks: &[(&dyn Attack, AuditOptions)]) -> Vec<u8> {
        let path = self.bench.directory.path().join("whole.csv.gz");
        let mut log = PredictionLog::open(&path).expect("a log");
        for (attack, options) in attacks {
            self.with_pictures(|pictures| {
                let stop = StopFlag::default();
                audit(&self.bench.victim, pictures, *attack, options, &mut log, &stop, &mut |_, _| ())
                    .expect("an audit")
            });
        }
        fs::read(&path).expect("its rows")
    }

    fn folder(&self, name: &str) -> PieceFolder {
        let folder = PieceFolder::new(&self.bench.directory.path().join(name), "0123456789ab");
        folder.make().expect("a folder");
        folder
    }

    /// A shard until some batches of each attack are done.
    fn shard(
        &self,
        attacks: &[(&dyn Attack, AuditOptions)],
        folder: &PieceFolder,
        shard: Shard,
        batches: usize,
    ) -> Vec<ShardOutcome> {
        let mut outcomes = Vec::new();
        for (attack, options) in attacks {
            let (stop, mut count) = (StopFlag::default(), 0);
            let mut progress = |at: Progress, _: &Tally| {
                assert!(at.done <= at.total);
                count += 1;
                if count == batches {
                    stop.request();
                }
            };
            let outcome = self.with_pictures(|pictures| {
                let victim = &self.bench.victim;
                audit_shard(victim, pictures, *attack, options, folder, shard, &stop, &mut progress)
                    .expect("a shard")
            });
            outcomes.push(outcome);
            if !outcome.finished {
                break;
            }
        }
        outcomes
    }

    fn survey(&self, attacks: &[AuditOptions], folders: &[PieceFolder]) -> Survey {
        self.with_pictures(|pictures| {
            let parts = Parts::new(pictures, 4, attacks).expect("valid");
            parts.survey(folders).expect("readable")
        })
    }

    fn merged(&self, attacks: &[AuditOptions], folders: &[PieceFolder]) -> Result<Vec<u8>, String> {
        let path = self.bench.directory.path().join("merged.csv.gz");
        self.with_pictures(|pictures| {
            let parts = Parts::new(pictures, 4, attacks).expect("valid");
            parts.join(folders, &path).map_err(|error| error.to_string())
        })?;
        Ok(fs::read(&path).expect("its rows"))
    }
}

fn shards(count: usize) -> impl Iterator<Item = Shard> {
    (0..count).filter_map(move |index| Shard::new(index, count))
}

fn named(name: &str, options: AuditOptions) -> AuditOptions {
    AuditOptions { name: Some(name.to_owned()), ..options }
}

/// An attack with targets, and two of a curve that take over what the ones before did.
fn curve(batch_size: usize) -> [AuditOptions; 3] {
    let inherit = |attacks: &[&str]| -> Vec<Inherit> {
        attacks.iter().map(|attack| Inherit { attack: (*attack).to_owned(), whole: false }).collect()
    };
    let point = |name, from: &[&str]| AuditOptions {
        inherit: inherit(from),
        ..named(name, options(batch_size, TargetChoice::None))
    };
    [
        named("step", options(batch_size, TargetChoice::Random(2))),
        point("step-more", &["step"]),
        point("step-most", &["step-more", "step"]),
    ]
}

const MORE: Step = Step { epsilon: 0.1 };
const MOST: Step = Step { epsilon: 0.2 };

fn with_attacks(options: &[AuditOptions; 3]) -> Vec<(&'static dyn Attack, AuditOptions)> {
    let attacks: [&'static dyn Attack; 3] = [&STEP, &MORE, &MOST];
    attacks.into_iter().zip(options.iter().cloned()).collect()
}

#[test]
fn any_number_of_shards_gives_the_bytes_of_one_run() {
    let many = Many::new(2 * IMAGES);
    let options = curve(3);
    let attacks = with_attacks(&options);
    let whole = many.whole(&attacks);
    for count in [1, 2, 7, 40] {
        let folder = many.folder(&format!("{count} shards"));
        // Neither the order of the shards nor their pauses matter.
        let order: Vec<Shard> = shards(count).collect();
        order.iter().rev().for_each(|shard| drop(many.shard(&attacks, &folder, *shard, usize::MAX)));
        fs::write(folder.checks(), "{}").expect("written");
        let survey = many.survey(&options, std::slice::from_ref(&folder));
        // 20 images in batches of 3, 7 each; 40 targeted attacks are 14; and the checks.
        assert_eq!(survey, Survey { pieces: 7 + 7 + 14 + 7 + 7 + 1, ..Survey::default() });
        assert_eq!(many.merged(&options, &[folder]), Ok(whole.clone()), "{count} shards");
    }
}

#[test]
fn shards_that_are_killed_and_run_again_give_the_bytes_of_one_run() {
    let many = Many::new(200);
    let options = curve(1);
    let attacks = with_attacks(&options);
    let whole = many.whole(&attacks);
    let folder = many.folder("killed");
    let mut rng = Seed::new(5).rng();
    let mut killed = std::collections::BTreeSet::new();
    while killed.len() < 20 {
        killed.insert(rng.random_range(0..200_u64) as usize);
    }
    for shard in shards(200) {
        let batches = if killed.contains(&shard.index()) { 1 + shard.index() % 3 } else { usize::MAX };
        let outcomes = many.shard(&attacks, &folder, shard, batches);
        assert_eq!(outcomes.iter().all(|outcome| outcome.finished), batches == usize::MAX);
    }
    // What a process leaves that dies while it writes.
    fs::write(folder.folder().join(".tmpAbC123"), "half a piece").expect("written");
    fs::write(folder.checks(), "{}").expect("written");
    let survey = many.survey(&options, std::slice::from_ref(&folder));
    let of: std::collections::BTreeSet<usize> =
        survey.missing.iter().map(|piece| piece.shard(200).index()).collect();
    assert_eq!(of, killed, "what is missing names the shards that were killed");
    assert!(
        many.merged(&options, std::slice::from_ref(&folder)).expect_err("missing").contains("is missing")
    );
    let (mut found, mut made) = (0, 0);
    for shard in shards(200) {
        let outcomes = many.shard(&attacks, &folder, shard, usize::MAX);
        found += outcomes.iter().map(|outcome| outcome.found).sum::<usize>();
        made += outcomes.iter().map(|outcome| outcome.made).sum::<usize>();
    }
    assert_eq!(made, survey.missing.len(), "nothing is made twice");
    assert!(found > 1000, "{found}");
    assert_eq!(many.merged(&options, &[folder]), Ok(whole));
}

#[test]
fn a_shard_counts_its_rows_whether_it_made_or_found_them() {
    let many = Many::new(IMAGES);
    let options = [named("step", options(3, TargetChoice::All))];
    let attacks: [(&dyn Attack, AuditOptions); 1] = [(&STEP, options[0].clone())];
    let folder = many.folder("counted");
    let mut sum = Tally::default();
    for shard in shards(3) {
        let first = many.shard(&attacks, &folder, shard, usize::MAX)[0];
        let again = many.shard(&attacks, &folder, shard, usize::MAX)[0];
        assert_eq!(first.tally, again.tally);
        assert_eq!((first.found, again.made, again.attacks), (0, 0, 0));
        for (sum, part) in [
            (&mut sum.clean, first.tally.clean),
            (&mut sum.robust, first.tally.robust),
            (&mut sum.targeted, first.tally.targeted),
        ] {
            *sum = [sum[0] + part[0], sum[1] + part[1]];
        }
    }
    many.whole(&attacks);
    let rows = read_rows(&many.bench.directory.path().join("whole.csv.gz")).expect("readable");
    let counts = Counts::from_rows(rows, 4).expect("valid rows");
    let of_attack = &counts.attacks["step"];
    let robust = of_attack.untargeted.as_ref().expect("untargeted");
    let targeted = of_attack.targeted.as_ref().expect("targeted");
    assert_eq!(sum.clean, [counts.clean.correct(), counts.clean.total()]);
    assert_eq!(sum.robust, [robust.correct(), robust.total()]);
    assert_eq!(sum.targeted, [targeted.total_successes(), targeted.total_attempts()]);
}

#[test]
fn what_is_missing_twice_or_foreign_is_named() {
    let many = Many::new(IMAGES);
    let options = [named("step", options(3, TargetChoice::None))];
    let attacks: [(&dyn Attack, AuditOptions); 1] = [(&STEP, options[0].clone())];
    let (first, second) = (many.folder("first"), many.folder("second"));
    let [zero, one] = [0, 1].map(|index| Shard::new(index, 2).expect("one of two"));
    many.shard(&attacks, &first, zero, usize::MAX);
    fs::write(first.checks(), "{}").expect("written");
    let folders = [first.clone(), second.clone()];
    let missing = many.survey(&options, &folders).missing;
    // Four batches a stage: the second half is that of the second shard.
    let names: Vec<&str> = missing.iter().map(|piece| piece.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "0123456789ab-clean-000002.csv.gz",
            "0123456789ab-clean-000003.csv.gz",
            "0123456789ab-step-untargeted-000002.csv.gz",
            "0123456789ab-step-untargeted-000003.csv.gz",
        ]
    );
    assert!(missing.iter().all(|piece| piece.shard(2) == one));
    many.shard(&attacks, &second, one, usize::MAX);
    assert_eq!(many.survey(&options, &folders).missing, []);
    many.shard(&attacks, &second, zero, usize::MAX);
    let twice = many.survey(&options, &folders).twice;
    assert_eq!(twice.len(), 4);
    assert!(
        twice
            .iter()
            .all(|(name, places)| { places[..] == [first.folder().join(name), second.folder().join(name)] })
    );
    let other = PieceFolder::new(second.folder(), "ba9876543210");
    many.shard(&attacks, &other, zero, usize::MAX);
    assert_eq!(many.survey(&options, &folders).foreign.len(), 4);
}

#[test]
fn a_damaged_piece_is_named_by_the_merge_and_made_again_by_its_shard() {
    let many = Many::new(IMAGES);
    let options = [named("step", options(3, TargetChoice::All))];
    let attacks: [(&dyn Attack, AuditOptions); 1] = [(&STEP, options[0].clone())];
    let folder = many.folder("damaged");
    let all = Shard::new(0, 1).expect("the only one");
    many.shard(&attacks, &folder, all, usize::MAX);
    let whole = many.merged(&options, std::slice::from_ref(&folder)).expect("whole");
    let piece = |number: usize| folder.path("step", Piece { stage: Stage::Targeted, number });
    let bytes = fs::read(piece(1)).expect("a piece");
    let swapped = fs::read(piece(2)).expect("another piece");
    let clean = fs::read(folder.path("step", Piece { stage: Stage::Clean, number: 0 })).expect("clean rows");
    for (broken, words) in [
        (&bytes[..bytes.len() / 2], "has 0 rows, expected 3"),
        (&[0; 40][..], "is damaged"),
        (&swapped, "belongs elsewhere"),
        (&clean, "belongs elsewhere"),
    ] {
        fs::write(piece(1), broken).expect("written");
        let error = many.merged(&options, std::slice::from_ref(&folder)).expect_err(words);
        assert!(error.contains(words) && error.contains("targeted-000001"), "{error}");
        let again = many.shard(&attacks, &folder, all, usize::MAX)[0];
        assert_eq!((again.made, again.attacks), (1, 3));
        assert_eq!(many.merged(&options, std::slice::from_ref(&folder)), Ok(whole.clone()));
    }
}

#[test]
fn pieces_that_disagree_about_an_unchanged_picture_are_refused() {
    let many = Many::new(IMAGES);
    let options = [named("step", options(3, TargetChoice::All))];
    let attacks: [(&dyn Attack, AuditOptions); 1] = [(&STEP, options[0].clone())];
    let folder = many.folder("disagree");
    many.shard(&attacks, &folder, Shard::new(0, 1).expect("the only one"), usize::MAX);
    let path = folder.path("step", Piece { stage: Stage::Targeted, number: 0 });
    let mut rows: Vec<Row> = read_rows(&path).expect("readable").map(|row| row.expect("a row")).collect();
    rows[0].clean_prediction = (rows[0].clean_prediction + 1) % 4;
    fs::write(&path, member(&rows, true).expect("gzip")).expect("written");
    let error = many.merged(&options, &[folder]).expect_err("a contradiction");
    assert!(error.contains("image 0.png") && error.contains("SYFAR_SIMD"), "{error}");
}

/// Does nothing, except in the process that the next test starts: alone, so that no other test's memory is counted.
#[cfg(target_os = "linux")]
#[test]
fn measured_shard() {
    const PEOPLE: usize = 10_000;
    if std::env::var_os("SYFAR_TEST_MEMORY").is_none() {
        return;
    }
    let mut many = Many::new(PEOPLE);
    many.labels = (0..PEOPLE).collect();
    let config = FaceCnnConfig { side: 16, ..FaceCnnConfig::new(PEOPLE) };
    let network = FaceCnn::new(&config, Seed::new(0), &burn::tensor::Device::default().autodiff());
    many.bench.victim = Victim::new(&network);
    let attacks: [(&dyn Attack, AuditOptions); 1] =
        [(&STEP, named("step", options(64, TargetChoice::Random(10))))];
    let shard = Shard::new(7, 200).expect("one of 200");
    let outcomes = many.shard(&attacks, &many.folder("gallery"), shard, usize::MAX);
    assert_eq!(outcomes[0].tally.targeted[1], 512, "8 of 1563 batches");
    let status = fs::read_to_string("/proc/self/status").expect("Linux has it");
    let peak =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the largest resident size");
    println!("\npeak {}", peak.trim().trim_end_matches(" kB"));
}

#[cfg(target_os = "linux")]
#[test]
fn a_shard_of_ten_thousand_classes_holds_no_matrix_of_them() {
    let program = std::env::current_exe().expect("path of the test program");
    let output = std::process::Command::new(program)
        .args(["--exact", "audit::merge::tests::measured_shard", "--nocapture"])
        .env("SYFAR_TEST_MEMORY", "1")
        .output()
        .expect("the test program starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.strip_prefix("peak ")).expect("the process ended well");
    let kilobytes: u64 = line.parse().expect("a number");
    println!("a shard of 10,000 classes: {} MB at most", kilobytes / 1000);
    // One matrix of counts of 8 bytes would take 800 MB.
    assert!(kilobytes < 400_000, "{kilobytes} kB");
}
