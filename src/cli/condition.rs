//! Conditions of `syfar compare --fail-if`, such as `worst_class < base - 0.02`.
//!
//! ```text
//! condition  = sum ("<" | "<=" | ">" | ">=") sum ["only"] ["if" "significant"]
//! sum        = product (("+" | "-") product)*
//! product    = value (("*" | "/") value)*
//! value      = number ["%"] | "base" | "base." name | name | "(" sum ")" | "-" value
//! name       = [part "."] figure
//! ```
//!
//! A name alone is a figure of the candidate; `base` alone is the same figure of the base as the first that
//! the condition names. Names with other characters than letters, digits, `_` and `.` stand in quotation
//! marks: `'pgd-20.worst_class'`.

use std::fmt;

/// One condition.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Condition {
    /// As it was given.
    pub text: String,
    left: Sum,
    compare: Compare,
    right: Sum,
    /// Whether a difference that chance could have made does not count.
    pub significant: bool,
    /// The figure that it is about: the first it names.
    pub figure: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compare {
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

/// An expression.
#[derive(Clone, Debug, PartialEq)]
enum Sum {
    Number(f64),
    Base(Option<String>),
    Candidate(String),
    Negative(Box<Sum>),
    Two(Box<Sum>, char, Box<Sum>),
}

/// Which run a figure is asked of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Base,
    Candidate,
}

/// What is wrong with the text of a condition.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadCondition(String);

impl fmt::Display for BadCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; expected a condition such as 'worst_class < base - 0.02 only if significant'", self.0)
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Number(f64),
    Name(String),
    Sign(char),
    Compare(Compare),
}

impl Condition {
    /// Reads the text.
    pub fn parse(text: &str) -> Result<Self, BadCondition> {
        let mut parser = Parser { tokens: tokens(text)?, at: 0, depth: 0 };
        let left = parser.sum()?;
        let compare = match parser.next() {
            Some(Token::Compare(compare)) => compare,
            other => return Err(unexpected(other.as_ref(), "<, <=, > or >=")),
        };
        let right = parser.sum()?;
        let words: Vec<String> = std::iter::from_fn(|| parser.word()).collect();
        let significant = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            [] => false,
            ["only", "if", "significant"] | ["if", "significant"] => true,
            _ => return Err(BadCondition(format!("found `{}` at the end", words.join(" ")))),
        };
        if let Some(rest) = parser.next() {
            return Err(unexpected(Some(&rest), "the end"));
        }
        let figure = left.figure().or_else(|| right.figure());
        let figure = figure.ok_or_else(|| BadCondition("it names no figure of the candidate".into()))?;
        Ok(Self { text: text.trim().to_owned(), figure, left, compare, right, significant })
    }

    /// All figures that it needs.
    pub fn figures(&self) -> Vec<(Side, &str)> {
        let mut found = Vec::new();
        self.left.collect(&self.figure, &mut found);
        self.right.collect(&self.figure, &mut found);
        found
    }

    /// Whether it holds, significance aside; `None` when a figure is absent.
    pub fn holds(&self, value: &impl Fn(Side, &str) -> Option<f64>) -> Option<bool> {
        let (left, right) = (self.left.value(&self.figure, value)?, self.right.value(&self.figure, value)?);
        Some(match self.compare {
            Compare::Less => left < right,
            Compare::LessEqual => left <= right,
            Compare::Greater => left > right,
            Compare::GreaterEqual => left >= right,
        })
    }
}

impl Sum {
    fn figure(&self) -> Option<String> {
        match self {
            Self::Candidate(name) => Some(name.clone()),
            Self::Number(_) | Self::Base(_) => None,
            Self::Negative(inner) => inner.figure(),
            Self::Two(left, _, right) => left.figure().or_else(|| right.figure()),
        }
    }

