//! Transformers from their own files: small ones with random weights, against what Hugging Face's
//! libraries answer on them (`tests/tools/make_transformers.py`).

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use galen::backend::{Executable, ModelSource};
use galen::error::{Error, ErrorKind};
use galen::model::manifest::BackendChoice;
use galen::model::transformer::{Pooling, TokenInput, TransformerOptions};
use galen::model::{Manifest, ModelId, ModelName, Version};
use galen::tensor::{DType, Shape, Tensor, strings};
use serde::Deserialize;

use crate::rig::{self, equal, integers, numbers, root};

/// One text, and what the library answered.
#[derive(Deserialize)]
struct Expected {
    text: String,
    ids: Vec<i64>,
    numbers: Vec<f64>,
}

type Files = BTreeMap<String, Bytes>;

fn files(name: &str) -> Files {
    files_of(name, &["model.safetensors", "config.json", "tokenizer.json"])
}

fn files_of(name: &str, files: &[&str]) -> Files {
    let folder = root().join("tests/transformers").join(name);
    files.iter().map(|file| ((*file).to_owned(), rig::read(&folder.join(file)))).collect()
}

fn expected(name: &str) -> Vec<Expected> {
    let path = root().join("tests/transformers").join(name).join("expected.json");
    serde_json::from_slice(&rig::read(&path)).expect("the oracle's answers")
}

fn load(files: &Files, transformer: TransformerOptions) -> Result<Arc<dyn Executable>, Error> {
    let manifest = Manifest { transformer, ..Manifest::default() };
    let id = ModelId {
        name: ModelName::new("case").expect("a legal name"),
        version: Version::parse("1").expect("a legal version"),
    };
    let bytes = &files["model.safetensors"];
    let source = ModelSource { id: &id, bytes, beside: files, manifest: &manifest };
    rig::engine(BackendChoice::Auto, "model.safetensors")?.load(&source)
}

fn open(name: &str, options: TransformerOptions) -> Arc<dyn Executable> {
    load(&files(name), options).unwrap_or_else(|error| panic!("{name}: {error:?}"))
}

fn texts(texts: &[&str]) -> Tensor {
    let mut data = Vec::new();
    assert!(texts.iter().all(|text| strings::push(&mut data, text.as_bytes())));
    Tensor::new("text", DType::Bytes, Shape::new([texts.len()]), data.into()).expect("texts")
}

fn words(tensor: &Tensor) -> Vec<String> {
    let words = strings::elements(tensor.data()).map(Option::unwrap_or_default);
    words.map(|word| String::from_utf8(word.to_vec()).expect("text")).collect()
}

fn run(model: &dyn Executable, inputs: &[Tensor]) -> Result<Vec<Tensor>, Error> {
    model.session().expect("a session").run(inputs)
}

#[track_caller]
fn close(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (at, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!(equal(*f, *e, tolerance), "number {at} is {f}, expected {e}");
    }
}

fn tokens() -> TransformerOptions {
    TransformerOptions { input: Some(TokenInput::Tokens), ..Default::default() }
}

fn softmax(logits: &[f64]) -> Vec<f64> {
    let sum: f64 = logits.iter().map(|x| x.exp()).sum();
    logits.iter().map(|x| x.exp() / sum).collect()
}

/// All texts in one call, and in passes of a few tokens: every way to compute them together must
/// give what the library gives for each alone.
fn answers(name: &str) -> Vec<(Expected, Vec<Tensor>)> {
    let expected = expected(name);
    let all: Vec<&str> = expected.iter().map(|one| one.text.as_str()).collect();
    let together = run(&*open(name, TransformerOptions::default()), &[texts(&all)]).expect(name);
    let few = TransformerOptions { tokens_per_pass: Some(20), ..Default::default() };
    let in_passes = run(&*open(name, few), &[texts(&all)]).expect(name);
    let rows = all.len();
    for (a, b) in together.iter().zip(&in_passes) {
        match a.dtype() {
            DType::Bytes => assert_eq!(words(a).len(), words(b).len()),
            _ => close(&numbers(a), &numbers(b), 1e-5),
        }
    }
    let alone = open(name, TransformerOptions::default());
    (expected.into_iter().enumerate())
        .map(|(row, one)| {
            let outputs = run(&*alone, &[texts(&[&one.text])]).expect(name);
            for (output, together) in outputs.iter().zip(&together) {
                if output.dtype() != DType::Bytes {
                    let (own, all) = (numbers(output), numbers(together));
                    let width = all.len() / rows;
                    close(&own, &all[row * width..(row + 1) * width], 1e-5);
                }
            }
            (one, outputs)
        })
        .collect()
}

