//! What holds for the attacks that let each image have a radius of its own.

use super::*;

const HALF: f32 = 0.5;

/// The attacks that follow the radii of a batch.
fn following() -> Vec<AttackConfig> {
    let attacks: Vec<AttackConfig> =
        table().into_iter().filter(|config| with(config, 1, false).scales_radius()).collect();
    assert!(attacks.len() >= 10, "gradient steps in a ball follow them");
    attacks
}

fn scaled(scene: &Scene, scales: [f32; COUNT]) -> Scene {
    let batch = Batch { radius_scale: Some(scales.to_vec()), ..scene.batch.clone() };
    Scene { victim: Victim::new(&network(CLASSES)), batch, goal: scene.goal.clone() }
}

/// Each image's largest change.
fn changes(scene: &Scene, images: Tensor<4>) -> Vec<f32> {
    values((images - scene.batch.images.clone()).max_abs_dims(&[1, 2, 3]))
}

#[test]
fn an_image_is_attacked_as_if_its_radius_were_that_of_the_attack() {
    let whole = &Scene::targeted()[1];
    for config in following() {
        for early_stop in [false, true] {
            let attack = with(&config, 3, early_stop);
            let ones = values(scaled(whole, [1.0; COUNT]).run(attack.as_ref()));
            assert_eq!(ones, values(whole.run(attack.as_ref())), "{config:?}");
            // Alone and together, images with other radii come out alike.
            let mixed = scaled(whole, [HALF, 1.0, HALF, 1.0, HALF, 1.0]);
            let found = values(mixed.run(attack.as_ref()));
            let halves = values(scaled(whole, [HALF; COUNT]).run(attack.as_ref()));
            for image in 0..COUNT {
                let rows = image * SIZE..(image + 1) * SIZE;
                let expected = if image % 2 == 0 { &halves } else { &ones };
                let gap = found[rows.clone()].iter().zip(&expected[rows]).map(|(a, b)| (a - b).abs());
                assert!(gap.fold(0.0, f32::max) < 1e-6, "{config:?}: image {image}");
            }
        }
    }
}

#[test]
fn radii_bound_the_changes_and_the_steps() {
    let whole = &Scene::targeted()[1];
    for config in following() {
        let attack = with(&config, 3, false);
        let scene = scaled(whole, [0.0, HALF, 1.0, 2.0, 0.0, 2.0]);
        let found = changes(&scene, scene.run(attack.as_ref()));
        assert!(found[0] <= 0.0 && found[4] <= 0.0, "{config:?}: a radius of 0 changes nothing: {found:?}");
        let ordinary = changes(whole, whole.run(attack.as_ref()));
        // Where the cross-entropy is climbed, so that the last picture is the best.
        for image in [3, 5].into_iter().filter(|_| climbs(&config)) {
            assert!(found[image] > 1.2 * ordinary[image], "{config:?}: {found:?} {ordinary:?}");
        }
        let small = scaled(whole, [HALF; COUNT]);
        let admitted = attack.admits(whole.batch.images.clone(), small.run(attack.as_ref()));
        assert!(admitted.iter().all(|is| *is), "{config:?}: half the radius is inside the whole");
    }
}

/// With half the radius everything is half as large, so that the picture is the one that the attack with
/// half the budget and half the step makes.
#[test]
fn steps_follow_the_radius() {
    let whole = &Scene::targeted()[1];
    let of = |levels, step| {
        let config = PgdConfig {
            epsilon: Magnitude::levels(levels),
            step_size: Some(Magnitude::levels(step)),
            steps: 3,
            random_start: false,
            early_stop: false,
            ..PgdConfig::default()
        };
        config.build().expect("valid")
    };
    let scene = scaled(whole, [HALF; COUNT]);
    let (found, expected) = (values(scene.run(&of(8, 2))), values(whole.run(&of(4, 1))));
    let gap = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(gap < 1e-6, "{gap}");
}
