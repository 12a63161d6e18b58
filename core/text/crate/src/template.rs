//! Chat templates: Jinja as the Hugging Face libraries set it up, with limits.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;
use minijinja::{Environment, Error, ErrorKind, Output, State, Value};

use crate::failure::{Failure, Status};
use crate::guard::{self, Limits};
use crate::{json_value, python};

pub struct Template {
    environment: Arc<Environment<'static>>,
    /// A render was given up: what it holds stays allocated, so it must not happen again.
    exhausted: AtomicBool,
}

const NAME: &str = "chat_template";

/// Published templates have up to 30 KB.
const MAX_SOURCE_BYTES: usize = 1 << 20;

/// Steps of the engine, about half a second of them. A long conversation takes some hundred per message.
const FUEL: u64 = 10_000_000;

fn limits(input_bytes: usize) -> Limits {
    Limits {
        memory_bytes: (128 << 20) + 32 * input_bytes,
        time: Duration::from_secs(10),
    }
}

/// Marks the error made by raise_exception and carries the template's own words.
#[derive(Debug)]
struct Raised(String);

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Raised {}

/// The texts a template is rendered with; `tools` may be empty.
pub struct Inputs {
    pub messages: String,
    pub tools: String,
    pub variables: String,
    /// Seconds since 1970 for strftime_now, or None for the clock.
    pub now: Option<i64>,
}

impl Template {
    pub fn compile(source: &str) -> Result<Self, Failure> {
        if source.len() > MAX_SOURCE_BYTES {
            return Err(Failure::bad_input(format!(
                "the template has {} bytes, more than the limit of {MAX_SOURCE_BYTES}",
                source.len()
            )));
        }
        let source = without_generation_tags(source);
        let environment = guard::run("compiling the template", limits(source.len()), move || {
            let mut environment =
                environment().map_err(|error| Failure::internal(describe(&error)))?;
            environment
                .add_template_owned(NAME, source)
                .map_err(|error| Failure::bad_input(describe(&error)))?;
            Ok(environment)
        })?;
        Ok(Template {
            environment: Arc::new(environment),
            exhausted: AtomicBool::new(false),
        })
    }

    pub fn render(&self, inputs: Inputs) -> Result<String, Failure> {
        if self.exhausted.load(Ordering::Relaxed) {
            return Err(Failure::limit("the template exceeded its limits before"));
        }
        let environment = self.environment.clone();
        let bytes = inputs.messages.len() + inputs.tools.len() + inputs.variables.len();
        let rendered = guard::run("rendering the template", limits(bytes), move || {
            render(&environment, &inputs)
        });
        if matches!(&rendered, Err(failure) if failure.status == Status::Limit) {
            self.exhausted.store(true, Ordering::Relaxed);
        }
        rendered
    }
}

fn render(environment: &Environment<'static>, inputs: &Inputs) -> Result<String, Failure> {
    let mut context: Vec<(Value, Value)> = Vec::new();
    context.push((
        Value::from("messages"),
        json_value::parse(&inputs.messages, "the messages")?,
    ));
    let tools = match inputs.tools.as_str() {
        "" => Value::from(()),
        text => json_value::parse(text, "the tools")?,
    };
    context.push((Value::from("tools"), tools));
    context.push((Value::from("documents"), Value::from(())));
    let variables = json_value::parse(&inputs.variables, "the template variables")?;
    if variables.kind() != ValueKind::Map {
        return Err(Failure::bad_input(
            "the template variables are not a JSON object",
        ));
    }
    for key in variables
        .try_iter()
        .map_err(|error| Failure::internal(describe(&error)))?
    {
        let value = variables.get_item(&key).unwrap_or_default();
        context.push((key, value));
    }
    let now = inputs.now;
    context.push((
        Value::from("strftime_now"),
        Value::from_function(move |format: &str| strftime(format, now)),
    ));
    let template = environment
        .get_template(NAME)
        .map_err(|e| Failure::internal(describe(&e)))?;
    template
        .render(Value::from_pairs(context))
        .map_err(|error| failure_of(&error))
}

