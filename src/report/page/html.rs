//! A page as one HTML file.
//!
//! The template escapes what it is given; style, script and data go in as they are, the data with every `<` written as
//! an escape of JSON, so that no name of a class can end the element. The file forbids itself the network.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{Environment, context};

use super::Page;
use crate::report::p_words;

const TEMPLATE: &str = include_str!("../../../assets/report/page.html");
const STYLE: &str = include_str!("../../../assets/report/page.css");
const SCRIPT: &str = include_str!("../../../assets/report/page.js");

/// Text of a page.
///
/// # Errors
/// When the template cannot be filled, which no run can cause.
pub fn html(page: &Page) -> Result<String, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.add_filter("three", |value: f64| format!("{value:.3}"));
    environment.add_filter("percent", |value: f64| format!("{:.1} %", 100.0 * value));
    environment.add_filter("p", p_words);
    environment.add_filter("width", |value: f64, full: f64| {
        format!("{:.2}", (100.0 * value / full).clamp(0.0, 100.0))
    });
    environment.add_template("page.html", TEMPLATE)?;
    let data = serde_json::to_string(&page.data).unwrap_or_else(|_| "{}".to_owned()).replace('<', "\\u003c");
    environment.get_template("page.html")?.render(context! {
        page => Value::from(Serde(page)),
        style => Value::from_safe_string(STYLE.to_owned()),
        script => Value::from_safe_string(SCRIPT.to_owned()),
        data => Value::from_safe_string(data),
    })
}
