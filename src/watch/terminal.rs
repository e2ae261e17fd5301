//! A run on a terminal, or as text.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, Widget};

use super::heat::{Heat, letter, style};
use super::words::{clock, duration, share, shown};
use super::{RunView, Status};
use crate::metrics::{Cells, Snapshot};

/// Columns of the figures beside the matrix.
const FIGURES: u16 = 44;

/// Longest name of a class beside the matrix.
const NAME: usize = 10;

/// Epochs of a small curve.
const CURVE: usize = 16;

/// How a run is shown.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    /// What to call the run.
    pub name: &'a str,
    /// When it is looked at, in seconds since 1970 (UTC).
    pub now: f64,
    /// Whether colours may be used.
    pub colours: bool,
}

/// Draws a run. Any size of area will do; in a small one the end is missing.
pub fn draw(view: &RunView, look: &Look, area: Rect, buffer: &mut Buffer) {
    let [head, body, log] =
        Layout::vertical([Constraint::Length(3), Constraint::Min(14), Constraint::Percentage(30)])
            .areas(area);
    Paragraph::new(heading(view, look, head.width)).render(head, buffer);
    let right = if view.matrix.is_some() { Constraint::Min(20) } else { Constraint::Length(0) };
    let [figures, matrix] = Layout::horizontal([Constraint::Max(FIGURES), right]).areas(body);
    Paragraph::new(figure_lines(view, figures.height)).block(titled("figures")).render(figures, buffer);
    if let Some((of, snapshot)) = &view.matrix {
        draw_matrix(view, of, snapshot, look, matrix, buffer);
    }
    let room = usize::from(log.height.saturating_sub(2));
    let hidden = view.log.len().saturating_sub(room);
    let lines: Vec<Line> = view
        .log
        .iter()
        .skip(hidden)
        .map(|line| Line::from(format!("{} {}", clock(line.time), line.text)))
        .collect();
    Paragraph::new(lines).block(titled("log (UTC)")).render(log, buffer);
}

/// One frame as lines of text, without blanks at their ends.
pub fn text(view: &RunView, look: &Look, width: u16, height: u16) -> String {
    let area = Rect::new(0, 0, width, height);
    let mut buffer = Buffer::empty(area);
    draw(view, &Look { colours: false, ..*look }, area, &mut buffer);
    let mut text = String::new();
    for row in 0..height {
        let mut line = String::new();
        // A wide letter takes its own cell and an empty one.
        let mut column = 0;
        while column < width {
            let symbol = buffer[(column, row)].symbol();
            line.push_str(symbol);
            column += (Span::raw(symbol).width() as u16).max(1);
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn titled(title: &str) -> Block<'_> {
    Block::bordered().title(Line::from(format!(" {title} ")))
}

/// What the status is called, and its colour.
pub(super) fn status(status: &Status) -> (String, Color) {
    match status {
        Status::Waiting => ("no event yet".to_owned(), Color::Reset),
        Status::Running => ("running".to_owned(), Color::Cyan),
        Status::Silent(seconds) => {
            let words = format!(
                "no event for {}: its writer may have been killed; --resume goes on",
                duration(*seconds)
            );
            (words, Color::Yellow)
        }
        Status::Stopped => ("stopped; --resume goes on".to_owned(), Color::Yellow),
        Status::Failed(cause) => (format!("failed: {cause}"), Color::Red),
        Status::Finished => ("finished".to_owned(), Color::Green),
    }
}

fn heading(view: &RunView, look: &Look, width: u16) -> Vec<Line<'static>> {
    let (words, colour) = status(&view.status(look.now));
    let colour = if look.colours { Style::new().fg(colour) } else { Style::new() };
    let kind = view.kind.as_deref().unwrap_or("run");
    let first = Line::from(vec![
        Span::styled(shown(look.name), Style::new().add_modifier(Modifier::BOLD)),
        Span::raw(format!("  {kind}  ")),
        Span::styled(words, colour),
    ]);
    let bar = view.progress().map_or_else(String::new, |done| {
        let room = usize::from(width.saturating_sub(7)).min(60);
        let full = (done * room as f64).round() as usize;
        format!("{}{} {:3.0} %", "█".repeat(full), "░".repeat(room - full.min(room)), done * 100.0)
    });
    vec![first, Line::from(now(view).join(" · ")), Line::from(bar)]
}

/// What is being done, how fast, and how long it will take.
pub(super) fn now(view: &RunView) -> Vec<String> {
    let mut words = Vec::new();
    match (&view.start.objective, &view.start.attack) {
        (Some(objective), _) => words.push(shown(objective)),
        (None, Some(attack)) => words.push(shown(attack)),
        (None, None) => {}
    }
    if let Some(step) = &view.step {
        words.push(format!("epoch {}/{}", step.epoch, step.epochs));
        words.push(format!("step {}/{}", step.step, step.steps));
    } else if let (Some(epoch), Some(epochs)) = (&view.epoch, view.start.epochs) {
        words.push(format!("epoch {}/{epochs}", epoch.epoch));
    }
    if let Some(validating) = &view.validating {
        words.push(format!("validating {}/{}", validating.done, validating.total));
    }
    words.extend(view.preparing.clone());
    if let Some(audit) = view.audits.last() {
        words.push(format!(
            "{} {}, {}/{} rows",
            shown(&audit.attack),
            shown(&audit.stage),
            audit.done,
            audit.total
        ));
    }
    if let Some((speed, unit)) = view.speed {
        let digits = usize::from(speed < 10.0);
        words.push(format!("{speed:.digits$} {unit}"));
    }
    if let Some(seconds) = view.seconds_left {
        words.push(format!("{} left", duration(seconds)));
    }
    if view.damaged > 0 {
        words.push(format!("{} damaged lines", view.damaged));
    }
    words
}

/// A name, a number, and a small curve of how it came about.
fn figure(name: &str, value: &str, curve: &str) -> Line<'static> {
    let short: String = shown(name).chars().take(16).collect();
    Line::from(format!("{short:16} {value:<7} {curve}"))
}

