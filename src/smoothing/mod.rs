//! Randomised smoothing (Cohen, Rosenfeld and Kolter, "Certified adversarial robustness via randomized smoothing",
//! ICML 2019): the class that a model gives most often under Gaussian noise, and an L2 radius around the picture
//! within which no attack can change it.
//!
//! It is not an attack: it holds for every attack in an L2 ball, for the *smoothed* classifier, and says nothing of
//! L-inf balls, patches or glasses. The base model must have been trained with noise, or it abstains.

mod bounds;
mod certify;
mod figures;

pub use bounds::{abstains, lower_bound, radius};
pub use certify::{Certificate, Smoothing, SmoothingConfig, SmoothingError};
pub use figures::{CertifiedAccuracy, ClassCertificates, Outcome, SmoothedFigures};
