//! What a token classifier found in a text: neighbouring tokens of one class are one entity, as
//! Hugging Face's pipelines group them with `aggregation_strategy="simple"`.
//!
//! Pure.

use std::ops::Range;

use serde::Serialize;

/// One entity, by the keys of Hugging Face's pipelines.
#[derive(Debug, PartialEq, Serialize)]
struct Entity<'a> {
    /// The class without its `B-` or `I-`.
    entity_group: &'a str,
    /// Mean over its tokens.
    score: f32,
    word: &'a str,
    /// In characters of the text.
    start: usize,
    end: usize,
}

/// Some neighbouring tokens of one class.
struct Group<'a> {
    class: &'a str,
    scores: Vec<f32>,
    place: Range<usize>,
}

/// The entities of a text as a JSON array. `places` are the tokens' bytes in the text, empty for
/// special tokens; `logits` one row of class numbers for each token.
pub fn entities(text: &str, places: &[Range<usize>], logits: &[f32], labels: &[String]) -> String {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for (place, logits) in places.iter().zip(logits.chunks(labels.len().max(1))) {
        if place.is_empty() {
            continue;
        }
        let shares = softmax(logits.to_vec());
        let best = argmax(&shares);
        let label = labels[best].as_str();
        let (begins, class) = match (label.strip_prefix("B-"), label.strip_prefix("I-")) {
            (Some(class), _) => (true, class),
            (None, inside) => (false, inside.unwrap_or(label)),
        };
        match groups.last_mut().filter(|group| !begins && group.class == class) {
            Some(group) => {
                group.scores.push(shares[best]);
                group.place.end = place.end;
            }
            None => groups.push(Group { class, scores: vec![shares[best]], place: place.clone() }),
        }
    }
    let characters = |end: usize| text.get(..end).map(|before| before.chars().count());
    let named = groups.iter().filter(|group| group.class != "O").filter_map(|group| {
        Some(Entity {
            entity_group: group.class,
            score: group.scores.iter().sum::<f32>() / group.scores.len() as f32,
            word: text.get(group.place.clone())?,
            start: characters(group.place.start)?,
            end: characters(group.place.end)?,
        })
    });
    serde_json::to_string(&named.collect::<Vec<_>>()).unwrap_or_default()
}

/// Shares that sum to one.
pub fn softmax(mut logits: Vec<f32>) -> Vec<f32> {
    let most = logits.iter().fold(f32::NEG_INFINITY, |most, &x| most.max(x));
    logits.iter_mut().for_each(|x| *x = (*x - most).exp());
    let sum: f32 = logits.iter().sum();
    logits.iter_mut().for_each(|x| *x /= sum);
    logits
}

/// Position of the largest, the first of equals.
pub fn argmax(numbers: &[f32]) -> usize {
    let largest = |best: usize, (index, number): (usize, &f32)| {
        if *number > numbers[best] { index } else { best }
    };
    numbers.iter().enumerate().fold(0, largest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_of_one_class_are_one_entity() {
        let labels = ["O", "B-DRUG", "I-DRUG", "DOSE"].map(str::to_owned);
        let text = "Gäbe Aspirin 100 mg";
        // [CLS] Gäbe As ##pirin 100 mg [SEP]; the umlaut has two bytes.
        let places = [0..0, 0..5, 6..8, 8..13, 14..17, 18..20, 0..0];
        let class = |class: usize| (0..4).map(move |at| if at == class { 20.0 } else { 0.0 });
        let logits: Vec<f32> = [1, 0, 1, 2, 3, 3, 1].into_iter().flat_map(class).collect();
        let found: serde_json::Value =
            serde_json::from_str(&entities(text, &places, &logits, &labels)).unwrap();
        assert_eq!(
            found,
            serde_json::json!([
                {"entity_group": "DRUG", "score": 1.0, "word": "Aspirin", "start": 5, "end": 12},
                {"entity_group": "DOSE", "score": 1.0, "word": "100 mg", "start": 13, "end": 19},
            ])
        );
        // A second beginning is a second entity.
        let logits: Vec<f32> = [0, 0, 1, 1, 0, 0, 0].into_iter().flat_map(class).collect();
        let found = entities(text, &places, &logits, &labels);
        assert_eq!(found.matches("DRUG").count(), 2, "{found}");
    }

    #[test]
    fn shares_sum_to_one_and_the_first_of_equals_wins() {
        assert_eq!(softmax(vec![1000.0, 1000.0]), [0.5, 0.5]);
        assert_eq!(argmax(&[1.0, 3.0, 3.0]), 1);
    }
}
