//! Grammars: which tokens may come next, for JSON schemas, regular expressions and Lark grammars.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use llguidance::api::ParserLimits;
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::{ApproximateTokEnv, InferenceCapabilities, TokEnv, TokRxInfo, TokTrie};
use llguidance::ParserFactory;

use crate::failure::Failure;
use crate::grammar_source;
use crate::guard::{self, Limits};
use crate::json_space::{JsonSpace, LeadingSpace};

/// The tokens of a tokenizer in the form that grammars walk; built once, shared by all grammars.
pub struct Vocabulary {
    factory: ParserFactory,
    size: usize,
    /// Tokens with the same bytes as an earlier one, which alone is in the trie: (token, earlier).
    twins: Vec<(u32, u32)>,
    leading_space: LeadingSpace,
}

/// Values of `qt_grammar_kind` in quiver_text.h.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    JsonSchema,
    Regex,
    Lark,
}

impl TryFrom<i32> for Kind {
    type Error = Failure;

    fn try_from(value: i32) -> Result<Self, Failure> {
        match value {
            0 => Ok(Kind::JsonSchema),
            1 => Ok(Kind::Regex),
            2 => Ok(Kind::Lark),
            _ => Err(Failure::internal("unknown kind of grammar")),
        }
    }
}

/// The trie counts how many levels end at a node in ten bits.
const MAX_TOKEN_BYTES: usize = 1000;

/// JSON schemas of whole protocols have some hundred kilobytes, other grammars far less; the time
/// that the latter take grows faster than their size.
const MAX_SCHEMA_BYTES: usize = 4 << 20;
const MAX_GRAMMAR_BYTES: usize = 512 << 10;

/// Each state of the lexer takes one to two kilobytes for as long as a matcher lives.
const MAX_LEXER_STATES: usize = 50_000;

const SPECIAL: u8 = TokTrie::SPECIAL_TOKEN_MARKER;

impl Vocabulary {
    /// `words`: the bytes of each token; `special[id]`: it stands for no text.
    pub fn new(words: Vec<Vec<u8>>, special: &[bool]) -> Result<Self, Failure> {
        let size = words.len();
        let leading_space = LeadingSpace::new(&words);
        let mut first: HashMap<Vec<u8>, u32> = HashMap::new();
        let mut twins = Vec::new();
        let mut entries = Vec::with_capacity(size + 1);
        for (id, word) in words.into_iter().enumerate() {
            let entry = trie_entry(word, special[id]);
            if !entry.is_empty() {
                match first.get(&entry) {
                    Some(earlier) => twins.push((id as u32, *earlier)),
                    None => drop(first.insert(entry.clone(), id as u32)),
                }
            }
            entries.push(entry);
        }
        for (id, _) in &twins {
            entries[*id as usize].clear();
        }
        // The end of the text is a token of our own, so that a model may have several stop tokens.
        entries.push(vec![SPECIAL, SPECIAL]);
        let info = TokRxInfo::new(entries.len() as u32, size as u32);
        let trie = TokTrie::from(&info, &entries);
        let env: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let mut factory = ParserFactory::new(
            &env,
            InferenceCapabilities::default(),
            &SlicedBiasComputer::general_slices(),
        )
        .map_err(Failure::internal)?;
        factory.quiet();
        *factory.limits_mut() = ParserLimits {
            max_lexer_states: MAX_LEXER_STATES,
            verbose_errors: false,
            ..ParserLimits::default()
        };
        Ok(Vocabulary {
            factory,
            size,
            twins,
            leading_space,
        })
    }

    /// The token that stands for this one in the trie.
    fn in_trie(&self, id: u32) -> u32 {
        match self.twins.binary_search_by_key(&id, |(twin, _)| *twin) {
            Ok(index) => self.twins[index].1,
            Err(_) => id,
        }
    }

    fn word(&self, id: u32) -> &[u8] {
        self.factory.tok_env().tok_trie().token(id)
    }
}

