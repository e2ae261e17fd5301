//! `syfar tensorboard`: event files for TensorBoard, made from the logs of runs.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::Usage;
use super::page::of_pair;
use crate::audit::{CLEAN, Row, read_rows};
use crate::run::{EventFollower, Layout, RunError, write_file};
use crate::tensorboard::{EventFile, Picture};
use crate::watch::RunView;

/// The one event file of a run. TensorBoard asks for `tfevents` in the name.
const NAME: &str = "events.out.tfevents.syfar";

/// Images of the worst pair that are shown at most.
const MOST_IMAGES: usize = 4;

#[derive(clap::Args)]
pub(super) struct TensorboardArguments {
    /// Run directories; each gets a folder `tensorboard`. Run it again to bring it up to date.
    #[arg(required = true)]
    runs: Vec<PathBuf>,
}

pub(super) fn tensorboard(arguments: &TensorboardArguments) -> anyhow::Result<()> {
    for run in &arguments.runs {
        let path = run.join("events.jsonl");
        if !path.is_file() {
            let problem =
                format!("{} has no events.jsonl; give the directory of one training or audit", run.display());
            return Err(Usage(problem).into());
        }
        let (events, view) = read_log(&path)?;
        let pictures = worst_pair(run, &view)?;
        let folder = run.join("tensorboard");
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let file = folder.join(NAME);
        write_file(&file, &events.finish(pictures))?;
        super::say(&file.display().to_string());
    }
    Ok(())
}

/// What the events of a log come to, a portion of it at a time. Lines that are none are left out.
fn read_log(path: &Path) -> Result<(EventFile, RunView), RunError> {
    let (mut events, mut view) = (EventFile::default(), RunView::default());
    let (mut follower, mut damaged) = (EventFollower::new(path), 0);
    loop {
        let news = follower.news()?;
        for event in &news.events {
            events.take(event);
            view.take(event);
        }
        damaged += news.damaged;
        if !news.more {
            break;
        }
    }
    if damaged > 0 {
        eprintln!("{}: {damaged} damaged lines are left out", path.display());
    }
    Ok((events, view))
}

/// Pictures of the pair that differs most, where they are at hand: first the one that the audit kept, then clean ones
/// where the data are, and adversarial ones where the run has saved them.
fn worst_pair(run: &Path, view: &RunView) -> anyhow::Result<Vec<(String, Picture)>> {
    let (Some(attack), Some((_, matrix))) = (view.audits.first().map(|audit| &audit.attack), &view.matrix)
    else {
        return Ok(Vec::new());
    };
    let rows = run.join("predictions.csv.gz");
    let Some(pair) = matrix.pairs.first().filter(|_| rows.is_file()) else { return Ok(Vec::new()) };
    let reached = |row: &Row| {
        row.attack == *attack
            && row.label == pair.from
            && row.prediction == pair.to
            && row.success
            && row.attack != CLEAN
    };
    let kept = Layout::open(run).ok().and_then(|layout| of_pair(&layout, pair.from, pair.to));
    let (mut images, mut shown) = (HashSet::new(), Vec::new());
    if let Some((image, clean, adversarial)) = kept {
        images.insert(image);
        shown.push([Picture::of(&clean), Picture::of(&adversarial)]);
    }
    let (data, saved) = (data_folder(run), saved_files(run, view)?);
    for row in read_rows(&rows)? {
        let row = row?;
        if shown.len() == MOST_IMAGES || (data.is_none() && saved.is_empty()) {
            break;
        }
        // One picture may have been turned with a target and without.
        if !reached(&row) || images.contains(&row.image) {
            continue;
        }
        let clean = data.as_ref().and_then(|data| picture(&data.join(&row.image)));
        let adversarial = saved
            .iter()
            .find(|(image, target, _)| *image == row.image && *target == row.target)
            .and_then(|(.., file)| picture(&run.join(file)));
        if clean.is_some() || adversarial.is_some() {
            images.insert(row.image);
            shown.push([clean, adversarial]);
        }
    }
    let name = format!("worst_pair/{}_to_{}", view.class(pair.from), view.class(pair.to));
    let of_image = |(number, both): (usize, [Option<Picture>; 2])| {
        let tags = ["clean", "adversarial"].map(|kind| format!("{name}/{number}_{kind}"));
        tags.into_iter().zip(both).filter_map(|(tag, picture)| Some((tag, picture?)))
    };
    Ok((1..).zip(shown).flat_map(of_image).collect())
}

/// Where the pictures of a run came from, if they are still there.
fn data_folder(run: &Path) -> Option<PathBuf> {
    let config: toml::Table = std::fs::read_to_string(run.join("config.toml")).ok()?.parse().ok()?;
    let data = PathBuf::from(config.get("data")?.as_str()?);
    data.is_dir().then_some(data)
}

