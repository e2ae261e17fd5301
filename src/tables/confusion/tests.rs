use std::io::Cursor;

use super::*;
use crate::tables::damage::{damaged, gzipped, one_of};
use proptest::prelude::*;

fn read(text: &str) -> Result<ConfusionTable, TableError> {
    read_as(text.as_bytes(), &KnownClasses::Unknown, Kind::Guess)
}

fn read_as(bytes: &[u8], known: &KnownClasses, kind: Kind) -> Result<ConfusionTable, TableError> {
    let path = Path::new("cm.csv");
    let records = Records::new(path, Box::new(Cursor::new(bytes.to_vec())), LONGEST)?;
    interpret(path, read_csv(path, records)?, known, kind)
}

fn counts(table: &ConfusionTable) -> Vec<Vec<u64>> {
    let Cells::Counts(matrix) = &table.cells else { panic!("rates") };
    let dense = matrix.to_dense();
    (0..dense.classes()).map(|label| dense.row(label).to_vec()).collect()
}

#[test]
fn names_may_stand_anywhere_or_nowhere() {
    for (text, names) in [
        ("5,1\n0,3\n", ["0", "1"]),
        ("cat,dog\n5,1\n0,3\n", ["cat", "dog"]),
        ("cat,5,1\ndog,0,3\n", ["cat", "dog"]),
        ("true\\predicted,cat,dog\ncat,5,1\ndog,0,3\n", ["cat", "dog"]),
        (",0,1\n0,5,1\n1,0,3\n", ["0", "1"]),
        ("label,0,1\n0,5,1\n1,0,3\n", ["0", "1"]),
        ("7,8\n5,1\n0,3\n", ["7", "8"]),
        ("-1,1\n5,1\n0,3\n", ["-1", "1"]),
        (";a;b\na;5;1\nb;0;3", ["a", "b"]),
        ("5.000000000000000000e+00,1.0\n0.0,3.0\n", ["0", "1"]),
    ] {
        let table = read(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        assert_eq!(table.classes, names, "{text:?}");
        assert_eq!(counts(&table), [[5, 1], [0, 3]], "{text:?}");
    }
    assert_eq!(counts(&read("4\n").expect("one class")), [[4]]);
    assert_eq!(counts(&read("cat\n4\n").expect("one class")), [[4]]);
}

#[test]
fn whole_numbers_are_counts_and_rows_of_one_are_rates() {
    let rates = |text: &str| match read(text).expect("good").cells {
        Cells::Rates(rates) => rates,
        Cells::Counts(_) => panic!("counts: {text}"),
    };
    assert_eq!(rates("0.75,0.25\n0.5,0.5\n"), [0.75, 0.25, 0.5, 0.5]);
    assert_eq!(rates("1,0\n0,1\n"), [1.0, 0.0, 0.0, 1.0]);
    assert_eq!(rates("0.333,0.333,0.333\n0,0,0\n0,0,1\n")[3..6], [0.0; 3]);
    let forced = read_as(b"1,0\n0,1\n", &KnownClasses::Unknown, Kind::Counts).expect("counts");
    assert_eq!(counts(&forced), [[1, 0], [0, 1]]);
    assert!(matches!(read("0,0\n0,0\n").expect("empty classes").cells, Cells::Counts(_)));
}

#[test]
fn each_mistake_is_found_with_its_place() {
    for (text, parts) in [
        ("", &["empty"][..]),
        ("1,2,3\n4,5,6\n", &["2 rows of 3"]),
        ("1,2\n3,4\n5,6\n7,8\n", &["line 4", "square"]),
        ("1,2\n3\n", &["line 2", "found 1 cells, expected 2"]),
        ("1,2\n3,-4\n", &["line 2, column 2", "negative"]),
        ("5,-2\n3,4\n", &["line 1, column 2", "negative"]),
        ("1,2\n3,nan\n", &["line 2, column 2", "NaN"]),
        ("1,2\ninf,4\n", &["line 2, column 1", "larger"]),
        ("1,2\n3,1e300\n", &["line 2, column 2", "2^53"]),
        ("1,2\n3,x\n", &["line 2, column 2", "`x` is not a number"]),
        ("1,x,3\n3,4,5\n", &["line 1, column 2", "`x`"]),
        ("0.5,0.5\n0.7,0.7\n", &["line 2", "sums to 1.4"]),
        ("a,b\n50.5,49.5\n0,100\n", &["line 2", "sums to 100"]),
        (",a,b\na,1,2\nc,3,4\n", &["line 3", "`c`", "`b`"]),
        ("a,a\n1,2\n3,4\n", &["two classes are called `a`"]),
    ] {
        let error = read(text).expect_err(text).to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{text:?}: {error}");
        assert!(error.contains("cm.csv"), "{error}");
    }
    let counts = read_as(b"0.5,0.5\n1,0\n", &KnownClasses::Unknown, Kind::Counts);
    assert!(counts.expect_err("no counts").to_string().contains("line 1, column 1"));
}

#[test]
fn known_classes_have_to_be_those_of_the_file() {
    let known = |names: &[&str]| KnownClasses::Named(names.iter().map(ToString::to_string).collect());
    let named = read_as(b"5,1\n0,3\n", &known(&["cat", "dog"]), Kind::Guess).expect("named");
    assert_eq!(named.classes, ["cat", "dog"]);
    let wrong =
        |text: &[u8], known: &KnownClasses| read_as(text, known, Kind::Guess).expect_err("wrong").to_string();
    assert!(wrong(b"5,1\n0,3\n", &KnownClasses::Number(3)).contains("2 classes, expected 3"));
    assert!(wrong(b"a,b\n5,1\n0,3\n", &known(&["a", "c"])).contains("`b`, expected `c`"));
}

fn good() -> Vec<Vec<u8>> {
    let text = ",cat,dog,eel\ncat,5,1,0\ndog,0,3,2\neel,1,0,7\n";
    let rates = "0.75,0.25\n0.5,0.5\n";
    vec![
        text.into(),
        rates.into(),
        b"7\t1\n0\t3\n".to_vec(),
        gzipped(text.as_bytes()),
        gzipped(rates.as_bytes()),
    ]
}

proptest! {
    #[test]
    fn damaged_files_are_an_answer_or_an_error(bytes in damaged(one_of(good()))) {
        match read_as(&bytes, &KnownClasses::Unknown, Kind::Guess) {
            Ok(ConfusionTable { classes, cells: Cells::Counts(matrix) }) => {
                prop_assert_eq!(classes.len(), matrix.classes());
            }
            Ok(ConfusionTable { classes, cells: Cells::Rates(rates) }) => {
                prop_assert_eq!(classes.len() * classes.len(), rates.len());
                prop_assert!(rates.iter().all(|rate| (0.0..=1.0 + ROUNDING).contains(rate)));
            }
            Err(error) => prop_assert!(error.to_string().contains("cm.csv"), "{}", error),
        }
    }

    #[test]
    fn any_bytes_are_an_answer_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = read_as(&bytes, &KnownClasses::Unknown, Kind::Guess);
    }

    #[test]
    fn any_text_of_a_table_is_an_answer_or_an_error(text in "[-0-9a.,;\"\n\r e]{0,80}") {
        let _ = read(&text);
    }

    #[test]
    fn what_was_written_comes_back(
        cells in prop::array::uniform3(prop::array::uniform3(0_u64..1 << 40)), header: bool, named: bool
    ) {
        prop_assume!(cells.iter().any(|row| row.iter().sum::<u64>() > 1));
        let names = ["a b", "c,d", "ź"];
        let mut writer = csv::Writer::from_writer(Vec::new());
        if header {
            writer.write_record(named.then_some("").into_iter().chain(names)).expect("memory");
        }
        for (name, row) in names.iter().zip(&cells) {
            let row = row.iter().map(ToString::to_string);
            writer.write_record(named.then(|| (*name).to_owned()).into_iter().chain(row)).expect("memory");
        }
        let bytes = writer.into_inner().expect("memory");
        let table = read_as(&bytes, &KnownClasses::Unknown, Kind::Guess).expect("a good file");
        prop_assert_eq!(counts(&table), cells.map(|row| row.to_vec()).to_vec());
        if header || named {
            prop_assert_eq!(table.classes, names);
        }
    }
}
