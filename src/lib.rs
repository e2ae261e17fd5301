//! Fair adversarial robustness of image classifiers.
//!
//! The nouns: a [`data::Batch`] of pictures, a [`models::Classifier`], the frozen [`models::Victim`] that
//! attacks see, an [`attacks::Attack`] inside its [`attacks::ThreatModel`] with a [`attacks::Goal`], an
//! [`objectives::Objective`] to train with, and a [`metrics::ConfusionMatrix`] of what came out.

pub mod attacks;
pub mod audit;
pub mod checks;
pub mod cli;
mod colours;
pub mod data;
pub mod metrics;
pub mod models;
#[cfg(feature = "mpi")]
pub mod mpi;
pub mod nn;
pub mod objectives;
mod preprocessing;
pub mod report;
pub mod run;
mod seed;
pub mod smoothing;
pub mod tables;
pub mod tensorboard;
pub mod train;
pub mod watch;

pub use seed::{Seed, stable_hash};

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
