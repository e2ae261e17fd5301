//! Pictures of the worst pairs: kept by the audit, read for the page.
//!
//! An audit keeps no adversarial picture, and need not: the draws of an attack have keys, so the pictures of a few rows
//! can be made again at its end. They are checked as any other, and one that does not come out as its row says, which
//! rounding can cause, is left out.

use std::collections::HashSet;
use std::path::Path;

use anyhow::Context as _;
use image::imageops::{FilterType, resize};
use image::{ImageFormat, Rgb, RgbImage};
use serde::{Deserialize, Serialize};

use crate::attacks::Attack;
use crate::audit::{Picked, Remade, read_rows, remake};
use crate::metrics::AuditCounts;
use crate::models::Victim;
use crate::report::page::{Counts, Example, worst_pairs};
use crate::run::{Layout, write_file};

use super::super::sitting::Sitting;

/// Pairs of which a picture is kept.
const KEPT: usize = 6;

/// Side of the pictures on a page, at most.
const SIDE: u32 = 96;

/// How much larger than it is the change is shown.
const AMPLIFIED: f32 = 10.0;

/// `examples.json`.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    /// Version of this layout.
    schema_version: u32,
    /// The pictures, those of the worst pair first.
    examples: Vec<KeptPicture>,
}

/// One picture, in the files `<number>-clean.png` and `<number>-attacked.png`.
#[derive(Debug, Serialize, Deserialize)]
struct KeptPicture {
    /// Its place in the list, from 1.
    number: usize,
    /// Name of the picture.
    image: String,
    /// Index of its class.
    from: usize,
    /// Index of the class that it was taken for.
    to: usize,
}

/// Keeps a picture of each of the worst pairs beside the run, unless an earlier sitting did.
pub(in crate::cli) fn keep(
    sitting: &Sitting,
    attack: &dyn Attack,
    counts: &AuditCounts,
) -> anyhow::Result<()> {
    let list = sitting.layout.examples().join("examples.json");
    if list.exists() {
        return Ok(());
    }
    let matrices =
        Counts { clean: None, untargeted: counts.untargeted.clone(), targeted: counts.targeted.clone() };
    let (targeted, pairs) = worst_pairs(&matrices, KEPT);
    let picked = pick(sitting, attack.name(), &pairs, targeted)?;
    if picked.is_empty() {
        return Ok(());
    }
    let split = sitting.split;
    let victim = Victim::with_precision(&sitting.model.network, sitting.config.attack_precision)?;
    let options = sitting.options();
    let remade = remake(&victim, &sitting.load(), attack, options.seed, &picked)?;
    let folder = sitting.layout.examples();
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let side = split.side();
    let mut kept = Kept { schema_version: 1, examples: Vec::new() };
    for (number, Remade { picked, clean, attacked }) in (1..).zip(&remade) {
        for (kind, values) in [("clean", clean), ("attacked", attacked)] {
            let path = folder.join(format!("{number}-{kind}.png"));
            write_file(&path, &png(&picture(values, side))?)?;
        }
        let image = split.paths()[picked.image].clone();
        let from = split.labels()[picked.image];
        kept.examples.push(KeptPicture { number, image, from, to: picked.prediction });
    }
    write_file(&list, (serde_json::to_string_pretty(&kept)? + "\n").as_bytes())?;
    Ok(())
}

/// The first picture of each pair that the attack, with a target or without, turned into the other class, no picture twice.
fn pick(
    sitting: &Sitting,
    attack: &str,
    pairs: &[(usize, usize)],
    targeted: bool,
) -> anyhow::Result<Vec<Picked>> {
    let places: std::collections::HashMap<&str, usize> =
        sitting.split.paths().iter().enumerate().map(|(place, name)| (name.as_str(), place)).collect();
    let mut found: Vec<Option<Picked>> = vec![None; pairs.len()];
    let mut taken = HashSet::new();
    if pairs.is_empty() {
        return Ok(Vec::new());
    }
    for row in read_rows(&sitting.layout.predictions())? {
        let row = row?;
        if row.attack != attack
            || !row.success
            || row.clean_prediction != row.label
            || row.target.is_some() != targeted
        {
            continue;
        }
        let Some(place) = pairs.iter().position(|&pair| pair == (row.label, row.prediction)) else {
            continue;
        };
        if let (None, Some(&image)) = (found[place], places.get(row.image.as_str()))
            && taken.insert(image)
        {
            found[place] = Some(Picked { image, target: row.target, prediction: row.prediction });
        }
        if found.iter().all(Option::is_some) {
            break;
        }
    }
    Ok(found.into_iter().flatten().collect())
}

/// A picture of values `[C, side, side]` in `[0, 1]`; other channels than three are shown as grey.
fn picture(values: &[f32], side: usize) -> RgbImage {
    let plane = side * side;
    let channels = values.len() / plane.max(1);
    RgbImage::from_fn(side as u32, side as u32, |x, y| {
        let at = y as usize * side + x as usize;
        let level = |channel: usize| {
            let plane = if channels == 3 { channel * plane } else { 0 };
            (values[plane + at].clamp(0.0, 1.0) * 255.0).round() as u8
        };
        Rgb([level(0), level(1), level(2)])
    })
}

/// The change around middle grey, [`AMPLIFIED`].
fn change(clean: &RgbImage, attacked: &RgbImage) -> RgbImage {
    RgbImage::from_fn(clean.width(), clean.height(), |x, y| {
        let (before, after) = (clean.get_pixel(x, y).0, attacked.get_pixel(x, y).0);
        let level = |channel: usize| {
            let change = f32::from(after[channel]) - f32::from(before[channel]);
            (127.5 + AMPLIFIED * change).clamp(0.0, 255.0).round() as u8
        };
        Rgb([level(0), level(1), level(2)])
    })
}

