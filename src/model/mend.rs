//! What would have to stand in a configuration that contradicts its model file, written so that it
//! can be pasted. Pure.

use std::fmt::Write;

use super::Manifest;
use super::refine::{Declared, contradiction};
use super::signature::{Signature, TensorSpec};
use crate::error::nearest;
use crate::tensor::DType;

/// The two ways of writing a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Galen's `model.toml`.
    Toml,
    /// Triton's `config.pbtxt`.
    Pbtxt,
}

/// One change that makes a configuration fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mend {
    /// The entry of this name speaks of this tensor; `None`: of none that the model has.
    Tensor { list: &'static str, entry: String, is: Option<TensorSpec> },
    /// The model has no batch axis.
    NoBatches,
}

/// The changes after which `manifest` fits what the model file says; none where it does.
pub fn mends(manifest: &Manifest, found: &Signature) -> Vec<Mend> {
    let entries: Vec<Declared<'_>> = manifest.declared().collect();
    let mut mends = Vec::new();
    for entry in &entries {
        let specs = entry.specs(found);
        let named = specs.iter().find(|spec| spec.name == entry.name);
        let free = || {
            let taken = |spec: &&TensorSpec| {
                let mut others = entries.iter().filter(|other| other.list == entry.list);
                others.any(|other| other.name == spec.name)
            };
            let free: Vec<&TensorSpec> = specs.iter().filter(|spec| !taken(spec)).collect();
            let name = nearest(entry.name, free.iter().map(|spec| spec.name.as_str()));
            match free[..] {
                [only] => Some(only),
                _ => free.into_iter().find(|spec| Some(spec.name.as_str()) == name),
            }
        };
        let is = match named {
            Some(spec) if contradiction(entry, spec).is_none() => continue,
            Some(spec) => Some(spec),
            None => free(),
        };
        let (list, entry) = (entry.list, entry.name.to_owned());
        mends.push(Mend::Tensor { list, entry, is: is.cloned() });
    }
    let wished = manifest.batching.batch_size_max.is_some_and(|size| size > 0);
    if wished && !found.could_batch() {
        mends.push(Mend::NoBatches);
    }
    mends
}

impl Mend {
    /// Lines to paste, below a comment that says where. `batched`: the configuration's dims leave
    /// the batch axis out.
    pub fn write(&self, dialect: Dialect, batched: bool) -> String {
        match self {
            Mend::NoBatches => match dialect {
                Dialect::Toml => "# under [batching]\nbatch_size_max = 0\n".to_owned(),
                Dialect::Pbtxt => "# in place of max_batch_size\nmax_batch_size: 0\n".to_owned(),
            },
            Mend::Tensor { list, entry, is: None } => match dialect {
                Dialect::Toml => format!("# the [[{list}]] entry '{entry}' has to go\n"),
                Dialect::Pbtxt => format!("# the {} '{entry}' has to go\n", singular(list)),
            },
            Mend::Tensor { list, entry, is: Some(spec) } => match dialect {
                Dialect::Toml => format!(
                    "# the [[{list}]] entry '{entry}': in place of name, datatype, shape and \
                     reshape\nname = {}\ndatatype = \"{}\"\nshape = {}\n",
                    quoted(&spec.name),
                    spec.dtype,
                    dims(spec, 0)
                ),
                Dialect::Pbtxt => {
                    let kind = singular(list);
                    format!("# in place of the {kind} '{entry}'\n{kind} {}\n", body(spec, batched))
                }
            },
        }
    }
}

fn singular(list: &str) -> &str {
    list.trim_end_matches('s')
}

/// What stands in an input or output of Triton's, which has no word for a row without extents.
fn body(spec: &TensorSpec, batched: bool) -> String {
    let name = quoted(&spec.name);
    let datatype = if spec.dtype == DType::Bytes { "STRING" } else { spec.dtype.name() };
    let skip = usize::from(batched);
    let dims = if spec.dims.len() > skip {
        dims(spec, skip)
    } else {
        "[1]\n  reshape { shape: [] }".to_owned()
    };
    format!("{{\n  name: {name}\n  data_type: TYPE_{datatype}\n  dims: {dims}\n}}")
}

