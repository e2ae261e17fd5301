//! Time of what the training methods add to a step, by number of classes:
//! `cargo bench --bench objectives`.
//!
//! `term` is the symmetry penalty of a batch with its gradient with respect to the logits; `step` is a whole
//! training step without the update (attack, losses, gradients) of adversarial training and of Sy-FAR on it.
//! The overhead of the term is `term / step of adversarial training`, which is steadier than the difference of
//! two steps.

use std::hint::black_box;

use burn::tensor::{Device, Tensor, TensorData};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use syfar::Seed;
use syfar::attacks::{AttackConfig, RoaConfig};
use syfar::data::{Batch, ImageId};
use syfar::models::{FaceCnn, FaceCnnConfig, Victim};
use syfar::objectives::{
    AbsentPairs, AdversarialConfig, ObjectiveConfig, Reduction, Sides, SyFarConfig, Symmetry, faal_weights,
};

const BATCH: usize = 60;

/// Numbers in [0, 1) that look random.
fn noise(count: usize) -> Vec<f32> {
    (0..count as u64).map(|index| (index.wrapping_mul(2_654_435_761) % 1000) as f32 / 1000.0).collect()
}

fn labels(classes: usize) -> Vec<usize> {
    (0..BATCH).map(|image| image * 7 % classes).collect()
}

fn terms(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("term");
    for classes in [10, 1000, 10_000] {
        let logits = TensorData::new(noise(BATCH * classes), [BATCH, classes]);
        let labels = labels(classes);
        for (name, sides) in [("both sides", Sides::Both), ("larger side", Sides::Larger)] {
            let epsilon = 1.0 / classes as f64;
            let (absent_pairs, reduction) = (AbsentPairs::Skip, Reduction::PerClass);
            let symmetry = Symmetry { epsilon, absent_pairs, reduction, sides, temperature: 1.0 };
            group.bench_function(BenchmarkId::new(name, classes), |bencher| {
                bencher.iter(|| {
                    let leaf = Tensor::<2>::from_data(logits.clone(), &Device::default());
                    let leaf = leaf.autodiff().require_grad();
                    let penalty = symmetry.penalty(leaf.clone(), &labels);
                    black_box(leaf.grad(&penalty.backward()))
                });
            });
        }
    }
    group.finish();
}

fn steps(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("step");
    group.sample_size(10);
    let attack = RoaConfig { height: 20, width: 20, stride: 3, steps: 20, ..RoaConfig::default() };
    let base = AdversarialConfig { attack: AttackConfig::Roa(attack), ..AdversarialConfig::default() };
    let base = ObjectiveConfig::Adversarial(base);
    let sy_far = SyFarConfig { base: Box::new(base.clone()), ..SyFarConfig::default() };
    let methods = [("adversarial", base), ("sy-far", ObjectiveConfig::SyFar(sy_far))];
    for classes in [10, 1000] {
        let model = FaceCnn::new(&FaceCnnConfig::new(classes), Seed::new(0), &Device::default().autodiff());
        let pixels = TensorData::new(noise(BATCH * 3 * 64 * 64), [BATCH, 3, 64, 64]);
        let batch = Batch {
            images: Tensor::from_data(pixels, &Device::default()),
            labels: labels(classes),
            ids: (0..BATCH as u64).map(ImageId).collect(),
            radius_scale: None,
        };
        for (name, method) in &methods {
            let mut objective = method.build([3, 64, 64], classes).expect("a valid configuration");
            group.bench_function(BenchmarkId::new(*name, classes), |bencher| {
                bencher.iter(|| {
                    let victim = Victim::new(&model);
                    let loss = objective.loss(&model, &victim, &batch, Seed::new(1));
                    black_box(loss.total.backward())
                });
            });
        }
    }
    group.finish();
}

fn faal(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("faal weights");
    for classes in [10, 100, 1000] {
        let gains: Vec<f64> = noise(classes).into_iter().map(f64::from).collect();
        group.bench_with_input(BenchmarkId::from_parameter(classes), &gains, |bencher, gains| {
            bencher.iter(|| faal_weights(black_box(gains), 0.5));
        });
    }
    group.finish();
}

criterion_group!(benches, terms, steps, faal);
criterion_main!(benches);
