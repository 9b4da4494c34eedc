//! The text format of protobuf, read into a [`tree`](super::tree): comments, separators, both
//! kinds of braces, lists, strings in pieces, numbers in every notation.
//!
//! Every error names its line. What this file must not know: which fields there are.

use super::tree::{Field, Value};
use crate::error::{Error, Result, quoted};

/// No configuration is near this size; one that is, is not read.
pub const BYTES_MAX: usize = 1 << 20;
/// Triton's deepest field lies seven messages deep.
const DEPTH_MAX: usize = 32;

/// Reads a whole file.
pub fn parse(text: &str) -> Result<Vec<Field>> {
    if text.len() > BYTES_MAX {
        return Err(Error::too_large(format!(
            "the configuration has {} bytes; at most {BYTES_MAX} are read",
            text.len()
        )));
    }
    let mut parser = Parser { lexer: Lexer::new(text), ahead: None };
    parser.fields(None, 0)
}

#[derive(Clone, Debug, PartialEq)]
enum Token<'a> {
    Word(&'a str),
    Number(&'a str),
    Text(Vec<u8>),
    Symbol(char),
    End,
}

impl Token<'_> {
    fn describe(&self) -> String {
        match self {
            Token::Word(word) | Token::Number(word) => format!("'{}'", quoted(word)),
            Token::Text(_) => "a string".to_owned(),
            Token::Symbol(symbol) => format!("'{}'", symbol.escape_debug()),
            Token::End => "the end of the file".to_owned(),
        }
    }
}

fn wrong(line: usize, message: impl std::fmt::Display) -> Error {
    Error::invalid(format!("line {line}: {message}"))
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    line: usize,
}

impl<'a> Lexer<'a> {
    fn new(text: &'a str) -> Self {
        // Editors on Windows lead UTF-8 with a byte order mark; protobuf passes over it, too.
        Self { text: text.strip_prefix('\u{feff}').unwrap_or(text), at: 0, line: 1 }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The next token and its line.
    fn token(&mut self) -> Result<(usize, Token<'a>)> {
        self.skip_blank();
        let line = self.line;
        let Some(byte) = self.peek() else { return Ok((line, Token::End)) };
        let token = match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => Token::Word(self.run(is_word)),
            b'0'..=b'9' | b'.' => Token::Number(self.number()),
            b'"' | b'\'' => Token::Text(self.string(byte)?),
            b'{' | b'}' | b'<' | b'>' | b'[' | b']' | b':' | b',' | b';' | b'-' => {
                self.at += 1;
                Token::Symbol(char::from(byte))
            }
            _ => {
                let stranger = self.text[self.at..].chars().next().unwrap_or_default();
                return Err(wrong(
                    line,
                    format!("'{}' means nothing here", stranger.escape_debug()),
                ));
            }
        };
        Ok((line, token))
    }

    fn skip_blank(&mut self) {
        while let Some(byte) = self.peek() {
            match byte {
                b'#' => {
                    self.run(|byte| byte != b'\n');
                }
                b'\n' => {
                    self.line += 1;
                    self.at += 1;
                }
                b' ' | b'\t' | b'\r' | 0x0b | 0x0c => self.at += 1,
                _ => break,
            }
        }
    }