#[test]
fn embeddings_are_the_librarys() {
    for name in ["bert-embedding", "roberta-embedding", "modernbert-embedding"] {
        for (expected, outputs) in answers(name) {
            close(&numbers(&outputs[0]), &expected.numbers, 1e-4);
            let count = i32::from_le_bytes(outputs[1].data()[..].try_into().expect("one number"));
            assert_eq!(usize::try_from(count).expect("a count"), expected.ids.len(), "{name}");
        }
    }
}

#[test]
fn classes_have_the_librarys_probabilities_and_the_models_names() {
    let labels = ["benign", "malignant", "unclear"];
    let model = open("bert-sequence", TransformerOptions::default());
    let given = ("probabilities".to_owned(), labels.map(str::to_owned).to_vec());
    assert_eq!(model.labels(), [given]);
    let mut seen = std::collections::BTreeSet::new();
    for (expected, outputs) in answers("bert-sequence") {
        let shares = softmax(&expected.numbers);
        close(&numbers(&outputs[1]), &shares, 1e-4);
        let best = (0..3).max_by(|&a, &b| shares[a].total_cmp(&shares[b])).expect("three");
        assert_eq!(words(&outputs[0]), [labels[best]]);
        seen.insert(best);
    }
    assert!(seen.len() > 1, "a model that always says the same shows nothing");
    for (expected, outputs) in answers("modernbert-sequence") {
        close(&numbers(&outputs[1]), &softmax(&expected.numbers), 1e-4);
    }
    for (expected, outputs) in answers("roberta-sequence") {
        let each: Vec<f64> = expected.numbers.iter().map(|x| 1.0 / (1.0 + (-x).exp())).collect();
        close(&numbers(&outputs[0]), &each, 1e-4);
    }
    for (expected, outputs) in answers("distilbert-sequence") {
        close(&numbers(&outputs[0]), &expected.numbers, 1e-4);
    }
}

/// Rows of several lengths, with padding that must not be computed, before or behind them.
#[test]
fn tokens_have_the_librarys_logits_wherever_the_padding_is() {
    for name in ["bert-tokens", "distilbert-tokens", "modernbert-tokens"] {
        let expected = expected(name);
        let columns = expected.iter().map(|one| one.ids.len()).max().expect("texts");
        let (mut ids, mut mask) = (Vec::new(), Vec::new());
        for one in &expected {
            let padding = columns - one.ids.len();
            ids.extend(one.ids.iter().copied().chain(std::iter::repeat_n(17, padding)));
            mask.extend(std::iter::repeat_n(1, one.ids.len()));
            mask.extend(std::iter::repeat_n(0, padding));
        }
        let shape = [expected.len(), columns];
        let model = open(name, tokens());
        let inputs = [integers(&shape, &ids), integers(&shape, &mask)];
        let outputs = run(&*model, &inputs).expect(name);
        assert_eq!(**outputs[0].shape(), [expected.len(), columns, 3]);
        let all = numbers(&outputs[0]);
        for (row, one) in expected.iter().enumerate() {
            let start = row * columns * 3;
            let end = start + one.numbers.len();
            close(&all[start..end], &one.numbers, 1e-4);
            assert!(all[end..start + columns * 3].iter().all(|&x| x == 0.0), "padding");
        }
    }
}

