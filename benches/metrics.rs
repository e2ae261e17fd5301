//! Time of the figures by number of classes: `cargo bench --bench metrics`.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use syfar::Seed;
use syfar::metrics::{ConfusionFigures, ConfusionMatrix, SourceFigures, SymmetryFigures, TargetFigures};

/// Every cell of the matrix has images: the dense case, and the slowest.
fn dense(classes: usize) -> ConfusionMatrix {
    let cell = |at: usize| {
        let (label, class) = (at / classes, at % classes);
        if label == class { 20 * classes as u64 } else { 1 + ((label * 7 + class * 13) % 11) as u64 }
    };
    ConfusionMatrix::from_counts(classes, (0..classes * classes).map(cell).collect()).expect("a square")
}

fn figures(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("figures without draws");
    group.sample_size(10);
    for classes in [10, 100, 1000] {
        let counts = dense(classes);
        group.bench_with_input(BenchmarkId::new("all", classes), &counts, |bencher, counts| {
            bencher.iter(|| ConfusionFigures::of(black_box(counts), Seed::new(0), 0));
        });
        group.bench_with_input(BenchmarkId::new("source", classes), &counts, |bencher, counts| {
            bencher.iter(|| SourceFigures::of(black_box(counts), Seed::new(0), 0));
        });
        group.bench_with_input(BenchmarkId::new("target", classes), &counts, |bencher, counts| {
            bencher.iter(|| TargetFigures::of(black_box(counts), Seed::new(0), 0));
        });
        group.bench_with_input(BenchmarkId::new("symmetry", classes), &counts, |bencher, counts| {
            bencher.iter(|| SymmetryFigures::of_confusion(black_box(counts), Seed::new(0), 0));
        });
    }
    group.finish();
}

/// Twenty images of each class under an attack: fourteen are recognised, six are taken for one of three others.
fn gallery(classes: usize) -> ConfusionMatrix {
    let mut counts = vec![0; classes * classes];
    for label in 0..classes {
        counts[label * classes + label] = 14;
        for step in 1..=3 {
            counts[label * classes + (label + step * step) % classes] += 2;
        }
    }
    ConfusionMatrix::from_counts(classes, counts).expect("a square")
}

fn intervals(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("with 2000 draws, 20 images a class");
    group.sample_size(10);
    for classes in [10, 40, 100] {
        let counts = gallery(classes);
        group.bench_with_input(BenchmarkId::new("all", classes), &counts, |bencher, counts| {
            bencher.iter(|| ConfusionFigures::of(black_box(counts), Seed::new(0), 2000));
        });
    }
    group.finish();
}

criterion_group!(benches, figures, intervals);
criterion_main!(benches);
