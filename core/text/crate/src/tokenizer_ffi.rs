//! Entry points for tokenizers.

use crate::ffi::{call, infallible, slice, text, Bytes, Ids};
use crate::tokenizer::Tokenizer;

/// # Safety
/// `json` has `size` bytes; `out` and `error` may be written.
#[no_mangle]
pub unsafe extern "C" fn qt_tokenizer_from_json(
    json: *const u8,
    size: usize,
    out: *mut *mut Tokenizer,
    error: *mut Bytes,
) -> i32 {
    call(error, || {
        *out = Box::into_raw(Box::new(Tokenizer::from_json(slice(json, size))?));
        Ok(())
    })
}

/// # Safety
/// `tokenizer` came from qt_tokenizer_from_json and is freed once.
#[no_mangle]
pub unsafe extern "C" fn qt_tokenizer_free(tokenizer: *mut Tokenizer) {
    if !tokenizer.is_null() {
        infallible((), || drop(Box::from_raw(tokenizer)));
    }
}

/// # Safety
/// `tokenizer` is alive.
#[no_mangle]
pub unsafe extern "C" fn qt_tokenizer_vocab_size(tokenizer: *const Tokenizer) -> usize {
    (*tokenizer).vocab_size()
}

/// # Safety
/// `tokenizer` is alive, `data` has `size` bytes; `out` and `error` may be written.
#[no_mangle]
pub unsafe extern "C" fn qt_tokenizer_encode(
    tokenizer: *const Tokenizer,
    data: *const u8,
    size: usize,
    add_special_tokens: bool,
    out: *mut Ids,
    error: *mut Bytes,
) -> i32 {
    call(error, || {
        let ids = (*tokenizer).encode(text(data, size, "the text")?, add_special_tokens)?;
        *out = Ids::from_vec(ids);
        Ok(())
    })
}

/// # Safety
/// `tokenizer` is alive, `ids` has `count` elements; `out` and `error` may be written.
#[no_mangle]
pub unsafe extern "C" fn qt_tokenizer_decode(
    tokenizer: *const Tokenizer,
    ids: *const u32,
    count: usize,
    skip_special_tokens: bool,
    out: *mut Bytes,
    error: *mut Bytes,
) -> i32 {
    call(error, || {
        let decoded = (*tokenizer).decode(slice(ids, count), skip_special_tokens)?;
        *out = Bytes::from_vec(decoded.into_bytes());
        Ok(())
    })
}

/// # Safety
/// `tokenizer` is alive; `out` may be written.
#[no_mangle]
pub unsafe extern "C" fn qt_tokenizer_token(
    tokenizer: *const Tokenizer,
    id: u32,
    out: *mut Bytes,
) -> bool {
    let token = infallible(None, || (*tokenizer).token(id));
    match token {
        Some(token) => {
            *out = Bytes::from_vec(token.into_bytes());
            true
        }
        None => false,
    }
}

/// # Safety
/// `tokenizer` is alive and `data` has `size` bytes.
#[no_mangle]
pub unsafe extern "C" fn qt_tokenizer_id(
    tokenizer: *const Tokenizer,
    data: *const u8,
    size: usize,
) -> i64 {
    let id = infallible(None, || {
        std::str::from_utf8(slice(data, size))
            .ok()
            .and_then(|token| (*tokenizer).id(token))
    });
    id.map_or(-1, i64::from)
}

/// # Safety
/// `tokenizer` is alive.
#[no_mangle]
pub unsafe extern "C" fn qt_tokenizer_is_special(tokenizer: *const Tokenizer, id: u32) -> bool {
    (*tokenizer).is_special(id)
}

/// # Safety
/// `tokenizer` is alive; `out` and `error` may be written.
#[no_mangle]
pub unsafe extern "C" fn qt_tokenizer_decoder(
    tokenizer: *const Tokenizer,
    out: *mut Bytes,
    error: *mut Bytes,
) -> i32 {
    call(error, || {
        *out = Bytes::from_vec((*tokenizer).decoder_json()?.into_bytes());
        Ok(())
    })
}
