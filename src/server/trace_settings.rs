//! Triton's trace settings, the same on every door: Galen writes no trace files, and where its
//! spans go is the operator's to say (`otlp`), so each setting has one value, which can be read and
//! written, and any other is refused by its name. Pure.

use crate::error::{Error, Result, quoted};

/// Every setting with its value: Triton's own at its start, when nothing is traced.
pub const SETTINGS: [(&str, &str); 5] = [
    ("trace_level", "OFF"),
    ("trace_rate", "1000"),
    ("trace_count", "-1"),
    ("log_frequency", "0"),
    ("trace_file", ""),
];

/// Checks one setting that a caller wants; no value at all stands for the one at the start.
pub fn check<'a>(name: &str, values: impl IntoIterator<Item = &'a str>) -> Result<()> {
    let Some((name, only)) = SETTINGS.iter().find(|(known, _)| *known == name) else {
        let known = SETTINGS.map(|(name, _)| name).join(", ");
        let name = quoted(name);
        return Err(Error::invalid(format!(
            "there is no trace setting '{name}'; there are {known}"
        )));
    };
    if values.into_iter().all(|value| value == *only) {
        return Ok(());
    }
    Err(Error::unsupported(format!(
        "trace setting '{name}': expected '{only}', for this server writes no trace files; the \
         operator may have spans sent by OTLP (otlp.endpoint), and a request's traceparent says \
         whether it has any"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn what_is_shown_can_be_written_back_and_nothing_else() {
        for (name, value) in SETTINGS {
            check(name, [value]).unwrap();
            check(name, [value, value]).unwrap();
            check(name, []).unwrap();
            for other in ["TIMESTAMPS", "/tmp/trace.json", "7", "off"] {
                let error = check(name, [value, other]).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Unsupported);
                assert!(error.message().contains(&format!("'{name}'")), "{error}");
                assert!(!error.message().contains(other), "{error}");
            }
        }
        let error = check("trace_colour", []).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
}
