//! What is asked of a grammar's source before it is compiled.

use llguidance::api::{GrammarWithLexer, TopLevelGrammar};
use serde_json::{json, Deserializer, Value};

use crate::failure::Failure;
use crate::grammar::Kind;

/// Array bounds become rules, a few kilobytes each. All bounds of a schema together stay below this.
const MAX_ITEMS: f64 = 50_000.0;

pub fn parse(kind: Kind, source: &str) -> Result<TopLevelGrammar, Failure> {
    match kind {
        Kind::JsonSchema => json_schema(source),
        Kind::Regex => Ok(TopLevelGrammar::from_grammar(GrammarWithLexer::from_regex(
            source,
        ))),
        Kind::Lark => {
            for (at, _) in source.match_indices("%json") {
                let rest = &source[at + "%json".len()..];
                if let Some(Ok(schema)) = Deserializer::from_str(rest).into_iter::<Value>().next() {
                    check_items(&schema)?;
                }
            }
            Ok(TopLevelGrammar::from_lark(source.to_owned()))
        }
    }
}

fn json_schema(source: &str) -> Result<TopLevelGrammar, Failure> {
    let mut schema: Value = serde_json::from_str(source)
        .map_err(|error| Failure::bad_input(format!("the schema is not JSON: {error}")))?;
    check_items(&schema)?;
    if let Some(object) = schema.as_object_mut() {
        // Whether exactly one branch matches cannot be told while writing; at least one does.
        object
            .entry("x-guidance")
            .or_insert_with(|| json!({"coerce_one_of": true}));
    }
    Ok(TopLevelGrammar::from_json_schema(schema))
}

fn check_items(schema: &Value) -> Result<(), Failure> {
    if items(schema) > MAX_ITEMS {
        return Err(Failure::bad_input(format!(
            "minItems and maxItems of the schema add up to more than {MAX_ITEMS}"
        )));
    }
    Ok(())
}

fn items(value: &Value) -> f64 {
    match value {
        Value::Array(list) => list.iter().map(items).sum(),
        Value::Object(entries) => entries
            .iter()
            .map(|(key, entry)| match (key.as_str(), entry.as_f64()) {
                ("minItems" | "maxItems", Some(bound)) => bound.max(0.0),
                _ => items(entry),
            })
            .sum(),
        _ => 0.0,
    }
}
