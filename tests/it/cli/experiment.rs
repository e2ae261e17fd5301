//! Experiments: a whole one, stopped ones, and files that changed.

use std::fs;
use std::path::{Path, PathBuf};

use super::{faces, fail, interrupt, succeed, text};

/// Figures that do not depend on how long anything took.
const FIGURES: &str = "clean.micro_accuracy,micro_accuracy,worst_class,a1,targeted_success_macro";

/// A file with two methods, one of them after a search over two values, two seeds: six cells of about a second.
fn file(place: &Path, change: impl FnOnce(String) -> String) -> PathBuf {
    let content = format!(
        r#"
        seeds = [1, 2]
        baseline = "standard"
        figures = ["{}"]
        data = [{{ name = "faces", kind = "folder", path = "{}" }}]
        model = [{{ name = "small", preprocessing = {{ side = 32 }} }}]
        train = {{ epochs = 2, batch_size = 6 }}
        validation.attack = {{ kind = "eyeglasses", steps = 2 }}
        attacks = [{{ targets = "random:1", noise_draws = 50, attack = {{ kind = "eyeglasses", steps = 2 }} }}]
        selection = {{ seed = 9, rule = "least-within", figure = "a1", within = 0.5 }}
        named.roa = {{ kind = "adversarial", attack = {{ kind = "roa", height = 10, width = 10, steps = 2 }} }}

        [[method]]
        name = "standard"
        objective = {{ kind = "standard" }}

        [[method]]
        name = "sy-far"
        objective = {{ kind = "sy-far", base = "@roa" }}
        search = {{ objective.symmetry_weight = [0.5, 2.0] }}
        "#,
        FIGURES.replace(',', "\", \""),
        faces()
    );
    let path = place.join("small.toml");
    fs::write(&path, change(content)).expect("written");
    path
}

fn words<'a>(file: &'a Path, out: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    [&["experiment", text(file), "--out", text(out)][..], more].concat()
}

fn table(out: &Path) -> String {
    fs::read_to_string(out.join("table.csv")).expect("a table")
}

#[test]
fn a_whole_experiment_is_made_skipped_and_held_to_its_file() {
    let place = tempfile::tempdir().expect("temporary directory");
    let (path, out) = (file(place.path(), |same| same), place.path().join("out"));
    let listed = succeed(&words(&path, &out, &["--dry-run"]));
    assert!(
        listed.contains("6 cells: 0 done, 0 partly, 6 missing") && listed.contains("timed, at most"),
        "{listed}"
    );
    assert!(!out.join("faces").exists(), "a dry run made a cell");

    let printed = succeed(&words(&path, &out, &[]));
    assert!(printed.contains("micro_accuracy (high)") && printed.contains('±'), "{printed}");
    assert!(
        printed.contains("Difference from standard") && printed.contains("of 2 tried on seed 9"),
        "{printed}"
    );
    for file in ["table.md", "table.csv", "table.json", "faces/small/sy-far/search/choice.json"] {
        assert!(out.join(file).is_file(), "{file} is missing");
    }
    // The page of the methods compares the audits of the first seed, and each audit has its own.
    let page = fs::read_to_string(out.join("faces/small/report.html")).expect("a page");
    let compared = page.split("<section id=\"comparison\">").nth(1).expect("a comparison");
    for method in ["standard", "sy-far"] {
        let name = format!("small&#x2f;{method}&#x2f;seed-1&#x2f;audit</bdi>");
        assert!(compared.contains(&name), "{method}");
        assert!(out.join("faces/small").join(method).join("seed-2/audit/report.html").is_file(), "{method}");
    }
    assert!(!compared.contains("seed-2"));
    let json = fs::read_to_string(out.join("table.json")).expect("JSON");
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["tables"][0]["seeds"], serde_json::json!([[1, 2], [1, 2]]));
    assert_eq!(json["searches"][0]["trials"].as_array().map(Vec::len), Some(2));

    // Each cell is an ordinary run, trained with what the search chose.
    let cell = out.join("faces/small/sy-far/seed-1");
    let shown = succeed(&["show", text(&cell.join("audit"))]);
    assert!(shown.contains("robust accuracy"), "{shown}");
    let trials = json["searches"][0]["trials"].as_array().expect("trials");
    let chosen = trials.iter().find(|trial| trial["chosen"] == true).expect("one is chosen");
    let value = chosen["setting"][0][1].as_str().expect("a value").to_owned();
    let config = fs::read_to_string(cell.join("train/config.toml")).expect("configuration");
    assert!(config.contains(&format!("symmetry_weight = {value}")), "{config}");

    // Nothing is made twice, and other figures are a matter of the table alone.
    let before = fs::read(cell.join("train/events.jsonl")).expect("log");
    let again = succeed(&words(&path, &out, &["--figures", "gini,train.seconds"]));
    assert!(again.contains("gini (low)") && !again.contains("done in"), "{again}");
    assert_eq!(before, fs::read(cell.join("train/events.jsonl")).expect("log"));
    assert!(succeed(&words(&path, &out, &["--dry-run"])).contains("6 cells: 6 done"));
    let unknown = fail(2, &words(&path, &out, &["--table", "--figures", "ginni"]));
    assert!(unknown.contains("Did you mean `gini`?"), "{unknown}");

    // A key that changed is named; another seed is more work and no change.
    file(place.path(), |text| text.replace("epochs = 2", "epochs = 3"));
    let changed = fail(1, &words(&path, &out, &[]));
    assert!(changed.contains("train.epochs: 2 in the run, 3 now") && changed.contains("--out"), "{changed}");
    file(place.path(), |text| text.replace("seeds = [1, 2]", "seeds = [1, 2, 3]"));
    assert!(succeed(&words(&path, &out, &["--dry-run"])).contains("8 cells: 6 done, 0 partly, 2 missing"));
}

