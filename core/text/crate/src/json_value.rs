//! JSON text as template values, keys in the order of the text.

use minijinja::Value;
use serde_json::Value as Json;

use crate::failure::Failure;

/// Parses one of the texts that a caller hands to a template; `what` names it in messages.
pub fn parse(text: &str, what: &str) -> Result<Value, Failure> {
    let json: Json = serde_json::from_str(text)
        .map_err(|error| Failure::bad_input(format!("{what} are not JSON: {error}")))?;
    Ok(to_value(&json))
}

fn to_value(json: &Json) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(flag) => Value::from(*flag),
        Json::Number(number) => number_value(number),
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => Value::from(items.iter().map(to_value).collect::<Vec<_>>()),
        Json::Object(entries) => Value::from_pairs(
            entries
                .iter()
                .map(|(key, item)| (key.as_str(), to_value(item))),
        ),
    }
}

fn number_value(number: &serde_json::Number) -> Value {
    if let Some(integer) = number.as_i64() {
        Value::from(integer)
    } else if let Some(integer) = number.as_u64() {
        Value::from(integer)
    } else {
        Value::from(number.as_f64().unwrap_or(f64::NAN))
    }
}
