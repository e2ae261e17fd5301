use super::*;

fn report(groups: Option<&[(String, Vec<usize>)]>) -> OfficialReport {
    let counts = [[12, 5, 3, 0], [1, 10, 4, 5], [0, 0, 0, 0], [8, 0, 4, 8]];
    let names = ["a", "b", "c", "d"].map(String::from);
    OfficialReport::of(&names, &counts.concat().into_iter().map(f64::from).collect::<Vec<_>>(), groups)
        .expect("K = 4")
}

fn close(value: f64, expected: f64) {
    assert!((value - expected).abs() < 1e-12, "{value} is not {expected}");
}

// import numpy as np
// c = np.array([[12, 5, 3, 0], [1, 10, 4, 5], [0, 0, 0, 0], [8, 0, 4, 8]])
// p = c / (c.sum(1, keepdims=True) + 1e-8); K = 4
// d = np.diag(p); o = p.copy(); np.fill_diagonal(o, np.nan); m = np.nanmean(o, 0)
// i, j = np.triu_indices(K, 1); a, b = p[i, j], p[j, i]
// s = np.nansum(o, 0) / (p.sum() - np.trace(p))
// l = np.where(a + b > .05, (np.log1p(a + 1e-6) - np.log1p(b + 1e-6))**2 * (a + b), 0)
// print(np.trace(p) / K, d.min(), d.argmin(), d.argmax(), m.min(), m.max())
// print((abs(a-b) / (a+b+1/K) * (a+b)).sum(), l.sum(), abs(a-b).max(), (i, j), s, np.nanmax(o))
// 0.3749999998125 0.0 2 0 0.08333333329166666 0.18333333324166667
// 0.7142725324950552 0.08307974366638657 0.3999999998 (0, 3) [.3 .16666667 .36666667 .16666667] 0.3999999998
#[test]
fn figures_are_those_of_the_script() {
    let found = report(None);
    close(found.overall_acc, 0.374_999_999_812_5);
    assert_eq!((found.diag_min_class, found.diag_max_class), (2, 0));
    close(found.diag_min, 0.0);
    close(found.diag_gap, 0.599_999_999_7);
    close(found.target_avg_offdiag_min, 0.083_333_333_291_666_66);
    close(found.target_avg_offdiag_max, 0.183_333_333_241_666_67);
    close(found.asymmetry_penalty, 0.714_272_532_495_055_2);
    close(found.asymmetry_penalty_improved, 0.083_079_743_666_386_57);
    close(found.max_asymmetry_gap.value, 0.399_999_999_8);
    assert_eq!((found.max_asymmetry_gap.pair, found.extreme_offdiag_max.pair), ([0, 3], [3, 0]));
    assert_eq!((found.extreme_offdiag_min.pair, found.extreme_offdiag_min.value), ([0, 3], 0.0));
    for (share, expected) in
        found.target_mis_share.shares.iter().zip([0.3, 1.0 / 6.0, 11.0 / 30.0, 1.0 / 6.0])
    {
        close(*share, expected);
    }
    close(found.target_mis_share.gap, 0.2);
}

// g = [[1, 2], [0, 3]]; n = [sum(p[x].sum() for x in q) for q in g]
// print([sum(d[x] for x in q) / t for q, t in zip(g, n)], [int(x) for x in n])
// [0.5, 0.5] [0, 1]
#[test]
fn groups_are_counted_as_the_script_counts_them() {
    let groups = [("Female".to_owned(), vec![1, 2]), ("Male".to_owned(), vec![0, 3])];
    let found = report(Some(&groups)).subgroup_metrics;
    assert_eq!(found["group_names"], json!(["Female", "Male"]));
    close(found["SRA"][0].as_f64().expect("number"), 0.5);
    close(found["SRA"][1].as_f64().expect("number"), 0.5);
    assert_eq!(found["counts"], json!([0, 1]), "1 and 2 classes, each a little short");
    let missing = report(Some(&groups[..1])).subgroup_metrics;
    assert!(missing["warning"].as_str().is_some_and(|text| text.contains("in no group")));
}

#[test]
fn every_key_of_the_script_is_there_in_its_order() {
    let text = serde_json::to_string(&report(None)).expect("JSON");
    let keys = [
        "overall_acc",
        "diag_min",
        "diag_max",
        "diag_gap",
        "diag_min_class",
        "diag_max_class",
        "target_avg_offdiag_min",
        "target_avg_offdiag_max",
        "target_avg_offdiag_gap",
        "extreme_offdiag_min",
        "extreme_offdiag_max",
        "asymmetry_penalty",
        "asymmetry_penalty_improved",
        "max_asymmetry_gap",
        "target_mis_share",
        "subgroup_metrics",
        "class_names",
        "normalized_rows",
    ];
    let places: Vec<usize> = keys
        .iter()
        .map(|key| text.find(&format!("\"{key}\":")).unwrap_or_else(|| panic!("no {key}")))
        .collect();
    assert!(places.is_sorted());
    assert!(text.contains("\"warning\":\"Skipping subgroup metrics"));
    assert!(OfficialReport::of(&["a".to_owned()], &[1.0], None).is_none());
}
