//! Orders of the classes in which a matrix shows what is in it.
//!
//! The clusters are those of average linkage, found by the nearest-neighbour chain (Benzécri 1982; Murtagh, "A survey
//! of recent advances in hierarchical clustering algorithms", The Computer Journal 26, 1983), in `K^2` time. Two
//! classes are close when they are often taken for each other.

/// Classes so that those often taken for each other stand together. `closeness` is symmetric.
pub(super) fn clustered(classes: usize, closeness: impl Fn(usize, usize) -> f64) -> Vec<usize> {
    let mut near: Vec<f64> = (0..classes * classes)
        .map(|cell| {
            if cell / classes == cell % classes {
                f64::NEG_INFINITY
            } else {
                closeness(cell / classes, cell % classes)
            }
        })
        .collect();
    let mut members: Vec<Vec<usize>> = (0..classes).map(|class| vec![class]).collect();
    let mut alive: Vec<usize> = (0..classes).collect();
    let mut chain: Vec<usize> = Vec::new();
    while alive.len() > 1 {
        let last = *chain.last().unwrap_or(&alive[0]);
        if chain.is_empty() {
            chain.push(last);
        }
        let previous = chain.len().checked_sub(2).map(|at| chain[at]);
        // Of equals the one before in the chain, so that the chain ends; then the first.
        let mut best = previous.unwrap_or_else(|| if alive[0] == last { alive[1] } else { alive[0] });
        for &other in alive.iter().filter(|&&other| other != last) {
            if near[last * classes + other] > near[last * classes + best] {
                best = other;
            }
        }
        if previous != Some(best) {
            chain.push(best);
            continue;
        }
        chain.truncate(chain.len() - 2);
        let (kept, gone) = (last.min(best), last.max(best));
        merge(&mut near, classes, &mut members, (kept, gone), &alive);
        alive.retain(|&cluster| cluster != gone);
    }
    alive.first().map(|&cluster| std::mem::take(&mut members[cluster])).unwrap_or_default()
}

/// Makes two clusters one, as close to a third as its members are on average.
fn merge(
    near: &mut [f64],
    classes: usize,
    members: &mut [Vec<usize>],
    (kept, gone): (usize, usize),
    alive: &[usize],
) {
    let (size, more) = (members[kept].len() as f64, members[gone].len() as f64);
    for &other in alive.iter().filter(|&&other| other != kept && other != gone) {
        let mean =
            (size * near[kept * classes + other] + more * near[gone * classes + other]) / (size + more);
        near[kept * classes + other] = mean;
        near[other * classes + kept] = mean;
    }
    let moved = std::mem::take(&mut members[gone]);
    members[kept].extend(moved);
}

/// Classes by a weight, largest first; equal ones keep their order.
pub(super) fn by_weight(weights: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by(|&a, &b| weights[b].total_cmp(&weights[a]));
    order
}

/// Classes by name: runs of digits by their number, so that `s2` stands before `s10`.
pub(super) fn by_name(names: &[String]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..names.len()).collect();
    order.sort_by_cached_key(|&class| natural(&names[class]));
    order
}

/// Text and numbers in turn. A number is its digits without leading zeros, longer ones being larger.
fn natural(name: &str) -> Vec<(String, usize, String)> {
    let mut key = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let text = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (before, after) = rest.split_at(text);
        let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        let (number, left) = after.split_at(digits);
        let number = number.trim_start_matches('0');
        key.push((before.to_lowercase(), number.len(), number.to_owned()));
        rest = left;
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_that_are_taken_for_each_other_stand_together() {
        // Three hidden clusters, dealt in turn.
        let order = clustered(12, |i, j| if i % 3 == j % 3 { 0.5 } else { 0.01 * ((i + j) % 4) as f64 });
        let clusters: Vec<usize> = order.iter().map(|class| class % 3).collect();
        let changes = clusters.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert_eq!(changes, 2, "{order:?}");
        let mut sorted = order;
        sorted.sort_unstable();
        assert_eq!(sorted, (0..12).collect::<Vec<_>>());
    }

    // from scipy.cluster.hierarchy import linkage; from scipy.spatial.distance import squareform
    // d = 1 - np.array([[1, .9, .1, .2], [.9, 1, .3, .2], [.1, .3, 1, .6], [.2, .2, .6, 1]])
    // linkage(squareform(d), 'average')[:, :2]  ->  [0, 1], [2, 3], [4, 5]
    #[test]
    fn average_linkage_by_hand() {
        let near = [[0.0, 0.9, 0.1, 0.2], [0.9, 0.0, 0.3, 0.2], [0.1, 0.3, 0.0, 0.6], [0.2, 0.2, 0.6, 0.0]];
        assert_eq!(clustered(4, |i, j| near[i][j]), [0, 1, 2, 3]);
    }

    #[test]
    fn few_and_equal_classes_have_an_order() {
        assert!(clustered(0, |_, _| 0.0).is_empty());
        assert_eq!(clustered(1, |_, _| 0.0), [0]);
        assert_eq!(clustered(5, |_, _| 0.0).len(), 5);
    }

    #[test]
    fn names_and_weights() {
        let names = ["s10", "s2", "anna", "S1"].map(String::from);
        assert_eq!(by_name(&names), [2, 3, 1, 0]);
        assert_eq!(by_weight(&[0.1, 0.5, 0.5, 0.9]), [3, 1, 2, 0]);
    }
}
