//! Running the programs of package registries.

use std::process::Command;

/// How much of what a program says is shown.
const LAST_LINES: usize = 5;

/// Runs a program that must succeed.
///
/// # Errors
/// Why it could not be started, or the last lines of what it said.
pub(super) fn succeed(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| error.to_string())?;
    if output.status.success() { Ok(()) } else { Err(last_lines(&output.stderr, &output.stdout)) }
}

/// The last lines of what a program said, of its errors if there are any.
fn last_lines(errors: &[u8], output: &[u8]) -> String {
    let text = String::from_utf8_lossy(if errors.trim_ascii().is_empty() { output } else { errors });
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    match lines.len() {
        0 => "it failed and said nothing".to_owned(),
        count => lines[count.saturating_sub(LAST_LINES)..].join("\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_of_the_errors_are_shown() {
        let errors = b"one\n\ntwo\n three\nfour\nfive\nsix\n";
        assert_eq!(last_lines(errors, b"ignored"), "two\nthree\nfour\nfive\nsix");
        assert_eq!(last_lines(b" \n", b"only output\n"), "only output");
        assert_eq!(last_lines(b"", b""), "it failed and said nothing");
    }
}
