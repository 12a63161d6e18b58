//! What all entry points share: bytes in and out, and the net that catches panics.

use std::cell::RefCell;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Once;

use crate::failure::{Failure, Status};

/// `qt_bytes`: memory owned by this library until qt_bytes_free.
#[repr(C)]
pub struct Bytes {
    pub data: *mut u8,
    pub size: usize,
}

/// `qt_ids`: token ids owned by this library until qt_ids_free.
#[repr(C)]
pub struct Ids {
    pub data: *mut u32,
    pub size: usize,
}

impl Bytes {
    pub fn from_vec(bytes: Vec<u8>) -> Self {
        let mut boxed = bytes.into_boxed_slice();
        let out = Bytes {
            data: boxed.as_mut_ptr(),
            size: boxed.len(),
        };
        std::mem::forget(boxed);
        out
    }
}

impl Ids {
    pub fn from_vec(ids: Vec<u32>) -> Self {
        let mut boxed = ids.into_boxed_slice();
        let out = Ids {
            data: boxed.as_mut_ptr(),
            size: boxed.len(),
        };
        std::mem::forget(boxed);
        out
    }
}

/// # Safety
/// `bytes` was filled by this library and is freed once.
#[no_mangle]
pub unsafe extern "C" fn qt_bytes_free(bytes: Bytes) {
    if !bytes.data.is_null() {
        drop(Box::from_raw(std::ptr::slice_from_raw_parts_mut(
            bytes.data, bytes.size,
        )));
    }
}

/// # Safety
/// `ids` was filled by this library and is freed once.
#[no_mangle]
pub unsafe extern "C" fn qt_ids_free(ids: Ids) {
    if !ids.data.is_null() {
        drop(Box::from_raw(std::ptr::slice_from_raw_parts_mut(
            ids.data, ids.size,
        )));
    }
}

/// A slice from C, where a null pointer with size zero is an empty one.
///
/// # Safety
/// `data` points to `size` readable elements that stay unchanged for the lifetime.
pub unsafe fn slice<'a, T>(data: *const T, size: usize) -> &'a [T] {
    if data.is_null() || size == 0 {
        &[]
    } else {
        std::slice::from_raw_parts(data, size)
    }
}

/// # Safety
/// As `slice`.
pub unsafe fn text<'a>(data: *const u8, size: usize, what: &str) -> Result<&'a str, Failure> {
    std::str::from_utf8(slice(data, size)).map_err(|error| {
        Failure::bad_input(format!(
            "{what} is not UTF-8 at byte {}",
            error.valid_up_to()
        ))
    })
}

thread_local! {
    /// Where the last panic of this thread happened; the payload itself does not say.
    static PANIC_PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Keeps panics from being printed on stderr: they are reported as errors.
fn install_panic_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|info| {
            let place = info.location().map(|at| {
                let file = at.file().rsplit('/').next().unwrap_or_default();
                format!("{file}:{}", at.line())
            });
            let _ = PANIC_PLACE.try_with(|cell| {
                if let Ok(mut cell) = cell.try_borrow_mut() {
                    *cell = place.unwrap_or_default();
                }
            });
        }));
    });
}

/// The words of a panic on this thread and its place.
pub fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let words = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "unknown panic".to_owned());
    let place = PANIC_PLACE.with(|cell| cell.borrow().clone());
    format!("{words} [{place}]")
}

/// Runs one entry point: a failure or a panic becomes a status and a message in `error`.
///
/// # Safety
/// `error` points to a `qt_bytes` that may be overwritten.
pub unsafe fn call(error: *mut Bytes, body: impl FnOnce() -> Result<(), Failure>) -> i32 {
    install_panic_hook();
    let failure = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => return Status::Ok as i32,
        Ok(Err(failure)) => failure,
        Err(panic) => Failure::internal(panic_message(&*panic)),
    };
    if !error.is_null() {
        *error = Bytes::from_vec(failure.message.into_bytes());
    }
    failure.status as i32
}

/// As `call`, for entry points that cannot fail: a panic gives `otherwise`.
pub fn infallible<T>(otherwise: T, body: impl FnOnce() -> T) -> T {
    install_panic_hook();
    catch_unwind(AssertUnwindSafe(body)).unwrap_or(otherwise)
}