#[cfg(unix)]
#[test]
fn a_stopped_and_a_killed_experiment_end_in_the_same_table_as_a_whole_one_and_as_two_jobs() {
    let place = tempfile::tempdir().expect("temporary directory");
    let path = file(place.path(), |same| same);
    let (whole, stopped) = (place.path().join("whole"), place.path().join("stopped"));
    succeed(&words(&path, &whole, &["--jobs", "2"]));
    // In the middle of a training of a trial, then in the middle of the table.
    let trial = stopped.join("faces/small/sy-far/search/symmetry_weight=0.5/train/checkpoints/a/state.json");
    assert_eq!(interrupt(&words(&path, &stopped, &[]), &trial, "-TERM"), Some(130));
    let cell = stopped.join("faces/small/sy-far/seed-1/train/checkpoints/a/state.json");
    assert_eq!(interrupt(&words(&path, &stopped, &[]), &cell, "-KILL"), None);
    let begun = succeed(&words(&path, &stopped, &["--dry-run"]));
    assert!(begun.contains("partly done") && begun.contains("finished)"), "{begun}");
    let jobs = stopped.join("faces/small/standard/seed-2/train/config.toml");
    assert_eq!(interrupt(&words(&path, &stopped, &["--jobs", "2"]), &jobs, "-TERM"), Some(130));
    succeed(&words(&path, &stopped, &[]));
    assert_eq!(table(&whole), table(&stopped));
}

#[test]
fn mistakes_are_found_before_any_work() {
    let place = tempfile::tempdir().expect("temporary directory");
    let out = place.path().join("out");
    let message = |from: &str, to: &str, code| {
        let path = file(place.path(), |text| {
            assert!(text.contains(from), "{from}");
            text.replace(from, to)
        });
        fail(code, &words(&path, &out, &[]))
    };
    let method = message("objective = { kind = \"standard\" }", "objective = { kind = \"standart\" }", 2);
    assert!(method.contains("method `standard`") && method.contains("Did you mean `standard`"), "{method}");
    let weight = message("[0.5, 2.0]", "[0.5, -2.0]", 2);
    assert!(weight.contains("method `sy-far`") && weight.contains("symmetry_weight"), "{weight}");
    let data = message("kind = \"folder\"", "kind = \"foulder\"", 2);
    assert!(data.contains("folder") && data.contains("foulder"), "{data}");
    let model = message("side = 32", "side = 33", 2);
    assert!(model.contains("model `small`") && model.contains("33"), "{model}");
    let attack = message("noise_draws = 50", "noise_drawz = 50", 2);
    assert!(attack.contains("attack 1") && attack.contains("Did you mean `noise_draws`"), "{attack}");
    let named = message("base = \"@roa\"", "base = \"@rao\"", 2);
    assert!(named.contains("\"@rao\" stands for no table"), "{named}");
    let folder = message(faces(), "/nowhere", 1);
    assert!(folder.contains("/nowhere") && folder.contains("data `faces`"), "{folder}");
    assert!(!out.exists(), "work was begun");
    let missing = fail(2, &["experiment", "/nowhere/a.toml"]);
    assert!(missing.contains("/nowhere/a.toml"), "{missing}");
}

