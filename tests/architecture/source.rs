//! Rust source as the house rules see it: without comments and strings, with its imports resolved.

use std::fs;
use std::path::Path;

pub struct Source {
    /// Beneath `src/`, with `/`.
    pub path: String,
    pub text: String,
    /// The text with comments, strings and characters blanked; every line keeps its place.
    pub code: String,
    /// The index of the first line of test code; past the end where there is none.
    pub tests_from: usize,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        let code = blank(text);
        let tests_from = if path.ends_with("tests.rs") { 0 } else { tests_from(&code) };
        Self { path: path.to_owned(), text: text.to_owned(), code, tests_from }
    }

    /// Every Rust file beneath a folder, in a stable order.
    pub fn all(folder: &Path, prefix: &str) -> Vec<Self> {
        let mut entries: Vec<_> = fs::read_dir(folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .map(|entry| entry.expect("a readable entry"))
            .collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        let mut sources = Vec::new();
        for entry in entries {
            let name = entry.file_name().into_string().expect("a UTF-8 file name");
            let path = entry.path();
            if path.is_dir() {
                sources.extend(Self::all(&path, &format!("{prefix}{name}/")));
            } else if name.ends_with(".rs") {
                let text = fs::read_to_string(&path).expect("UTF-8 source");
                sources.push(Self::new(&format!("{prefix}{name}"), &text));
            }
        }
        sources
    }

    /// What the file names of its own crate: line (from 1) and path from the crate's root.
    pub fn imports(&self) -> Vec<(usize, String)> {
        let mut imports = Vec::new();
        for word in ["crate::", "super::"] {
            for (at, _) in self.code.match_indices(word) {
                let before = &self.code[..at];
                // In `super::super::x` only the first word starts a path.
                if before.ends_with(is_word) || before.ends_with("::") {
                    continue;
                }
                let line = before.matches('\n').count();
                let mut rest = &self.code[at..];
                let mut module = self.module();
                if line >= self.tests_from && !self.path.ends_with("tests.rs") {
                    module.push("tests".to_owned());
                }
                if let Some(after) = rest.strip_prefix("crate::") {
                    (rest, module) = (after, Vec::new());
                }
                while let Some(after) = rest.strip_prefix("super::") {
                    module.pop();
                    rest = after;
                }
                let mut parser = Tree { code: rest, at: 0 };
                let line_at = |at: usize| line + 1 + rest[..at].matches('\n').count();
                parser.read(&module.join("::"), &mut |at, path| imports.push((line_at(at), path)));
            }
        }
        imports
    }

    /// The file's own module: `scheduler/queue.rs` is `scheduler::queue`.
    fn module(&self) -> Vec<String> {
        let path = self.path.trim_end_matches(".rs");
        let path = path.strip_suffix("/mod").unwrap_or(path);
        path.split('/').filter(|part| !["lib", "main"].contains(part)).map(str::to_owned).collect()
    }
}

/// Reads `a::b`, and in a `use` also `a::{b, c::d}`.
struct Tree<'a> {
    code: &'a str,
    at: usize,
}

impl Tree<'_> {
    fn read(&mut self, prefix: &str, found: &mut impl FnMut(usize, String)) {
        let mut path = prefix.to_owned();
        loop {
            self.skip(char::is_whitespace);
            let start = self.at;
            if self.eat('{') {
                while self.at < self.code.len() && !self.eat('}') {
                    self.read(&path, found);
                    self.skip(|letter| !matches!(letter, ',' | '}'));
                    self.eat(',');
                    self.skip(char::is_whitespace);
                }
                return;
            }
            self.skip(is_word);
            if !path.is_empty() && start != self.at {
                path.push_str("::");
            }
            path.push_str(&self.code[start..self.at]);
            if start == self.at || !self.code[self.at..].starts_with("::") {
                return found(start, path);
            }
            self.at += "::".len();
        }
    }

    fn skip(&mut self, unwanted: impl Fn(char) -> bool) {
        let rest = &self.code[self.at..];
        self.at += rest.find(|letter| !unwanted(letter)).unwrap_or(rest.len());
    }

    fn eat(&mut self, letter: char) -> bool {
        let there = self.code[self.at..].starts_with(letter);
        self.at += if there { letter.len_utf8() } else { 0 };
        there
    }
}

/// Whether a line of code holds a word as the table of bans writes it.
pub fn mentions(line: &str, word: &str) -> bool {
    if word == "cfg(feature)" {
        let start = line.find("cfg(").or_else(|| line.find("cfg!(")).or(line.find("cfg_attr("));
        return start.is_some_and(|start| mentions(&line[start..], "feature"));
    }
    let (stem, open) = word.strip_suffix('*').map_or((word, false), |stem| (stem, true));
    line.match_indices(stem).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + stem.len()..]);
        let starts_path = !stem.ends_with("::") || !before.ends_with([':', '.']);
        let ends = open || !stem.ends_with(is_word) || !after.starts_with(is_word);
        starts_path && ends && !before.ends_with(is_word)
    })
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// The line where `#[cfg(test)] mod name {` begins; `mod name;` leaves the rest of the file bound.
fn tests_from(code: &str) -> usize {
    let mark = "#[cfg(test)]";
    let opens = |at: usize| {
        let item = code[at + mark.len()..].trim_start();
        item.starts_with("mod ") && item.find('{') < item.find(';').or(Some(usize::MAX))
    };
    let start = code.match_indices(mark).map(|(at, _)| at).find(|at| opens(*at));
    start.map_or(usize::MAX, |at| code[..at].matches('\n').count())
}

/// Replaces comments, strings and character literals by blanks, line by line.
fn blank(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let quiet = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => block_comment(rest),
            '"' => string(rest),
            'r' if !code.ends_with(is_word) || code.ends_with('b') => raw_string(rest),
            '\'' => character(rest),
            _ => 0,
        };
        let end = quiet.max(first.len_utf8());
        if quiet == 0 {
            code.push(first);
        } else {
            code.extend(rest[..end].chars().map(|letter| if letter == '\n' { '\n' } else { ' ' }));
        }
        rest = &rest[end..];
    }
    code
}

fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        match &text.as_bytes()[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] if depth == 1 => return at + 2,
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    text.len()
}

fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, letter) in text.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// `r"..."` and `r#"..."#`; anything else, such as `return` or `r#type`, is code.
fn raw_string(text: &str) -> usize {
    let hashes = text[1..].len() - text[1..].trim_start_matches('#').len();
    let body = 1 + hashes;
    if !text[body..].starts_with('"') {
        return 0;
    }
    let close = format!("\"{}", "#".repeat(hashes));
    text[body + 1..].find(&close).map_or(text.len(), |at| body + 1 + at + close.len())
}

/// `'x'` and `'\n'`; a lifetime is code.
fn character(text: &str) -> usize {
    let mut letters = text.char_indices().skip(1);
    match (letters.next(), letters.next()) {
        (Some((_, '\\')), Some(_)) => letters.find(|(_, c)| *c == '\'').map_or(0, |(at, _)| at + 1),
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 0,
    }
}
