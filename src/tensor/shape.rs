//! Shapes, checked against overflow before anyone multiplies them.

use std::fmt;
use std::ops::Deref;

use smallvec::SmallVec;

use crate::error::{Error, Result};

/// More axes than any model we know has; a bound on what a request may claim.
pub const RANK_MAX: usize = 16;

/// The extents of a tensor, outermost first. An axis of 0 is legal: such a tensor has no elements.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Shape(SmallVec<[usize; 4]>);

impl Shape {
    pub fn new(dims: impl IntoIterator<Item = usize>) -> Self {
        Self(dims.into_iter().collect())
    }

    /// From the signed extents of a request; negative or too many axes are the caller's error.
    pub fn from_request(input: &str, dims: &[i64]) -> Result<Self> {
        if dims.len() > RANK_MAX {
            return Err(Error::invalid(format!(
                "input '{input}' has {} dimensions; at most {RANK_MAX} are supported",
                dims.len()
            )));
        }
        dims.iter()
            .map(|&dim| usize::try_from(dim).ok())
            .collect::<Option<SmallVec<_>>>()
            .map(Self)
            .ok_or_else(|| {
                Error::invalid(format!(
                    "input '{input}' has a negative dimension in its shape; extents are 0 or more"
                ))
            })
    }

    /// Elements of the whole tensor; `None` where the product leaves the address space.
    pub fn elements(&self) -> Option<usize> {
        // A zero anywhere makes the tensor empty, whatever the other extents claim.
        if self.0.contains(&0) {
            return Some(0);
        }
        self.0.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim))
    }

    /// The extents behind the first axis.
    pub fn row(&self) -> &[usize] {
        self.0.get(1..).unwrap_or(&[])
    }

    /// The same shape with another first extent.
    pub fn with_rows(&self, rows: usize) -> Self {
        let mut shape = self.clone();
        if let Some(first) = shape.0.first_mut() {
            *first = rows;
        }
        shape
    }
}

impl Deref for Shape {
    type Target = [usize];

    fn deref(&self) -> &[usize] {
        &self.0
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_dims(f, self.0.iter())
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One axis of a signature: a known extent, or one that each request may choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dim {
    Fixed(usize),
    Any,
}

impl Dim {
    /// The wire form: -1 is "any".
    pub fn to_wire(self) -> i64 {
        match self {
            Dim::Fixed(extent) => i64::try_from(extent).unwrap_or(i64::MAX),
            Dim::Any => -1,
        }
    }

    pub fn from_wire(dim: i64) -> Option<Dim> {
        match dim {
            -1 => Some(Dim::Any),
            extent => usize::try_from(extent).ok().map(Dim::Fixed),
        }
    }

    pub fn admits(self, extent: usize) -> bool {
        match self {
            Dim::Fixed(fixed) => fixed == extent,
            Dim::Any => true,
        }
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.to_wire())
    }
}

/// `[a,b,c]`, the form of Triton's messages.
pub fn write_dims<T: fmt::Display>(
    f: &mut impl fmt::Write,
    dims: impl Iterator<Item = T>,
) -> fmt::Result {
    f.write_char('[')?;
    for (i, dim) in dims.enumerate() {
        if i > 0 {
            f.write_char(',')?;
        }
        write!(f, "{dim}")?;
    }
    f.write_char(']')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn element_count_is_checked_and_zero_wins() {
        assert_eq!(Shape::new([2, 3]).elements(), Some(6));
        assert_eq!(Shape::new([]).elements(), Some(1));
        assert_eq!(Shape::new([usize::MAX, 2]).elements(), None);
        assert_eq!(Shape::new([usize::MAX, 2, 0]).elements(), Some(0));
    }

    #[test]
    fn negative_and_endless_shapes_are_refused() {
        assert!(Shape::from_request("x", &[1, -1]).is_err());
        assert!(Shape::from_request("x", &[1; RANK_MAX + 1]).is_err());
        assert_eq!(Shape::from_request("x", &[2, 0]).unwrap().to_string(), "[2,0]");
    }
}
