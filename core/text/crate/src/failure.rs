//! Why a call failed, as the C side sees it: a status and one line of text.

/// Values of `qt_status` in quiver_text.h.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Ok = 0,
    /// The file, template, grammar or request is malformed.
    BadInput = 1,
    /// The machine cannot give what is needed.
    Resources = 2,
    /// A panic: a defect in this library or one below it.
    Internal = 3,
    /// The input needs more memory or time than sane input ever does.
    Limit = 4,
}

#[derive(Debug)]
pub struct Failure {
    pub status: Status,
    pub message: String,
}

/// Longer messages repeat the input, which may be megabytes of somebody's file.
const MAX_MESSAGE_CHARS: usize = 400;

impl Failure {
    pub fn bad_input(message: impl std::fmt::Display) -> Self {
        Failure::new(Status::BadInput, message)
    }

    pub fn resources(message: impl std::fmt::Display) -> Self {
        Failure::new(Status::Resources, message)
    }

    pub fn limit(message: impl std::fmt::Display) -> Self {
        Failure::new(Status::Limit, message)
    }

    pub fn internal(message: impl std::fmt::Display) -> Self {
        Failure::new(Status::Internal, message)
    }

    pub fn new(status: Status, message: impl std::fmt::Display) -> Self {
        Failure {
            status,
            message: one_line(&message.to_string()),
        }
    }
}

/// Joins the words of all lines by single spaces where lines meet, and cuts what is too long.
fn one_line(text: &str) -> String {
    let mut line = String::new();
    for part in text.lines().map(str::trim).filter(|part| !part.is_empty()) {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(part);
        if line.len() > 8 * MAX_MESSAGE_CHARS {
            break;
        }
    }
    let line: String = line
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    match line.char_indices().nth(MAX_MESSAGE_CHARS) {
        Some((end, _)) => format!("{} ...", &line[..end]),
        None => line,
    }
}
