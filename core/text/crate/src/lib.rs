//! C ABI of the text library; every declaration here has its counterpart in quiver_text.h.

mod failure;
mod ffi;
mod grammar;
mod grammar_ffi;
mod grammar_source;
mod guard;
mod json_space;
mod json_value;
mod python;
mod template;
mod template_ffi;
mod tokenizer;
mod tokenizer_check;
mod tokenizer_ffi;

/// Counts what a guarded job allocates, so that hostile input cannot take all memory.
#[global_allocator]
static ALLOCATOR: guard::CountingAllocator = guard::CountingAllocator;