#[test]
fn pictures_have_the_librarys_probabilities() {
    #[derive(Deserialize)]
    struct Seen {
        pixels: Vec<f32>,
        numbers: Vec<f64>,
    }

    let mut files = files_of("vit", &["model.safetensors", "config.json"]);
    let model = load(&files, TransformerOptions::default()).expect("a vision transformer");
    assert_eq!(model.signature().inputs[0].dims_text(), "[-1,3,12,12]");
    let path = root().join("tests/transformers/vit/expected.json");
    let seen: Vec<Seen> = serde_json::from_slice(&rig::read(&path)).expect("answers");
    let pixels = seen.iter().flat_map(|one| one.pixels.iter().copied()).collect::<Vec<_>>();
    let outputs = run(&*model, &[rig::floats(&[seen.len(), 3, 12, 12], &pixels)]).expect("vit");
    let shares: Vec<f64> = seen.iter().flat_map(|one| softmax(&one.numbers)).collect();
    close(&numbers(&outputs[1]), &shares, 1e-4);
    assert_eq!(words(&outputs[0]).len(), seen.len());
    let none = run(&*model, &[rig::floats(&[0, 3, 12, 12], &[])]).expect("no picture");
    assert_eq!(**none[1].shape(), [0, 3]);

    let config = String::from_utf8(files["config.json"].to_vec()).expect("text");
    for (from, to, part) in [
        ("\"patch_size\": 4", "\"patch_size\": 5", "patch_size: expected a divisor"),
        ("ForImageClassification", "ForTokenClassification", "a picture has no tokens"),
    ] {
        files.insert("config.json".into(), config.replace(from, to).into());
        let Err(error) = load(&files, TransformerOptions::default()) else { panic!("{part}") };
        assert!(error.message().contains(part), "{error}");
    }
}

#[test]
fn entities_are_words_of_the_text() {
    for (expected, outputs) in answers("bert-tokens") {
        let found: Vec<serde_json::Value> =
            serde_json::from_str(&words(&outputs[0])[0]).expect("a JSON array");
        let text: Vec<char> = expected.text.chars().collect();
        for entity in found {
            let at = |key: &str| usize::try_from(entity[key].as_u64().expect(key)).expect(key);
            let word: String = text[at("start")..at("end")].iter().collect();
            assert_eq!(entity["word"], word);
            assert_eq!(entity["entity_group"], "DRUG");
        }
    }
}

#[test]
fn options_change_what_is_computed() {
    let name = "bert-embedding";
    let given = &expected(name)[3];
    let with =
        |options| numbers(&run(&*open(name, options), &[texts(&[&given.text])]).expect("")[0]);
    let mean = with(TransformerOptions::default());
    let length = mean.iter().map(|x| x * x).sum::<f64>().sqrt();
    let unit = with(TransformerOptions { normalize: Some(true), ..Default::default() });
    close(&unit, &mean.iter().map(|x| x / length).collect::<Vec<_>>(), 1e-5);
    let pooled =
        |pooling| with(TransformerOptions { pooling: Some(pooling), ..Default::default() });
    let (cls, max) = (pooled(Pooling::Cls), pooled(Pooling::Max));
    assert!(max.iter().zip(&cls).all(|(max, cls)| max >= cls) && cls != mean);
}

#[test]
fn a_text_that_is_too_long_is_refused_or_cut_as_asked() {
    let name = "bert-embedding";
    let long = "chest pain ".repeat(100);
    let limit =
        |truncate| TransformerOptions { tokens_max: Some(16), truncate, ..Default::default() };
    let error = run(&*open(name, limit(false)), &[texts(&["", &long])]).expect_err("too long");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.message().contains("element 1 has"), "{error}");
    assert!(error.message().contains("more than the 16 that the model takes"), "{error}");
    let outputs = run(&*open(name, limit(true)), &[texts(&[&long])]).expect("cut");
    assert_eq!(outputs[1].data()[..], 16i32.to_le_bytes());
}