    fn collect<'a>(&'a self, figure: &'a str, found: &mut Vec<(Side, &'a str)>) {
        match self {
            Self::Number(_) => {}
            Self::Base(name) => found.push((Side::Base, name.as_deref().unwrap_or(figure))),
            Self::Candidate(name) => found.push((Side::Candidate, name)),
            Self::Negative(inner) => inner.collect(figure, found),
            Self::Two(left, _, right) => {
                left.collect(figure, found);
                right.collect(figure, found);
            }
        }
    }

    fn value(&self, figure: &str, of: &impl Fn(Side, &str) -> Option<f64>) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Base(name) => of(Side::Base, name.as_deref().unwrap_or(figure)),
            Self::Candidate(name) => of(Side::Candidate, name),
            Self::Negative(inner) => Some(-inner.value(figure, of)?),
            Self::Two(left, sign, right) => {
                let (left, right) = (left.value(figure, of)?, right.value(figure, of)?);
                Some(match sign {
                    '+' => left + right,
                    '-' => left - right,
                    '*' => left * right,
                    _ => left / right,
                })
            }
        }
        .filter(|value| !value.is_nan())
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, BadCondition> {
    let characters: Vec<char> = text.chars().collect();
    let (mut found, mut at) = (Vec::new(), 0);
    let run =
        |from: usize, keep: fn(&char) -> bool| characters[from..].iter().take_while(|c| keep(c)).count();
    while let Some(&c) = characters.get(at) {
        let length = match c {
            c if c.is_whitespace() => 1,
            '<' | '>' => {
                let equal = characters.get(at + 1) == Some(&'=');
                found.push(Token::Compare(match (c, equal) {
                    ('<', false) => Compare::Less,
                    ('<', true) => Compare::LessEqual,
                    (_, false) => Compare::Greater,
                    (_, true) => Compare::GreaterEqual,
                }));
                1 + usize::from(equal)
            }
            '+' | '-' | '*' | '/' | '(' | ')' | '%' => {
                found.push(Token::Sign(c));
                1
            }
            '\'' | '"' => {
                let length = characters[at + 1..].iter().take_while(|&&other| other != c).count();
                if at + 1 + length == characters.len() {
                    return Err(BadCondition("a quotation mark is not closed".into()));
                }
                found.push(Token::Name(characters[at + 1..][..length].iter().collect()));
                length + 2
            }
            c if c.is_ascii_digit() || c == '.' => {
                let length = run(at, |c| c.is_ascii_alphanumeric() || *c == '.' || *c == '_');
                let word: String = characters[at..][..length].iter().collect();
                let number = word.parse().map_err(|_| BadCondition(format!("`{word}` is not a number")))?;
                found.push(Token::Number(number));
                length
            }
            c if c.is_alphabetic() || c == '_' => {
                let length = run(at, |c| c.is_alphanumeric() || *c == '.' || *c == '_');
                found.push(Token::Name(characters[at..][..length].iter().collect()));
                length
            }
            c => return Err(BadCondition(format!("found `{c}`"))),
        };
        at += length;
    }
    Ok(found)
}

