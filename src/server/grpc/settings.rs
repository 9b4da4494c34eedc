//! Settings of a running server in protobuf: its log and its traces.

use super::pb::inference as pb;
use crate::error::Result;
use crate::server::parameters::Value;
use crate::server::{log_settings, trace_settings};
use crate::service::{LogChange, LogSettings};

/// What a call wants changed of the log; `None` where it only asks.
pub fn change(request: &pb::LogSettingsRequest) -> Result<Option<LogChange>> {
    use pb::log_settings_request::setting_value::ParameterChoice as Choice;
    let mut change = LogChange::default();
    for (name, value) in &request.settings {
        let value = match &value.parameter_choice {
            None => Value::Unset,
            Some(Choice::BoolParam(value)) => Value::Bool(*value),
            Some(Choice::Uint32Param(value)) => Value::Uint((*value).into()),
            Some(Choice::StringParam(value)) => Value::Text(value),
        };
        log_settings::read(&mut change, name, value)?;
    }
    Ok((!request.settings.is_empty()).then_some(change))
}

pub fn log(settings: &LogSettings) -> pb::LogSettingsResponse {
    use pb::log_settings_response::SettingValue;
    use pb::log_settings_response::setting_value::ParameterChoice as Choice;
    let entry = |(name, value): (&str, Value<'_>)| {
        let parameter_choice = match value {
            Value::Bool(value) => Some(Choice::BoolParam(value)),
            Value::Uint(value) => u32::try_from(value).ok().map(Choice::Uint32Param),
            Value::Text(value) => Some(Choice::StringParam(value.to_owned())),
            // No setting of the log is such a value.
            Value::Unset | Value::Int(_) | Value::Double(_) => None,
        };
        (name.to_owned(), SettingValue { parameter_choice })
    };
    let settings = log_settings::shown(settings).into_iter().map(entry).collect();
    pb::LogSettingsResponse { settings }
}

/// Checks what a call wants traced.
pub fn check_trace(request: &pb::TraceSettingRequest) -> Result<()> {
    request.settings.iter().try_for_each(|(name, value)| {
        trace_settings::check(name, value.value.iter().map(String::as_str))
    })
}

pub fn trace() -> pb::TraceSettingResponse {
    use pb::trace_setting_response::SettingValue;
    let entry = |(name, value): (&str, &str)| {
        (name.to_owned(), SettingValue { value: vec![value.to_owned()] })
    };
    let settings = trace_settings::SETTINGS.into_iter().map(entry).collect();
    pb::TraceSettingResponse { settings }
}