/// The bytes a token has in the trie; none if no grammar can ever ask for it. Text never holds the
/// byte that marks special tokens.
fn trie_entry(mut word: Vec<u8>, special: bool) -> Vec<u8> {
    if word.is_empty() || word.len() > MAX_TOKEN_BYTES {
        return Vec::new();
    }
    if special {
        word.insert(0, SPECIAL);
    } else if word.contains(&SPECIAL) {
        word.clear();
    }
    word
}

/// A compiled grammar; matchers start from copies of `start`.
pub struct Grammar {
    vocabulary: Arc<Vocabulary>,
    start: Mutex<llguidance::Matcher>,
    stops: Arc<[u32]>,
    is_json: bool,
}

impl Grammar {
    pub fn compile(
        vocabulary: Arc<Vocabulary>,
        kind: Kind,
        source: &str,
        stops: &[u32],
    ) -> Result<Self, Failure> {
        let max_bytes = if kind == Kind::JsonSchema {
            MAX_SCHEMA_BYTES
        } else {
            MAX_GRAMMAR_BYTES
        };
        if source.len() > max_bytes {
            return Err(Failure::bad_input(format!(
                "the grammar has {} bytes, more than the limit of {max_bytes}",
                source.len()
            )));
        }
        if stops.iter().any(|id| *id as usize >= vocabulary.size) {
            return Err(Failure::bad_input("a stop token is outside the vocabulary"));
        }
        let limits = Limits {
            memory_bytes: (256 << 20) + 64 * source.len(),
            time: Duration::from_secs(20),
        };
        let shared = vocabulary.clone();
        let source = source.to_owned();
        let start = guard::run("compiling the grammar", limits, move || {
            let parser = shared
                .factory
                .create_parser(grammar_source::parse(kind, &source)?)
                .map_err(|error| Failure::bad_input(plain(&format!("{error:#}"))))?;
            let mut matcher = llguidance::Matcher::new(Ok(parser));
            // The first mask finds what the lexer makes of the grammar, still within the limits.
            matcher
                .compute_mask_or_eos()
                .map_err(|error| Failure::bad_input(plain(&error.to_string())))?;
            Ok(matcher)
        })?;
        Ok(Grammar {
            vocabulary,
            start: Mutex::new(start),
            stops: stops.into(),
            is_json: kind == Kind::JsonSchema,
        })
    }

    pub fn matcher(&self) -> Matcher {
        let start = self
            .start
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        Matcher {
            inner: start.deep_clone(),
            vocabulary: self.vocabulary.clone(),
            stops: self.stops.clone(),
            space: self.is_json.then(JsonSpace::default),
            accepted: Vec::new(),
        }
    }
}

/// The part of a message that says something to those who wrote the grammar.
fn plain(message: &str) -> String {
    let end = message.find("<backtrace>").unwrap_or(message.len());
    message[..end]
        .replace("<non-verbose/>", "")
        .replace("NoExtensionBias", "no text of this vocabulary can match it")
        .replace("panic: ", "")
}

/// The state of one text under a grammar.
pub struct Matcher {
    inner: llguidance::Matcher,
    vocabulary: Arc<Vocabulary>,
    stops: Arc<[u32]>,
    /// None unless the text is JSON.
    space: Option<JsonSpace>,
    /// What `space` was before each accepted token.
    accepted: Vec<Option<JsonSpace>>,
}

impl Matcher {
    pub fn deep_clone(&self) -> Self {
        Matcher {
            inner: self.inner.deep_clone(),
            vocabulary: self.vocabulary.clone(),
            stops: self.stops.clone(),
            space: self.space,
            accepted: self.accepted.clone(),
        }
    }

