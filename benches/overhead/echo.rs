//! The model that overhead is measured with, and what it is asked. Its answer is its question: what
//! is left is what serving costs.

use std::fs;
use std::path::Path;

use galen::bench::Asked;
use galen::error::Error;

pub const MODEL: &str = "echo";
const INPUT: &str = "x";
const WIDTH: usize = 30;

const MANIFEST: &str = r#"
backend = "identity"
[[inputs]]
name = "x"
datatype = "FP32"
shape = [-1, 30]
[[outputs]]
name = "y"
datatype = "FP32"
shape = [-1, 30]
"#;

/// Writes a registry that holds it alone.
pub fn registry(folder: &Path) -> std::io::Result<()> {
    fs::create_dir_all(folder.join(MODEL).join("1"))?;
    fs::write(folder.join(MODEL).join("model.toml"), MANIFEST)
}

/// One row of numbers, as tensors and as a record.
pub fn body() -> serde_json::Value {
    let numbers: Vec<f64> = (0..WIDTH as u16).map(|n| f64::from(37 * n + 1) / 100.0).collect();
    serde_json::json!({
        "inputs": [{"name": INPUT, "datatype": "FP32", "shape": [1, WIDTH], "data": numbers}],
        "records": [{INPUT: numbers}],
    })
}

/// The same, as the load generator takes it.
pub fn asked() -> Result<Asked, Error> {
    Asked::from_file(body().to_string().as_bytes())
}
