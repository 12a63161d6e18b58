//! Entry points for grammars.

use std::sync::Arc;

use crate::failure::Failure;
use crate::ffi::{call, infallible, slice, text, Bytes};
use crate::grammar::{Grammar, Matcher, Vocabulary};

/// What a `qt_vocabulary` points to.
pub struct VocabularyHandle(Arc<Vocabulary>);

/// # Safety
/// `bytes` has the sum of `sizes` bytes, `sizes` and `special` have `count` elements; `out` and
/// `error` may be written.
#[no_mangle]
pub unsafe extern "C" fn qt_vocabulary_new(
    bytes: *const u8,
    byte_count: usize,
    sizes: *const u32,
    special: *const bool,
    count: usize,
    out: *mut *mut VocabularyHandle,
    error: *mut Bytes,
) -> i32 {
    call(error, || {
        let mut rest = slice(bytes, byte_count);
        let mut words = Vec::with_capacity(count);
        for size in slice(sizes, count) {
            let (word, tail) = rest
                .split_at_checked(*size as usize)
                .ok_or_else(|| Failure::internal("the tokens are longer than their bytes"))?;
            words.push(word.to_vec());
            rest = tail;
        }
        let vocabulary = Vocabulary::new(words, slice(special, count))?;
        *out = Box::into_raw(Box::new(VocabularyHandle(Arc::new(vocabulary))));
        Ok(())
    })
}

/// # Safety
/// `vocabulary` came from qt_vocabulary_new and is freed once.
#[no_mangle]
pub unsafe extern "C" fn qt_vocabulary_free(vocabulary: *mut VocabularyHandle) {
    if !vocabulary.is_null() {
        infallible((), || drop(Box::from_raw(vocabulary)));
    }
}

/// # Safety
/// `vocabulary` is alive, `source` has `size` bytes, `stops` has `stop_count` elements; `out` and
/// `error` may be written.
#[no_mangle]
pub unsafe extern "C" fn qt_grammar_compile(
    vocabulary: *const VocabularyHandle,
    kind: i32,
    source: *const u8,
    size: usize,
    stops: *const u32,
    stop_count: usize,
    out: *mut *mut Grammar,
    error: *mut Bytes,
) -> i32 {
    call(error, || {
        let grammar = Grammar::compile(
            (*vocabulary).0.clone(),
            kind.try_into()?,
            text(source, size, "the grammar")?,
            slice(stops, stop_count),
        )?;
        *out = Box::into_raw(Box::new(grammar));
        Ok(())
    })
}

/// # Safety
/// `grammar` came from qt_grammar_compile and is freed once.
#[no_mangle]
pub unsafe extern "C" fn qt_grammar_free(grammar: *mut Grammar) {
    if !grammar.is_null() {
        infallible((), || drop(Box::from_raw(grammar)));
    }
}

/// # Safety
/// `grammar` is alive; `out` and `error` may be written.
#[no_mangle]
pub unsafe extern "C" fn qt_matcher_new(
    grammar: *const Grammar,
    out: *mut *mut Matcher,
    error: *mut Bytes,
) -> i32 {
    call(error, || {
        *out = Box::into_raw(Box::new((*grammar).matcher()));
        Ok(())
    })
}

/// # Safety
/// `matcher` is alive and not in use elsewhere; `out` and `error` may be written.
#[no_mangle]
pub unsafe extern "C" fn qt_matcher_copy(
    matcher: *const Matcher,
    out: *mut *mut Matcher,
    error: *mut Bytes,
) -> i32 {
    call(error, || {
        *out = Box::into_raw(Box::new((*matcher).deep_clone()));
        Ok(())
    })
}

/// # Safety
/// `matcher` came from this library and is freed once.
#[no_mangle]
pub unsafe extern "C" fn qt_matcher_free(matcher: *mut Matcher) {
    if !matcher.is_null() {
        infallible((), || drop(Box::from_raw(matcher)));
    }
}

/// # Safety
/// `matcher` is alive and not in use elsewhere, `words` has `count` writable elements; `error` may
/// be written.
#[no_mangle]
pub unsafe extern "C" fn qt_matcher_mask(
    matcher: *mut Matcher,
    words: *mut u32,
    count: usize,
    error: *mut Bytes,
) -> i32 {
    call(error, || {
        let words = if count == 0 {
            &mut []
        } else {
            std::slice::from_raw_parts_mut(words, count)
        };
        (*matcher).mask(words)
    })
}

/// # Safety
/// `matcher` is alive and not in use elsewhere; `accepted` and `error` may be written.
#[no_mangle]
pub unsafe extern "C" fn qt_matcher_accept(
    matcher: *mut Matcher,
    id: u32,
    accepted: *mut bool,
    error: *mut Bytes,
) -> i32 {
    call(error, || {
        *accepted = (*matcher).accept(id)?;
        Ok(())
    })
}

/// # Safety
/// `matcher` is alive and not in use elsewhere; `error` may be written.
#[no_mangle]
pub unsafe extern "C" fn qt_matcher_rollback(
    matcher: *mut Matcher,
    tokens: usize,
    error: *mut Bytes,
) -> i32 {
    call(error, || (*matcher).rollback(tokens))
}

/// # Safety
/// `matcher` is alive.
#[no_mangle]
pub unsafe extern "C" fn qt_matcher_is_finished(matcher: *const Matcher) -> bool {
    infallible(true, || (*matcher).is_finished())
}

/// # Safety
/// `matcher` is alive and not in use elsewhere; `may_stop` and `error` may be written.
#[no_mangle]
pub unsafe extern "C" fn qt_matcher_may_stop(
    matcher: *mut Matcher,
    may_stop: *mut bool,
    error: *mut Bytes,
) -> i32 {
    call(error, || {
        *may_stop = (*matcher).may_stop()?;
        Ok(())
    })
}