#[test]
fn inputs_that_are_no_text_and_no_tokens_are_refused() {
    let refused = |model: &dyn Executable, inputs: &[Tensor], part: &str| {
        let error = run(model, inputs).expect_err(part);
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:?}");
        assert!(error.message().contains(part), "{error}");
    };
    let text = open("bert-embedding", TransformerOptions::default());
    let latin = Tensor::new("text", DType::Bytes, Shape::new([1]), vec![1, 0, 0, 0, 0xfc].into());
    refused(&*text, &[latin.expect("bytes")], "element 0 is not valid UTF-8");
    let tokens = open("bert-embedding", tokens());
    let one = |id, mask| [integers(&[1, 1], &[id]), integers(&[1, 1], &[mask])];
    refused(&*tokens, &one(9_999, 1), "'input_ids': expected ids below 200");
    refused(&*tokens, &one(-1, 1), "where it is 1, 'input_ids' of 0 or more");
    refused(&*tokens, &one(1, 2), "'attention_mask': expected 0 and 1");
    let shapes = [integers(&[1, 2], &[1, 1]), integers(&[2, 1], &[1, 1])];
    refused(&*tokens, &shapes, "expected the same shape [rows, tokens]");
    let long = [integers(&[1, 131], &[1; 131]), integers(&[1, 131], &[1; 131])];
    refused(&*tokens, &long, "has 131 tokens, more than the 130");
    let nothing = [integers(&[2, 0], &[]), integers(&[2, 0], &[])];
    let outputs = run(&*tokens, &nothing).expect("rows without tokens");
    assert_eq!(numbers(&outputs[0]), [0.0; 64]);
}

#[test]
fn files_that_do_not_fit_each_other_are_refused() {
    let refused = |change: &dyn Fn(&mut Files), part: &str| {
        let mut files = files("bert-sequence");
        change(&mut files);
        let Err(error) = load(&files, TransformerOptions::default()) else {
            panic!("loaded, although: {part}")
        };
        assert!(error.message().contains(part), "{part}: {error}");
    };
    let config = |from: &'static str, to: &'static str| {
        move |files: &mut Files| {
            let text = String::from_utf8(files["config.json"].to_vec()).expect("text");
            assert!(text.contains(from), "{from}: {text}");
            files.insert("config.json".into(), text.replace(from, to).into());
        }
    };
    refused(&|files| drop(files.remove("config.json")), "expected config.json beside the weights");
    refused(&|files| drop(files.insert("config.json".into(), "{".into())), "config.json: EOF");
    refused(&|files| drop(files.insert("tokenizer.json".into(), "{}".into())), "tokenizer.json: ");
    let short = |files: &mut Files| {
        let weights = files["model.safetensors"].clone();
        files.insert("model.safetensors".into(), weights.slice(..weights.len() - 1));
    };
    refused(&short, "not a whole safetensors file");
    refused(&config("\"hidden_size\": 32", "\"hidden_size\": 36"), "but config.json asks for");
    refused(&config("\"hidden_size\": 32", "\"hidden_size\": 33"), "a multiple of");
    refused(&config("\"hidden_size\": 32", "\"hidden_size\": 99999999"), "hidden_size: expected 1");
    refused(&config("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3"), "has no tensor");
    refused(&config("\"bert\"", "\"mamba\""), "model_type 'mamba' is none of");
    refused(&config("ForSequenceClassification", "ForPreTraining"), "'BertForPreTraining' is none");
    refused(&config("\"vocab_size\": 200", "\"vocab_size\": 100"), "it has 200 tokens");
}

#[test]
fn instances_share_their_weights() {
    let model = open("bert-embedding", TransformerOptions::default());
    let expected = &expected("bert-embedding")[4];
    let answers = std::thread::scope(|scope| {
        let run = || numbers(&run(&*model, &[texts(&[&expected.text])]).expect("an answer")[0]);
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(run)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect::<Vec<_>>()
    });
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    close(&answers[0], &expected.numbers, 1e-4);
}
