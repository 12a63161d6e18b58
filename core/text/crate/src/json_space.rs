//! Bounds the whitespace between the tokens of JSON: the grammar allows any amount of it, and weak
//! models then write nothing else.

/// Enough for the indentation of any document people write.
const MAX_RUN: u32 = 64;

/// Which tokens start with how much whitespace, the longest first.
pub struct LeadingSpace(Vec<(u32, u32)>);

impl LeadingSpace {
    pub fn new(words: &[Vec<u8>]) -> Self {
        let mut list: Vec<(u32, u32)> = (0u32..)
            .zip(words)
            .map(|(id, word)| (id, leading(word)))
            .filter(|(_, space)| *space > 0)
            .collect();
        list.sort_by_key(|(_, space)| std::cmp::Reverse(*space));
        LeadingSpace(list)
    }
}

fn leading(word: &[u8]) -> u32 {
    word.iter().take_while(|byte| is_space(**byte)).count() as u32
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// Where a text of JSON stands, as far as whitespace goes.
#[derive(Clone, Copy, Default)]
pub struct JsonSpace {
    is_string: bool,
    is_escape: bool,
    run: u32,
}

impl JsonSpace {
    pub fn allows(&self, word: &[u8]) -> bool {
        self.is_string || self.run + leading(word) <= MAX_RUN
    }

    /// The tokens that would make the current run of whitespace too long.
    pub fn forbidden<'a>(&self, tokens: &'a LeadingSpace) -> impl Iterator<Item = u32> + 'a {
        let room = if self.is_string {
            u32::MAX
        } else {
            MAX_RUN.saturating_sub(self.run)
        };
        tokens
            .0
            .iter()
            .take_while(move |(_, space)| *space > room)
            .map(|(id, _)| *id)
    }

    pub fn after(mut self, word: &[u8]) -> Self {
        for byte in word {
            if self.is_string {
                self.is_string = self.is_escape || *byte != b'"';
                self.is_escape = !self.is_escape && *byte == b'\\';
            } else {
                self.is_string = *byte == b'"';
                self.run = if is_space(*byte) { self.run + 1 } else { 0 };
            }
        }
        self
    }
}
