//! Checks of an evaluation: is the model one that an attack can be judged by, and was the attack sound?
//!
//! A robust accuracy is worth what its attack is worth. The signs of a broken evaluation are those of Athalye,
//! Carlini and Wagner ("Obfuscated gradients give a false sense of security", ICML 2018), Carlini et al. ("On
//! evaluating adversarial robustness", 2019), the flags of the `AutoAttack` program (Croce and Hein, 2020) and
//! the indicators of Pintor et al. ("Indicators of attack failure", `NeurIPS` 2022).
//!
//! Measuring and judging are apart: `probe` and `trial` turn a network into numbers, `contract`, `gradients`,
//! `strength` and `search` turn numbers into verdicts and know no network. [`Check`] says of each check what it
//! means and what to do.

mod catalogue;
mod contract;
mod examine;
mod gradients;
#[cfg(test)]
mod planted;
mod probe;
mod search;
mod strength;
mod subject;
mod trial;
mod verdict;

pub use catalogue::Check;
pub use examine::{CheckOptions, Depth, examine};
pub use subject::{ConfiguredAttack, Subject, Tuning};
pub use verdict::{CheckReport, LeftOut, Status, Verdict};
