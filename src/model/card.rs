//! The model card: `README.md` beside the configuration, with YAML front matter as Hugging Face
//! writes it. Pure.

use serde_json::{Map, Value};

/// The name of the file in a model's directory.
pub const FILE: &str = "README.md";
/// Largest card that is read, in bytes.
pub const BYTES_MAX: u64 = 256 << 10;

/// A card in its two parts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Card {
    /// What the front matter says; nothing where there is none.
    pub metadata: Map<String, Value>,
    /// Why the front matter could not be read.
    pub problem: Option<String>,
    /// What follows it.
    pub markdown: String,
}

impl Card {
    /// Parts a card. Front matter stands between a first line `---` and the next one; one that can
    /// not be read is told, and hides nothing of the text.
    pub fn parse(text: &str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let Some((front, markdown)) = part(text) else {
            return Self { markdown: text.to_owned(), ..Self::default() };
        };
        let (metadata, problem) = match serde_saphyr::from_str::<Value>(front) {
            Ok(Value::Object(metadata)) => (metadata, None),
            Ok(Value::Null) => (Map::new(), None),
            Ok(_) => (Map::new(), Some("the front matter: expected names with values".to_owned())),
            Err(error) => {
                let why = error.to_string();
                let why = why.lines().next().unwrap_or_default().trim_start_matches("error: ");
                (Map::new(), Some(format!("the front matter is no YAML: {why}")))
            }
        };
        Self { metadata, problem, markdown: markdown.to_owned() }
    }
}

/// Front matter, and what follows.
fn part(text: &str) -> Option<(&str, &str)> {
    let mut lines = text.split_inclusive('\n');
    let first = lines.next().filter(|line| line.trim_end() == "---")?;
    let mut end = first.len();
    for line in lines {
        if line.trim_end() == "---" {
            let markdown = text.get(end + line.len()..)?;
            return Some((text.get(first.len()..end)?, markdown.trim_start_matches(['\r', '\n'])));
        }
        end += line.len();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn front_matter_and_text_are_parted() {
        let card = Card::parse(
            "---\nlicense: mit\ntags:\n- a\n- 1\nx: {y: ~}\n---\r\n\n# Title\n---\nmore\n",
        );
        assert_eq!(card.problem, None);
        let metadata = json!({"license": "mit", "tags": ["a", 1], "x": {"y": null}});
        assert_eq!(Value::Object(card.metadata), metadata);
        assert_eq!(card.markdown, "# Title\n---\nmore\n");
    }

    #[test]
    fn what_is_no_front_matter_is_text() {
        for text in ["", "# Title\n", "---", "---\nlicense: mit\n", " ---\na: 1\n---\n"] {
            let card = Card::parse(text);
            assert_eq!((&*card.markdown, card.problem), (text, None));
            assert!(card.metadata.is_empty());
        }
        assert_eq!(Card::parse("\u{feff}---\n---\nx").markdown, "x");
        assert_eq!(Card::parse("---\r\na: 1\r\n---\r\nx").metadata["a"], 1);
    }

    #[test]
    fn front_matter_that_can_not_be_read_is_told() {
        for front in ["a: [", "- a\n- b", "text", "a: b: c", "a: .nan"] {
            let card = Card::parse(&format!("---\n{front}\n---\nx"));
            assert!(card.problem.unwrap().starts_with("the front matter"), "{front}");
            assert!(card.metadata.is_empty() && card.markdown == "x", "{front}");
        }
    }

    #[test]
    fn a_bomb_is_refused() {
        let mut front = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let before = format!("*a{}", level - 1);
            front += &format!("a{level}: &a{level} [{}]\n", vec![before; 10].join(", "));
        }
        assert!(Card::parse(&format!("---\n{front}---\nx")).problem.is_some());
    }

    proptest! {
        #[test]
        fn no_text_is_lost(text in "(-{3}\n)?[a-z: \n-]{0,60}(\n-{3}\n)?[a-z#\n]{0,30}") {
            let card = Card::parse(&text);
            prop_assert!(text.ends_with(&card.markdown));
        }
    }
}