/// Image, target and file of the pictures that `syfar attack` saved.
fn saved_files(run: &Path, view: &RunView) -> anyhow::Result<Vec<(String, Option<usize>, String)>> {
    let path = run.join("attacked.csv");
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let damaged =
        || format!("{} was changed by hand; make it again with `syfar attack .. --resume`", path.display());
    let mut found = Vec::new();
    for record in csv::Reader::from_path(&path).with_context(damaged)?.records() {
        let record = record.with_context(damaged)?;
        let field = |index: usize| record.get(index).unwrap_or_default();
        let target = view.start.classes.iter().position(|class| class == field(2));
        if !field(3).is_empty() {
            found.push((field(0).to_owned(), target, field(3).to_owned()));
        }
    }
    Ok(found)
}

/// A picture file as TensorBoard takes it; none where it cannot be read.
fn picture(path: &Path) -> Option<Picture> {
    Picture::of(&image::open(path).ok()?.to_rgb8())
}

#[cfg(test)]
mod tests {
    use image::{Rgb, RgbImage};
    use serde_json::json;

    use super::*;
    use crate::audit::PredictionLog;
    use crate::run::Event;

    fn paint(path: &Path, level: u8) {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        RgbImage::from_pixel(2, 2, Rgb([level; 3])).save(path).expect("a picture");
    }

    /// A row of the attack `pgd` on a picture of class 0, which it turned into class 1 or not.
    fn row(image: &str, target: Option<usize>, prediction: usize) -> Row {
        Row::plain(image, 0, "pgd", target, prediction)
    }

    fn tags(run: &Path) -> Vec<(String, u8)> {
        let batch = json!({"attack": "pgd", "stage": "targeted", "done": 4, "total": 4,
            "success": {"classes": 2, "pairs": [{"from": 0, "to": 1, "forward": [3, 4], "backward": [0, 4]}]}});
        let events = [("audit_start", json!({"classes": ["ANNA", "BO"]})), ("audit_batch", batch)]
            .map(|(kind, data)| Event { time: 0.0, kind: kind.to_owned(), data });
        let level =
            |picture: &Picture| image::load_from_memory(&picture.png).expect("PNG").to_rgb8()[(0, 0)].0[0];
        let mut view = RunView::default();
        for event in &events {
            view.take(event);
        }
        let found = worst_pair(run, &view).expect("readable");
        found
            .iter()
            .map(|(tag, picture)| {
                (tag.trim_start_matches("worst_pair/ANNA_to_BO/").to_owned(), level(picture))
            })
            .collect()
    }

    #[test]
    fn each_picture_of_the_worst_pair_has_a_tag_of_its_own() {
        let place = tempfile::tempdir().expect("temporary directory");
        let (run, data) = (place.path().join("run"), place.path().join("faces"));
        for (number, image) in (1..).zip(["a.png", "b.png", "c.png"]) {
            paint(&data.join("test/ANNA").join(image), number);
        }
        std::fs::create_dir(&run).expect("made");
        std::fs::write(run.join("config.toml"), format!("data = {data:?}\n")).expect("written");
        let rows = [
            row("test/ANNA/a.png", None, 1),
            row("test/ANNA/a.png", Some(1), 1),
            row("test/ANNA/gone.png", Some(1), 1),
            row("test/ANNA/b.png", Some(1), 0),
            row("test/ANNA/c.png", Some(1), 1),
        ];
        let mut log = PredictionLog::open(&run.join("predictions.csv.gz")).expect("rows");
        log.append(&rows).expect("appended");
        let expected = |list: &[(&str, u8)]| -> Vec<(String, u8)> {
            list.iter().map(|(tag, level)| ((*tag).to_owned(), *level)).collect()
        };
        assert_eq!(tags(&run), expected(&[("1_clean", 1), ("2_clean", 3)]));
        // The picture that the audit kept comes first, with what the attack made of it.
        paint(&run.join("examples/4-clean.png"), 30);
        paint(&run.join("examples/4-attacked.png"), 40);
        let list = json!({"schema_version": 1, "examples": [
            {"number": 3, "image": "x.png", "from": 1, "to": 0},
            {"number": 4, "image": "test/ANNA/c.png", "from": 0, "to": 1}]});
        std::fs::write(run.join("examples/examples.json"), list.to_string()).expect("written");
        assert_eq!(tags(&run), expected(&[("1_clean", 30), ("1_adversarial", 40), ("2_clean", 1)]));
        // Pictures that `syfar attack` saved.
        paint(&run.join("images/a.png"), 50);
        let csv = "image,class,target,file\ntest/ANNA/a.png,ANNA,,images/a.png\n";
        std::fs::write(run.join("attacked.csv"), csv).expect("written");
        let all = [("1_clean", 30), ("1_adversarial", 40), ("2_clean", 1), ("2_adversarial", 50)];
        assert_eq!(tags(&run), expected(&all));
        std::fs::remove_dir_all(&data).expect("removed");
        assert_eq!(tags(&run), expected(&[("1_clean", 30), ("1_adversarial", 40), ("2_adversarial", 50)]));
    }
}
