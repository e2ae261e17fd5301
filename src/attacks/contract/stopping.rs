//! What early stopping promises: an image that has reached its goal costs nothing more, and the images that
//! go on are not disturbed.

use super::*;
use crate::models::Cost;

fn run(
    config: &AttackConfig,
    early_stop: bool,
    scene: &Scene,
    rows: &[usize],
) -> (Vec<f32>, Vec<bool>, Cost) {
    let (batch, goal) = (scene.batch.select(rows), scene.goal.select(rows));
    let before = scene.victim.cost();
    let images = with(config, 4, early_stop).perturb(&scene.victim, &batch, &goal, Seed::new(9));
    let cost = scene.victim.cost() - before;
    let reached = goal.reached_by(scene.victim.logits(images.clone()), &batch.labels);
    (values(images), reached.to_data().iter::<bool>().collect(), cost)
}

/// Images are counted one by one, so if a fallen one stayed in its batch for a single pass, the batch would
/// cost more than its images do one after another.
#[test]
fn a_batch_costs_what_its_images_cost_alone() {
    let all: Vec<usize> = (0..COUNT).collect();
    let (mut fell, mut stood) = (0, 0);
    for scene in Scene::all() {
        for config in table() {
            let (_, reached, together) = run(&config, true, &scene, &all);
            let alone = all.iter().fold(Cost::default(), |sum, &row| {
                let (_, _, cost) = run(&config, true, &scene, &[row]);
                sum + cost
            });
            assert_eq!(together, alone, "{config:?}");
            fell += reached.iter().filter(|reached| **reached).count();
            stood += reached.iter().filter(|reached| !**reached).count();
        }
    }
    assert!(fell > 50 && stood > 50, "the test should be about both: {fell} fell, {stood} stood");
}

#[test]
fn images_that_stand_come_out_as_if_none_had_fallen() {
    let all: Vec<usize> = (0..COUNT).collect();
    for scene in Scene::all() {
        for config in table() {
            let (stopped, reached, _) = run(&config, true, &scene, &all);
            let (whole, ..) = run(&config, false, &scene, &all);
            for image in (0..COUNT).filter(|&image| !reached[image]) {
                let rows = image * SIZE..(image + 1) * SIZE;
                let gaps = stopped[rows.clone()].iter().zip(&whole[rows]).map(|(a, b)| (a - b).abs());
                let gap = gaps.fold(0.0, f32::max);
                assert!(gap < 1e-6, "{config:?}: image {image} differs by {gap}");
            }
        }
    }
}
