//! The program through its binary.