#[test]
fn one_seed_gives_no_significance_and_a_cell_that_fails_leaves_the_others() {
    let place = tempfile::tempdir().expect("temporary directory");
    let out = place.path().join("out");
    let path = file(place.path(), |text| {
        // The loss of the last method overflows; another method starts from it.
        text.replace("seeds = [1, 2]", "seeds = [1]")
            .replace("search = { objective.symmetry_weight = [0.5, 2.0] }", "")
            + "[[method]]\nname = \"broken\"\nobjective = { kind = \"standard\" }\n\
               train = { optimizer = { kind = \"sgd\", learning_rate = 1e30 }, clip_norm = 0.0 }\n\
               [[method]]\nname = \"after-broken\"\nobjective = { kind = \"standard\" }\nafter = \"broken\"\n\
               [[method]]\nname = \"start\"\nhidden = true\nobjective = { kind = \"standard\" }\n\
               [[method]]\nname = \"tuned\"\nobjective = { kind = \"standard\" }\nafter = \"start\"\n"
    });
    let errors = fail(1, &words(&path, &out, &[]));
    assert!(errors.contains("2 cells failed") && errors.contains("diverged"), "{errors}");
    assert!(errors.contains("it waits for faces/small/broken/seed-1"), "{errors}");
    let table = fs::read_to_string(out.join("table.md")).expect("a table");
    assert!(table.contains("One seed: there is no standard deviation") && !table.contains('±'), "{table}");
    assert!(table.contains("| tuned") || table.contains(" tuned |"), "{table}");
    assert!(!table.contains(" start |"), "a hidden method is in the table: {table}");
    let tuned =
        fs::read_to_string(out.join("faces/small/tuned/seed-1/train/config.toml")).expect("configuration");
    assert!(tuned.contains("start/seed-1/train/model"), "{tuned}");
}

#[test]
fn pictures_that_changed_are_refused() {
    let place = tempfile::tempdir().expect("temporary directory");
    let out = place.path().join("out");
    let write = |people: usize, seeds: &str| {
        file(place.path(), |text| {
            let folder = format!("kind = \"folder\", path = \"{}\"", faces());
            let drawn =
                format!("kind = \"synthetic-faces\", draw = {{ people = {people}, images = 5, side = 32 }}");
            text.replace(&folder, &drawn)
                .replace("seeds = [1, 2]", seeds)
                .replace("search = { objective.symmetry_weight = [0.5, 2.0] }", "")
        })
    };
    let path = write(4, "seeds = [1]");
    succeed(&words(&path, &out, &[]));
    write(5, "seeds = [1, 2]");
    let drawn = fail(1, &words(&path, &out, &[]));
    assert!(drawn.contains("data `faces` changed") && drawn.contains("\"people\":5"), "{drawn}");
    write(4, "seeds = [1, 2]");
    let pictures = out.join("pictures/faces/train/p000");
    let first = fs::read_dir(&pictures).expect("pictures").next().expect("one").expect("entry").path();
    let other =
        fs::read_dir(pictures.with_file_name("p001")).expect("pictures").next().expect("one").expect("entry");
    let before = fs::read(&first).expect("a picture");
    fs::copy(other.path(), &first).expect("written");
    let changed = fail(1, &words(&path, &out, &[]));
    assert!(changed.contains("are not those that this experiment began with"), "{changed}");
    fs::write(&first, before).expect("written");
    succeed(&words(&path, &out, &[]));
}
