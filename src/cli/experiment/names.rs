//! Names in the file of an experiment: those that become paths, and those that stand for tables.

use std::collections::BTreeSet;

use toml::{Table, Value};

use super::super::config::ConfigError;

/// Tables inside each other by name, at most.
const DEEPEST: usize = 8;

/// Names that are parts of paths: different, and of plain characters.
pub(super) fn check<'a>(kind: &str, names: impl Iterator<Item = &'a str>) -> Result<(), ConfigError> {
    let mut seen = BTreeSet::new();
    for name in names {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) || name == "pictures" {
            return Err(ConfigError::Value(format!(
                "{kind} `{name}`: its name is part of a path; expected letters, digits, '-', '_' and '.', not starting \
                 with a dot, and not `pictures`"
            )));
        }
        if !seen.insert(name.to_lowercase()) {
            return Err(ConfigError::Value(format!("{kind} `{name}` is there twice: rename one")));
        }
    }
    if seen.is_empty() {
        return Err(ConfigError::Value(format!("no [[{kind}]]: expected at least one")));
    }
    Ok(())
}

/// Puts the named tables in the place of their names, `"@roa"`, also inside each other.
///
/// # Errors
/// For a name that there is not, and for tables that hold each other.
pub(super) fn fill(table: &mut Table, named: &Table, depth: usize) -> Result<(), ConfigError> {
    for (_, value) in table.iter_mut() {
        fill_value(value, named, depth)?;
    }
    Ok(())
}

fn fill_value(value: &mut Value, named: &Table, depth: usize) -> Result<(), ConfigError> {
    match value {
        Value::Table(inner) => fill(inner, named, depth),
        Value::Array(values) => values.iter_mut().try_for_each(|value| fill_value(value, named, depth)),
        Value::String(text) => {
            let Some(name) = text.strip_prefix('@') else { return Ok(()) };
            let Some(found) = named.get(name).and_then(Value::as_table).filter(|_| depth < DEEPEST) else {
                let known: Vec<&str> = named.keys().map(String::as_str).collect();
                return Err(ConfigError::Value(format!(
                    "\"@{name}\" stands for no table; expected one of those in [named.NAME], which do not hold each \
                     other: {}",
                    if known.is_empty() { "there are none".to_owned() } else { known.join(", ") }
                )));
            };
            let mut found = found.clone();
            fill(&mut found, named, depth + 1)?;
            *value = Value::Table(found);
            Ok(())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str, named: &str) -> Result<Table, ConfigError> {
        let mut table: Table = text.parse().expect("TOML");
        fill(&mut table, &named.parse().expect("TOML"), 0)?;
        Ok(table)
    }

    #[test]
    fn a_name_stands_for_its_table() {
        let named = "[at]\nkind = 'adversarial'\nattack = '@roa'\n[roa]\nsteps = 3\n";
        let expected: Table =
            "base = { kind = 'adversarial', attack = { steps = 3 } }".parse().expect("TOML");
        assert_eq!(filled("base = '@at'", named).expect("named"), expected);
    }

    #[test]
    fn unknown_names_and_circles_are_errors() {
        let unknown = filled("base = '@ad'", "[at]\nkind = 'x'\n").expect_err("unknown").to_string();
        assert!(unknown.contains("\"@ad\" stands for no table") && unknown.contains(": at"), "{unknown}");
        let circle = filled("base = '@a'", "[a]\nb = '@a'\n").expect_err("a circle").to_string();
        assert!(circle.contains("hold each"), "{circle}");
    }
}
