//! Writes a table of predictions as a large face gallery gives it, to measure `syfar metrics` with.
//!
//! ```sh
//! cargo run --release --example gallery_rows -- 10000000 100000 rows.csv
//! time syfar metrics --predictions rows.csv
//! ```
//!
//! Three of ten pictures are taken for somebody else: half of these for one of the next five people, as
//! people look alike in clusters, and half for anybody.

use std::fs::File;
use std::io::{BufWriter, Write};

use rand::RngExt;
use syfar::Seed;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [rows, classes, path] = arguments.as_slice() else {
        return Err("expected the number of rows, the number of classes and a file".into());
    };
    let (rows, classes): (u64, u64) = (rows.parse()?, classes.parse()?);
    if classes < 7 {
        return Err("expected at least seven classes".into());
    }
    let mut rng = Seed::new(0).purpose("gallery").rng();
    let mut out = BufWriter::new(File::create(path)?);
    writeln!(out, "id,label,prediction")?;
    for row in 0..rows {
        let label = row % classes;
        let prediction = match rng.random_range(0..20) {
            0..14 => label,
            14..17 => (label + rng.random_range(1..6)) % classes,
            _ => rng.random_range(0..classes),
        };
        writeln!(out, "img{row:08},{label},{prediction}")?;
    }
    Ok(out.flush()?)
}
