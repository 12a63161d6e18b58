//! A tokenizer.json, loaded with limits and asked for ids, text and token strings.

use std::collections::HashMap;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::time::Duration;

use crate::failure::Failure;
use crate::ffi::panic_message;
use crate::guard::{self, Limits};
use crate::tokenizer_check;

pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// One past the largest id.
    vocab_size: usize,
    special: Vec<bool>,
}

/// The largest published file is 35 MB.
const MAX_FILE_BYTES: usize = 512 << 20;

/// Ids index arrays, so a file must not name one in the billions. Published vocabularies end at
/// 262,144; grammars can hold 24-bit ids.
const MAX_VOCAB_SIZE: usize = 1 << 22;

/// A file of 33 MB was seen to need 12 bytes of memory a byte while it is loaded.
fn load_limits(file_bytes: usize) -> Limits {
    Limits {
        memory_bytes: (128 << 20) + 40 * file_bytes,
        time: Duration::from_secs(120),
    }
}

impl Tokenizer {
    pub fn from_json(json: &[u8]) -> Result<Self, Failure> {
        if json.len() > MAX_FILE_BYTES {
            return Err(Failure::bad_input(format!(
                "{} MiB is more than a tokenizer.json may have ({} MiB)",
                json.len() >> 20,
                MAX_FILE_BYTES >> 20
            )));
        }
        let owned = json.to_vec();
        guard::run(
            "loading the tokenizer",
            load_limits(json.len()),
            move || Self::load(&owned),
        )
    }

    fn load(json: &[u8]) -> Result<Self, Failure> {
        // First, for a plain message and because some readers of parts panic on what is no JSON.
        let _: serde::de::IgnoredAny = serde_json::from_slice(json)
            .map_err(|error| Failure::bad_input(format!("not JSON: {error}")))?;
        let mut inner = tokenizers::Tokenizer::from_bytes(json).map_err(Failure::bad_input)?;
        // They shape batches for training; a request must never be cut or padded by them.
        inner.with_truncation(None).map_err(Failure::bad_input)?;
        inner.with_padding(None);
        tokenizer_check::growth(&inner)?;

        let vocab: HashMap<String, u32> = inner.get_vocab(true);
        let vocab_size = vocab.values().max().map_or(0, |id| *id as usize + 1);
        if vocab_size == 0 {
            return Err(Failure::bad_input("the vocabulary is empty"));
        }
        if vocab_size > MAX_VOCAB_SIZE {
            return Err(Failure::bad_input(format!(
                "token id {} is beyond the limit of {MAX_VOCAB_SIZE}",
                vocab_size - 1
            )));
        }
        // By the token that decoding finds for the id, since a file may give one id to two tokens.
        let is_special = |id: u32| {
            let token = inner.id_to_token(id);
            token.is_some_and(|token| inner.get_added_vocabulary().is_special_token(&token))
        };
        let special = (0..vocab_size as u32).map(is_special).collect();
        Ok(Tokenizer {
            inner,
            vocab_size,
            special,
        })
    }

    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    pub fn encode(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>, Failure> {
        unless_rules_fail(|| {
            let encoding = self.inner.encode_fast(text, add_special_tokens)?;
            Ok(encoding.get_ids().to_vec())
        })
    }

    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String, Failure> {
        unless_rules_fail(|| self.inner.decode(ids, skip_special_tokens))
    }

    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    pub fn is_special(&self, id: u32) -> bool {
        self.special.get(id as usize).copied().unwrap_or(false)
    }

    /// The decoder's part of tokenizer.json, "null" when it has none.
    pub fn decoder_json(&self) -> Result<String, Failure> {
        serde_json::to_string(&self.inner.get_decoder()).map_err(Failure::internal)
    }
}

/// Some rules that a file may state make the library below panic on some texts.
fn unless_rules_fail<T>(work: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, Failure> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(Failure::bad_input),
        Err(panic) => Err(Failure::bad_input(format!(
            "the rules in tokenizer.json fail on this text: {}",
            panic_message(&*panic)
        ))),
    }
}
