//! In which batches the pictures of an epoch are seen.

use std::cmp::Reverse;

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::Seed;

/// How an epoch is cut into batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BatchOrder {
    /// All pictures in random order.
    #[default]
    Shuffled,
    /// Each batch holds as many different classes as fit, and each class as often as the others: the
    /// counts of two classes in a batch differ by at most 1. Pairs of classes then meet in most steps,
    /// which a loss over pairs needs.
    ///
    /// With equally many pictures per class every picture is seen once. Otherwise the pictures of the
    /// smaller classes are repeated, each as often as the others of its class give or take once, until
    /// every class has as many as the largest.
    ClassBalanced,
}

/// The rows of each batch of one epoch, given the label of each row.
///
/// Batches have `batch_size` rows (0 counts as 1); the last has what is left over. If that is a single
/// row it joins the batch before, because batch normalisation has no variance of one picture. Pass one seed per
/// epoch.
pub fn epoch_batches(labels: &[usize], batch_size: usize, order: BatchOrder, seed: Seed) -> Vec<Vec<usize>> {
    let batch_size = batch_size.max(1);
    let mut rng = seed.rng();
    let mut batches = match order {
        BatchOrder::Shuffled => {
            let mut rows: Vec<usize> = (0..labels.len()).collect();
            rows.shuffle(&mut rng);
            rows.chunks(batch_size).map(<[usize]>::to_vec).collect()
        }
        BatchOrder::ClassBalanced => class_balanced(labels, batch_size, &mut rng),
    };
    if batch_size > 1
        && batches.len() > 1
        && let Some(single) = batches.pop_if(|last| last.len() == 1)
        && let Some(last) = batches.last_mut()
    {
        last.extend(single);
    }
    batches
}

/// Fills each batch in laps. A lap takes one row of each class, those classes first that have most rows
/// left (ties at random). So within a batch the counts differ by at most 1, and over the epoch the rows
/// left differ by at most 1, which is why the classes run out together.
fn class_balanced(labels: &[usize], batch_size: usize, rng: &mut ChaCha8Rng) -> Vec<Vec<usize>> {
    let mut queues = class_queues(labels, rng);
    let mut batches = Vec::new();
    let mut left: usize = queues.iter().map(Vec::len).sum();
    while left > 0 {
        let mut batch = Vec::with_capacity(batch_size.min(left));
        while batch.len() < batch_size && left > 0 {
            queues.shuffle(rng);
            queues.sort_by_key(|queue| Reverse(queue.len()));
            let lap = queues.iter_mut().take(batch_size - batch.len()).filter_map(Vec::pop);
            let before = batch.len();
            batch.extend(lap);
            left -= batch.len() - before;
        }
        batches.push(batch);
    }
    batches
}

