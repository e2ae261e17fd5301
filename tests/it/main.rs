//! Tests of the program from outside, in one binary.

mod cli;
mod face_net;
#[cfg(feature = "mpi")]
mod mpi;
mod tidy;
