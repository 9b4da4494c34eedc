//! The facts of a model laid out for a reader. Pure.

use std::fmt::Write;

use super::facts::{EngineFacts, Facts, FileFacts, TensorFacts, VersionFacts};
use super::settings::Setting;

/// Writing into a String can not fail.
macro_rules! line {
    ($out:ident, $($part:tt)*) => {{ let _ = writeln!($out, $($part)*); }};
}

pub fn render(facts: &Facts) -> String {
    let mut out = String::new();
    let file = facts.configuration.as_deref();
    let configured = file.map_or("no configuration: all of it is completed".to_owned(), |file| {
        format!("configured by {file}")
    });
    line!(out, "{}: {configured}", facts.model);
    if let Some(problem) = &facts.problem {
        line!(out, "  error           {problem}");
    }
    line!(out, "  versions        {}", listed(&facts.versions_found));
    line!(out, "  version policy  {}", facts.version_policy);
    line!(out, "  serves          {}", listed(&facts.versions_served));
    if !facts.labels.is_empty() {
        let labels = facts.labels.iter().map(|(name, version)| format!("{name} = {version}"));
        line!(out, "  labels          {}", labels.collect::<Vec<_>>().join(", "));
    }
    for version in &facts.versions {
        out.push('\n');
        write_version(&mut out, &facts.model, file, version);
    }
    out
}

fn listed(versions: &[u64]) -> String {
    let texts: Vec<String> = versions.iter().map(u64::to_string).collect();
    if texts.is_empty() { "none".to_owned() } else { texts.join(", ") }
}

fn write_version(out: &mut String, model: &str, file: Option<&str>, version: &VersionFacts) {
    line!(out, "{model}/{}: {}", version.version, version.state);
    if let Some(reason) = &version.reason {
        line!(out, "  because {reason}");
    }
    if let Some(FileFacts { name, bytes, sha256, data_sha256 }) = &version.file {
        line!(out, "  model file      {name}, {bytes} bytes");
        line!(out, "  sha256          {sha256}");
        for (name, sha256) in data_sha256 {
            line!(out, "  data            {name}, sha256 {sha256}");
        }
    }
    if let Some(time) = version.load_ms {
        let memory = version.load_memory_bytes;
        let memory = memory.map(|bytes| format!("; resident memory grew by {bytes} bytes"));
        line!(out, "  load            {time} ms{}", memory.unwrap_or_default());
    }
    out.push('\n');
    let settings = version.settings.iter();
    let settings = settings.map(|Setting { key, value, why }| [*key, value, why]);
    write_table(out, ["setting", "value", "why"], settings);
    if !version.engines.is_empty() {
        out.push('\n');
        let row = |engine: &EngineFacts| {
            let why = engine.reason.clone().unwrap_or_default();
            [engine.engine.to_owned(), if engine.serves { "yes" } else { "no" }.to_owned(), why]
        };
        write_table(out, ["engine", "serves", "why not"], version.engines.iter().map(row));
    }
    if !version.tensors.is_empty() {
        out.push('\n');
        let silent = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let row = |tensor: &TensorFacts| {
            let TensorFacts { kind, name, model, configured, served, contradiction } = tensor;
            let mark = if *contradiction { " !" } else { "" };
            let configured = silent(configured) + mark;
            [format!("{kind} {name}"), silent(model), configured, silent(served)]
        };
        let head = ["tensor", "in the model", "configured", "served"];
        write_table(out, head, version.tensors.iter().map(row));
    }
    if let Some(fix) = &version.fix {
        line!(out, "\n  fix, in {}:\n", file.unwrap_or("model.toml"));
        for text in fix.lines() {
            line!(out, "{}", format!("    {text}").trim_end());
        }
    }
}

