use std::io::Cursor;

use super::*;
use crate::tables::damage::{damaged, gzipped, one_of};
use proptest::prelude::*;

fn read_bytes(bytes: &[u8], columns: &Columns, known: &KnownClasses) -> Result<Predictions, String> {
    let path = Path::new("rows.csv");
    let open = || Records::new(path, Box::new(Cursor::new(bytes.to_vec())), LONGEST);
    read(path, columns, known, open).map_err(|error| error.to_string())
}

fn read_text(text: &str) -> Result<Predictions, String> {
    read_bytes(text.as_bytes(), &Columns::default(), &KnownClasses::Unknown)
}

#[test]
fn columns_are_found_by_name_in_any_order() {
    let found = read_text("margin,y_pred,Label,image\n0.1,cat,dog,a\n0.2,dog,dog,b\n").expect("good");
    assert_eq!(found.classes, ["cat", "dog"]);
    let part = &found.parts[0];
    assert_eq!((&part.attack, &part.labels, &part.predictions), (&None, &vec![1, 1], &vec![0, 1]));
    assert_eq!((part.ids.len(), part.targeted().count()), (2, 0));
    let columns = Columns { label: Some("gt".into()), prediction: Some("out".into()), ..Columns::default() };
    let named = read_bytes(b"gt,out\n0,2\n", &columns, &KnownClasses::Unknown).expect("good");
    assert_eq!((named.classes.len(), named.parts[0].ids.len()), (3, 0));
}

#[test]
fn each_attack_is_a_part_and_clean_comes_first() {
    let text =
        "id,attack,label,target,prediction\na,pgd,0,,1\na,,0,,0\na,pgd,0,1,1\na,pgd,0,2,0\nb,clean,1,,1\n";
    let found = read_text(text).expect("good");
    let names: Vec<&str> = found.parts.iter().filter_map(|part| part.attack.as_deref()).collect();
    assert_eq!((names, found.classes.len()), (vec!["clean", "pgd"], 3));
    assert_eq!(found.parts[0].labels, [0, 1]);
    let pgd = &found.parts[1];
    assert_eq!((pgd.untargeted().collect::<Vec<_>>(), pgd.targeted().count()), (vec![0], 2));
    assert_eq!((pgd.target(0), pgd.target(1), pgd.target(2)), (None, Some(1), Some(2)));
    assert_eq!(pgd.ids[0], found.parts[0].ids[0], "the same image has the same number");
}

#[test]
fn groups_are_those_of_classes() {
    let columns = Columns { groups: vec!["g".into()], ..Columns::default() };
    let read = |text: &str| read_bytes(text.as_bytes(), &columns, &KnownClasses::Unknown);
    let found = read("label,prediction,g\nben,anna,m\nanna,anna,f\nben,ben,m\ncarl,carl,\n").expect("good");
    assert_eq!(found.groups[0].groups, ["f", "m"]);
    assert_eq!(found.groups[0].members, [vec![0], vec![1]]);
    let two = read("label,prediction,g\nben,anna,m\nben,ben,f\n").expect_err("two groups");
    assert!(two.contains("line 3, column 3 (`g`)") && two.contains("line 2"), "{two}");
    let unknown = read("label,prediction,h\n0,0,m\n").expect_err("no such column");
    assert!(unknown.contains("no column `g`") && unknown.contains("Did you mean `h`"), "{unknown}");
}

#[test]
fn each_mistake_is_found_with_its_place() {
    for (text, parts) in [
        ("", &["empty"][..]),
        ("id,label,prediction\n", &["no rows"]),
        ("id,lable,prediction\na,0,0\n", &["line 1", "no column `label`", "--columns label="]),
        ("id,label\na,0\n", &["no column `prediction`"]),
        ("id,label,prediction\na,0\n", &["line 2", "found 2 cells, expected 3"]),
        ("id,label,prediction\na,0,\n", &["line 2, column 3 (`prediction`)", "empty"]),
        ("id,label,prediction\n,0,0\n", &["line 2, column 1 (`id`)", "empty"]),
        ("id,label,prediction\na,0,cat\n", &["by number", "--classes"]),
        ("id,label,prediction\na,0,0\nb,1,1\na,0,1\n", &["line 4, column 1 (`id`)", "`a` is on line 2"]),
        ("id,attack,target,label,prediction\na,clean,1,0,0\n", &["line 2, column 3 (`target`)", "no attack"]),
        ("id,attack,target,label,prediction\na,x,1,0,0\na,x,1,0,0\n", &["line 3", "line 2 already"]),
    ] {
        let error = read_text(text).expect_err(text);
        assert!(parts.iter().all(|part| error.contains(part)), "{text:?}: {error}");
    }
    let range = read_bytes(b"label,prediction\n0,1\n1,2\n", &Columns::default(), &KnownClasses::Number(2));
    let range = range.expect_err("class 2");
    assert!(
        range.contains("line 3, column 2 (`prediction`)") && range.contains("expected 0 to 1"),
        "{range}"
    );
    let latin = read_bytes(b"label,prediction\n\xe9,a\n", &Columns::default(), &KnownClasses::Unknown);
    assert!(latin.expect_err("latin-1").contains("UTF-8"));
}

