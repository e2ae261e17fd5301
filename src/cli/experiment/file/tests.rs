use super::*;

const WHOLE: &str = r#"
seeds = [1, 2]
baseline = "plain"
[[data]]
name = "faces"
kind = "synthetic-faces"
draw = { people = 4 }
[[model]]
name = "small"
preprocessing = { side = 32 }
[[attacks]]
attack = { kind = "eyeglasses" }
[[method]]
name = "plain"
objective = { kind = "standard" }
[[method]]
name = "sy-far"
objective = { kind = "sy-far" }
[method.search]
objective.symmetry_weight = [0.3, 1.0]
train.optimizer.learning_rate = [0.001]
"#;

fn read(text: &str) -> Result<Experiment, ConfigError> {
    let place = tempfile::tempdir().expect("temporary directory");
    let path = place.path().join("e.toml");
    std::fs::write(&path, text).expect("written");
    Experiment::read(&path)
}

fn message(from: &str, to: &str) -> String {
    assert!(WHOLE.contains(from), "{from}");
    read(&WHOLE.replace(from, to)).expect_err("a mistake").to_string()
}

#[test]
fn a_whole_file_is_read() {
    let found = read(WHOLE).expect("good");
    assert_eq!(found.figures.len(), FIGURES.len());
    assert_eq!(found.data[0].name(), "faces");
    assert!(found.model[0].keys.contains_key("preprocessing"));
    let combinations = found.method[1].combinations().expect("lists");
    assert_eq!(combinations.len(), 2);
    let keys: Vec<&str> = combinations[1].iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["objective.symmetry_weight", "train.optimizer.learning_rate"]);
    assert_eq!(combinations[1][0].1, Value::Float(1.0));
    assert!(found.method[0].combinations().expect("none").is_empty());
}

#[test]
fn mistakes_are_named() {
    let unknown = message("baseline = \"plain\"", "baseline = \"plane\"");
    assert!(unknown.contains("There are: plain, sy-far. Did you mean `plain`?"), "{unknown}");
    let key = message("seeds =", "seed =");
    assert!(key.contains("unknown field `seed`") && key.contains("Did you mean `seeds`?"), "{key}");
    let twice = message("name = \"sy-far\"", "name = \"Plain\"");
    assert!(twice.contains("is there twice"), "{twice}");
    let path = message("name = \"faces\"", "name = \"../faces\"");
    assert!(path.contains("part of a path"), "{path}");
    let list = message("[0.3, 1.0]", "0.3");
    assert!(list.contains("search.objective.symmetry_weight is 0.3, expected a list"), "{list}");
    let seeds = message("[1, 2]", "[1, 1]");
    assert!(seeds.contains("expected a list of different numbers"), "{seeds}");
    let kind = message("kind = \"synthetic-faces\"", "kind = \"synthetic\"");
    assert!(kind.contains("synthetic-faces"), "{kind}");
    let selection = message("seeds = [1, 2]", "seeds = [1, 1000000]");
    assert!(selection.contains("among the seeds of the table"), "{selection}");
    let after = message(
        "objective = { kind = \"standard\" }",
        "objective = { kind = \"standard\" }\nafter = \"sy-far\"",
    );
    assert!(after.contains("stands below it"), "{after}");
    let split =
        message("kind = \"synthetic-faces\"\ndraw = { people = 4 }", "kind = \"orl\"\nsplit_per_seed = true");
    assert!(split.contains("other seeds test on"), "{split}");
}

#[test]
fn every_method_has_the_same_budget() {
    let more = "objective = { kind = \"standard\" }\n[method.search]\ntrain.epochs = [1, 2, 3]\n";
    let unequal = message("objective = { kind = \"standard\" }\n", more);
    assert!(unequal.contains("`plain` tries 3 combinations and method `sy-far` 2"), "{unequal}");
    let allowed = WHOLE.replace("objective = { kind = \"standard\" }\n", more);
    read(&format!("{allowed}\n[selection]\nsame_budget = false\n")).expect("allowed");
}
