//! Operators between categories and numbers: `LabelEncoder`, `OneHotEncoder` and
//! `ArrayFeatureExtractor`. Categories are integers or floats: this engine has no tensors of words.

use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use super::{Custom, Operator, Outlet, list};

pub fn label_encoder(node: &NodeProto) -> TractResult<Custom> {
    let words = ["keys_strings", "values_strings", "classes_strings"];
    super::refuse(node, &words)?;
    super::refuse(node, &["keys_tensor", "values_tensor", "default_tensor"])?;
    let keys = match (list::<i64>(node, "keys_int64s")?, list::<f32>(node, "keys_floats")?) {
        (integers, []) => Keys::Integers(places(integers.iter().copied())),
        ([], floats) => {
            // Whether it equals itself here changed from one version of the operator to the next.
            ensure!(!floats.iter().any(|key| key.is_nan()), "a key that is not a number");
            Keys::Floats(places(floats.iter().map(|&key| bits(key))))
        }
        _ => bail!("expected keys of one type"),
    };
    let values = match (list::<i64>(node, "values_int64s")?, list::<f32>(node, "values_floats")?) {
        (integers, []) => {
            let default = node.get_attr_opt::<i64>("default_int64")?.unwrap_or(-1);
            Values::Integers { values: integers.to_vec(), default }
        }
        ([], floats) => {
            let default = node.get_attr_opt::<f32>("default_float")?.unwrap_or(-0.0);
            Values::Floats { values: floats.to_vec(), default }
        }
        _ => bail!("expected values of one type"),
    };
    let count = list::<i64>(node, "keys_int64s")?.len() + list::<f32>(node, "keys_floats")?.len();
    ensure!(count == values.count(), "{count} keys for {} values", values.count());
    Ok(Custom::new(LabelEncoder { keys, values }))
}

pub fn one_hot_encoder(node: &NodeProto) -> TractResult<Custom> {
    super::refuse(node, &["cats_strings"])?;
    let categories = list::<i64>(node, "cats_int64s")?;
    ensure!(!categories.is_empty(), "expected at least one category");
    Ok(Custom::new(OneHotEncoder {
        width: categories.len(),
        places: places(categories.iter().copied()),
        zeros: node.get_attr_opt::<i64>("zeros")?.unwrap_or(1) != 0,
    }))
}

pub fn array_feature_extractor(_node: &NodeProto) -> TractResult<Custom> {
    Ok(Custom::new(ArrayFeatureExtractor))
}

/// Where each key stands in its list; the first place of one that stands there twice.
fn places<K: Eq + Hash>(keys: impl Iterator<Item = K>) -> HashMap<K, usize> {
    let mut places = HashMap::new();
    for (place, key) in keys.enumerate() {
        places.entry(key).or_insert(place);
    }
    places
}

/// A float as a key: the two zeros are one.
fn bits(key: f32) -> u32 {
    (key + 0.0).to_bits()
}

#[derive(Debug)]
struct LabelEncoder {
    keys: Keys,
    values: Values,
}

#[derive(Debug)]
enum Keys {
    Integers(HashMap<i64, usize>),
    Floats(HashMap<u32, usize>),
}

#[derive(Debug)]
enum Values {
    Integers { values: Vec<i64>, default: i64 },
    Floats { values: Vec<f32>, default: f32 },
}

impl Values {
    fn count(&self) -> usize {
        match self {
            Values::Integers { values, .. } => values.len(),
            Values::Floats { values, .. } => values.len(),
        }
    }
}

impl Keys {
    fn places(&self, tensor: &Tensor) -> TractResult<Vec<Option<usize>>> {
        Ok(match self {
            Keys::Integers(places) => {
                let keys = tensor.cast_to::<i64>()?;
                let keys = keys.try_as_plain_ram()?;
                keys.as_slice::<i64>()?.iter().map(|key| places.get(key).copied()).collect()
            }
            Keys::Floats(places) => {
                let keys = tensor.try_as_plain_ram()?;
                keys.as_slice::<f32>()?.iter().map(|&key| places.get(&bits(key)).copied()).collect()
            }
        })
    }
}

impl Operator for LabelEncoder {
    fn name(&self) -> &'static str {
        "LabelEncoder"
    }

    fn outlets(&self, inputs: &[Outlet]) -> TractResult<TVec<Outlet>> {
        let (dtype, shape) = &inputs[0];
        let fits = match self.keys {
            Keys::Integers(_) => is_integer(*dtype),
            Keys::Floats(_) => *dtype == f32::datum_type(),
        };
        ensure!(fits, "{dtype:?} is not the type of the keys");
        let dtype = match self.values {
            Values::Integers { .. } => i64::datum_type(),
            Values::Floats { .. } => f32::datum_type(),
        };
        Ok(tvec![(dtype, shape.clone())])
    }

    fn eval(&self, inputs: &[TValue]) -> TractResult<TVec<Tensor>> {
        fn pick<T: Copy>(values: &[T], default: T, places: &[Option<usize>]) -> Vec<T> {
            let value = |place: &usize| values.get(*place).copied();
            places.iter().map(|place| place.as_ref().and_then(value).unwrap_or(default)).collect()
        }
        let places = self.keys.places(&inputs[0])?;
        let shape = inputs[0].shape();
        Ok(tvec![match &self.values {
            Values::Integers { values, default } => {
                Tensor::from_shape(shape, &pick(values, *default, &places))?
            }
            Values::Floats { values, default } => {
                Tensor::from_shape(shape, &pick(values, *default, &places))?
            }
        }])
    }
}

