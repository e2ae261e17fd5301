//! `syfar tensorboard`: event files for TensorBoard, made from the logs of runs.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::Usage;
use crate::audit::{CLEAN, Row, read_rows};
use crate::run::{Event, EventFollower, write_file};
use crate::tensorboard::{Picture, event_file};
use crate::watch::RunView;

/// The one event file of a run. TensorBoard asks for `tfevents` in the name.
const NAME: &str = "events.out.tfevents.syfar";

/// Adversarial pictures that are shown at most.
const MOST_PICTURES: usize = 4;

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
        let news = EventFollower::new(&path).news()?;
        if news.damaged > 0 {
            eprintln!("{}: {} damaged lines are left out", path.display(), news.damaged);
        }
        let pictures = worst_pair(run, &news.events)?;
        let folder = run.join("tensorboard");
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let file = folder.join(NAME);
        write_file(&file, &event_file(&news.events, pictures))?;
        super::say(&file.display().to_string());
    }
    Ok(())
}

/// Pictures of the pair that differs most, where they are at hand: clean ones where the data are, adversarial ones
/// where the run has saved them.
fn worst_pair(run: &Path, events: &[Event]) -> anyhow::Result<Vec<(String, Picture)>> {
    let mut view = RunView::default();
    for event in events {
        view.take(event);
    }
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
    let data = data_folder(run);
    let saved = saved_files(run, &view)?;
    let name = format!("worst_pair/{}_to_{}", view.class(pair.from), view.class(pair.to));
    let mut pictures = Vec::new();
    for row in read_rows(&rows)? {
        let row = row?;
        if !reached(&row) {
            continue;
        }
        let number = pictures.len() / 2 + 1;
        let clean = data.as_ref().and_then(|data| picture(&data.join(&row.image)));
        let adversarial = saved
            .iter()
            .find(|(image, target, _)| *image == row.image && *target == row.target)
            .and_then(|(.., file)| picture(&run.join(file)));
        pictures.extend(clean.map(|found| (format!("{name}/{number}_clean"), found)));
        pictures.extend(adversarial.map(|found| (format!("{name}/{number}_adversarial"), found)));
        if pictures.is_empty() || pictures.len() >= MOST_PICTURES {
            break;
        }
    }
    Ok(pictures)
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