/// Columns as wide as their widest cell.
fn write_table<const N: usize, T: AsRef<str>>(
    out: &mut String,
    head: [&str; N],
    rows: impl Iterator<Item = [T; N]>,
) {
    let rows: Vec<[T; N]> = rows.collect();
    let mut widths = head.map(|cell| cell.chars().count());
    for (width, index) in widths.iter_mut().zip(0..N) {
        let cells = rows.iter().filter_map(|row| row.get(index));
        *width = cells.map(|cell| cell.as_ref().chars().count()).fold(*width, usize::max);
    }
    let mut write = |cells: Vec<&str>| {
        let mut text = String::from(" ");
        for (cell, width) in cells.into_iter().zip(widths) {
            let _ = write!(text, " {cell:width$} ");
        }
        line!(out, "{}", text.trim_end());
    };
    write(head.to_vec());
    for row in &rows {
        write(row.iter().map(AsRef::as_ref).collect());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(kind: &'static str, name: &str, columns: [&str; 3]) -> TensorFacts {
        let [model, configured, served] =
            columns.map(|text| (!text.is_empty()).then(|| text.to_owned()));
        let contradiction = model != configured && model.is_some() && configured.is_some();
        TensorFacts { kind, name: name.to_owned(), model, configured, served, contradiction }
    }

    fn facts() -> Facts {
        let setting = |key, value: &str, why: &str| Setting {
            key,
            value: value.to_owned(),
            why: why.to_owned(),
        };
        let ready = VersionFacts {
            version: 1,
            state: "ready",
            reason: None,
            file: Some(FileFacts {
                name: "model.onnx".to_owned(),
                bytes: 1234,
                sha256: "ba78".to_owned(),
                data_sha256: [("w.bin".to_owned(), "fe12".to_owned())].into(),
            }),
            load_ms: Some(12),
            load_memory_bytes: Some(4096),
            settings: vec![
                setting("backend", "onnxruntime", "auto: ONNX Runtime, whose library was found"),
                setting("instances", "1", "default"),
            ],
            engines: vec![
                EngineFacts { engine: "onnxruntime", serves: true, reason: None },
                EngineFacts { engine: "tract", serves: false, reason: Some("no SVM".to_owned()) },
            ],
            tensors: vec![
                tensor("input", "features", ["FP32 [-1,30]", "", "FP32 [-1,30]"]),
                tensor("output", "y", ["INT64 [-1]", "INT64 [-1]", "INT64 [-1]"]),
            ],
            fix: None,
        };
        let failed = VersionFacts {
            version: 2,
            state: "failed",
            reason: Some("inputs: 'features' does not fit".to_owned()),
            file: None,
            load_ms: None,
            load_memory_bytes: None,
            settings: vec![setting("backend", "tract", "model.toml says so: tract")],
            engines: Vec::new(),
            tensors: vec![tensor("input", "features", ["FP32 [-1,2]", "FP32 [-1,3]", ""])],
            fix: Some("# here\nshape = [-1, 2]\n".to_owned()),
        };
        Facts {
            model: "m".to_owned(),
            configuration: Some("model.toml".to_owned()),
            problem: None,
            version_policy: "latest = 1".to_owned(),
            versions_found: vec![1, 2],
            versions_served: vec![1],
            labels: [("stable".to_owned(), 1)].into(),
            versions: vec![ready, failed],
        }
    }

    #[test]
    fn a_model_reads_like_this() {
        let expected = "\
m: configured by model.toml
  versions        1, 2
  version policy  latest = 1
  serves          1
  labels          stable = 1

m/1: ready
  model file      model.onnx, 1234 bytes
  sha256          ba78
  data            w.bin, sha256 fe12
  load            12 ms; resident memory grew by 4096 bytes

  setting    value        why
  backend    onnxruntime  auto: ONNX Runtime, whose library was found
  instances  1            default

  engine       serves  why not
  onnxruntime  yes
  tract        no      no SVM

  tensor          in the model  configured  served
  input features  FP32 [-1,30]  -           FP32 [-1,30]
  output y        INT64 [-1]    INT64 [-1]  INT64 [-1]

m/2: failed
  because inputs: 'features' does not fit

  setting  value  why
  backend  tract  model.toml says so: tract

  tensor          in the model  configured     served
  input features  FP32 [-1,2]   FP32 [-1,3] !  -

  fix, in model.toml:

    # here
    shape = [-1, 2]
";
        assert_eq!(render(&facts()), expected);
    }

    #[test]
    fn a_model_that_can_not_be_tried_says_why() {
        let facts = Facts {
            configuration: None,
            problem: Some("model.toml: line 1: unknown field".to_owned()),
            versions_served: Vec::new(),
            labels: [].into(),
            versions: Vec::new(),
            ..facts()
        };
        let expected = "\
m: no configuration: all of it is completed
  error           model.toml: line 1: unknown field
  versions        1, 2
  version policy  latest = 1
  serves          none
";
        assert_eq!(render(&facts), expected);
    }
}
