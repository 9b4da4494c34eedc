//! The `parameters` of a configuration, which Triton hands to the engine: those that Galen has are
//! read, in both directions; any other is refused by its name.

use std::collections::BTreeMap;

use super::fields::Parameter;
use crate::error::{Error, Result, nearest, quoted};
use crate::model::manifest::{BackendChoice, EngineOptions, IdentityOptions};

const ONNXRUNTIME: [&str; 6] = [
    "intra_op_thread_count",
    "inter_op_thread_count",
    "execution_mode",
    "enable_mem_arena",
    "enable_mem_pattern",
    "gpu_mem_limit",
];
const IDENTITY: [&str; 1] = ["execute_delay_ms"];

/// Reads the parameters of a model on this engine.
pub fn read(
    parameters: &BTreeMap<String, Parameter>,
    backend: BackendChoice,
    engine: &mut EngineOptions,
    identity: &mut IdentityOptions,
) -> Result<()> {
    let known = if backend == BackendChoice::Identity { &IDENTITY[..] } else { &ONNXRUNTIME[..] };
    for (name, Parameter { string_value: text }) in parameters {
        match (known.contains(&name.as_str()), name.as_str()) {
            (true, "intra_op_thread_count") => engine.threads = Some(number(name, text)?),
            (true, "inter_op_thread_count") => engine.threads_between = Some(number(name, text)?),
            // 0 is sequential, 1 parallel.
            (true, "execution_mode") => engine.parallel = flag(name, text)?,
            (true, "enable_mem_arena") => engine.memory_arena = Some(flag(name, text)?),
            (true, "enable_mem_pattern") => engine.memory_pattern = Some(flag(name, text)?),
            (true, "gpu_mem_limit") => engine.gpu_memory_bytes_max = Some(number(name, text)?),
            (true, "execute_delay_ms") => {
                identity.delay_us = number::<u64>(name, text)?.saturating_mul(1000);
            }
            _ => return Err(unsupported(name, known)),
        }
    }
    Ok(())
}

/// What [`read`] would read the options from. Options at their defaults are not written.
pub fn write(engine: &EngineOptions, identity: &IdentityOptions) -> BTreeMap<String, Parameter> {
    let number = |n: usize| n.to_string();
    let flag = |on: bool| u8::from(on).to_string();
    let delay_ms = identity.delay_us / 1000;
    let values = [
        ("intra_op_thread_count", engine.threads.map(number)),
        ("inter_op_thread_count", engine.threads_between.map(number)),
        ("execution_mode", engine.parallel.then(|| flag(true))),
        ("enable_mem_arena", engine.memory_arena.map(flag)),
        ("enable_mem_pattern", engine.memory_pattern.map(flag)),
        ("gpu_mem_limit", engine.gpu_memory_bytes_max.map(|bytes| bytes.to_string())),
        ("execute_delay_ms", (delay_ms > 0).then(|| delay_ms.to_string())),
    ];
    let written = values.into_iter().filter_map(|(name, value)| {
        value.map(|string_value| (name.to_owned(), Parameter { string_value }))
    });
    written.collect()
}

fn number<T: std::str::FromStr>(name: &str, text: &str) -> Result<T> {
    text.trim().parse().map_err(|_| {
        let text = quoted(text);
        Error::invalid(format!("parameters.{name}: expected a number, 0 or more, got '{text}'"))
    })
}

fn flag(name: &str, text: &str) -> Result<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => {
            let text = quoted(text);
            Err(Error::invalid(format!("parameters.{name}: expected 0 or 1, got '{text}'")))
        }
    }
}

fn unsupported(name: &str, known: &[&str]) -> Error {
    let hint = match nearest(name, known.iter().copied()) {
        Some(near) => format!("; did you mean '{near}'?"),
        None => format!("; supported are {}", known.join(", ")),
    };
    Error::unsupported(format!("parameters: '{}' is not supported{hint}", quoted(name)))
}
