//! The contract of attacks that learn from other pictures first. It is the contract of all others without
//! what they cannot promise for pictures and places that they never saw: that a step raises the target's
//! probability, that more steps do not hurt, that a picture is no worse than the clean one.

use super::*;

fn learning() -> [AttackConfig; 3] {
    let motion = Some(MotionConfig { draws: 2, ..MotionConfig::default() });
    let person = Some(PersonConfig::default());
    [
        AttackConfig::UniversalPatch(UniversalPatchConfig { steps: 3, ..UniversalPatchConfig::default() }),
        AttackConfig::Eyeglasses(EyeglassConfig { steps: 3, person, motion, ..EyeglassConfig::default() }),
        AttackConfig::FaceMask(FaceMaskConfig { steps: 3, person, ..FaceMaskConfig::default() }),
    ]
}

/// The attack after it has learned all textures from pictures that the scene does not have.
fn taught(config: &AttackConfig, victim: &Victim) -> Taught {
    let lessons = batch(5 * COUNT, CLASSES, 0.0).select(&(COUNT..5 * COUNT).collect::<Vec<_>>());
    let load = |rows: &[usize]| Ok(lessons.select(rows));
    let school = School { labels: &lessons.labels, ids: &lessons.ids, load: &load };
    let mut taught = config.build_taught(SHAPE).expect("valid").expect("it learns");
    for key in taught.keys(CLASSES, &[None, Some(0), Some(1), Some(2)]) {
        match taught.learn(key, victim, school, Seed::new(9)) {
            Ok(pictures) => assert!(pictures > 0),
            // A network with random weights may recognise nobody but the target.
            Err(error) => assert!(matches!(error, AttackConfigError::NoLesson { .. }), "{error}"),
        }
    }
    taught
}

#[test]
fn learned_textures_keep_the_contract() {
    for scene in Scene::all() {
        for config in learning() {
            let attack = taught(&config, &scene.victim);
            for check in [stays_inside, is_deterministic, does_not_see_the_batch] {
                check(&attack, &scene).unwrap_or_else(|error| panic!("{config:?}: {error}"));
            }
            assert!(
                values(scene.run(&attack)) != values(scene.batch.images.clone()),
                "{config:?} does nothing"
            );
            assert_eq!(
                values(scene.run(&attack)),
                values(scene.run(&taught(&config, &scene.victim))),
                "{config:?}: two lessons of one seed differ"
            );
        }
    }
}

#[test]
fn learning_leaves_the_model_alone() {
    let model = network(CLASSES);
    for config in learning() {
        let before = visit(&model);
        let attack = taught(&config, &Victim::new(&model));
        check(before == visit(&model), &attack, "changes the model while it learns").expect("contract");
        leaves_the_model_alone(&attack, &model).expect("contract");
    }
}
