//! Does the cells that are missing: one after another in this process, or several at once in processes of their own.
//!
//! A child is this program with `--cell`. It reads its standard input and stops, saving, when that ends: so it stops
//! when it is told to and also when the process that started it is gone. A cell's numbers depend on its seed and not on
//! threads, order or company.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use burn::tensor::Device;

use super::super::{Context, Interrupted, audit, begun, resume_command, say, train};
use super::plan::{Cell, Plan};
use super::state::{self, State};
use super::{pictures, search};
use crate::data::Dataset;
use crate::models::{Framing, Model};
use crate::train::{TrainError, TrainOutcome};

/// How often children are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Cells that could not be done, with the reason.
pub(super) type Failures = Vec<(String, String)>;

/// Does all cells that are not done. A cell that fails does not keep the others, but for those that wait for it.
///
/// # Errors
/// [`Interrupted`] when a stop was asked for; and when a file changed.
pub(super) fn all(plan: &Plan, cells: &[Cell], jobs: usize, context: &Context) -> anyhow::Result<Failures> {
    let mut open = Vec::new();
    for cell in cells {
        if !matches!(state::of(plan, cell)?, State::Done | State::Failed) {
            open.push(*cell);
        }
    }
    pictures::check(plan, &open)?;
    if jobs > 1 { in_children(plan, open, jobs, context) } else { in_turn(plan, open, context) }
}

fn in_turn(plan: &Plan, open: Vec<Cell>, context: &Context) -> anyhow::Result<Failures> {
    let mut failures = Failures::new();
    let mut kept: Option<(PathBuf, Framing, Dataset)> = None;
    let total = open.len();
    for (at, cell) in open.into_iter().enumerate() {
        let key = plan.key(&cell);
        if let Some(reason) = blocked(plan, &cell, &failures) {
            failures.push((key, reason));
            continue;
        }
        let started = Instant::now();
        match one(plan, &cell, &format!("[{}/{total}] {key}", at + 1), &mut kept, context) {
            Ok(()) => {
                let seconds = started.elapsed().as_secs_f64();
                say(&format!("[{}/{total}] {key}: done in {seconds:.0} s", at + 1));
            }
            Err(error) if error.is::<Interrupted>() => return Err(error),
            Err(error) => {
                say(&format!("[{}/{total}] {key}: failed: {error:#}", at + 1));
                failures.push((key, format!("{error:#}")));
            }
        }
    }
    Ok(failures)
}

/// Why a cell cannot be done, when something that it waits for has failed.
fn blocked(plan: &Plan, cell: &Cell, failures: &Failures) -> Option<String> {
    let needs: Vec<String> = plan.needs(cell).iter().map(|need| plan.key(need)).collect();
    let (failed, _) = failures.iter().find(|(key, _)| needs.contains(key))?;
    Some(format!("it waits for {failed}, which failed"))
}

/// One cell, from where it is. `kept` holds the pictures of the last one, which are often those of the next.
///
/// # Errors
/// Whatever training and audits say. That a trial diverged is no error: it counts as tried.
fn one(
    plan: &Plan,
    cell: &Cell,
    name: &str,
    kept: &mut Option<(PathBuf, Framing, Dataset)>,
    context: &Context,
) -> anyhow::Result<()> {
    let started = Instant::now();
    let result = train_and_audit(plan, cell, name, kept, context);
    // What it took so far, over all sittings, also when it was stopped.
    if plan.place(cell).is_dir() {
        state::add_seconds(&plan.place(cell), started.elapsed().as_secs_f64())?;
    }
    result
}

fn train_and_audit(
    plan: &Plan,
    cell: &Cell,
    name: &str,
    kept: &mut Option<(PathBuf, Framing, Dataset)>,
    context: &Context,
) -> anyhow::Result<()> {
    let place = plan.place(cell);
    let waits = || format!("{} waits for trials that are not done", plan.key(cell));
    let config = plan.train_config(cell)?.with_context(waits)?;
    if cell.trial.is_none()
        && !plan.method(cell).search.is_empty()
        && let Some(choice) = search::chosen(plan, cell)?
    {
        search::write(plan, cell, &choice)?;
    }
    let framing = train::framing(&config)?;
    if !kept.as_ref().is_some_and(|(path, of, _)| *path == config.data && *of == framing) {
        *kept = Some((config.data.clone(), framing, Dataset::open(&config.data, framing)?));
    }
    let Some((_, _, data)) = kept else { return Ok(()) };
    if state::train_end(&place)?.is_none() {
        let out = place.join("train");
        match train::run(&config, data, &out, begun(&out), name, context) {
            Ok(TrainOutcome::Finished { .. }) => {}
            Ok(TrainOutcome::Stopped { .. }) => return Err(Interrupted { resume: resume_command() }.into()),
            Err(error)
                if cell.trial.is_some()
                    && matches!(error.downcast_ref(), Some(TrainError::Diverged { .. })) =>
            {
                return state::write_failure(&place, &error.to_string());
            }
            Err(error) => return Err(error),
        }
    }
    for job in plan.audits(cell)? {
        if !state::audited(&job.place) {
            let model = Model::load(&job.config.model, &Device::default())?;
            audit::run(&job.config, &model, data, &job.place, begun(&job.place), name, context)?;
        }
    }
    Ok(())
}