/// For each class that occurs, its rows in random order, repeated until each class has as many as the
/// largest.
fn class_queues(labels: &[usize], rng: &mut ChaCha8Rng) -> Vec<Vec<usize>> {
    let classes = labels.iter().max().map_or(0, |label| label + 1);
    let mut of_class = vec![Vec::new(); classes];
    for (row, &label) in labels.iter().enumerate() {
        of_class[label].push(row);
    }
    of_class.retain(|rows| !rows.is_empty());
    let largest = of_class.iter().map(Vec::len).max().unwrap_or(0);
    of_class
        .into_iter()
        .map(|mut rows| {
            let mut queue = Vec::with_capacity(largest + rows.len());
            while queue.len() < largest {
                rows.shuffle(rng);
                queue.extend(&rows);
            }
            queue.truncate(largest);
            queue
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counts(labels: &[usize], batch: &[usize]) -> Vec<usize> {
        let mut counts = vec![0; labels.iter().max().map_or(0, |label| label + 1)];
        for &row in batch {
            counts[labels[row]] += 1;
        }
        counts
    }

    fn rows(batches: &[Vec<usize>]) -> Vec<usize> {
        let mut rows: Vec<usize> = batches.iter().flatten().copied().collect();
        rows.sort_unstable();
        rows
    }

    proptest! {
        #[test]
        fn shuffled_sees_every_row_once(size in 0_usize..60, batch_size in 1_usize..20, seed: u64) {
            let labels = vec![0; size];
            let batches = epoch_batches(&labels, batch_size, BatchOrder::Shuffled, Seed::new(seed));
            prop_assert_eq!(rows(&batches), (0..size).collect::<Vec<_>>());
            let whole = batches.len().saturating_sub(1);
            prop_assert!(batches.iter().take(whole).all(|batch| batch.len() == batch_size));
            let single = batch_size > 1 && size > 1 && batches.iter().any(|batch| batch.len() == 1);
            prop_assert!(!single);
        }

        #[test]
        fn balanced_classes_are_spread_evenly_and_seen_once(
            classes in 1_usize..9, each in 1_usize..7, batch_size in 1_usize..20, seed: u64,
        ) {
            let labels: Vec<usize> = (0..classes * each).map(|row| row % classes).collect();
            let batches = epoch_batches(&labels, batch_size, BatchOrder::ClassBalanced, Seed::new(seed));
            prop_assert_eq!(rows(&batches), (0..classes * each).collect::<Vec<_>>());
            // The last batch may have been joined by a single row of any class.
            let joined = batches.last().is_some_and(|last| last.len() > batch_size);
            for batch in &batches[..batches.len() - usize::from(joined)] {
                let counts = counts(&labels, batch);
                let (least, most) = (counts.iter().min().unwrap_or(&0), counts.iter().max().unwrap_or(&0));
                prop_assert!(most - least <= 1, "{:?}", counts);
            }
        }

        #[test]
        fn smaller_classes_are_repeated_evenly(
            sizes in prop::collection::vec(0_usize..9, 1..5), batch_size in 2_usize..12, seed: u64,
        ) {
            let labels: Vec<usize> =
                sizes.iter().enumerate().flat_map(|(label, &size)| vec![label; size]).collect();
            let batches = epoch_batches(&labels, batch_size, BatchOrder::ClassBalanced, Seed::new(seed));
            let seen = rows(&batches);
            let largest = sizes.iter().max().copied().unwrap_or(0);
            let total = counts(&labels, &seen);
            prop_assert!(total.iter().all(|&count| count == 0 || count == largest));
            for (row, &label) in labels.iter().enumerate() {
                let times = seen.iter().filter(|other| **other == row).count();
                let least = largest / sizes[label];
                prop_assert!((least..=least + 1).contains(&times));
            }
        }
    }

    #[test]
    fn the_seed_decides_the_order() {
        let labels: Vec<usize> = (0..40).map(|row| row % 4).collect();
        for order in [BatchOrder::Shuffled, BatchOrder::ClassBalanced] {
            let batches = |seed| epoch_batches(&labels, 8, order, Seed::new(seed));
            assert_eq!(batches(1), batches(1));
            assert_ne!(batches(1), batches(2));
        }
    }

    #[test]
    fn a_single_last_row_joins_the_batch_before() {
        let batches = epoch_batches(&[0; 9], 4, BatchOrder::Shuffled, Seed::new(0));
        assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [4, 5]);
        let ones = epoch_batches(&[0; 3], 1, BatchOrder::Shuffled, Seed::new(0));
        assert_eq!(ones.len(), 3, "a batch size of 1 is taken at its word");
        let one = epoch_batches(&[0], 4, BatchOrder::Shuffled, Seed::new(0));
        assert_eq!(one, [vec![0]], "there is no batch before");
    }

    #[test]
    fn its_name_in_a_file_is_kebab_case() {
        let text = serde_json::to_string(&BatchOrder::ClassBalanced).expect("serialises");
        assert_eq!(text, "\"class-balanced\"");
    }
}
