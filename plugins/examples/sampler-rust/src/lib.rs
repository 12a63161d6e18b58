//! Two samplers in Rust. `rust.sampler.json`, which belongs beside the library, says how Quiver
//! calls them.

use std::slice;

/// Draws a token from softmax(logits / temperature) and returns its id.
///
/// # Safety
/// `logits` and `ids` point to `count` values each, and `count` is at least 1.
#[no_mangle]
pub unsafe extern "C" fn rust_draw(
    logits: *const f32,
    ids: *const i32,
    count: usize,
    random: f64,
    temperature: f64,
) -> i32 {
    let (logits, ids) = (slice::from_raw_parts(logits, count), slice::from_raw_parts(ids, count));
    let best = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |logit: f32| (f64::from(logit - best) / temperature).exp();
    let total: f64 = logits.iter().map(|&logit| weight(logit)).sum();

    // Walks along the distribution until `random` of it lies behind. Rounding may leave nothing to
    // stop at, so the last possible token is remembered.
    let mut behind = 0.0;
    let mut chosen = ids[0];
    for (&logit, &id) in logits.iter().zip(ids) {
        if weight(logit) == 0.0 {
            continue;
        }
        chosen = id;
        behind += weight(logit) / total;
        if behind > random {
            break;
        }
    }
    chosen
}

/// Divides the logits by a temperature that moves from `from` to `to` within `steps` tokens.
///
/// # Safety
/// `logits` points to `count` values, `state` to the eight bytes that the manifest asks for.
#[no_mangle]
pub unsafe extern "C" fn rust_ramp(
    logits: *mut f32,
    count: usize,
    state: *mut u64,
    from: f32,
    to: f32,
    steps: u32,
) {
    let logits = slice::from_raw_parts_mut(logits, count);
    // The state begins at zero, belongs to one sequence, and goes back when tokens are taken back.
    let step = (*state).min(u64::from(steps));
    *state = step + 1;
    let temperature = from + (to - from) * step as f32 / steps as f32;
    for logit in logits {
        *logit /= temperature;
    }
}