/// `TDim` is how tract keeps integers that may become extents.
fn is_integer(dtype: DatumType) -> bool {
    dtype.is_integer() || dtype == TDim::datum_type()
}

#[derive(Debug)]
struct OneHotEncoder {
    places: HashMap<i64, usize>,
    width: usize,
    /// Whether a value of no category becomes zeros; otherwise it is an error.
    zeros: bool,
}

impl Operator for OneHotEncoder {
    fn name(&self) -> &'static str {
        "OneHotEncoder"
    }

    fn outlets(&self, inputs: &[Outlet]) -> TractResult<TVec<Outlet>> {
        let (dtype, shape) = &inputs[0];
        let numbers = dtype.is_number() || is_integer(*dtype);
        ensure!(numbers, "expected numbers, found {dtype:?}");
        let mut shape = shape.clone();
        shape.push(self.width.to_dim());
        Ok(tvec![(f32::datum_type(), shape)])
    }

    fn eval(&self, inputs: &[TValue]) -> TractResult<TVec<Tensor>> {
        // Floats are cut to integers, as in ONNX Runtime.
        let values = inputs[0].cast_to::<i64>()?;
        let values = values.try_as_plain_ram()?;
        let values = values.as_slice::<i64>()?;
        let mut hot = vec![0f32; values.len() * self.width];
        for (value, row) in values.iter().zip(hot.chunks_exact_mut(self.width)) {
            match self.places.get(value) {
                Some(&place) => row[place] = 1.0,
                None if self.zeros => {}
                // The value stays out of the text: it may be a patient's.
                None => bail!("a value of no category"),
            }
        }
        let mut shape: TVec<usize> = inputs[0].shape().into();
        shape.push(self.width);
        Ok(tvec![Tensor::from_shape(&shape, &hot)?])
    }
}

/// Picks entries of the last axis.
#[derive(Debug)]
struct ArrayFeatureExtractor;

impl Operator for ArrayFeatureExtractor {
    fn name(&self) -> &'static str {
        "ArrayFeatureExtractor"
    }

    fn inputs(&self) -> usize {
        2
    }

    fn outlets(&self, inputs: &[Outlet]) -> TractResult<TVec<Outlet>> {
        let ((dtype, shape), (picks_type, picks)) = (&inputs[0], &inputs[1]);
        ensure!(is_integer(*picks_type), "expected integers to pick by, found {picks_type:?}");
        // A lone axis gains one before it.
        let mut outer: TVec<TDim> = match &shape[..] {
            [] => bail!("nothing to pick from a scalar"),
            [_] => tvec![1.to_dim()],
            [outer @ .., _] => outer.into(),
        };
        outer.push(picks.iter().product());
        Ok(tvec![(*dtype, outer)])
    }

    fn eval(&self, inputs: &[TValue]) -> TractResult<TVec<Tensor>> {
        let (values, picks) = (&inputs[0], &inputs[1]);
        let picks = picks.cast_to::<i64>()?;
        let picks = picks.try_as_plain_ram()?;
        let (Some(&width), outer) = (values.shape().last(), values.rank().saturating_sub(1)) else {
            bail!("nothing to pick from a scalar");
        };
        let picks: Vec<usize> = (picks.as_slice::<i64>()?.iter())
            .map(|&pick| usize::try_from(pick).ok().filter(|pick| *pick < width))
            .collect::<Option<_>>()
            .context("an index is not one of the last axis")?;
        let mut shape: TVec<usize> =
            if outer == 0 { tvec![1] } else { values.shape()[..outer].into() };
        shape.push(picks.len());
        let mut picked = Tensor::zero_dt(values.datum_type(), &shape)?;
        let size = values.datum_type().size_of();
        ensure!(values.datum_type().is_copy(), "expected numbers to pick");
        let from = values.as_bytes().chunks_exact((width * size).max(1));
        let into = picked.as_bytes_mut().chunks_exact_mut((picks.len() * size).max(1));
        for (from, into) in from.zip(into) {
            for (&pick, place) in picks.iter().zip(into.chunks_exact_mut(size)) {
                place.copy_from_slice(&from[pick * size..][..size]);
            }
        }
        Ok(tvec![picked])
    }
}