fn unexpected(found: Option<&Token>, expected: &str) -> BadCondition {
    let found = match found {
        None => "the end".to_owned(),
        Some(Token::Number(number)) => format!("`{number}`"),
        Some(Token::Name(name)) => format!("`{name}`"),
        Some(Token::Sign(sign)) => format!("`{sign}`"),
        Some(Token::Compare(_)) => "a second comparison".to_owned(),
    };
    BadCondition(format!("found {found} where {expected} belongs"))
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn next(&mut self) -> Option<Token> {
        self.at += 1;
        self.tokens.get(self.at - 1).cloned()
    }

    fn word(&mut self) -> Option<String> {
        match self.tokens.get(self.at) {
            Some(Token::Name(word)) => {
                self.at += 1;
                Some(word.clone())
            }
            _ => None,
        }
    }

    fn sign(&mut self, of: &[char]) -> Option<char> {
        match self.tokens.get(self.at) {
            Some(Token::Sign(sign)) if of.contains(sign) => {
                self.at += 1;
                Some(*sign)
            }
            _ => None,
        }
    }

    fn sum(&mut self) -> Result<Sum, BadCondition> {
        let mut left = self.product()?;
        while let Some(sign) = self.sign(&['+', '-']) {
            left = Sum::Two(Box::new(left), sign, Box::new(self.product()?));
        }
        Ok(left)
    }

    fn product(&mut self) -> Result<Sum, BadCondition> {
        let mut left = self.value()?;
        while let Some(sign) = self.sign(&['*', '/']) {
            left = Sum::Two(Box::new(left), sign, Box::new(self.value()?));
        }
        Ok(left)
    }

    fn value(&mut self) -> Result<Sum, BadCondition> {
        self.depth += 1;
        if self.depth > 100 {
            return Err(BadCondition("it is nested too deeply".into()));
        }
        let value = match self.next() {
            Some(Token::Number(number)) => {
                Sum::Number(if self.sign(&['%']).is_some() { number / 100.0 } else { number })
            }
            Some(Token::Name(name)) if name == "base" => Sum::Base(None),
            Some(Token::Name(name)) => match name.strip_prefix("base.") {
                Some(of_base) => Sum::Base(Some(of_base.to_owned())),
                None => Sum::Candidate(name.strip_prefix("candidate.").unwrap_or(&name).to_owned()),
            },
            Some(Token::Sign('-')) => Sum::Negative(Box::new(self.value()?)),
            Some(Token::Sign('(')) => {
                let inner = self.sum()?;
                if self.sign(&[')']).is_none() {
                    return Err(unexpected(self.next().as_ref(), ")"));
                }
                inner
            }
            other => return Err(unexpected(other.as_ref(), "a figure or a number")),
        };
        self.depth -= 1;
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn holds(text: &str) -> Option<bool> {
        let value = |side, name: &str| match (side, name) {
            (Side::Base, "worst_class") => Some(0.5),
            (Side::Candidate, "worst_class") => Some(0.47),
            (Side::Candidate, "pgd-20.a1") => Some(2.0),
            (Side::Base, "a1") => Some(1.0),
            _ => None,
        };
        Condition::parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).holds(&value)
    }

    #[test]
    fn figures_are_compared() {
        for (text, expected) in [
            ("worst_class < base - 0.02", Some(true)),
            ("worst_class < base - 4%", Some(false)),
            ("worst_class >= 0.47", Some(true)),
            ("worst_class<base*0.9", Some(false)),
            ("base - worst_class > 2 * (0.01 + .004)", Some(true)),
            ("candidate.worst_class > -base.worst_class", Some(true)),
            ("'pgd-20.a1' > 1.5 * base.a1", Some(true)),
            ("'pgd-20.a1' > base", None),
            ("nothing < 1", None),
            ("worst_class > 1 / 0", Some(false)),
            ("worst_class > 0 / 0", None),
        ] {
            assert_eq!(holds(text), expected, "{text}");
        }
    }

    #[test]
    fn significance_is_asked_for_in_words() {
        let parse = |text| Condition::parse(text).expect("good");
        assert!(parse("a1 > base only if significant").significant);
        assert!(parse("a1 > base if significant").significant);
        let plain = parse("a1 > base + base.b1");
        assert!(!plain.significant && plain.figure == "a1");
        assert_eq!(plain.figures(), [(Side::Candidate, "a1"), (Side::Base, "a1"), (Side::Base, "b1")]);
    }

    #[test]
    fn mistakes_say_what_was_found() {
        for (text, part) in [
            ("", "found the end"),
            ("worst_class", "found the end where <, <=, > or >= belongs"),
            ("worst_class < ", "found the end where a figure"),
            ("worst_class == 1", "found `=`"),
            ("1 < 2", "names no figure"),
            ("base < 2", "names no figure"),
            ("a < 1 maybe", "`maybe` at the end"),
            ("a < (1", "belongs"),
            ("a < 1.2.3", "`1.2.3` is not a number"),
            ("a < b < c", "a second comparison"),
            ("'a < 1", "not closed"),
        ] {
            let error = Condition::parse(text).expect_err(text).to_string();
            assert!(error.contains(part) && error.contains("such as"), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_condition_or_an_error(text in "[a-c0-9.<>=+*/()%' -]{0,40}|\\PC{0,40}|[(-]{300}") {
            if let Ok(condition) = Condition::parse(&text) {
                let _ = condition.holds(&|_, _| Some(1.0));
            }
        }
    }
}
