//! `syfar watch`: a run as it goes on.

#[cfg(unix)]
mod screen;

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;

use super::Usage;
use crate::run::EventFollower;
use crate::watch::{Access, Look, RunView, Server, page_state, text};

/// How often a page's log is looked at.
const READ_EVERY: Duration = Duration::from_millis(500);

/// Size of a frame of text where nobody says how large the terminal is.
const SIZE: (u16, u16) = (100, 40);

#[derive(clap::Args)]
pub(super) struct WatchArguments {
    /// Run directory of a training, an audit, an attack or a certification, or its events.jsonl.
    run: PathBuf,
    /// Print one frame as text and stop; so it does by itself where there is no terminal.
    #[arg(long)]
    once: bool,
    /// Show it as a page at an address of this machine, such as 127.0.0.1:8080; port 0 for any.
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with = "once")]
    http: Option<SocketAddr>,
    /// Let --http take an address that other machines reach. Whoever has the token that is printed can look.
    #[arg(long, requires = "http")]
    allow_remote: bool,
}

pub(super) fn watch(arguments: &WatchArguments) -> anyhow::Result<()> {
    let mut watched = Watched::open(&arguments.run)?;
    if let Some(address) = arguments.http {
        return serve(&mut watched, address, arguments.allow_remote);
    }
    let terminal = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
    let dumb = std::env::var_os("TERM").is_none_or(|kind| kind == "dumb");
    if arguments.once || !terminal || dumb || cfg!(not(unix)) {
        watched.refresh()?;
        let (width, height) = size();
        // The last line of the frame has an end, as `say` gives one.
        super::say(text(&watched.view, &watched.look(false), width, height).trim_end());
        return Ok(());
    }
    #[cfg(unix)]
    screen::show(&mut watched)?;
    Ok(())
}

/// Shows a run as a page until the program is stopped.
fn serve(watched: &mut Watched, address: SocketAddr, allow_remote: bool) -> anyhow::Result<()> {
    let access = match (address.ip().is_loopback(), allow_remote) {
        (true, _) => Access::ThisMachine,
        (false, true) => Access::Token(token()?),
        (false, false) => {
            let problem = format!(
                "--http {address} can be reached by other machines; use 127.0.0.1:{}, or add --allow-remote, which asks \
                 everybody for a token",
                address.port()
            );
            return Err(Usage(problem).into());
        }
    };
    let query = match &access {
        Access::ThisMachine => String::new(),
        Access::Token(token) => format!("?token={token}"),
    };
    let failed = || format!("cannot listen on {address}; is the port taken? Port 0 takes any that is free");
    let server = Server::start(address, access).with_context(failed)?;
    watched.refresh()?;
    server.show(&page_state(&watched.view, &watched.look(false)));
    let elsewhere = if address.ip().is_unspecified() {
        format!("; from elsewhere with this machine's name or address in place of {}", address.ip())
    } else {
        String::new()
    };
    super::say(&format!("{}: http://{}/{query} until Ctrl-C{elsewhere}", watched.name, server.address()));
    loop {
        std::thread::sleep(READ_EVERY);
        watched.refresh()?;
        server.show(&page_state(&watched.view, &watched.look(false)));
    }
}

/// A token that nobody can guess: 128 bits of the system's randomness.
fn token() -> anyhow::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| anyhow::anyhow!("the system has no random numbers: {error}"))?;
    Ok(bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}")))
}

/// A log and what was read of it.
struct Watched {
    name: String,
    follower: EventFollower,
    view: RunView,
}

impl Watched {
    /// A run that exists; it may have no log yet.
    fn open(run: &Path) -> anyhow::Result<Self> {
        let log = if run.is_dir() { run.join("events.jsonl") } else { run.to_owned() };
        if !log.is_file() && !super::begun(run) {
            let problem = if run.is_dir() {
                format!("{} has no events.jsonl; give the directory of one training or audit", run.display())
            } else {
                format!("{} does not exist; give a run directory or its events.jsonl", run.display())
            };
            return Err(Usage(problem).into());
        }
        let name = run.display().to_string();
        Ok(Self { name, follower: EventFollower::new(&log), view: RunView::default() })
    }

    /// Reads what is new.
    fn refresh(&mut self) -> anyhow::Result<()> {
        loop {
            let news = self.follower.news()?;
            self.view.take_all(&news);
            if !news.more {
                return Ok(());
            }
        }
    }

    fn look(&self, colours: bool) -> Look<'_> {
        Look { name: &self.name, now: now(), colours }
    }
}

/// Seconds since 1970 (UTC).
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// Columns and lines: of the terminal where there is one, else as the environment says.
fn size() -> (u16, u16) {
    #[cfg(unix)]
    if std::io::stdout().is_terminal()
        && let Ok((width, height)) = ratatui::termion::terminal_size()
    {
        return (width.clamp(40, 1000), height.clamp(24, 1000));
    }
    let of = |name: &str, least: u16, otherwise: u16| {
        let number = std::env::var(name).ok().and_then(|text| text.parse::<u16>().ok());
        number.map_or(otherwise, |number| number.clamp(least, 1000))
    };
    (of("COLUMNS", 40, SIZE.0), of("LINES", 24, SIZE.1))
}
