//! The whole screen of a terminal, until somebody presses `q`.

use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use ratatui::Terminal;
use ratatui::backend::TermionBackend;
use ratatui::termion::event::Key;
use ratatui::termion::input::TermRead as _;
use ratatui::termion::raw::IntoRawMode as _;
use ratatui::termion::screen::IntoAlternateScreen as _;
use ratatui::termion::{async_stdin, cursor};

use super::Watched;
use crate::run::install_stop_flag;
use crate::watch::draw;

/// How often keys are looked at.
const KEYS_EVERY: Duration = Duration::from_millis(50);

/// How often the log is looked at and the screen is drawn.
const DRAW_EVERY: Duration = Duration::from_millis(500);

/// Follows a run. Whatever happens, the terminal is afterwards as it was.
pub(super) fn show(watched: &mut Watched) -> anyhow::Result<()> {
    let colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    // A killed program would leave the terminal without echo and on the other screen.
    let stop = install_stop_flag()?;
    let failed = || "cannot use the terminal; --once prints a frame as text";
    // Dropped in turn: the screen comes back, then the mode.
    let screen = std::io::stdout().into_raw_mode().with_context(failed)?;
    let screen = screen.into_alternate_screen().with_context(failed)?;
    let mut terminal = Terminal::new(TermionBackend::new(screen)).with_context(failed)?;
    terminal.hide_cursor().with_context(failed)?;
    let mut keys = async_stdin().keys();
    let mut drawn: Option<Instant> = None;
    let outcome = loop {
        let leave = |key: &Key| matches!(key, Key::Char('q' | 'Q') | Key::Esc | Key::Ctrl('c'));
        if stop.requested() || keys.by_ref().flatten().any(|key| leave(&key)) {
            break Ok(());
        }
        if drawn.is_none_or(|at| at.elapsed() >= DRAW_EVERY) {
            drawn = Some(Instant::now());
            let look = |watched: &Watched, frame: &mut ratatui::Frame| {
                draw(&watched.view, &watched.look(colours), frame.area(), frame.buffer_mut());
            };
            let shown = watched
                .refresh()
                .and_then(|()| terminal.draw(|frame| look(watched, frame)).map(|_| ()).with_context(failed));
            if shown.is_err() {
                break shown;
            }
        }
        std::thread::sleep(KEYS_EVERY);
    };
    drop(terminal);
    // The cursor was hidden on both screens. That it cannot be shown is no reason for an error.
    let mut out = std::io::stdout();
    let _ = write!(out, "{}", cursor::Show).and_then(|()| out.flush());
    outcome
}
