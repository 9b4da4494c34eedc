//! The log's settings in Triton's words, the same on every door. Pure.

use super::parameters::Value;
use crate::error::{Error, Result, quoted};
use crate::service::{LogChange, LogForm, LogSettings};

/// Every setting with its value, in Triton's order.
pub fn shown(settings: &LogSettings) -> [(&'static str, Value<'static>); 6] {
    let levels = settings.levels;
    [
        // The log goes where the process's errors go, and nowhere else.
        ("log_file", Value::Text("")),
        ("log_info", Value::Bool(levels.info)),
        ("log_warning", Value::Bool(levels.warning)),
        ("log_error", Value::Bool(levels.error)),
        ("log_verbose_level", Value::Uint(levels.verbose.into())),
        ("log_format", Value::Text(name_of(settings.form))),
    ]
}

/// Reads one setting that a caller wants changed.
pub fn read(change: &mut LogChange, name: &str, value: Value<'_>) -> Result<()> {
    match name {
        "log_info" => change.info = Some(switch(name, value)?),
        "log_warning" => change.warning = Some(switch(name, value)?),
        "log_error" => change.error = Some(switch(name, value)?),
        "log_verbose_level" => change.verbose = Some(level(name, value)?),
        "log_format" => change.form = Some(form(name, value)?),
        "log_file" if value == Value::Text("") => {}
        "log_file" => {
            return Err(Error::unsupported(
                "log setting 'log_file': a running server takes no names of files; its log goes \
                 to standard error",
            ));
        }
        name => {
            return Err(Error::invalid(format!(
                "there is no log setting '{}'; there are log_info, log_warning, log_error, \
                 log_verbose_level and log_format",
                quoted(name)
            )));
        }
    }
    Ok(())
}

fn wrong(name: &str, expected: &str) -> Error {
    Error::invalid(format!("log setting '{name}': expected {expected}"))
}

fn switch(name: &str, value: Value<'_>) -> Result<bool> {
    match value {
        Value::Bool(on) => Ok(on),
        _ => Err(wrong(name, "true or false")),
    }
}

fn level(name: &str, value: Value<'_>) -> Result<u32> {
    let level = match value {
        Value::Int(level) => u32::try_from(level).ok(),
        Value::Uint(level) => u32::try_from(level).ok(),
        _ => None,
    };
    level.ok_or_else(|| wrong(name, "0 (off), 1 or more"))
}

/// Triton's two words, and the two forms that Galen has.
const FORMS: [(&str, LogForm); 5] = [
    ("default", LogForm::Default),
    ("ISO8601", LogForm::Iso8601),
    ("text", LogForm::Text),
    ("json", LogForm::Json),
    ("ecs", LogForm::Ecs),
];

fn name_of(form: LogForm) -> &'static str {
    FORMS.iter().find(|(_, other)| *other == form).map_or("default", |(name, _)| name)
}

fn form(name: &str, value: Value<'_>) -> Result<LogForm> {
    let known = FORMS.iter().find(|(word, _)| value == Value::Text(word));
    known.map(|(_, form)| *form).ok_or_else(|| wrong(name, "default, ISO8601, text, json or ecs"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::service::Levels;

    fn changed(name: &str, value: Value<'_>) -> Result<LogChange> {
        let mut change = LogChange::default();
        read(&mut change, name, value).map(|()| change)
    }

    #[test]
    fn what_is_shown_can_be_written_back() {
        let levels = Levels { error: true, warning: false, info: true, verbose: 3 };
        for (_, form) in FORMS {
            let settings = LogSettings { levels, form };
            let mut change = LogChange::default();
            for (name, value) in shown(&settings) {
                read(&mut change, name, value).unwrap();
            }
            let expected = LogChange {
                error: Some(true),
                warning: Some(false),
                info: Some(true),
                verbose: Some(3),
                form: Some(form),
            };
            assert_eq!(change, expected);
        }
    }

    #[test]
    fn what_can_not_be_is_refused_by_name() {
        for (name, value, kind) in [
            ("log_info", Value::Int(1), ErrorKind::InvalidInput),
            ("log_error", Value::Unset, ErrorKind::InvalidInput),
            ("log_verbose_level", Value::Int(-1), ErrorKind::InvalidInput),
            ("log_verbose_level", Value::Uint(1 << 32), ErrorKind::InvalidInput),
            ("log_verbose_level", Value::Bool(true), ErrorKind::InvalidInput),
            ("log_format", Value::Text("xml"), ErrorKind::InvalidInput),
            ("log_file", Value::Text("/tmp/x"), ErrorKind::Unsupported),
            ("log_file", Value::Int(1), ErrorKind::Unsupported),
            ("log_colour", Value::Bool(true), ErrorKind::InvalidInput),
        ] {
            let error = changed(name, value).unwrap_err();
            assert_eq!(error.kind(), kind, "{name}");
            assert!(error.message().contains(&format!("'{name}'")), "{error}");
        }
    }
}