fn figure_lines(view: &RunView, height: u16) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    let terms = view.step.as_ref().map(|step| &step.terms).or(view.epoch.as_ref().map(|epoch| &epoch.terms));
    for (name, value) in terms.into_iter().flatten() {
        let of = |terms: &[(String, f64)]| terms.iter().find(|term| term.0 == *name).map(|term| term.1);
        let past = curve(view.history.iter().filter_map(|point| of(&point.terms)));
        lines.push(figure(name, &format!("{value:.3}"), &past));
    }
    if let Some((epoch, validation)) = view.validation {
        let clean = curve(view.history.iter().filter_map(|point| point.clean));
        let robust = curve(view.history.iter().filter_map(|point| point.robust));
        lines.push(figure("clean accuracy", &share(validation.clean_accuracy), &clean));
        lines.push(figure("robust accuracy", &share(validation.robust_accuracy), &robust));
        let best = view.best_epoch.map_or_else(String::new, |best| format!("; best: epoch {best}"));
        lines.push(Line::from(format!("  {} pictures, epoch {epoch}{best}", validation.images)));
    }
    for audit in &view.audits {
        let figures = &audit.figures;
        let counted = [
            ("clean accuracy", figures.clean.filter(|_| view.audits.len() == 1)),
            ("robust accuracy", figures.robust),
            ("targeted success", figures.targeted),
        ];
        if view.audits.len() > 1 {
            lines.push(Line::from(shown(&audit.attack)));
        }
        for (name, counts) in counted {
            let Some([count, of]) = counts else { continue };
            lines.push(figure(name, &share(Cells::share([count, of])), &format!("{count} of {of}")));
        }
    }
    if let Some((_, snapshot)) = &view.matrix {
        lines.extend(asymmetry_lines(view, snapshot));
    }
    // The matrix is about the end of a long list: its first lines go.
    let room = usize::from(height.saturating_sub(2));
    lines.drain(..lines.len().saturating_sub(room));
    lines
}

fn asymmetry_lines(view: &RunView, snapshot: &Snapshot) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    if let Some(a1) = snapshot.a1 {
        let past = curve(view.history.iter().filter_map(|point| point.a1));
        let chance = snapshot.a1_by_chance.map_or_else(String::new, |by| format!("(chance {by:.2}) "));
        lines.push(figure("asymmetry A1", &format!("{a1:.3}"), &format!("{chance}{past}")));
    }
    if !snapshot.pairs.is_empty() {
        lines.push(Line::from("worst pairs"));
    }
    for pair in &snapshot.pairs {
        let name = |class| view.class(class).chars().take(NAME).collect::<String>();
        let [[there, of], [back, from]] = [pair.forward, pair.backward];
        let words = format!("  {} → {}  {there}/{of}, back {back}/{from}", name(pair.from), name(pair.to));
        lines.push(Line::from(words));
    }
    lines
}

/// The last values as blocks between their smallest and their largest.
fn curve(values: impl Iterator<Item = f64>) -> String {
    let all: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    let last = &all[all.len().saturating_sub(CURVE)..];
    let low = last.iter().copied().fold(f64::INFINITY, f64::min);
    let span = last.iter().copied().fold(f64::NEG_INFINITY, f64::max) - low;
    let levels = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let level = |value: &f64| if span > 0.0 { ((value - low) / span * 7.0).round() as usize } else { 3 };
    last.iter().map(|value| levels[level(value).min(7)]).collect()
}

fn draw_matrix(view: &RunView, of: &str, snapshot: &Snapshot, look: &Look, area: Rect, buffer: &mut Buffer) {
    let block = titled(of);
    let inside = block.inner(area);
    block.render(area, buffer);
    let Some(cells) = &snapshot.cells else {
        let words = format!("{} classes: too many to show each cell", snapshot.classes);
        Paragraph::new(words).render(inside, buffer);
        return;
    };
    let names = NAME + 1;
    let (wide, high) = (usize::from(inside.width), usize::from(inside.height.saturating_sub(2)));
    let heat = Heat::of(cells, high.min(wide.saturating_sub(names)));
    let sides = heat.rows.len();
    let step = if names + 2 * sides <= wide { 2 } else { 1 };
    let mut lines = Vec::new();
    for (row, rates) in heat.rows.iter().enumerate() {
        let name: String = view.class(row * heat.block).chars().take(NAME).collect();
        // Letters of two columns would push the cells away.
        let blank = NAME.saturating_sub(Span::raw(&name).width());
        let mut spans = vec![Span::raw(format!("{name}{} ", " ".repeat(blank)))];
        for (column, rate) in rates.iter().enumerate() {
            let diagonal = row == column && heat.block == 1;
            let symbol = if diagonal { '\\' } else { letter(*rate) };
            spans.push(Span::styled(format!("{symbol:step$}"), style(*rate, look.colours)));
        }
        lines.push(Line::from(spans));
    }
    let blocks = if heat.block > 1 {
        format!("; a cell is {0} x {0} classes, their largest", heat.block)
    } else {
        String::new()
    };
    lines.push(Line::from(format!("row to column, tenths: . none, X all{blocks}")));
    Paragraph::new(lines).render(inside, buffer);
}

#[cfg(test)]
mod tests;