/// A cell at work.
struct Running {
    cell: Cell,
    child: Child,
    started: Instant,
    log: PathBuf,
}

fn in_children(plan: &Plan, open: Vec<Cell>, jobs: usize, context: &Context) -> anyhow::Result<Failures> {
    let total = open.len();
    let mut open: BTreeMap<usize, Cell> = open.into_iter().enumerate().collect();
    let mut running: Vec<Running> = Vec::new();
    let mut failures = Failures::new();
    let mut done = 0;
    while !(open.is_empty() && running.is_empty()) {
        if context.stop.requested() {
            return stop(running);
        }
        while running.len() < jobs
            && let Some(cell) = ready(plan, &mut open, &running, &mut failures)
        {
            say(&format!("{}: begun", plan.key(&cell)));
            running.push(start(plan, cell, jobs)?);
        }
        let mut left = Vec::new();
        for mut one in running {
            let Some(status) = one.child.try_wait()? else {
                left.push(one);
                continue;
            };
            let key = plan.key(&one.cell);
            if status.success() {
                done += 1;
                say(&format!("[{done}/{total}] {key}: done in {:.0} s", one.started.elapsed().as_secs_f64()));
            } else if !context.stop.requested() {
                let reason = last_line(&one.log).unwrap_or_else(|| status.to_string());
                say(&format!("{key}: failed: {reason}"));
                failures.push((key, reason));
            }
        }
        running = left;
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(failures)
}

/// The next cell whose needs are done; those whose needs failed go to the failures.
fn ready(
    plan: &Plan,
    open: &mut BTreeMap<usize, Cell>,
    running: &[Running],
    failures: &mut Failures,
) -> Option<Cell> {
    let waiting: Vec<Cell> = open.values().chain(running.iter().map(|one| &one.cell)).copied().collect();
    let mut found = None;
    open.retain(|_, cell| {
        if found.is_some() {
            return true;
        }
        if let Some(reason) = blocked(plan, cell, failures) {
            failures.push((plan.key(cell), reason));
            return false;
        }
        if plan.needs(cell).iter().any(|need| waiting.contains(need)) {
            return true;
        }
        found = Some(*cell);
        false
    });
    found
}

fn start(plan: &Plan, cell: Cell, jobs: usize) -> anyhow::Result<Running> {
    let place = plan.place(&cell);
    fs::create_dir_all(&place).with_context(|| format!("cannot make {}", place.display()))?;
    let log = place.join("log.txt");
    let to = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    let threads = (rayon::current_num_threads() / jobs).max(1);
    let program = std::env::current_exe().context("the path of this program is not known")?;
    let child = Command::new(program)
        .arg("experiment")
        .arg(&plan.path)
        .arg("--out")
        .arg(&plan.root)
        .arg("--cell")
        .arg(plan.key(&cell))
        .env("RAYON_NUM_THREADS", threads.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(to)
        .spawn()
        .context("a process for a cell cannot be started")?;
    Ok(Running { cell, child, started: Instant::now(), log })
}

/// Tells all children to stop, and waits until they have saved.
fn stop(running: Vec<Running>) -> anyhow::Result<Failures> {
    for mut one in running {
        drop(one.child.stdin.take());
        one.child.wait()?;
    }
    Err(Interrupted { resume: resume_command() }.into())
}

/// The error that a child ended with.
fn last_line(log: &std::path::Path) -> Option<String> {
    let text = fs::read_to_string(log).ok()?;
    let line = text.lines().rev().find(|line| !line.trim().is_empty())?;
    Some(line.trim_start_matches("error: ").to_owned())
}

/// The work of a child: one cell, until it is done or standard input ends.
///
/// # Errors
/// As for [`one`]; an unknown cell.
pub(super) fn child(plan: &Plan, key: &str, context: &Context) -> anyhow::Result<()> {
    let cells = plan.cells();
    let cell = cells.iter().find(|cell| plan.key(cell) == key);
    let cell = cell.with_context(|| format!("{} has no cell {key}", plan.path.display()))?;
    let stop = context.stop.clone();
    std::thread::spawn(move || {
        let mut rest = Vec::new();
        // Whatever comes, its end means that nobody waits for this process any more.
        let _ = std::io::stdin().read_to_end(&mut rest);
        stop.request();
    });
    one(plan, cell, key, &mut None, context)
}
