//! Refuses tokenizers whose rules blow text up, since encoding and decoding run without a limit.

use serde_json::Value;

use crate::failure::Failure;

/// How many bytes a byte of text may become. Published normalizers stay below 100: each of them
/// replaces a space by a three-byte sign and a few quotes by others.
const MAX_GROWTH: f64 = 4096.0;

/// Templates of published tokenizers place the text once.
const MAX_COPIES: usize = 4;

pub fn growth(tokenizer: &tokenizers::Tokenizer) -> Result<(), Failure> {
    let normalizer = to_value(&tokenizer.get_normalizer())?;
    let decoder = to_value(&tokenizer.get_decoder())?;
    for (name, part) in [("normalizer", &normalizer), ("decoder", &decoder)] {
        if growth_of(part) > MAX_GROWTH {
            return Err(Failure::bad_input(format!(
                "the {name} may make text more than {MAX_GROWTH} times longer"
            )));
        }
    }
    let processor = to_value(&tokenizer.get_post_processor())?;
    let copies = copies_of(&processor);
    if copies > MAX_COPIES {
        return Err(Failure::bad_input(format!(
            "the post processor repeats the text {copies} times"
        )));
    }
    Ok(())
}

fn to_value<T: serde::Serialize>(part: &T) -> Result<Value, Failure> {
    serde_json::to_value(part).map_err(Failure::bad_input)
}

/// An upper bound for the factor by which a normalizer or decoder lengthens text.
fn growth_of(part: &Value) -> f64 {
    let steps = part["normalizers"]
        .as_array()
        .or_else(|| part["decoders"].as_array());
    if let Some(steps) = steps {
        return steps.iter().map(growth_of).product();
    }
    match part["type"].as_str() {
        Some("Replace") => {
            let content = part["content"].as_str().map_or(0, str::len) as f64;
            // A regular expression may match nothing between every two bytes.
            match part["pattern"]["String"].as_str().map(str::len) {
                Some(pattern) if pattern > 0 => (content / pattern as f64).max(1.0),
                _ => content + 1.0,
            }
        }
        Some("Prepend") => 1.0 + part["prepend"].as_str().map_or(0, str::len) as f64,
        // Two bytes for each byte of the text.
        Some("ByteLevel") => 2.0,
        // One code point becomes at most 18.
        Some("NFKC" | "NFKD") => 18.0,
        Some("NFC" | "NFD") => 4.0,
        _ => 1.0,
    }
}

/// How often a post processor (or the worst chain of them) places the text.
fn copies_of(part: &Value) -> usize {
    if let Some(steps) = part["processors"].as_array() {
        return steps.iter().map(copies_of).fold(1, usize::saturating_mul);
    }
    match part["single"].as_array() {
        Some(pieces) => pieces
            .iter()
            .filter(|piece| piece.get("Sequence").is_some())
            .count()
            .max(1),
        None => 1,
    }
}