    fn run(&mut self, belongs: impl Fn(u8) -> bool) -> &'a str {
        let begin = self.at;
        while self.peek().is_some_and(&belongs) {
            self.at += 1;
        }
        // Both ends lie beside ASCII or at the end of a line: never inside a character.
        self.text.get(begin..self.at).unwrap_or_default()
    }

    /// Everything that sticks together: whether it is a number is for the parser to say.
    fn number(&mut self) -> &'a str {
        let begin = self.at;
        loop {
            self.run(|byte| is_word(byte) || byte == b'.');
            let so_far = self.text.get(begin..self.at).unwrap_or_default();
            let exponent = so_far.ends_with(['e', 'E']) && !so_far.starts_with("0x");
            if !(exponent && matches!(self.peek(), Some(b'+' | b'-'))) {
                return so_far;
            }
            self.at += 1;
        }
    }

    fn string(&mut self, quote: u8) -> Result<Vec<u8>> {
        let line = self.line;
        let open = || wrong(line, "a string is not closed before the end of its line");
        let mut bytes = Vec::new();
        self.at += 1;
        loop {
            let byte = self.peek().filter(|&byte| byte != b'\n').ok_or_else(open)?;
            self.at += 1;
            match byte {
                b'\\' => self.escape(&mut bytes)?,
                byte if byte == quote => return Ok(bytes),
                byte => bytes.push(byte),
            }
        }
    }

    fn escape(&mut self, bytes: &mut Vec<u8>) -> Result<()> {
        let line = self.line;
        let unknown = || wrong(line, "a string holds an unknown escape");
        let letter = self.peek().ok_or_else(unknown)?;
        self.at += 1;
        let byte = match letter {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'a' => 0x07,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'v' => 0x0b,
            b'\\' | b'\'' | b'"' | b'?' => letter,
            b'0'..=b'7' => {
                self.at -= 1;
                let code = self.digits(8, 3).ok_or_else(unknown)?;
                u8::try_from(code).map_err(|_| unknown())?
            }
            b'x' | b'X' => {
                let code = self.digits(16, 2).ok_or_else(unknown)?;
                u8::try_from(code).map_err(|_| unknown())?
            }
            b'u' | b'U' => {
                let length = if letter == b'u' { 4 } else { 8 };
                let begin = self.at;
                let code = self.digits(16, length).filter(|_| self.at - begin == length);
                let character = code.and_then(char::from_u32).ok_or_else(unknown)?;
                bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            _ => return Err(unknown()),
        };
        bytes.push(byte);
        Ok(())
    }

    /// Up to `most` digits as a number; `None` where there is none.
    fn digits(&mut self, radix: u32, most: usize) -> Option<u32> {
        let begin = self.at;
        let mut code = 0u32;
        while self.at - begin < most
            && let Some(digit) = self.peek().and_then(|byte| char::from(byte).to_digit(radix))
        {
            code = code.checked_mul(radix)?.checked_add(digit)?;
            self.at += 1;
        }
        (self.at > begin).then_some(code)
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    ahead: Option<(usize, Token<'a>)>,
}

impl<'a> Parser<'a> {
    fn next(&mut self) -> Result<(usize, Token<'a>)> {
        match self.ahead.take() {
            Some(token) => Ok(token),
            None => self.lexer.token(),
        }
    }

    fn next_is(&mut self, wanted: &[char]) -> Result<bool> {
        let token = self.next()?;
        let is = matches!(token.1, Token::Symbol(symbol) if wanted.contains(&symbol));
        self.ahead = Some(token);
        Ok(is)
    }

    /// Takes the next token where it is one of these.
    fn takes(&mut self, wanted: &[char]) -> Result<bool> {
        let takes = self.next_is(wanted)?;
        if takes {
            self.ahead = None;
        }
        Ok(takes)
    }

    /// The fields of a message up to its closing brace, or of the file up to its end.
    fn fields(&mut self, close: Option<(usize, char)>, depth: usize) -> Result<Vec<Field>> {
        let mut fields = Vec::new();
        loop {
            let (line, name) = match (self.next()?, close) {
                ((_, Token::End), None) => return Ok(fields),
                ((_, Token::End), Some((line, close))) => {
                    return Err(wrong(line, format!("this message is never closed by '{close}'")));
                }
                ((_, Token::Symbol(symbol)), Some((_, close))) if symbol == close => {
                    return Ok(fields);
                }
                ((line, Token::Word(name)), _) => (line, name),
                ((line, other), _) => {
                    let other = other.describe();
                    return Err(wrong(line, format!("expected the name of a field, got {other}")));
                }
            };
            self.field(line, name, depth, &mut fields)?;
            self.takes(&[',', ';'])?;
        }
    }

    fn field(
        &mut self,
        line: usize,
        name: &str,
        depth: usize,
        fields: &mut Vec<Field>,
    ) -> Result<()> {
        let colon = self.takes(&[':'])?;
        let mut push = |line, value| fields.push(Field { name: name.to_owned(), line, value });
        if !self.takes(&['['])? {
            push(line, self.value(name, colon, depth)?);
            return Ok(());
        }
        if self.takes(&[']'])? {
            return Ok(());
        }
        loop {
            let (line, value) = (self.line()?, self.value(name, colon, depth)?);
            push(line, value);
            if self.takes(&[']'])? {
                return Ok(());
            }
            if !self.takes(&[','])? {
                let (line, other) = self.next()?;
                let other = other.describe();
                return Err(wrong(line, format!("expected ',' or ']' in '{name}', got {other}")));
            }
        }
    }

    /// Line of the next token.
    fn line(&mut self) -> Result<usize> {
        let token = self.next()?;
        let line = token.0;
        self.ahead = Some(token);
        Ok(line)
    }

    fn value(&mut self, name: &str, colon: bool, depth: usize) -> Result<Value> {
        let (line, token) = self.next()?;
        let close = match token {
            Token::Symbol('{') => '}',
            Token::Symbol('<') => '>',
            token if colon => return self.scalar(name, line, token),
            other => {
                let other = other.describe();
                return Err(wrong(line, format!("expected ':' behind '{name}', got {other}")));
            }
        };
        if depth == DEPTH_MAX {
            return Err(wrong(line, format!("messages lie more than {DEPTH_MAX} deep")));
        }
        self.fields(Some((line, close)), depth + 1).map(Value::Message)
    }

    fn scalar(&mut self, name: &str, line: usize, token: Token<'a>) -> Result<Value> {
        match token {
            Token::Text(mut bytes) => {
                // Strings side by side are one string.
                loop {
                    match self.next()? {
                        (_, Token::Text(more)) => bytes.extend(more),
                        other => {
                            self.ahead = Some(other);
                            break;
                        }
                    }
                }
                let text = String::from_utf8(bytes);
                text.map(Value::Text).map_err(|_| wrong(line, "a string is not valid UTF-8"))
            }
            Token::Word(word) => Ok(named_float(word, 1.0).unwrap_or(Value::Word(word.to_owned()))),
            Token::Number(text) => number(text, false).ok_or_else(|| malformed(line, text)),
            Token::Symbol('-') => match self.next()? {
                (_, Token::Number(text)) => number(text, true).ok_or_else(|| malformed(line, text)),
                (_, Token::Word(word)) => {
                    named_float(word, -1.0).ok_or_else(|| malformed(line, word))
                }
                (line, other) => {
                    let other = other.describe();
                    Err(wrong(line, format!("expected a number behind '-', got {other}")))
                }
            },
            other => {
                let other = other.describe();
                Err(wrong(line, format!("expected the value of '{name}', got {other}")))
            }
        }
    }
}

fn malformed(line: usize, text: &str) -> Error {
    wrong(line, format!("'{}' is not a number", quoted(text)))
}

fn named_float(word: &str, sign: f64) -> Option<Value> {
    let value = match word.to_ascii_lowercase().as_str() {
        "inf" | "infinity" => f64::INFINITY,
        "nan" => f64::NAN,
        _ => return None,
    };
    Some(Value::Float(sign * value))
}

/// Decimal, `0x` hexadecimal, `0` octal, or a float with or without its `f`.
fn number(text: &str, negative: bool) -> Option<Value> {
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let integer = match (hex, text.strip_prefix('0')) {
        (Some(hex), _) => Some(u64::from_str_radix(hex, 16).ok()?),
        (None, Some(octal)) if digits && !octal.is_empty() => {
            Some(u64::from_str_radix(octal, 8).ok()?)
        }
        _ if digits => Some(text.parse().ok()?),
        _ => None,
    };
    if let Some(integer) = integer {
        let integer = i128::from(integer);
        let integer = if negative { -integer } else { integer };
        return (integer >= i128::from(i64::MIN)).then_some(Value::Integer(integer));
    }
    let text = text.strip_suffix(['f', 'F']).unwrap_or(text);
    // Rust's parser knows words (`inf`) and signs that protobuf writes otherwise.
    let starts = text.starts_with(|first: char| first.is_ascii_digit() || first == '.');
    let value: f64 = text.parse().ok().filter(|_| starts)?;
    Some(Value::Float(if negative { -value } else { value }))
}

#[cfg(test)]
mod tests;