fn failure_of(error: &Error) -> Failure {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(raised) = current.downcast_ref::<Raised>() {
            return Failure::bad_input(&raised.0);
        }
        cause = current.source();
    }
    if error.kind() == ErrorKind::OutOfFuel {
        return Failure::bad_input(format!("the template does not end within {FUEL} steps"));
    }
    Failure::bad_input(describe(error))
}

fn describe(error: &Error) -> String {
    let what = error
        .detail()
        .map_or_else(|| error.kind().to_string(), str::to_owned);
    match error.line() {
        Some(line) => format!("{what} in line {line} of the template"),
        None => what,
    }
}

fn environment() -> Result<Environment<'static>, Error> {
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()?;
    let mut environment = Environment::new();
    environment.set_syntax(syntax);
    environment.set_fuel(Some(FUEL));
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_unknown_method_callback(python::method);
    environment.set_formatter(format_value);
    environment.add_filter("tojson", python::tojson);
    environment.add_filter("string", python::string);
    environment.add_test("iterable", python::is_iterable);
    environment.add_test("sequence", python::is_sequence);
    environment.add_test("number", python::is_number);
    environment.add_function("raise_exception", raise_exception);
    Ok(environment)
}

fn raise_exception(message: &str) -> Result<Value, Error> {
    let error = Error::new(ErrorKind::InvalidOperation, message.to_owned());
    Err(error.with_source(Raised(message.to_owned())))
}

/// Only floats differ from the engine's own form.
fn format_value(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    match python::float_text(value) {
        Some(text) => out.write_str(&text).map_err(Error::from),
        None => minijinja::escape_formatter(out, state, value),
    }
}

/// Local time in the words of strftime(3), as Python's datetime.now().strftime gives it.
fn strftime(format: &str, now: Option<i64>) -> Result<String, Error> {
    let failed = |what: &'static str| Error::new(ErrorKind::InvalidOperation, what);
    if format.is_empty() {
        return Ok(String::new());
    }
    let c_format =
        std::ffi::CString::new(format).map_err(|_| failed("strftime_now: a zero byte"))?;
    // SAFETY: plain C calls on memory of this frame; strftime writes at most `text.len()` bytes.
    unsafe {
        let seconds: libc::time_t = match now {
            Some(seconds) => seconds as libc::time_t,
            None => libc::time(std::ptr::null_mut()),
        };
        let mut parts: libc::tm = std::mem::zeroed();
        if libc::localtime_r(&seconds, &mut parts).is_null() {
            return Err(failed("strftime_now: no such time"));
        }
        let mut text = vec![0u8; 4096];
        let size = libc::strftime(
            text.as_mut_ptr().cast(),
            text.len(),
            c_format.as_ptr(),
            &parts,
        );
        if size == 0 {
            return Err(failed("strftime_now: the format gives no text or too much"));
        }
        text.truncate(size);
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

/// Training marks the assistant's part by `{% generation %}`, which is unknown to the engine; for
/// rendering it is a block that always runs.
fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let (before, tag) = rest.split_at(start);
        out.push_str(before);
        let Some(end) = tag[2..].find("%}").map(|end| end + 2) else {
            rest = tag;
            break;
        };
        let inner = &tag[2..end];
        let sign = |c: Option<char>| c.filter(|c| matches!(c, '-' | '+'));
        let (open, close) = (sign(inner.chars().next()), sign(inner.chars().last()));
        let word = inner.trim_matches(['-', '+']).trim();
        let replacement = match word {
            "generation" => Some("if true"),
            "endgeneration" => Some("endif"),
            _ => None,
        };
        match replacement {
            Some(word) => {
                out.push_str("{%");
                out.extend(open);
                out.push_str(&format!(" {word} "));
                out.extend(close);
                out.push_str("%}");
                rest = &tag[end + 2..];
            }
            None => {
                out.push_str("{%");
                rest = &tag[2..];
            }
        }
    }
    out.push_str(rest);
    out
}
