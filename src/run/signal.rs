//! Ctrl-C and its relatives.

use super::{RunError, StopFlag};

/// Exit code of an interrupted process: 128 and the number of SIGINT, as shells count.
const INTERRUPTED: i32 = 130;

/// Makes the first SIGINT, SIGTERM or SIGHUP (on Windows: Ctrl-C and its like) set a flag, so that long
/// loops can save and return, and the second one end the process at once with exit code 130.
///
/// # Errors
/// [`RunError::Signal`] when it is called twice in a process, or the system refuses.
pub fn install_stop_flag() -> Result<StopFlag, RunError> {
    let flag = StopFlag::default();
    let handled = flag.clone();
    ctrlc::set_handler(move || {
        if handled.requested() {
            std::process::exit(INTERRUPTED);
        }
        handled.request();
    })
    .map_err(|error| RunError::Signal(error.to_string()))?;
    Ok(flag)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    const ROLE: &str = "SYFAR_TEST_SIGNALLED";

    /// Does nothing, except in the process that the next test starts.
    #[test]
    fn signalled_process() {
        if std::env::var_os(ROLE).is_none() {
            return;
        }
        let flag = install_stop_flag().expect("first handler of this process");
        assert!(install_stop_flag().is_err(), "a second handler is refused");
        println!("\nready");
        // Long enough for any machine, and an end where nobody sends a signal.
        let patience = Duration::from_mins(5);
        let since = Instant::now();
        while !flag.requested() && since.elapsed() < patience {
            std::thread::sleep(Duration::from_millis(2));
        }
        println!("\nstopping");
        std::thread::sleep(patience);
    }

    #[test]
    fn the_first_signal_asks_and_the_second_ends() {
        let program = std::env::current_exe().expect("path of the test program");
        let mut child = Command::new(program)
            .args(["--exact", "run::signal::tests::signalled_process", "--nocapture"])
            .env(ROLE, "1")
            .stdout(Stdio::piped())
            .spawn()
            .expect("the test program starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let signal = |name: &str| {
            let command = format!("kill -{name} {}", child.id());
            assert!(Command::new("sh").args(["-c", &command]).status().expect("a shell").success());
        };
        assert!(lines.any(|line| line.is_ok_and(|line| line == "ready")));
        signal("INT");
        assert!(lines.any(|line| line.is_ok_and(|line| line == "stopping")));
        signal("TERM");
        assert_eq!(child.wait().expect("it ends").code(), Some(INTERRUPTED));
    }
}
