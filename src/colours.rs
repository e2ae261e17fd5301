//! Colour maps of pictures of matrices. The scripts of the two pages (`assets/report/page.js`, `watch/page.html`) draw in the same
//! colours.

/// Red, green and blue.
pub(crate) type Colour = [u8; 3];

/// Cividis (Nuñez, Anderton and Renslow, PLOS ONE 13(7), 2018) in seven steps: its lightness rises evenly, for all
/// kinds of sight.
const RISING: [Colour; 7] = [
    [0, 32, 77],
    [37, 57, 110],
    [83, 87, 109],
    [124, 123, 120],
    [166, 157, 117],
    [213, 195, 96],
    [255, 234, 70],
];

/// Blue through nearly white to orange.
const DIVERGING: [Colour; 5] = [[5, 48, 97], [67, 147, 195], [247, 247, 247], [241, 163, 64], [179, 88, 6]];

/// Dark blue for 0 to yellow for 1. What lies outside has the colour of the nearer end.
pub(crate) fn rising(share: f64) -> Colour {
    between(&RISING, share)
}

/// For values from -1 to 1, nearly white for 0.
pub(crate) fn diverging(value: f64) -> Colour {
    between(&DIVERGING, f64::midpoint(value, 1.0))
}

fn between(colours: &[Colour], share: f64) -> Colour {
    let at = share.clamp(0.0, 1.0) * (colours.len() - 1) as f64;
    let low = (at as usize).min(colours.len() - 2);
    [0, 1, 2].map(|channel| {
        let (from, to) = (f64::from(colours[low][channel]), f64::from(colours[low + 1][channel]));
        (from + (to - from) * (at - low as f64)).round() as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_at_the_ends_and_in_the_middle() {
        assert_eq!([rising(0.0), rising(1.0), rising(2.0)], [[0, 32, 77], [255, 234, 70], [255, 234, 70]]);
        assert_eq!([diverging(-1.0), diverging(0.0), diverging(1.0)], [[5, 48, 97], [247; 3], [179, 88, 6]]);
        // Half way between the first two colours.
        assert_eq!(between(&[[0, 10, 20], [10, 20, 41]], 0.5), [5, 15, 31]);
    }

    #[test]
    fn the_scripts_of_the_pages_have_the_same_colours() {
        let script = include_str!("../assets/report/page.js");
        let [back, lighter_back, _, lighter_there, there] = DIVERGING;
        for colours in [RISING.as_slice(), &[back, lighter_back], &[there, lighter_there]] {
            let colours = format!("{colours:?}");
            assert!(script.contains(&colours), "{colours}");
        }
        assert!(include_str!("watch/page.html").contains(&format!("{RISING:?}")));
    }
}
