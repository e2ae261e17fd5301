//! `syfar bench`: how long passes through a network and one step of Sy-FAR take on this machine.
//!
//! The shapes and the work are those of `benches/pytorch.py`, so that the two can be run side by side.

use std::time::Instant;

use burn::optim::momentum::MomentumConfig;
use burn::optim::{GradientsParams, ModuleOptimizer, SgdConfig};
use burn::tensor::{Device, Tensor, TensorData};
use rand::RngExt;
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde_json::{Map, Value, json};

use crate::Seed;
use crate::attacks::{AttackConfig, Magnitude, RoaConfig, Search, cross_entropy};
use crate::data::{Batch, ImageId};
use crate::models::{Architecture, Classifier, Network, Precision, Preprocessing, Victim};
use crate::objectives::{AbsentPairs, AdversarialConfig, ObjectiveConfig, Reduction, SyFarConfig, Whole};

/// What is measured, by the names of the command line. A new architecture is one more line.
const CASES: [Case; 4] = [
    Case { name: "face_cnn", architecture: Architecture::FaceCnn, batch: 64, side: 64, classes: 40 },
    Case { name: "vgg16", architecture: Architecture::Vgg16, batch: 8, side: 112, classes: 10 },
    Case { name: "resnet18", architecture: Architecture::PreActResnet18, batch: 64, side: 32, classes: 10 },
    Case { name: "vit_tiny", architecture: Architecture::VitTiny, batch: 8, side: 224, classes: 10 },
];

/// A network with the batch that it is measured on.
#[derive(Clone, Copy, Debug)]
struct Case {
    name: &'static str,
    architecture: Architecture,
    /// Images.
    batch: usize,
    /// Side of an image in pixels.
    side: usize,
    classes: usize,
}

/// Learning rate and momentum of the measured updates.
const LEARNING_RATE: f64 = 1e-3;
const MOMENTUM: f64 = 0.9;

#[derive(clap::Args)]
pub(super) struct BenchArguments {
    /// What to measure.
    #[arg(value_enum)]
    work: Work,
    /// The network.
    #[arg(long, default_value = CASES[0].name, value_parser = CASES.map(|case| case.name))]
    model: String,
    /// Images in a batch, instead of the network's own number.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1 << 16))]
    batch: Option<u32>,
    /// Side of an image in pixels, instead of the network's own; a multiple of 16.
    #[arg(long, value_parser = side)]
    side: Option<u32>,
    /// Number of classes, instead of the network's own.
    #[arg(long, value_parser = clap::value_parser!(u32).range(2..=1 << 20))]
    classes: Option<u32>,
    /// Threads, instead of one a processor.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// How exactly the gradients of the frozen network are computed: `full`, `half` (AVX-512 FP16) or `bfloat16` (AVX-512
    /// BF16).
    #[arg(long, default_value = "full", value_parser = precision)]
    precision: Precision,
    /// Print one JSON object with milliseconds.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Work {
    /// A forward pass, the gradient with respect to the pixels of a frozen network, a training step.
    Ops,
    /// One training step of Sy-FAR with the rectangular occlusion attack.
    Step,
}

fn side(given: &str) -> Result<u32, String> {
    let side: u32 = given.parse().map_err(|error| format!("{error}"))?;
    if side.is_multiple_of(16) && (16..=1024).contains(&side) {
        return Ok(side);
    }
    Err("expected a multiple of 16 from 16 to 1024".to_owned())
}

fn precision(given: &str) -> Result<Precision, String> {
    let precision = Precision::deserialize(given.into_deserializer());
    let precision = precision.map_err(|error: serde::de::value::Error| error.to_string())?;
    precision.check().map_err(|error| error.to_string())?;
    Ok(precision)
}

pub(super) fn bench(arguments: &BenchArguments) -> anyhow::Result<()> {
    match arguments.threads {
        Some(threads) => {
            let own = rayon::ThreadPoolBuilder::new().num_threads(threads.into()).build()?;
            own.install(|| measure(arguments))
        }
        None => measure(arguments),
    }
}

