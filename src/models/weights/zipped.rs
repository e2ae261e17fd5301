//! Whether a zip archive is one that PyTorch writes, before anything of it is read.
//!
//! PyTorch stores without compression. An archive that compresses is refused: so no entry can be larger than the
//! file, and nothing that a file says about itself costs more memory than the file has bytes.

use std::fs::File;
use std::io::BufReader;

use zip::{CompressionMethod, ZipArchive};

use super::pickle::LARGEST_PICKLE;

/// Entries of an archive; a state dict has one a tensor.
const MOST_ENTRIES: usize = 100_000;

/// # Errors
/// A sentence: what was found, what to do.
pub(super) fn check(file: &File) -> Result<(), String> {
    let length = file.metadata().map_err(|error| error.to_string())?.len();
    let mut archive = ZipArchive::new(BufReader::new(file))
        .map_err(|error| format!("no whole zip archive ({error}): is the file complete?"))?;
    if archive.len() > MOST_ENTRIES {
        return Err(format!("{} entries, at most {MOST_ENTRIES} expected", archive.len()));
    }
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(|error| format!("entry {index}: {error}"))?;
        let name = entry.name().escape_debug().to_string();
        if name.ends_with("constants.pkl") && name.matches('/').count() < 2 {
            return Err(
                "a TorchScript archive. Save the weights instead: torch.save(model.state_dict(), FILE)"
                    .to_owned(),
            );
        }
        if entry.compression() != CompressionMethod::Stored {
            return Err(format!(
                "entry {name} is compressed, which torch.save never does. Save the state dict again"
            ));
        }
        if entry.size() > length || entry.compressed_size() > length {
            return Err(format!("entry {name} claims {} bytes in a file of {length}", entry.size()));
        }
        if name.ends_with("data.pkl") && entry.size() > LARGEST_PICKLE {
            return Err(format!(
                "{name} has {} bytes, at most {LARGEST_PICKLE} expected: this is no state dict",
                entry.size()
            ));
        }
    }
    Ok(())
}
