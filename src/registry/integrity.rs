//! Digests: what a version's files ought to be, against the bytes that were read.

use crate::error::{Error, Result};

/// The name of the file in a version's directory, as `sha256sum` writes it.
pub const FILE: &str = "SHA256SUMS";

/// The files that a list names, with their digests.
pub fn parse(list: &str) -> Result<Vec<(&str, &str)>> {
    let whole = |hex: &str| hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut entries = Vec::new();
    for (index, line) in list.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        // `<hex>  name`, or `<hex> *name` for binary mode.
        let parts = line.split_once(' ').map(|(hex, rest)| {
            (rest.strip_prefix([' ', '*']).unwrap_or(rest).trim_start_matches("./"), hex)
        });
        entries.push(parts.filter(|(_, hex)| whole(hex)).ok_or_else(|| {
            Error::invalid(format!(
                "{FILE} line {}: expected 64 hex digits, two spaces and a file name",
                index + 1
            ))
        })?);
    }
    Ok(entries)
}

/// Checks one file's digest against the list; a file that the list does not name is an error, too.
pub fn verify(list: &[(&str, &str)], file: &str, digest: &str) -> Result<()> {
    match list.iter().find(|(name, _)| *name == file) {
        Some((_, expected)) if expected.eq_ignore_ascii_case(digest) => Ok(()),
        Some(_) => {
            Err(Error::invalid(format!("{file} does not have the digest that {FILE} lists")))
        }
        None => Err(Error::invalid(format!("{FILE} does not list {file}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::sha256;

    #[test]
    fn digests_are_compared_with_the_list() {
        // FIPS 180-2, "abc".
        let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(b"abc"), digest);
        let list = format!("{digest}  other\n{digest} *./model.onnx\n");
        let list = parse(&list).unwrap();
        assert!(verify(&list, "model.onnx", digest).is_ok());
        assert!(verify(&list, "model.onnx", &sha256(b"abd")).is_err());
        assert!(verify(&list, "absent", digest).is_err());
        assert!(parse("nonsense\n").is_err());
        assert!(parse(&format!("{digest}x  a\n")).is_err());
    }
}