/// A string of TOML and of Triton's text format alike.
fn quoted(name: &str) -> String {
    let mut text = String::from("\"");
    for c in name.chars() {
        match c {
            '"' | '\\' => {
                text.push('\\');
                text.push(c);
            }
            c if c.is_control() => text.push('?'),
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

fn dims(spec: &TensorSpec, skip: usize) -> String {
    let mut text = String::from("[");
    for (index, dim) in spec.wire_dims().skip(skip).enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        // Writing into a String can not fail.
        let _ = write!(text, "{comma}{dim}");
    }
    text.push(']');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::triton_config::{TritonConfig, complete};
    use crate::tensor::Dim;

    fn found() -> Signature {
        let spec = TensorSpec::of;
        Signature {
            inputs: vec![spec("a", DType::F32, &[-1, 16]), spec("b \"2\"", DType::I64, &[-1])],
            outputs: vec![spec("y", DType::Bytes, &[-1, 2])],
        }
    }

    fn fragments(manifest: &Manifest, dialect: Dialect) -> Vec<String> {
        let batched = manifest.batching.batch_size_max.is_some_and(|size| size > 0);
        mends(manifest, &found()).iter().map(|mend| mend.write(dialect, batched)).collect()
    }

    #[test]
    fn what_fits_needs_no_mending() {
        let text = "[[inputs]]\nname = \"a\"\ndatatype = \"FP32\"\nshape = [-1, 16]";
        assert!(mends(&Manifest::parse(text).unwrap(), &found()).is_empty());
        assert!(mends(&Manifest::default(), &found()).is_empty());
    }

    #[test]
    fn a_pasted_fragment_makes_the_configuration_fit() {
        let text = "[[inputs]]\nname = \"a\"\ndatatype = \"INT64\"\nshape = [-1, 3]\n\
                    [[inputs]]\nname = \"c\"\n[[outputs]]\nname = \"y\"\nshape = [-1]\n";
        let manifest = Manifest::parse(text).unwrap();
        assert!(manifest.refine(&found()).is_err());
        let fragments = fragments(&manifest, Dialect::Toml);
        assert_eq!(
            fragments[0],
            "# the [[inputs]] entry 'a': in place of name, datatype, shape and reshape\n\
             name = \"a\"\ndatatype = \"FP32\"\nshape = [-1, 16]\n"
        );
        let [a, c, y] = &fragments[..] else { panic!("{fragments:?}") };
        let pasted = format!("[[inputs]]\n{a}[[inputs]]\n{c}[[outputs]]\n{y}");
        let mended = Manifest::parse(&pasted).unwrap();
        assert!(mended.refine(&found()).is_ok(), "{pasted}");
    }

    #[test]
    fn tritons_fragments_leave_the_batch_axis_out_where_it_does() {
        let text = "max_batch_size: 8
            input { name: 'a' data_type: TYPE_FP32 dims: 3 }
            input { name: 'c' data_type: TYPE_INT64 dims: 3 }
            output { name: 'y' data_type: TYPE_FP32 dims: 2 }";
        let manifest = TritonConfig::from_text(text).unwrap().into_manifest("m").unwrap();
        let fragments = fragments(&manifest, Dialect::Pbtxt);
        assert_eq!(
            fragments[0],
            "# in place of the input 'a'\ninput {\n  name: \"a\"\n  data_type: TYPE_FP32\n  dims: \
             [16]\n}\n"
        );
        let pasted = format!("max_batch_size: 8\n{}", fragments.concat());
        let mended = TritonConfig::from_text(&pasted).unwrap().into_manifest("m").unwrap();
        let mended = complete(&mended, &found()).unwrap();
        assert!(mended.refine(&found()).is_ok(), "{pasted}");
    }

    #[test]
    fn batches_that_the_model_can_not_have_are_taken_back() {
        let mut found = found();
        found.outputs[0].dims[0] = Dim::Fixed(1);
        let manifest = Manifest::parse("[batching]\nbatch_size_max = 4").unwrap();
        let mends = mends(&manifest, &found);
        assert_eq!(mends, [Mend::NoBatches]);
        assert!(mends[0].write(Dialect::Toml, true).contains("batch_size_max = 0"));
        assert!(mends[0].write(Dialect::Pbtxt, true).contains("max_batch_size: 0"));
    }
}
