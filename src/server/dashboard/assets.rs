//! The files of the dashboard, as they lie in `files/`: one closed list, so that a path can name
//! nothing else.

use std::io::Write;
use std::sync::{LazyLock, OnceLock};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::digest::sha256;

pub struct Asset {
    path: &'static str,
    pub content_type: &'static str,
    pub bytes: &'static [u8],
    packed: OnceLock<Packed>,
}

/// What is made of a file when it is asked for the first time.
pub struct Packed {
    /// Weak: the packed file has the same.
    pub etag: String,
    pub gzip: Option<Bytes>,
}

impl Asset {
    pub fn find(path: &str) -> Option<&'static Self> {
        ALL.iter().find(|asset| asset.path == path)
    }

    pub fn packed(&self) -> &Packed {
        self.packed.get_or_init(|| {
            let mut hex = sha256(self.bytes);
            hex.truncate(32);
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            let gzip = encoder.write_all(self.bytes).and_then(|()| encoder.finish());
            Packed { etag: format!("W/\"{hex}\""), gzip: gzip.ok().map(Bytes::from) }
        })
    }
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";
const TEXT: &str = "text/plain; charset=utf-8";

macro_rules! assets {
    ($($path:literal $content_type:ident;)*) => {
        static ALL: LazyLock<Vec<Asset>> = LazyLock::new(|| vec![$(Asset {
            path: $path,
            content_type: $content_type,
            bytes: include_bytes!(concat!("files/", $path)),
            packed: OnceLock::new(),
        },)*]);
    };
}

assets! {
    "index.html" HTML;
    "style.css" CSS;
    "icon.svg" SVG;
    "api.js" JS;
    "charts.js" JS;
    "dialog.js" JS;
    "distribution.js" JS;
    "document.js" JS;
    "dom.js" JS;
    "fleet.js" JS;
    "format.js" JS;
    "histogram.js" JS;
    "main.js" JS;
    "model.js" JS;
    "markdown.js" JS;
    "panels/card.js" JS;
    "panels/drift.js" JS;
    "panels/latency.js" JS;
    "panels/performance.js" JS;
    "panels/quality.js" JS;
    "panels/signature.js" JS;
    "panels/traffic.js" JS;
    "panels/versions.js" JS;
    "parts.js" JS;
    "rates.js" JS;
    "refresh.js" JS;
    "theme.js" JS;
    "toast.js" JS;
    "try.js" JS;
    "vendor/uplot.js" JS;
    "vendor/uplot.css" CSS;
    "vendor/LICENSE" TEXT;
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    fn files(folder: &Path, prefix: &str, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
            if entry.path().is_dir() {
                files(&entry.path(), &format!("{name}/"), found);
            } else if !name.ends_with("README.md") {
                found.insert(name);
            }
        }
    }

    #[test]
    fn every_file_is_served() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/server/dashboard/files");
        let mut there = BTreeSet::new();
        files(&root, "", &mut there);
        let listed: BTreeSet<String> = ALL.iter().map(|asset| asset.path.to_owned()).collect();
        assert_eq!(listed, there);
    }

    /// The policy would stop them in the browser; here the line is named.
    #[test]
    fn our_files_have_no_inline_code_and_build_no_markup_from_text() {
        for asset in ALL.iter().filter(|asset| !asset.path.starts_with("vendor/")) {
            let text = std::str::from_utf8(asset.bytes).unwrap();
            for (line, content) in text.lines().enumerate() {
                for word in [
                    "innerHTML",
                    "outerHTML",
                    "insertAdjacentHTML",
                    "document.write",
                    "eval(",
                    "new Function",
                    " style=\"",
                    " onclick=",
                    "<style",
                    "//cdn",
                    "javascript:",
                ] {
                    assert!(!content.contains(word), "{}:{}: {word}", asset.path, line + 1);
                }
                let foreign = content.contains("http://") || content.contains("https://");
                let is_namespace = content.contains("http://www.w3.org/");
                assert!(!foreign || is_namespace, "{}:{}: another host", asset.path, line + 1);
            }
        }
    }
}