fn png(picture: &RgbImage) -> anyhow::Result<Vec<u8>> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Png).context("a picture could not be encoded")?;
    Ok(bytes.into_inner())
}

/// The kept pictures of a run, no larger than a page needs them.
pub(super) fn read(layout: &Layout, notes: &mut Vec<String>) -> Vec<Example> {
    let folder = layout.examples();
    let Ok(text) = std::fs::read_to_string(folder.join("examples.json")) else { return Vec::new() };
    let kept: Kept = serde_json::from_str(&text).unwrap_or_else(|error| {
        notes.push(format!("{}/examples.json cannot be read: {error}", folder.display()));
        Kept::default()
    });
    let mut examples = Vec::new();
    for kept in kept.examples.into_iter().take(KEPT) {
        match pictures(&folder, kept.number) {
            Ok(pictures) => {
                examples.push(Example { from: kept.from, to: kept.to, image: kept.image, pictures });
            }
            Err(error) => notes.push(format!("An example picture is missing: {error:#}")),
        }
    }
    examples
}

/// The name of the picture that an audit kept of a pair of classes, as it is clean and under the attack; none where it
/// kept none.
pub(in crate::cli) fn of_pair(
    layout: &Layout,
    from: usize,
    to: usize,
) -> Option<(String, RgbImage, RgbImage)> {
    let folder = layout.examples();
    let text = std::fs::read_to_string(folder.join("examples.json")).ok()?;
    let kept: Kept = serde_json::from_str(&text).ok()?;
    let found = kept.examples.into_iter().find(|kept| (kept.from, kept.to) == (from, to))?;
    let (clean, attacked) = both(&folder, found.number).ok()?;
    Some((found.image, clean, attacked))
}

/// Clean and attacked, of one size.
fn both(folder: &Path, number: usize) -> anyhow::Result<(RgbImage, RgbImage)> {
    let open = |kind: &str| {
        let path = folder.join(format!("{number}-{kind}.png"));
        let picture = image::open(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        Ok::<_, anyhow::Error>(picture.to_rgb8())
    };
    let (clean, attacked) = (open("clean")?, open("attacked")?);
    anyhow::ensure!(clean.dimensions() == attacked.dimensions(), "the pictures {number} have two sizes");
    Ok((clean, attacked))
}

/// Clean, attacked and the change.
fn pictures(folder: &Path, number: usize) -> anyhow::Result<[Vec<u8>; 3]> {
    let (clean, attacked) = both(folder, number)?;
    let small = |picture: &RgbImage| {
        let (width, height) = picture.dimensions();
        if width.max(height) <= SIDE {
            return png(picture);
        }
        let part = |length: u32| (length * SIDE / width.max(height)).max(1);
        png(&resize(picture, part(width), part(height), FilterType::Triangle))
    };
    let change = change(&clean, &attacked);
    Ok([small(&clean)?, small(&attacked)?, small(&change)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_change_is_ten_times_as_large_around_grey() {
        let clean = RgbImage::from_pixel(2, 1, Rgb([100, 100, 100]));
        let mut attacked = clean.clone();
        attacked.put_pixel(1, 0, Rgb([103, 98, 200]));
        let found = change(&clean, &attacked);
        assert_eq!(found.get_pixel(0, 0).0, [128; 3]);
        assert_eq!(found.get_pixel(1, 0).0, [158, 108, 255]);
    }

    #[test]
    fn values_are_pixels_and_one_channel_is_grey() {
        let colours: Vec<f32> = (0..12).map(|value| value as f32 / 11.0).collect();
        assert_eq!(picture(&colours, 2).get_pixel(1, 0).0, [23, 116, 209]);
        assert_eq!(picture(&colours[..4], 2).get_pixel(0, 1).0, [46; 3]);
    }

    #[test]
    fn kept_pictures_are_read_small_and_a_missing_one_is_a_note() {
        let place = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(place.path().join("config.toml"), "").expect("written");
        let layout = Layout::open(place.path()).expect("a run");
        let folder = layout.examples();
        std::fs::create_dir(&folder).expect("a folder");
        let large = RgbImage::from_pixel(2 * SIDE, SIDE, Rgb([9, 9, 9]));
        for kind in ["clean", "attacked"] {
            large.save(folder.join(format!("1-{kind}.png"))).expect("a picture");
        }
        let list = r#"{"schema_version": 1, "examples": [
            {"number": 1, "image": "a.png", "from": 0, "to": 2}, {"number": 2, "image": "b.png", "from": 0, "to": 1}]}"#;
        std::fs::write(folder.join("examples.json"), list).expect("written");
        let (image, clean, attacked) = of_pair(&layout, 0, 2).expect("kept");
        assert_eq!((image.as_str(), clean.width()), ("a.png", 2 * SIDE));
        assert_eq!(clean, attacked);
        assert!(of_pair(&layout, 0, 1).is_none() && of_pair(&layout, 2, 0).is_none());
        let mut notes = Vec::new();
        let found = read(&layout, &mut notes);
        assert_eq!((found.len(), found[0].from, found[0].to), (1, 0, 2));
        let shown = image::load_from_memory(&found[0].pictures[2]).expect("a picture").to_rgb8();
        assert_eq!((shown.dimensions(), shown.get_pixel(0, 0).0), ((SIDE, SIDE / 2), [128; 3]));
        assert!(notes.len() == 1 && notes[0].contains("2-clean.png"), "{notes:?}");
    }
}
