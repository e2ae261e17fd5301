use super::*;

fn counts() -> AuditCounts {
    AuditCounts {
        classes: ["anna", "ben", "carl"].map(String::from).to_vec(),
        attack: "glasses".into(),
        clean: [[10, 0, 0], [0, 10, 0], [0, 0, 0]].into(),
        untargeted: Some([[4, 6, 0], [2, 8, 0], [0, 0, 0]].into()),
        targeted: Some(SuccessMatrix::with_attempts(10, [[0, 3, 1], [6, 0, 2], [5, 4, 0]])),
        outcomes: None,
        groups: vec![GroupColumn {
            name: "gender".into(),
            of_class: ["f", "m", "m"].map(String::from).to_vec(),
        }],
    }
}

#[test]
fn each_section_is_computed_from_its_counts() {
    let report = FairnessReport::compute(&counts(), Seed::new(0), 10);
    assert_eq!(report.clean.images, 20);
    let untargeted = report.untargeted.unwrap();
    assert_eq!(untargeted.robustness.micro_accuracy.unwrap().successes, 12);
    assert_eq!(report.targeted.unwrap().attacks, 60);
    assert_eq!(report.groups[0].groups, ["f", "m"]);
    assert_eq!(report.groups[0].members, [vec![0], vec![1, 2]]);
    let flow = report.groups[0].targeted.as_ref().unwrap();
    assert!((flow.rates[0][1].unwrap() - 0.2).abs() < 1e-12);
}

#[test]
fn what_was_not_attacked_is_absent() {
    let report = FairnessReport::compute(
        &AuditCounts { untargeted: None, targeted: None, ..counts() },
        Seed::new(0),
        0,
    );
    assert!(report.untargeted.is_none() && report.targeted.is_none());
    assert!(report.groups[0].untargeted.is_none() && report.groups[0].targeted.is_none());
}

#[test]
fn numbers_are_numbers_and_absent_is_null_in_json() {
    let report = FairnessReport::compute(&counts(), Seed::new(0), 10);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["schema_version"], 2);
    assert_eq!(json["untargeted"]["robustness"]["micro_accuracy"]["value"], 0.6);
    assert_eq!(json["untargeted"]["robustness"]["micro_accuracy"]["n"], 20);
    assert!(json["clean"]["source"]["per_class"][2].is_null());
    assert!(json["clean"]["symmetry"]["a1_normalised"].is_null());
    assert!(json["targeted"]["symmetry"]["a1"]["noise"]["p_value"].is_f64());
}

#[test]
fn json_gives_the_report_back() {
    let report = FairnessReport::compute(&counts(), Seed::new(0), 0);
    let text = serde_json::to_string(&report).unwrap();
    let back: FairnessReport = serde_json::from_str(&text).unwrap();
    assert!(back.indices_fit());
    assert_eq!((back.classes, back.groups[0].members.len()), (report.classes, 2));
    assert_eq!(back.targeted.unwrap().pairs_tried, 6);
}

#[test]
fn the_same_input_gives_the_same_report() {
    let compute = |seed| FairnessReport::compute(&counts(), Seed::new(seed), 50);
    assert_eq!(compute(3), compute(3));
}