fn measure(arguments: &BenchArguments) -> anyhow::Result<()> {
    let case = arguments.case();
    let rows = match arguments.work {
        Work::Ops => Bench::new(case).ops(arguments.precision)?,
        Work::Step => Bench::new(case).step(arguments.precision)?,
    };
    super::say(&if arguments.json { as_json(&rows).to_string() } else { as_text(&case, &rows) });
    Ok(())
}

impl BenchArguments {
    fn case(&self) -> Case {
        let named = CASES.into_iter().find(|case| case.name == self.model);
        let case = named.expect("the parser admits no other names");
        let or = |given: Option<u32>, own: usize| given.map_or(own, |given| given as usize);
        Case {
            batch: or(self.batch, case.batch),
            side: or(self.side, case.side),
            classes: or(self.classes, case.classes),
            ..case
        }
    }
}

/// Names of pieces of work with their milliseconds.
type Rows = Vec<(&'static str, f64)>;

/// A network, its optimiser and a batch.
struct Bench {
    case: Case,
    network: Network,
    optimizer: ModuleOptimizer,
    batch: Batch,
    /// Timed runs of each row, and runs before them that do not count.
    runs: (usize, usize),
}

impl Bench {
    /// Weights, uniform pixels and labels `0, 1, 2, ...`.
    fn new(case: Case) -> Self {
        let Case { architecture, batch, side, classes, .. } = case;
        let device = Device::default();
        let preprocessing = Preprocessing { side, ..Preprocessing::default() };
        let seed = Seed::new(0);
        let network = Network::new(architecture, classes, &preprocessing, seed, &device.clone().autodiff());
        let mut rng = seed.purpose("pixels").rng();
        let pixels: Vec<f32> = (0..batch * 3 * side * side).map(|_| rng.random_range(0.0..1.0)).collect();
        let momentum = MomentumConfig { momentum: MOMENTUM, dampening: 0.0, nesterov: false };
        let batch = Batch {
            images: Tensor::from_data(TensorData::new(pixels, [batch, 3, side, side]), &device),
            labels: (0..batch).map(|image| image % classes).collect(),
            ids: (0..batch as u64).map(ImageId).collect(),
            radius_scale: None,
        };
        Self {
            case,
            network,
            optimizer: SgdConfig::new().with_momentum(Some(momentum)).init(),
            batch,
            runs: (7, 2),
        }
    }

    fn ops(mut self, precision: Precision) -> anyhow::Result<Rows> {
        let victim = Victim::with_precision(&self.network, precision)?;
        let Batch { images, labels, .. } = self.batch.clone();
        let runs = self.runs;
        let forward = median_ms(runs, || {
            victim.logits(images.clone());
        });
        let gradient = median_ms(runs, || {
            victim.search_gradient(images.clone(), |logits| cross_entropy(logits, &labels));
        });
        // As in a training, where it is gone before the update.
        drop(victim);
        let train = median_ms(runs, || {
            let logits = self.network.forward(images.clone());
            self.update(&cross_entropy(logits, &labels).mean());
        });
        Ok(vec![("forward", forward), ("gradient", gradient), ("train", train)])
    }

    /// The weights of the later published Sy-FAR code, a rectangle of 70 pixels for a side of 224, 10
    /// places and 20 steps of 8/255.
    fn step(mut self, precision: Precision) -> anyhow::Result<Rows> {
        let rectangle = self.case.side * 70 / 224;
        let attack = RoaConfig {
            height: rectangle,
            width: rectangle,
            stride: (rectangle / 7).max(1),
            search: Search::Gradient { candidates: 10 },
            place: None,
            steps: 20,
            step_size: Magnitude::levels(8),
            early_stop: false,
        };
        let config = ObjectiveConfig::SyFar(SyFarConfig {
            symmetry_weight: 10.0,
            epsilon: Some(0.1),
            absent_pairs: AbsentPairs::AsZero,
            reduction: Reduction::Sum,
            base: Box::new(ObjectiveConfig::Adversarial(AdversarialConfig {
                attack: AttackConfig::Roa(attack),
                ..AdversarialConfig::default()
            })),
            ..SyFarConfig::default()
        });
        let mut objective = config.build(self.network.input_shape(), self.case.classes)?;
        let batch = self.batch.clone();
        let step = median_ms((3, 1), || {
            let victim = Victim::with_precision(&self.network, precision).expect("checked");
            let pictures = objective.attack(&victim, &batch, &Whole::of(&batch), Seed::new(0));
            drop(victim);
            let loss = objective.loss_on(&self.network, &batch, pictures);
            self.update(&loss.total);
        });
        Ok(vec![("step", step)])
    }

    fn update(&mut self, loss: &Tensor<1>) {
        let gradients = GradientsParams::from_grads(loss.backward(), &self.network);
        self.network = self.optimizer.step(LEARNING_RATE, self.network.clone(), gradients);
    }
}

/// The median of some runs after some that do not count.
fn median_ms((runs, warm_up): (usize, usize), mut f: impl FnMut()) -> f64 {
    for _ in 0..warm_up {
        f();
    }
    let mut times: Vec<f64> = (0..runs)
        .map(|_| {
            let start = Instant::now();
            f();
            1e3 * start.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[runs / 2]
}

fn as_json(rows: &Rows) -> Value {
    let round = |ms: f64| (ms * 10.0).round() / 10.0;
    Value::Object(
        rows.iter().map(|(name, ms)| ((*name).to_owned(), json!(round(*ms)))).collect::<Map<_, _>>(),
    )
}

fn as_text(case: &Case, rows: &Rows) -> String {
    let figures: Vec<String> = rows.iter().map(|(name, ms)| format!("{name} {ms:.1} ms")).collect();
    let Case { name, batch, side, classes, .. } = case;
    format!(
        "{name}, batch {batch}, {side} x {side} pixels, {classes} classes, {}, {} threads: {}",
        crate::nn::instruction_set(),
        rayon::current_num_threads(),
        figures.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_gives_its_rows() {
        let names = |rows: Rows| -> Vec<&str> {
            assert!(rows.iter().all(|(_, ms)| *ms > 0.0), "{rows:?}");
            rows.into_iter().map(|(name, _)| name).collect()
        };
        let small = |case| Case { batch: 2, side: 32, classes: 2, ..case };
        for case in CASES {
            let bench = Bench { runs: (1, 0), ..Bench::new(small(case)) };
            assert_eq!(names(bench.ops(Precision::Full).expect("there")), ["forward", "gradient", "train"]);
        }
        for short in [Precision::Half, Precision::Bfloat16].into_iter().filter(|short| short.check().is_ok())
        {
            let bench = Bench { runs: (1, 0), ..Bench::new(small(CASES[0])) };
            assert_eq!(bench.ops(short).expect("there").len(), 3);
        }
        assert_eq!(names(Bench::new(small(CASES[0])).step(Precision::Full).expect("fits")), ["step"]);
    }

    #[test]
    fn a_precision_is_named_as_in_the_configuration() {
        assert_eq!(precision("full"), Ok(Precision::Full));
        assert!(precision("bf16").expect_err("unknown").contains("bfloat16"));
    }

    #[test]
    fn the_median_leaves_warming_up_out() {
        let mut runs = 0;
        median_ms((3, 2), || runs += 1);
        assert_eq!(runs, 5);
    }

    #[test]
    fn rows_are_one_object() {
        let rows = vec![("forward", 1.26), ("gradient", 3.0)];
        assert_eq!(as_json(&rows).to_string(), r#"{"forward":1.3,"gradient":3.0}"#);
    }
}
