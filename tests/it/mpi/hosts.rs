//! Two hosts that are network namespaces of this machine, with two cables between them: `mpirun` and its daemons talk
//! over one, the ranks over the other. It needs the right to make namespaces; where that is missing, the tests say so.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::{SOON, checkpoint, errors, gap, ranks_of, weights, words};
use crate::cli::{events, faces, succeed, text};

/// `10.77.<cable>.<host>`, with cables 0 and 1 and hosts 1 and 2.
struct Hosts {
    /// Of the namespaces, which are also the names of the hosts.
    prefix: String,
    place: tempfile::TempDir,
}

/// Runs a command that has to succeed.
fn set_up(program: &str, arguments: &[&str]) -> Result<(), String> {
    let command = || format!("{program} {}", arguments.join(" "));
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| format!("{}: {error}", command()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    output.status.success().then_some(()).ok_or_else(|| format!("{}: {}", command(), said.trim()))
}

impl Hosts {
    /// None, with the reason printed, where this machine does not allow it.
    fn new(which: &str) -> Option<Self> {
        let place = tempfile::tempdir().expect("temporary directory");
        let hosts = Self { prefix: format!("syfar-{which}{}", std::process::id()), place };
        match hosts.connect() {
            Ok(()) => Some(hosts),
            Err(reason) => {
                eprintln!("Two hosts are not tried: {reason}");
                None
            }
        }
    }

    fn name(&self, host: usize) -> String {
        format!("{}-{host}", self.prefix)
    }

    /// What `mpirun` calls instead of ssh.
    fn agent(&self) -> PathBuf {
        self.place.path().join("agent")
    }

    fn connect(&self) -> Result<(), String> {
        let hosts = [1, 2].map(|host| self.name(host));
        for host in &hosts {
            set_up("ip", &["netns", "add", host])?;
            set_up("ip", &["-n", host, "link", "set", "lo", "up"])?;
        }
        for cable in ["cable0", "cable1"] {
            let [one, other] = [&hosts[0], &hosts[1]];
            let ends =
                ["link", "add", cable, "netns", one, "type", "veth", "peer", "name", cable, "netns", other];
            set_up("ip", &ends)?;
            for (number, host) in (1..).zip(&hosts) {
                let address = format!("10.77.{}.{number}/24", &cable[5..]);
                set_up("ip", &["-n", host, "addr", "add", &address, "dev", cable])?;
                set_up("ip", &["-n", host, "link", "set", cable, "up"])?;
            }
        }
        let script = format!(
            "#!/bin/sh\nhost={}-${{1##*.}}\nshift\nexec ip netns exec \"$host\" unshare --uts sh -c \"hostname $host; $*\"\n",
            self.prefix
        );
        std::fs::write(self.agent(), script).map_err(|error| error.to_string())?;
        set_up("sh", &[text(&self.agent()), "10.77.0.2", "true"])
    }

    fn pull(&self, cables: &[&str]) {
        for cable in cables {
            set_up("ip", &["-n", &self.name(1), "link", "set", cable, "down"]).expect("the cable was there");
        }
    }

    /// Lets no more than so much through the cable of the ranks, each way: `1gbit`.
    fn slow_down(&self, rate: &str) {
        for host in [1, 2] {
            let queue = ["tbf", "rate", rate, "burst", "256kb", "latency", "50ms"];
            let place = ["-n", &self.name(host), "qdisc", "add", "dev", "cable1", "root"];
            set_up("tc", &[&place[..], &queue].concat()).expect("tc limits it");
        }
    }

    /// `mpirun` on the first host with a rank on each. Its daemons notice after 8 seconds that the other is gone.
    fn mpirun(&self, patience: &str, words: &[&str]) -> Command {
        let first = self.name(1);
        let agent = format!("sh {}", text(&self.agent()));
        let settings = [
            ("plm_rsh_agent", agent.as_str()),
            ("pml", "ob1"),
            ("btl", "self,tcp"),
            ("btl_tcp_if_include", "10.77.1.0/24"),
            ("oob_tcp_if_include", "10.77.0.0/24"),
            ("oob_tcp_keepalive_time", "5"),
            ("oob_tcp_keepalive_intvl", "1"),
            ("oob_tcp_keepalive_probes", "3"),
        ];
        let mut command = Command::new("ip");
        command.args([
            "netns",
            "exec",
            &first,
            "unshare",
            "--uts",
            "sh",
            "-c",
            "hostname $0; exec \"$@\"",
            &first,
        ]);
        command.args([
            "timeout",
            "--kill-after=5",
            "180",
            "mpirun",
            "--host",
            "10.77.0.1:1,10.77.0.2:1",
            "-n",
            "2",
        ]);
        command.args(["--bind-to", "none", "-x", "RAYON_NUM_THREADS"]);
        command.args(settings.iter().flat_map(|(name, value)| ["--mca", name, value]));
        command.arg(env!("CARGO_BIN_EXE_syfar-mpi")).args(words);
        command.envs([("OMPI_ALLOW_RUN_AS_ROOT", "1"), ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")]);
        command.envs([("RAYON_NUM_THREADS", "1"), ("SYFAR_PATIENCE", patience)]);
        command
    }

    fn train(&self, words: &[&str]) {
        let output = self.mpirun("600", words).output().expect("ip starts");
        assert!(output.status.success(), "{}", errors(&output));
    }

    /// A training of many epochs whose cables are pulled after the first checkpoint: what it said.
    fn disturbed(&self, patience: &str, out: &Path, more: &[&str], cables: &[&str]) -> Output {
        let mut command = self.mpirun(patience, &words(faces(), out, more));
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("ip starts");
        checkpoint(out);
        self.pull(cables);
        let start = Instant::now();
        let output = child.wait_with_output().expect("it ends");
        let said = errors(&output);
        assert!(!output.status.success() && start.elapsed() < SOON, "{:?}\n{said}", start.elapsed());
        let patience = Instant::now() + Duration::from_secs(10);
        while !ranks_of(out).is_empty() {
            assert!(Instant::now() < patience, "a rank is left\n{said}");
            std::thread::sleep(Duration::from_millis(50));
        }
        output
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for host in [1, 2] {
            // Where it was never made there is nothing to remove.
            let _ = set_up("ip", &["netns", "del", &self.name(host)]);
        }
    }
}

#[test]
fn two_hosts_end_in_the_weights_of_one_process_also_after_their_cables_were_pulled() {
    let Some(hosts) = Hosts::new("a") else { return };
    let place = tempfile::tempdir().expect("temporary directory");
    let [one, two, whole, broken] = ["one", "two", "whole", "broken"].map(|name| place.path().join(name));
    // Twenty steps: later a sign of the attack's gradient that rounding has turned may move the weights further.
    let more = ["--set", "train.epochs=5"];
    succeed(&words(faces(), &one, &more));
    hosts.train(&words(faces(), &two, &more));
    let gap_to_one = gap(&one, &two);
    assert!(gap_to_one < 1e-5, "weights differ by {gap_to_one}");
    let more = ["--set", "train.epochs=8"];
    hosts.train(&words(faces(), &whole, &more));
    let log = std::fs::read_to_string(whole.join("events.jsonl")).expect("log");
    assert!(log.contains("\"ranks\":2"), "{log}");

    let said = errors(&hosts.disturbed("600", &broken, &more, &["cable0", "cable1"]));
    assert!(said.contains("lost communication") && said.contains("10.77.0.2"), "the host is named: {said}");
    drop(hosts);
    let hosts = Hosts::new("b").expect("it could before");
    hosts.train(&[&words(faces(), &broken, &more)[..], &["--resume"]].concat());
    assert_eq!(gap(&whole, &broken).to_bits(), 0.0_f32.to_bits(), "the same numbers, bit by bit");
}

/// The daemons still hear each other, so nobody but the ranks can know.
#[test]
fn a_rank_that_is_silent_while_its_host_is_there_is_named() {
    let Some(hosts) = Hosts::new("c") else { return };
    let place = tempfile::tempdir().expect("temporary directory");
    let said =
        errors(&hosts.disturbed("4", &place.path().join("run"), &["--set", "train.epochs=200"], &["cable1"]));
    let silent = said.contains(&format!("rank 1 of 2 ({}) has been silent for 4 s", hosts.name(2)));
    let within = said.contains("an exchange to which all ranks have come has not ended for 4 s");
    let ends = said.contains(&format!("rank 0 of 2 ({}) ends the job", hosts.name(1)));
    // On a machine with more work than processors the other one, which waits twice as long, may be first all the same.
    let other_end = format!("rank 0 of 2 ({}) has not answered for 8 s, and rank 1 of 2", hosts.name(1));
    assert!((silent || within) && ends || said.contains(&other_end), "{said}");
}

/// Prints what the exchange costs over a slow cable, beside the formula of docs/cluster.md.
/// `cargo test --features mpi --test it slow_cable -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn exchange_over_a_slow_cable() {
    let place = tempfile::tempdir().expect("temporary directory");
    for (architecture, rate, bits) in [("face_cnn", "100mbit", 1e8), ("resnet18", "1gbit", 1e9)] {
        let Some(hosts) = Hosts::new("d") else { return };
        let out = place.path().join(architecture);
        let model = format!("model.architecture={architecture}");
        let objective = "objective={kind='sy-far', base={kind='adversarial', attack={kind='pgd', steps=1}}}";
        let more = ["--set", &model, "--set", objective, "--set", "train.epochs=4"];
        hosts.slow_down(rate);
        hosts.train(&words(faces(), &out, &more));
        let values = weights(&out).len() as f64;
        for epoch in events(&out, "epoch") {
            println!(
                "{architecture}, {values} numbers, {rate}: exchange {} of the {} s of an epoch; 4 steps should take {:.3}",
                epoch["exchange_seconds"],
                epoch["seconds"],
                4.0 * 32.0 * values / bits
            );
        }
    }
}
