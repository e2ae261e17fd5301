//! Randomness by key.
//!
//! Every random draw in the program comes from a generator that is keyed by what it is for: the run's
//! seed, a purpose, an image, a target, a restart. Nothing is drawn from a generator that two places
//! share, so batch size, order, thread count and sharding cannot change a result.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// A key of the random draws of one purpose. Derive narrower keys from it, then ask for the generator.
///
/// ```
/// use syfar::Seed;
/// let run = Seed::new(7);
/// assert_eq!(run.purpose("augment").at(3), run.purpose("augment").at(3));
/// assert_ne!(run.purpose("augment").at(3), run.purpose("attack").at(3));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Seed(u64);

impl Seed {
    /// The key of a whole run, from the number that the user gave.
    pub fn new(seed: u64) -> Self {
        Self(mix(seed ^ 0x9e37_79b9_7f4a_7c15))
    }

    /// The key of one purpose, such as `"augment"`, below this one.
    #[must_use]
    pub fn purpose(self, name: &str) -> Self {
        self.at(stable_hash(name.as_bytes()))
    }

    /// The key of one number (an image id, an epoch, a target, a restart) below this one.
    #[must_use]
    pub fn at(self, number: u64) -> Self {
        Self(mix(self.0.rotate_left(23) ^ mix(number.wrapping_add(0x9e37_79b9_7f4a_7c15))))
    }

    /// The generator of this key. Two calls give two generators with the same numbers.
    pub fn rng(self) -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(self.0)
    }
}

/// FNV-1a with a final mix: the same on every machine and in every release of the standard library.
pub fn stable_hash(bytes: &[u8]) -> u64 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    mix(hash)
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    #[test]
    fn a_key_always_gives_the_same_numbers() {
        let seed = Seed::new(1).purpose("attack").at(5);
        assert_eq!(seed.rng().next_u64(), seed.rng().next_u64());
    }

    #[test]
    fn neighbouring_keys_give_unrelated_numbers() {
        let drawn: std::collections::BTreeSet<u64> =
            (0..1000).flat_map(|i| (0..10).map(move |j| Seed::new(i).at(j).rng().next_u64())).collect();
        assert_eq!(drawn.len(), 10_000);
    }

    #[test]
    fn the_order_of_keys_matters() {
        assert_ne!(Seed::new(0).at(1).at(2), Seed::new(0).at(2).at(1));
    }
}
