//! Model cards as they lie in the registry now: read as every other file of it, and never another.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::files::Root;
use super::layout::Layout;
use crate::error::Result;
use crate::model::ModelName;
use crate::model::card::{BYTES_MAX, FILE};

/// A cheap handle.
#[derive(Clone)]
pub struct Cards(Arc<Inner>);

struct Inner {
    root: Root,
    models: PathBuf,
}

impl Cards {
    pub fn open(models: &Path) -> Result<Self> {
        let root = Root::open(models)?;
        Ok(Self(Arc::new(Inner { root, models: models.to_owned() })))
    }

    pub fn has(&self, name: &ModelName) -> bool {
        self.0.root.is_file(&self.path(name))
    }

    fn path(&self, name: &ModelName) -> PathBuf {
        Layout::of(&self.0.models).unwrap_or_default().model(name).join(FILE)
    }

    /// The text of a model's card; `None` where there is none.
    pub fn read(&self, name: &ModelName) -> Result<Option<String>> {
        self.0.root.read_text(&self.path(name), BYTES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_is_small_and_lies_in_the_registry() {
        let folder = std::env::temp_dir().join(format!("galen-cards-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let name = |name: &str| ModelName::new(name).unwrap();
        for model in ["good", "none", "large", "link", "folder"] {
            std::fs::create_dir_all(folder.join(model)).unwrap();
        }
        let outside = folder.with_extension("outside");
        std::fs::write(&outside, "secret").unwrap();
        std::fs::write(folder.join("good").join(FILE), "# Good").unwrap();
        let large = vec![b'x'; BYTES_MAX as usize + 1];
        std::fs::write(folder.join("large").join(FILE), large).unwrap();
        std::os::unix::fs::symlink(&outside, folder.join("link").join(FILE)).unwrap();
        std::fs::create_dir(folder.join("folder").join(FILE)).unwrap();
        let cards = Cards::open(&folder).unwrap();
        assert_eq!(cards.read(&name("good")).unwrap().unwrap(), "# Good");
        let there =
            ["good", "none", "large", "link", "folder"].map(|model| cards.has(&name(model)));
        assert_eq!(there, [true, false, true, false, false]);
        assert_eq!(cards.read(&name("none")).unwrap(), None);
        assert_eq!(cards.read(&name("absent")).unwrap(), None);
        for model in ["large", "link", "folder"] {
            let error = cards.read(&name(model)).unwrap_err();
            assert!(error.message().starts_with(&format!("{model}/README.md: ")), "{error}");
        }
        // A directory that is one model has its card beside the model file.
        let single = folder.join("good");
        std::fs::write(single.join("model.onnx"), "").unwrap();
        let cards = Cards::open(&single).unwrap();
        assert_eq!(cards.read(&name("any")).unwrap().unwrap(), "# Good");
        std::fs::remove_dir_all(&folder).unwrap();
        std::fs::remove_file(&outside).unwrap();
    }
}
