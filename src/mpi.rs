//! Ranks that are processes of MPI: `mpirun -n N syfar-mpi train ...` (docs/cluster.md).
//!
//! What a rank cannot do leaves the others waiting in a collective, for ever if nobody ends them. So an error that the
//! others do not know of, and any panic, ends the whole job, and so does a rank that is silent (`patience`).

mod patience;

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ::mpi::Threading;
use ::mpi::collective::SystemOperation;
use ::mpi::datatype::PartitionMut;
use ::mpi::topology::SimpleCommunicator;
use ::mpi::traits::{Communicator, CommunicatorCollectives, Destination, Root, Source};

use self::patience::{Waiting, Watch, Whom};
use crate::cli::{self, Ended};
use crate::train::Team;

/// Numbers that are summed at once: the copy of the own ones stays in the processor's cache, and the links still see long
/// messages.
const SUMMED_AT_ONCE: usize = 1 << 18;

/// The ranks of `MPI_COMM_WORLD`. Only the main thread talks.
struct World {
    /// Spent in the calls below.
    nanoseconds: AtomicU64,
    waiting: Waiting,
}

static WORLD: World = World { nanoseconds: AtomicU64::new(0), waiting: Waiting::new() };

impl World {
    fn timed<T>(&self, talk: impl FnOnce(&SimpleCommunicator) -> T) -> T {
        let start = Instant::now();
        let world = SimpleCommunicator::world();
        self.waiting.begin();
        self.report(&world);
        self.waiting.on(Whom::All);
        let said = talk(&world);
        self.waiting.end();
        let spent = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(spent, Ordering::Relaxed);
        said
    }

    /// Each rank reports at rank 0 before an exchange: there it is known who is missing.
    fn report(&self, world: &SimpleCommunicator) {
        if world.rank() > 0 {
            return world.process_at_rank(0).send(&0_u8);
        }
        for rank in 1..world.size() {
            self.waiting.on(Whom::Rank(rank as usize));
            world.process_at_rank(rank).receive::<u8>();
        }
    }

    /// Ends the job from a second thread when a rank is silent for too long.
    fn watch(&'static self, least: u64) {
        let own = ::mpi::environment::processor_name().unwrap_or_default();
        let hosts = self.gather(own.as_bytes());
        let hosts = hosts.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        let mut watch = Watch::new(self.rank(), hosts, least);
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(Duration::from_secs(1));
                if let Some(reason) = watch.look(&self.waiting) {
                    eprintln!("{reason}");
                    // As after a panic: this thread must not call MPI.
                    std::process::abort();
                }
            }
        });
    }
}

/// The patience that the environment of rank 0 asks for; nothing, on all ranks, where it cannot be meant.
fn agreed_patience(team: &dyn Team) -> Option<u64> {
    let own = std::env::var(patience::VARIABLE).ok();
    let said = patience::seconds(own.as_deref()).unwrap_or_else(|reason| {
        if team.rank() == 0 {
            eprintln!("rank 0 of {}: {reason}", team.size());
        }
        0
    });
    let first = team.broadcast(said.to_le_bytes().to_vec());
    first.try_into().ok().map(u64::from_le_bytes).filter(|seconds| *seconds > 0)
}

impl Team for World {
    fn rank(&self) -> usize {
        SimpleCommunicator::world().rank() as usize
    }

    fn size(&self) -> usize {
        SimpleCommunicator::world().size() as usize
    }

    fn sum(&self, values: &mut [f32]) {
        self.timed(|world| {
            let mut own = Vec::with_capacity(SUMMED_AT_ONCE.min(values.len()));
            for part in values.chunks_mut(SUMMED_AT_ONCE) {
                own.clear();
                own.extend_from_slice(part);
                world.all_reduce_into(&own[..], part, SystemOperation::sum());
            }
        });
    }

    fn gather(&self, own: &[u8]) -> Vec<Vec<u8>> {
        self.timed(|world| {
            // Counts of MPI are of 32 bits; no message of a training comes near.
            let length = i32::try_from(own.len()).expect("a message is below 2 GiB");
            let mut lengths = vec![0_i32; world.size() as usize];
            world.all_gather_into(&length, &mut lengths[..]);
            let starts: Vec<i32> = lengths
                .iter()
                .scan(0, |end, length| {
                    let start = *end;
                    *end += length;
                    Some(start)
                })
                .collect();
            let mut all = vec![0_u8; lengths.iter().sum::<i32>() as usize];
            let mut parts = PartitionMut::new(&mut all[..], lengths.clone(), starts);
            world.all_gather_varcount_into(own, &mut parts);
            let mut rest = &all[..];
            let mut split = |length: &i32| {
                let (part, after) = rest.split_at(*length as usize);
                rest = after;
                part.to_vec()
            };
            lengths.iter().map(&mut split).collect()
        })
    }

