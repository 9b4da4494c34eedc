//! What a configuration says of tensors, held against what the model file says of them. Where the
//! two contradict each other, both stand side by side in the error, with what would fit. Pure.

use super::manifest::{Feature, dims, dtype};
use super::reshape::Reshape;
use super::signature::{Signature, TensorSpec};
use crate::error::{Error, Result, nearest};
use crate::tensor::{DType, Dim, write_dims};

pub const INPUTS: &str = "inputs";
pub const OUTPUTS: &str = "outputs";

/// What is said of one tensor.
pub struct Declared<'a> {
    pub list: &'static str,
    pub name: &'a str,
    pub datatype: Option<&'a str>,
    pub shape: Option<&'a [i64]>,
    pub reshape: Option<&'a [i64]>,
}

impl<'a> Declared<'a> {
    pub(super) fn engine_shape(&self) -> Option<&'a [i64]> {
        self.reshape.or(self.shape)
    }

    pub(super) fn spec(&self) -> Result<TensorSpec> {
        let (Some(datatype), Some(shape)) = (self.datatype, self.engine_shape()) else {
            return Err(Error::invalid(format!(
                "tensor '{}': expected datatype and shape, as no model file carries them",
                self.name
            )));
        };
        let name = self.name.to_owned();
        Ok(TensorSpec { dtype: dtype(&name, datatype)?, dims: dims(&name, shape)?, name })
    }

    pub(super) fn reshape(&self) -> Result<Option<Reshape>> {
        let Some(engine) = self.reshape else { return Ok(None) };
        let Some(callers) = self.shape else {
            return Err(Error::invalid(format!(
                "reshape of '{}': expected a shape beside it",
                self.name
            )));
        };
        Reshape::new(self.name, dims(self.name, callers)?, dims(self.name, engine)?).map(Some)
    }

    /// The tensors of the list that this entry is in.
    pub fn specs<'s>(&self, signature: &'s Signature) -> &'s [TensorSpec] {
        if self.list == INPUTS { &signature.inputs } else { &signature.outputs }
    }

    /// The engine's type and shape as they were written; `None` where neither was.
    pub fn text(&self) -> Option<String> {
        let mut text = String::new();
        let shape = self.engine_shape().map(|shape| dims(self.name, shape));
        if let Some(datatype) = self.datatype {
            text.push_str(datatype);
        }
        if let Some(Ok(shape)) = shape {
            text.push_str(if text.is_empty() { "" } else { " " });
            // Writing into a String can not fail.
            let _ = write_dims(&mut text, shape.iter());
        }
        (!text.is_empty()).then_some(text)
    }

    /// Why this entry can not speak of that tensor.
    pub fn contradiction(&self, spec: &TensorSpec) -> Option<Error> {
        contradiction(self, spec)
    }
}

/// Position of the tensor that an entry speaks of.
pub(super) fn find(entry: &Declared<'_>, specs: &[TensorSpec]) -> Result<usize> {
    specs.iter().position(|spec| spec.name == entry.name).ok_or_else(|| {
        let names: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
        let Declared { list, name, .. } = entry;
        let near = nearest(name, names.iter().copied());
        let hint = near.map_or_else(String::new, |near| format!("; did you mean '{near}'?"));
        Error::invalid(format!("{list}: the model has no tensor '{name}'; it has {names:?}{hint}"))
    })
}

/// Takes the extents that the model file leaves open. Ranks were checked to be equal.
pub(super) fn fill_in(spec: &mut TensorSpec, shape: &[i64]) {
    for (dim, declared) in spec.dims.iter_mut().zip(shape) {
        if let (Dim::Any, Some(fixed)) = (*dim, Dim::from_wire(*declared)) {
            *dim = fixed;
        }
    }
}

pub(super) fn check_entry(entry: &Declared<'_>, spec: &TensorSpec) -> Result<()> {
    contradiction(entry, spec).map_or(Ok(()), Err)
}

/// Both sides in one line, and what would fit.
pub(super) fn contradiction(entry: &Declared<'_>, spec: &TensorSpec) -> Option<Error> {
    let Declared { list, name, .. } = entry;
    let declared_type = entry.datatype.map(|text| dtype(name, text)).transpose();
    let declared_dims = entry.engine_shape().map(|shape| dims(name, shape)).transpose();
    let (declared_type, declared_dims) = match (declared_type, declared_dims) {
        (Ok(dtype), Ok(dims)) => (dtype, dims),
        (Err(error), _) | (_, Err(error)) => return Some(error),
    };
    // An engine may know less than the author ("any" for a fixed extent), never something else.
    let fits = |(a, b): (&Dim, &Dim)| a == b || *a == Dim::Any || *b == Dim::Any;
    let same_dims = declared_dims
        .as_ref()
        .is_none_or(|dims| dims.len() == spec.dims.len() && dims.iter().zip(&spec.dims).all(fits));
    if same_dims && declared_type.is_none_or(|dtype| dtype == spec.dtype) {
        return None;
    }
    let declared = entry.text().unwrap_or_default();
    let (dtype, dims) = (spec.dtype, spec.dims_text());
    let what = if entry.reshape.is_some() { " behind its reshape" } else { "" };
    Some(Error::invalid(format!(
        "{list}: '{name}' is declared as {declared}{what}, but the model file has {dtype} {dims}. \
         Fix: declare {dtype} {dims}, or leave both out"
    )))
}

pub(super) fn check_features(spec: &TensorSpec, features: &[Feature]) -> Result<()> {
    let name = &spec.name;
    let is_number = spec.dtype != DType::Bytes && spec.dtype != DType::Bool;
    if spec.dims.len() != 2 || !spec.dims[1].admits(features.len()) || !is_number {
        return Err(Error::invalid(format!(
            "inputs: '{name}' has {} features, but the model file has {} {}; features name the \
             columns of a numeric tensor of shape [rows, features]",
            features.len(),
            spec.dtype,
            spec.dims_text()
        )));
    }
    for (i, feature) in features.iter().enumerate() {
        if features[..i].iter().any(|other| other.name == feature.name) {
            return Err(Error::invalid(format!(
                "inputs: '{name}' has two features named '{}'",
                feature.name
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::model::{Manifest, Signature, TensorSpec};
    use crate::tensor::{DType, Dim};

    #[test]
    fn a_contradiction_shows_both_sides_and_what_fits() {
        let dims = vec![Dim::Any, Dim::Fixed(2)];
        let spec = TensorSpec { name: "INPUT0".into(), dtype: DType::F32, dims };
        let found = Signature { inputs: vec![spec], outputs: vec![] };
        let refused = |text: &str| {
            let error = Manifest::parse(text).unwrap().refine(&found).unwrap_err();
            error.message().to_owned()
        };
        let fix = "Fix: declare FP32 [-1,2], or leave both out";
        let entry = "[[inputs]]\nname = \"INPUT0\"\n";
        assert_eq!(
            refused(&format!("{entry}datatype = \"INT64\"\nshape = [-1, 3]")),
            format!(
                "inputs: 'INPUT0' is declared as INT64 [-1,3], but the model file has FP32 \
                 [-1,2]. {fix}"
            )
        );
        let text = format!("{entry}shape = [-1, 4]\nreshape = [-1, 2, 2]");
        assert!(refused(&text).contains("as [-1,2,2] behind its reshape, but"), "{text}");
        assert_eq!(
            refused("[[inputs]]\nname = \"INPUT1\""),
            "inputs: the model has no tensor 'INPUT1'; it has [\"INPUT0\"]; did you mean 'INPUT0'?"
        );
    }
}
