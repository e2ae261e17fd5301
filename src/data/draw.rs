//! As many pictures of each class as are asked for, out of a file that holds all of them.

use rand::seq::SliceRandom;

use crate::Seed;

/// For each class as many rows as the splits ask for, drawn without replacement: path in the data set, and row.
///
/// # Errors
/// A sentence where a split would get nothing, or a class has too few.
pub(super) fn draw(
    labels: &[u8],
    classes: &[String],
    splits: &[(&str, usize)],
    seed: Seed,
) -> Result<Vec<(String, usize)>, String> {
    let mut places = Vec::new();
    let wanted: usize = splits.iter().map(|(_, count)| count).sum();
    for (label, class) in classes.iter().enumerate() {
        let mut rows: Vec<usize> =
            (0..labels.len()).filter(|&row| usize::from(labels[row]) == label).collect();
        rows.shuffle(&mut seed.at(label as u64).rng());
        if wanted > rows.len() || splits.iter().any(|(_, count)| *count == 0) {
            let asked: Vec<String> =
                splits.iter().map(|(split, count)| format!("{count} for {split}")).collect();
            return Err(format!(
                "class {class} has {} pictures, and {} were asked for; expected at least 1 for each split and not \
                 more than there are",
                rows.len(),
                asked.join(", ")
            ));
        }
        let mut rows = rows.into_iter();
        for (split, count) in splits {
            let own = rows.by_ref().take(*count);
            places.extend(own.map(|row| (format!("{split}/{class}/{row:05}.png"), row)));
        }
    }
    Ok(places)
}
