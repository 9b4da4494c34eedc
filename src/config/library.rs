//! Where the ONNX Runtime library may lie. Order: the flag, `ORT_DYLIB_PATH`, beside the
//! executable, `../lib` from it, the system's library folders. A named path stands alone: if it is
//! wrong, that must show, not be papered over by another copy.
//!
//! And which libraries of operators it may load: those that are named here, never one that a
//! model's folder brings along. And where it keeps what a compiler made of models.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result, quoted};

const FILE: &str = if cfg!(target_os = "macos") {
    "libonnxruntime.dylib"
} else if cfg!(target_os = "windows") {
    "onnxruntime.dll"
} else {
    "libonnxruntime.so"
};

const SYSTEM: [&str; 5] = [
    "/usr/local/lib",
    "/usr/lib",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/opt/onnxruntime/lib",
];

/// What ONNX Runtime is opened with.
#[derive(Clone, Debug, Default)]
pub struct OnnxRuntimeConfig {
    /// Places to look for the library, in order.
    pub candidates: Vec<PathBuf>,
    /// Libraries with operators of their own that models may ask it to load, by the name that they
    /// ask with.
    pub operators: BTreeMap<String, PathBuf>,
    /// Where what a compiler (TensorRT) made of models is kept.
    pub compiled: PathBuf,
}

/// The places to look at, in order.
pub fn candidates(flag: Option<PathBuf>) -> Vec<PathBuf> {
    let executable = std::env::current_exe().ok();
    order(flag, std::env::var_os("ORT_DYLIB_PATH").map(PathBuf::from), executable.as_deref())
}

fn order(flag: Option<PathBuf>, named: Option<PathBuf>, executable: Option<&Path>) -> Vec<PathBuf> {
    let named = named.filter(|path| !path.as_os_str().is_empty());
    if let Some(path) = flag.or(named) {
        return vec![path];
    }
    let beside = executable.and_then(Path::parent).into_iter().flat_map(|folder| {
        let lib = folder.parent().map(|parent| parent.join("lib").join(FILE));
        [Some(folder.join(FILE)), lib].into_iter().flatten()
    });
    beside.chain(SYSTEM.iter().map(|folder| Path::new(folder).join(FILE))).collect()
}

/// Libraries of operators by name: what flags say in the place of what the file says.
pub fn operators(
    flags: Option<Vec<String>>,
    file: BTreeMap<String, PathBuf>,
) -> Result<BTreeMap<String, PathBuf>> {
    let pair = |text: String| match text.split_once('=') {
        Some((name, path)) => Ok((name.to_owned(), PathBuf::from(path))),
        None => {
            Err(Error::invalid(format!("operators: expected NAME=PATH, got '{}'", quoted(&text))))
        }
    };
    let operators = match flags {
        Some(flags) => flags.into_iter().map(pair).collect::<Result<_>>()?,
        None => file,
    };
    for (name, path) in &operators {
        if name.is_empty() || !path.is_absolute() {
            let (name, path) = (quoted(name), path.display());
            return Err(Error::invalid(format!(
                "operators: expected a name and an absolute path, got '{name}' and '{path}'"
            )));
        }
    }
    Ok(operators)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_have_names_and_absolute_paths() {
        let file = BTreeMap::from([("text".to_owned(), PathBuf::from("/lib/text.so"))]);
        assert_eq!(operators(None, file.clone()).unwrap(), file);
        let flags = Some(vec!["a=/lib/a.so".to_owned(), "b=/lib/x=y.so".to_owned()]);
        let found = operators(flags, file).unwrap();
        assert_eq!(found.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(found["b"], PathBuf::from("/lib/x=y.so"));
        for wrong in ["/lib/a.so", "=/lib/a.so", "a=lib/a.so", "a=", ""] {
            let error = operators(Some(vec![wrong.to_owned()]), BTreeMap::new()).unwrap_err();
            assert!(error.message().starts_with("operators: expected"), "{wrong}: {error}");
        }
    }

    #[test]
    fn a_named_library_stands_alone() {
        let flag = Some(PathBuf::from("/a.so"));
        let named = Some(PathBuf::from("/b.so"));
        assert_eq!(order(flag.clone(), named.clone(), None), [PathBuf::from("/a.so")]);
        assert_eq!(order(None, named, None), [PathBuf::from("/b.so")]);
    }

    #[test]
    fn otherwise_the_executables_neighbours_come_first() {
        let found = order(None, Some(PathBuf::new()), Some(Path::new("/x/target/release/galen")));
        assert_eq!(found[0], Path::new("/x/target/release").join(FILE));
        assert_eq!(found[1], Path::new("/x/target/lib").join(FILE));
        assert_eq!(found.len(), 2 + SYSTEM.len());
    }
}