#[test]
fn the_same_image_under_another_attack_or_target_is_another_row() {
    let text = "id,attack,target,label,prediction\na,x,1,0,0\na,x,2,0,0\na,y,1,0,0\na,x,,0,0\n";
    assert_eq!(read_text(text).expect("all differ").parts.len(), 2);
}

#[test]
fn gzip_is_recognised_and_a_cut_file_is_an_error() {
    let rows: Vec<String> = (0..5000).map(|n| format!("i{n},{},{}\n", n % 7, n * n % 7)).collect();
    let bytes = gzipped(format!("id,label,prediction\n{}", rows.concat()).as_bytes());
    let read = |bytes: &[u8]| read_bytes(bytes, &Columns::default(), &KnownClasses::Unknown);
    assert_eq!(read(&bytes).expect("whole").parts[0].labels.len(), 5000);
    for length in [bytes.len() - 1, bytes.len() / 2, 20] {
        let error = read(&bytes[..length]).expect_err("cut");
        assert!(error.contains("cut off") || error.contains("too early"), "{length}: {error}");
    }
}

#[test]
fn an_absurd_class_is_an_error_and_no_memory() {
    let error = read_text("label,prediction\n0,999999999\n").expect_err("a thousand million classes");
    assert!(error.contains("999999999") && error.contains("told apart"), "{error}");
}

/// Good files: numbers, names, targets of two attacks with a column of groups; each also as gzip.
fn good() -> Vec<Vec<u8>> {
    let numbers: Vec<String> = (0..30).map(|n| format!("{n},{},{}\n", n % 4, n * n % 4)).collect();
    let plain = [
        format!("id,label,prediction\n{}", numbers.concat()),
        "label;prediction\r\nanna;ben\r\n\"ben\";ben\r\n".to_owned(),
        "id,attack,target,label,prediction,g\na,pgd,1,0,1,m\na,pgd,2,0,0,m\nb,,,2,2,f\na,x,1,0,1,m\n"
            .to_owned(),
    ];
    plain.iter().flat_map(|text| [text.clone().into_bytes(), gzipped(text.as_bytes())]).collect()
}

proptest! {
    #[test]
    fn damaged_files_are_an_answer_or_an_error(bytes in damaged(one_of(good())), groups: bool) {
        let groups = if groups { vec!["g".to_owned()] } else { Vec::new() };
        let columns = Columns { groups, ..Columns::default() };
        match read_bytes(&bytes, &columns, &KnownClasses::Unknown) {
            Ok(found) => {
                for part in &found.parts {
                    prop_assert_eq!(part.labels.len(), part.predictions.len());
                    prop_assert!(part.ids.is_empty() || part.ids.len() == part.labels.len());
                    let targets = part.targeted().filter_map(|row| part.target(row));
                    let mut classes = part.labels.iter().chain(&part.predictions).copied().chain(targets);
                    prop_assert!(classes.all(|class| (class as usize) < found.classes.len()));
                }
                let mut members = found.groups.iter().flat_map(|group| group.members.iter().flatten());
                prop_assert!(members.all(|&class| class < found.classes.len()));
            }
            Err(error) => prop_assert!(error.contains("rows.csv"), "{}", error),
        }
    }

    #[test]
    fn any_bytes_are_an_answer_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300), zipped: bool) {
        let mut all = if zipped { vec![0x1f, 0x8b] } else { b"id,label,prediction,target,attack\n".to_vec() };
        all.extend(bytes);
        let _ = read_bytes(&all, &Columns::default(), &KnownClasses::Unknown);
    }

    #[test]
    fn any_table_is_an_answer_or_an_error(rows in "([a-c0-3 ]{0,2},[0-3x]{0,2},[0-3]?,[0-2]?,[pc]?\n){0,6}") {
        let _ = read_text(&format!("id,label,prediction,target,attack\n{rows}"));
    }

    #[test]
    fn rows_come_back(rows in prop::collection::vec((0_u32..9, 0_u32..9), 1..50)) {
        let text: Vec<String> = (0..).zip(&rows).map(|(id, (label, prediction))| format!("{id},{label},{prediction}\n")).collect();
        let found = read_text(&format!("id,label,prediction\n{}", text.concat())).expect("good");
        let back: Vec<(u32, u32)> =
            found.parts[0].labels.iter().copied().zip(found.parts[0].predictions.iter().copied()).collect();
        prop_assert_eq!(back, rows);
    }
}
