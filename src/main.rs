//! The `syfar` command.

fn main() -> std::process::ExitCode {
    syfar::cli::run()
}