    fn broadcast(&self, own: Vec<u8>) -> Vec<u8> {
        self.timed(|world| {
            let first = world.process_at_rank(0);
            let mut length = own.len() as u64;
            first.broadcast_into(&mut length);
            let mut bytes = if world.rank() == 0 { own } else { vec![0; length as usize] };
            // Open MPI refuses to send nothing.
            if length > 0 {
                first.broadcast_into(&mut bytes[..]);
            }
            bytes
        })
    }

    fn seconds(&self) -> f64 {
        self.nanoseconds.load(Ordering::Relaxed) as f64 * 1e-9
    }
}

/// The `syfar-mpi` command.
pub fn run() -> ExitCode {
    as_rank(cli::run_in_team)
}

/// Initialises MPI and does the work of one rank.
fn as_rank(work: impl FnOnce(&'static dyn Team) -> Ended) -> ExitCode {
    let Some((universe, _)) = ::mpi::initialize_with_threading(Threading::Serialized) else {
        eprintln!("error: MPI cannot be initialised in this process. Start it with mpirun, once.");
        return ExitCode::from(1);
    };
    let world = universe.world();
    let (rank, size) = (world.rank(), world.size());
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        eprintln!("rank {rank} of {size} has a fault and ends the job:");
        usual(panic);
        // Not a call to MPI, since this may be any thread: whoever started the ranks ends them when one is gone.
        std::process::abort();
    }));
    if size > 1 {
        let Some(least) = agreed_patience(&WORLD) else { return ExitCode::from(2) };
        WORLD.watch(least);
    }
    match work(&WORLD) {
        // Dropping the universe waits for the other ranks, which end too.
        Ended::Together(code) => ExitCode::from(code),
        Ended::Alone(code) => world.abort(i32::from(code)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Output};

    const ROLE: &str = "SYFAR_TEST_RANK";

    /// Does nothing, except in the processes that the tests below start.
    #[test]
    fn a_rank() {
        let Some(role) = std::env::var_os(ROLE) else { return };
        let code = as_rank(|team| {
            match role.to_str() {
                Some("talk") => talk(team),
                Some("panic") if team.rank() == 1 => panic!("a planted fault"),
                Some("silence") if team.rank() == 1 => std::thread::sleep(Duration::from_secs(50)),
                // The others wait, as they would in the middle of a step.
                _ => drop(team.gather(&[])),
            }
            Ended::Together(0)
        });
        std::process::exit(i32::from(code != ExitCode::SUCCESS));
    }

    fn talk(team: &dyn Team) {
        let (rank, size) = (team.rank(), team.size());
        assert_eq!(size, 3);
        let mut values = vec![rank as f32, 1.0, 0.5];
        team.sum(&mut values);
        assert_eq!(values, [3.0, 3.0, 1.5]);
        let said = team.gather(&vec![rank as u8; 2 * rank]);
        assert_eq!(said, [vec![], vec![1, 1], vec![2, 2, 2, 2]]);
        assert_eq!(team.broadcast(if rank == 0 { vec![7, 8] } else { Vec::new() }), [7, 8]);
        assert_eq!(team.broadcast(Vec::new()), Vec::<u8>::new());
        assert!(team.seconds() > 0.0);
        println!("\nrank {rank} talked");
    }

    /// Three processes in a role, with a patience in seconds. Ends them after a minute.
    fn ranks(role: &str, patience: &str) -> Output {
        let program = std::env::current_exe().expect("path of the test program");
        Command::new("timeout")
            .args(["--kill-after=5", "60", "mpirun", "--oversubscribe", "--bind-to", "none", "-n", "3"])
            .arg(program)
            .args(["--exact", "mpi::tests::a_rank", "--nocapture"])
            .envs([
                (ROLE, role),
                (patience::VARIABLE, patience),
                ("OMPI_ALLOW_RUN_AS_ROOT", "1"),
                ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"),
            ])
            // Containers often forbid processes to read each other's memory.
            .envs([("OMPI_MCA_btl_vader_single_copy_mechanism", "none"), ("RAYON_NUM_THREADS", "1")])
            .output()
            .expect("timeout and mpirun start")
    }

    #[test]
    fn ranks_of_mpi_hear_each_other() {
        let output = ranks("talk", "60");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(said.matches(" talked").count(), 3, "{said}");
    }

    #[test]
    fn a_panic_of_one_rank_ends_all() {
        let output = ranks("panic", "60");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!matches!(output.status.code(), Some(0 | 124 | 137)), "{:?}\n{errors}", output.status);
        assert!(errors.contains("rank 1 of 3 has a fault") && errors.contains("a planted fault"), "{errors}");
    }
    #[test]
    fn a_silent_rank_is_named_and_the_job_ends() {
        let output = ranks("silence", "2");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!matches!(output.status.code(), Some(0 | 124 | 137)), "{:?}\n{errors}", output.status);
        assert!(
            errors.contains("rank 1 of 3 (") && errors.contains("silent for 2 s, and rank 0 of 3"),
            "{errors}"
        );
        let output = ranks("talk", "soon");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{errors}");
        assert_eq!(errors.matches("rank 0 of 3: SYFAR_PATIENCE=soon").count(), 1, "{errors}");
    }
}
