//! The `syfar-mpi` command.

fn main() -> std::process::ExitCode {
    syfar::mpi::run()
}