    /// Sets bit `id % 32` of word `id / 32` for every token that may come next.
    pub fn mask(&mut self, out: &mut [u32]) -> Result<(), Failure> {
        let size = self.vocabulary.size;
        if out.len() < size.div_ceil(32) {
            return Err(Failure::internal(format!(
                "a mask of {} words is too small for {size} tokens",
                out.len()
            )));
        }
        out.fill(0);
        let may_stop = if self.inner.is_stopped() {
            self.check()?;
            true
        } else {
            self.text_mask(&mut out[..size.div_ceil(32)])?
        };
        if may_stop {
            for id in self.stops.iter() {
                set(out, *id);
            }
        }
        Ok(())
    }

    /// The part of the mask for tokens that are text; true when the text may end here.
    fn text_mask(&mut self, out: &mut [u32]) -> Result<bool, Failure> {
        let size = self.vocabulary.size;
        let mask = self.inner.compute_mask().map_err(too_complex)?;
        out.copy_from_slice(&mask.as_slice()[..out.len()]);
        if size % 32 != 0 {
            out[size / 32] &= (1 << (size % 32)) - 1;
        }
        for (twin, earlier) in &self.vocabulary.twins {
            if mask.is_allowed(*earlier) {
                set(out, *twin);
            }
        }
        if let Some(space) = &self.space {
            for id in space.forbidden(&self.vocabulary.leading_space) {
                out[id as usize / 32] &= !(1 << (id % 32));
            }
        }
        Ok(mask.is_allowed(size as u32))
    }

    /// Advances by one token; false, and nothing changes, when it may not come next.
    pub fn accept(&mut self, id: u32) -> Result<bool, Failure> {
        if self.inner.is_stopped() || id as usize >= self.vocabulary.size {
            self.check()?;
            return Ok(false);
        }
        let is_end = self.stops.contains(&id) && self.inner.is_accepting().map_err(too_complex)?;
        if is_end {
            self.inner
                .consume_token(self.vocabulary.size as u32)
                .map_err(too_complex)?;
            self.accepted.push(self.space);
            return Ok(true);
        }
        let id = self.vocabulary.in_trie(id);
        let word = self.vocabulary.word(id);
        if matches!(&self.space, Some(space) if !space.allows(word)) {
            return Ok(false);
        }
        if self.inner.try_consume_tokens(&[id]).map_err(too_complex)? == 0 {
            return Ok(false);
        }
        self.accepted.push(self.space);
        self.space = self.space.map(|space| space.after(word));
        Ok(true)
    }

    pub fn rollback(&mut self, tokens: usize) -> Result<(), Failure> {
        let Some(left) = self.accepted.len().checked_sub(tokens) else {
            return Err(Failure::internal(format!(
                "cannot take back {tokens} of {} tokens",
                self.accepted.len()
            )));
        };
        self.inner.rollback(tokens).map_err(too_complex)?;
        if let Some(space) = self.accepted.get(left) {
            self.space = *space;
        }
        self.accepted.truncate(left);
        Ok(())
    }

    /// Nothing but a stop token may follow.
    pub fn is_finished(&self) -> bool {
        self.inner.is_stopped()
    }

    /// The text so far is complete; more may follow.
    pub fn may_stop(&mut self) -> Result<bool, Failure> {
        if self.inner.is_stopped() {
            self.check()?;
            return Ok(true);
        }
        self.inner.is_accepting().map_err(too_complex)
    }

    /// A matcher that stopped because of a limit has no state to go on from.
    fn check(&self) -> Result<(), Failure> {
        let reason = self.inner.stop_reason();
        if reason.is_ok() {
            return Ok(());
        }
        let message = self.inner.get_error().unwrap_or_else(|| reason.to_string());
        Err(too_complex(message))
    }
}

fn too_complex(error: impl std::fmt::Display) -> Failure {
    Failure::limit(format!(
        "the grammar is too complex: {}",
        plain(&error.to_string())
    ))
}

fn set(mask: &mut [u32], id: u32) {
    mask[id as usize / 32] |= 1 << (id % 32);
}
