//! Entry points for chat templates.

use crate::ffi::{call, infallible, text, Bytes};
use crate::template::{Inputs, Template};

/// `qt_text`: bytes of the caller.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Text {
    pub data: *const u8,
    pub size: usize,
}

/// # Safety
/// `source` has `size` bytes; `out` and `error` may be written.
#[no_mangle]
pub unsafe extern "C" fn qt_template_compile(
    source: *const u8,
    size: usize,
    out: *mut *mut Template,
    error: *mut Bytes,
) -> i32 {
    call(error, || {
        let template = Template::compile(text(source, size, "the template")?)?;
        *out = Box::into_raw(Box::new(template));
        Ok(())
    })
}

/// # Safety
/// `template` came from qt_template_compile and is freed once.
#[no_mangle]
pub unsafe extern "C" fn qt_template_free(template: *mut Template) {
    if !template.is_null() {
        infallible((), || drop(Box::from_raw(template)));
    }
}

/// # Safety
/// `template` is alive, the texts are readable; `now` is null or readable; `out` and `error` may be
/// written.
#[no_mangle]
pub unsafe extern "C" fn qt_template_render(
    template: *const Template,
    messages: Text,
    tools: Text,
    variables: Text,
    now: *const i64,
    out: *mut Bytes,
    error: *mut Bytes,
) -> i32 {
    call(error, || {
        let inputs = Inputs {
            messages: text(messages.data, messages.size, "the messages")?.to_owned(),
            tools: text(tools.data, tools.size, "the tools")?.to_owned(),
            variables: text(variables.data, variables.size, "the variables")?.to_owned(),
            now: now.as_ref().copied(),
        };
        *out = Bytes::from_vec((*template).render(inputs)?.into_bytes());
        Ok(())
    })
}
