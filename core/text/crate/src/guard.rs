//! Runs work on hostile input with a limit on memory, time and stack.
//!
//! Neither a template engine nor a grammar compiler can be asked to give up in the middle of an
//! allocation, and Rust aborts the process when an allocation fails. So such work runs on a thread
//! of its own whose allocations are counted; one that exceeds its limits is never resumed: it
//! sleeps inside its last allocation while the caller gets an error. What it holds stays allocated
//! (at most the limit). Callers keep that rare by refusing what they can foresee, and after
//! MAX_ABANDONED such jobs no more are taken on, so that attackers cannot fill the memory.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use crate::failure::Failure;
use crate::ffi::panic_message;

#[derive(Clone, Copy)]
pub struct Limits {
    pub memory_bytes: usize,
    pub time: Duration,
}

impl Limits {
    /// Enough for the destructor of the deepest value that the memory can hold: a level takes some
    /// 64 bytes of it and 100 of stack. Only reserved, touched by deep recursion alone. All other
    /// recursion allocates on the way, and is stopped at half of the stack.
    fn stack_bytes(self) -> usize {
        (64 << 20) + self.memory_bytes.saturating_mul(5) / 2
    }
}

const MAX_ABANDONED: usize = 16;
static ABANDONED: AtomicUsize = AtomicUsize::new(0);

/// Allocations below this size pass until twice the limit is used: the small ones may be made while
/// a lock of the whole process is held (first use of a lazy table), the large ones never are.
const SMALL_BYTES: usize = 1024;

/// What a thread may use and has used. Lives in the thread's job, pointed to by BUDGET.
struct Budget {
    limit: isize,
    /// The stack must not grow below this address.
    stack_floor: usize,
    used: Cell<isize>,
    cancelled: Arc<AtomicBool>,
    shared: Shared,
}

thread_local! {
    static BUDGET: Cell<*const Budget> = const { Cell::new(std::ptr::null()) };
}

pub struct CountingAllocator;

// SAFETY: every request is passed on unchanged to the system's allocator.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        charge(layout.size() as isize);
        System.alloc(layout)
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        charge(layout.size() as isize);
        System.alloc_zeroed(layout)
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        charge(-(layout.size() as isize));
        System.dealloc(pointer, layout)
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        charge(new_size as isize - layout.size() as isize);
        System.realloc(pointer, layout, new_size)
    }
}

#[inline]
fn charge(bytes: isize) {
    // try_with: a thread that is ending may have no BUDGET any more.
    let budget = BUDGET.try_with(Cell::get).unwrap_or(std::ptr::null());
    if budget.is_null() {
        return;
    }
    // SAFETY: set by `run` on this very thread to a value that outlives the job.
    let budget = unsafe { &*budget };
    let used = budget.used.get().saturating_add(bytes);
    budget.used.set(used);
    if bytes > 0 && (over_limit(budget, used, bytes as usize) || here() < budget.stack_floor) {
        BUDGET.with(|cell| cell.set(std::ptr::null()));
        report(&budget.shared, Progress::OutOfMemory);
        loop {
            std::thread::park();
        }
    }
}

/// An address in the current frame of the stack.
#[inline(always)]
fn here() -> usize {
    let marker = 0u8;
    std::ptr::addr_of!(marker) as usize
}

fn over_limit(budget: &Budget, used: isize, size: usize) -> bool {
    let over = used > budget.limit || budget.cancelled.load(Ordering::Relaxed);
    over && (size >= SMALL_BYTES || used > budget.limit.saturating_mul(2))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Running,
    OutOfMemory,
    Finished,
}

type Shared = Arc<(Mutex<Progress>, Condvar)>;

/// Runs `job` on a thread of its own. `what` names the work in messages.
pub fn run<T: Send + 'static>(
    what: &str,
    limits: Limits,
    job: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    if ABANDONED.load(Ordering::Relaxed) >= MAX_ABANDONED {
        return Err(Failure::resources(format!(
            "{what} is refused: {MAX_ABANDONED} jobs exceeded their limits before; restart the program"
        )));
    }
    let shared: Shared = Arc::new((Mutex::new(Progress::Running), Condvar::new()));
    let cancelled = Arc::new(AtomicBool::new(false));
    let worker = {
        let shared = shared.clone();
        let cancelled = cancelled.clone();
        std::thread::Builder::new()
            .name("quiver-text".into())
            .stack_size(limits.stack_bytes())
            .spawn(move || work(limits, job, shared, cancelled))
            .map_err(|error| {
                Failure::resources(format!("{what}: cannot start a thread: {error}"))
            })?
    };
    match wait(&shared, limits.time) {
        Progress::Finished => worker
            .join()
            .unwrap_or_else(|panic| Err(Failure::internal(panic_message(&*panic)))),
        Progress::OutOfMemory => {
            ABANDONED.fetch_add(1, Ordering::Relaxed);
            Err(Failure::limit(format!(
                "{what} needs more than {} MiB of memory or recurses without end",
                limits.memory_bytes >> 20
            )))
        }
        Progress::Running => {
            ABANDONED.fetch_add(1, Ordering::Relaxed);
            cancelled.store(true, Ordering::Relaxed);
            Err(Failure::limit(format!(
                "{what} takes longer than {} s",
                limits.time.as_secs()
            )))
        }
    }
}

fn work<T>(
    limits: Limits,
    job: impl FnOnce() -> Result<T, Failure>,
    shared: Shared,
    cancelled: Arc<AtomicBool>,
) -> Result<T, Failure> {
    let budget = Budget {
        limit: isize::try_from(limits.memory_bytes).unwrap_or(isize::MAX),
        stack_floor: here().saturating_sub(limits.stack_bytes() / 2),
        used: Cell::new(0),
        cancelled,
        shared,
    };
    BUDGET.with(|cell| cell.set(&budget));
    let result = catch_unwind(AssertUnwindSafe(job))
        .unwrap_or_else(|panic| Err(Failure::bad_input(panic_message(&*panic))));
    BUDGET.with(|cell| cell.set(std::ptr::null()));
    report(&budget.shared, Progress::Finished);
    result
}

fn report(shared: &Shared, progress: Progress) {
    *shared
        .0
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner()) = progress;
    shared.1.notify_all();
}

/// What the job came to; Running when the time is up.
fn wait(shared: &Shared, time: Duration) -> Progress {
    let slot = shared
        .0
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    let is_running = |progress: &mut Progress| *progress == Progress::Running;
    match shared.1.wait_timeout_while(slot, time, is_running) {
        Ok((slot, _)) => *slot,
        Err(poisoned) => *poisoned.into_inner().0,
    }
}
