//! A profile from made-up rows, read back, and everything that a wrong file may say.

use super::*;
use crate::model::manifest::Manifest;
use crate::model::signature::{Signature, TensorSpec};
use crate::tensor::{DType, Shape, Tensor, shared, strings};

const MANIFEST: &str = r#"
    [[inputs]]
    name = "x"
    [[inputs.features]]
    name = "age"
    unit = "a"
    range = [0.0, 120.0]
    [[inputs.features]]
    name = "sex"
    [[outputs]]
    name = "class"
    labels = ["low", "high"]
    [[outputs]]
    name = "p"
    labels = ["low", "high"]
"#;

fn contract() -> Contract {
    let spec = TensorSpec::of;
    let signature = Signature {
        inputs: vec![
            spec("x", DType::F32, &[-1, 2]),
            spec("ward", DType::Bytes, &[-1]),
            spec("ecg", DType::F32, &[-1, 2, 3]),
            spec("raw", DType::F32, &[-1, 2]),
            spec("long", DType::F32, &[-1, -1]),
        ],
        outputs: vec![spec("class", DType::I64, &[-1]), spec("p", DType::F32, &[-1, 2])],
    };
    Contract::derive(&signature, &Manifest::parse(MANIFEST).unwrap(), true, 8).unwrap()
}

fn tensor(dims: &[usize], data: Vec<f32>) -> Tensor {
    Tensor::new("t", DType::F32, Shape::new(dims.iter().copied()), shared(data)).unwrap()
}

/// `rows` rows; ages 20 to 79, wards a (most), b, and c (three).
fn inputs(rows: usize) -> Vec<Tensor> {
    let x = (0..rows).flat_map(|i| [20.0 + (i * 7 % 60) as f32, 1.0 + (i % 2) as f32]).collect();
    let mut wards = Vec::new();
    for i in 0..rows {
        let ward: &[u8] = if i < 3 {
            b"c"
        } else if i % 4 == 0 {
            b"b"
        } else {
            b"a"
        };
        assert!(strings::push(&mut wards, ward));
    }
    let wards = Tensor::new("ward", DType::Bytes, Shape::new([rows]), wards.into()).unwrap();
    let ecg = (0..rows * 6).map(|i| i as f32).collect();
    let raw = (0..rows * 2).map(|i| if i == 1 { f32::NAN } else { i as f32 }).collect();
    let long = vec![1.0; rows * 100];
    vec![
        tensor(&[rows, 2], x),
        wards,
        tensor(&[rows, 2, 3], ecg),
        tensor(&[rows, 2], raw),
        tensor(&[rows, 100], long),
    ]
}

fn outputs(rows: usize) -> Vec<Tensor> {
    let classes: Vec<i64> = (0..rows as i64).map(|i| i % 2).collect();
    let class = Tensor::new("class", DType::I64, Shape::new([rows]), shared(classes)).unwrap();
    let p = (0..rows).flat_map(|i| [i as f32 / rows as f32, 1.0 - i as f32 / rows as f32]);
    vec![class, tensor(&[rows, 2], p.collect())]
}

fn profile() -> Profile {
    let contract = contract();
    let collected = |slots: Slots, tensors: &[Tensor]| {
        let mut collector = Collector::new(slots);
        collector.observe(tensors, |_, _| false).unwrap();
        collector.finish().unwrap().features
    };
    Profile {
        schema: SCHEMA.to_owned(),
        source: Source { name: "train.csv".into(), rows: 240, sha256: "0".repeat(64) },
        model_sha256: Some("1".repeat(64)),
        held_out: None,
        projections: Vec::new(),
        samples: Default::default(),
        features: collected(Slots::inputs(&contract).unwrap(), &inputs(240)),
        outputs: collected(Slots::outputs(&contract).unwrap(), &outputs(240)),
    }
}

fn numeric<'a>(features: &'a [Feature], name: &str) -> &'a Numeric {
    match features.iter().find(|feature| feature.name() == name) {
        Some(Feature::Numeric(numeric)) => numeric,
        other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn everything_watched_has_its_name() {
    let contract = contract();
    let names = |slots: Slots| slots.list.into_iter().map(|slot| slot.name).collect::<Vec<_>>();
    let features = names(Slots::inputs(&contract).unwrap());
    let ecg = ["ecg[0].mean", "ecg[0].std", "ecg[1].mean", "ecg[1].std"];
    assert_eq!(features[..4], ["age", "sex", "ward", "ward.length"]);
    assert_eq!(features[4..8], ecg);
    assert_eq!(features[8..], ["raw[0]", "raw[1]", "long.mean", "long.std"]);
    assert_eq!(names(Slots::outputs(&contract).unwrap()), ["class", "p[low]", "p[high]"]);
}

#[test]
fn a_profile_is_read_as_it_was_written() {
    let profile = profile();
    let text = profile.to_json().unwrap();
    assert_eq!(Profile::parse(text.as_bytes(), &contract()).unwrap(), profile);
    let age = numeric(&profile.features, "age");
    assert_eq!((age.count, age.bins.rule, age.bins.counts.len()), (240, Rule::Deciles, 10));
    assert_eq!((age.min, age.max, age.unit.as_deref()), (20.0, 80.0, Some("a")));
    assert_eq!(age.group_means.len(), 48);
    assert_eq!(numeric(&profile.features, "sex").bins.edges, [1.5]);
    assert_eq!(numeric(&profile.features, "ecg[1].std").std_pop, 0.0);
    assert!(profile.features.iter().all(|feature| feature.name() != "x"));
}

#[test]
fn nobody_is_disclosed() {
    let profile = profile();
    for feature in profile.features.iter().chain(&profile.outputs) {
        let counts: Vec<u64> = match feature {
            Feature::Numeric(numeric) => numeric.bins.counts.clone(),
            Feature::Categorical(categorical) => {
                categorical.categories.iter().map(|category| category.count).collect()
            }
        };
        assert!(counts.iter().all(|&count| count >= COUNT_MIN), "{feature:?}");
        // One NaN in raw[1]: too few to tell.
        assert_eq!(feature.missing(), 0);
    }
    let ward = profile.features.iter().find(|feature| feature.name() == "ward").unwrap();
    let Feature::Categorical(ward) = ward else { panic!("{ward:?}") };
    let names: Vec<&str> = ward.categories.iter().map(|c| c.name.as_str()).collect();
    assert_eq!((names, ward.other, ward.count), (vec!["a", "b"], 0, 237));
    let few = Collector::new(Slots::inputs(&contract()).unwrap());
    assert!(few.finish().unwrap_err().message().contains("a profile needs 50"));
}

#[test]
fn the_training_data_do_not_drift_from_themselves() {
    let (profile, contract) = (profile(), contract());
    let mut window = Window::new(&profile, &contract).unwrap();
    let mut half = window.clone();
    window.observe_inputs(&inputs(240));
    half.observe_outputs(&outputs(240));
    window.merge(&half);
    for feature in window.feature_scores().chain(window.output_scores()) {
        let scores = feature.scores.unwrap();
        // Of ward, what was too rare to be named is new.
        assert!(scores.psi < 0.1 && !scores.is_alarming(), "{}: {scores:?}", feature.name);
        assert_eq!(feature.accumulator.quality().below_trained, 0, "{}", feature.name);
        assert_eq!(feature.accumulator.quality().above_trained, 0, "{}", feature.name);
    }
    // Values on an edge fall into the bin that they fell into then.
    let age = window.feature_scores().next().unwrap();
    assert_eq!((age.name, age.scores.unwrap().psi), ("age", 0.0));
    let class = window.output_scores().next().unwrap();
    assert_eq!((class.scores.unwrap().psi, class.accumulator.unseen()), (0.0, 0));
    window.observe_missing(0);
    assert_eq!(window.feature_scores().next().unwrap().accumulator.quality().missing, 1);
    window.reset();
    assert_eq!(window, Window::new(&profile, &contract).unwrap());
}

#[test]
fn drift_is_seen_in_the_feature_that_drifts() {
    let (profile, contract) = (profile(), contract());
    let mut window = Window::new(&profile, &contract).unwrap();
    let mut tensors = inputs(600);
    let old = (0..600).flat_map(|i| [75.0 + (i % 20) as f32, 1.0 + (i % 2) as f32]).collect();
    tensors[0] = tensor(&[600, 2], old);
    window.observe_inputs(&tensors);
    let alarming: Vec<&str> = window
        .feature_scores()
        .filter(|feature| feature.scores.is_some_and(|scores| scores.is_alarming()))
        .map(|feature| feature.name)
        .collect();
    assert!(alarming.contains(&"age") && !alarming.contains(&"sex"), "{alarming:?}");
}

#[test]
fn held_out_rows_leave_a_limit_for_each_feature_and_nothing_else() {
    let (mut profile, contract) = (profile(), contract());
    let mut window = Window::new(&profile, &contract).unwrap();
    window.observe_inputs(&inputs(100));
    window.observe_outputs(&outputs(100));
    let before = profile.digest().unwrap();
    let source = Source { name: "test.csv".into(), rows: 100, sha256: "2".repeat(64) };
    profile.hold_out(source.clone(), &window);
    let text = profile.to_json().unwrap();
    let read = Profile::parse(text.as_bytes(), &contract).unwrap();
    assert_eq!((&read, read.held_out.as_ref()), (&profile, Some(&source)));
    assert_ne!(read.digest().unwrap(), before, "what was counted before is not judged by it");
    let all = || read.features.iter().chain(&read.outputs);
    assert!(all().all(|feature| feature.psi_limit().is_some_and(|limit| limit >= 0.0)));
    assert!(read.features[0].psi_limit().unwrap() > 0.0);
    // It reaches the scores.
    let mut window = Window::new(&read, &contract).unwrap();
    window.observe_inputs(&inputs(600));
    for (seen, feature) in window.feature_scores().zip(&read.features) {
        assert!(seen.scores.unwrap().psi_limit >= feature.psi_limit().unwrap(), "{}", seen.name);
    }
    let limit = format!("\"psi_limit\":{}", read.features[0].psi_limit().unwrap());
    let wrong = text.replacen(&limit, "\"psi_limit\":-1.0", 1);
    let error = Profile::parse(wrong.as_bytes(), &contract).unwrap_err();
    assert!(error.message().contains("psi_limit: expected 0 or more"), "{error}");
}

fn texts(texts: &[impl AsRef<str>]) -> Tensor {
    let mut data = Vec::new();
    texts.iter().for_each(|text| assert!(strings::push(&mut data, text.as_ref().as_bytes())));
    Tensor::new("ward", DType::Bytes, Shape::new([texts.len()]), data.into()).unwrap()
}

#[test]
fn free_texts_have_words_and_characters() {
    let contract = contract();
    let notes: Vec<String> =
        (0..240).map(|i| format!("patient {i}, no fever{}", "!".repeat(i % 3))).collect();
    let mut tensors = inputs(240);
    let slots = || Slots::inputs(&contract).unwrap().with_free_texts(|_| true).unwrap();
    // Wards are categories: nothing more is said of them.
    let mut collector = Collector::new(slots());
    collector.observe(&tensors, |_, _| false).unwrap();
    assert_eq!(collector.finish().unwrap().features, profile().features);

    tensors[1] = texts(&notes);
    let mut collector = Collector::new(slots());
    collector.observe(&tensors, |_, _| false).unwrap();
    let profile = Profile { features: collector.finish().unwrap().features, ..profile() };
    let profile = Profile::parse(profile.to_json().unwrap().as_bytes(), &contract).unwrap();
    let words = numeric(&profile.features, "ward.words");
    assert_eq!((words.mean, words.std_pop), (4.0, 0.0));
    assert_eq!(numeric(&profile.features, "ward.non_ascii").mean, 0.0);
    // "patient 7, no fever!": a digit and two signs among 20 characters.
    assert!((0.0..0.35).contains(&numeric(&profile.features, "ward.symbols").mean));

    let mut window = Window::new(&profile, &contract).unwrap();
    let mut tensors = inputs(600);
    let others: Vec<String> = (0..600).map(|i| format!("пациент {i}, без жара")).collect();
    tensors[1] = texts(&others);
    window.observe_inputs(&tensors);
    let find = |name| window.feature_scores().find(|seen| seen.name == name).unwrap();
    assert_eq!(find("ward.words").scores.unwrap().psi, 0.0);
    assert_eq!(find("ward.non_ascii").accumulator.quality().above_trained, 600);

    // 4 of 9 characters are signs or digits, one is no ASCII; an empty text has nothing.
    let mut window = Window::new(&profile, &contract).unwrap();
    let mut tensors = inputs(2);
    tensors[1] = texts(&["", "ö b 3,4 %"]);
    window.observe_inputs(&tensors);
    for (name, expected) in
        [("ward.words", 4.0), ("ward.symbols", 4.0 / 9.0), ("ward.non_ascii", 1.0 / 9.0)]
    {
        let seen = window.feature_scores().find(|seen| seen.name == name).unwrap();
        let (moments, quality) = (seen.accumulator.moments(), seen.accumulator.quality());
        assert_eq!((moments.max(), moments.count(), quality.missing), (Some(expected), 1, 1));
    }
}

#[test]
fn texts_have_a_length_and_empty_ones_have_none() {
    let (profile, contract) = (profile(), contract());
    let mut window = Window::new(&profile, &contract).unwrap();
    let mut tensors = inputs(3);
    tensors[1] = texts(&["größer", "", "ab"]);
    window.observe_inputs(&tensors);
    let seen = window.feature_scores().find(|seen| seen.name == "ward.length").unwrap();
    let (moments, quality) = (seen.accumulator.moments(), seen.accumulator.quality());
    assert_eq!((moments.min(), moments.max(), moments.count()), (Some(2.0), Some(6.0), 2));
    assert_eq!((quality.missing, quality.wrong_type), (1, 0));
    let text = window.feature_scores().find(|seen| seen.name == "ward").unwrap();
    assert_eq!((text.accumulator.present(), text.accumulator.quality().missing), (3, 0));
}

#[test]
fn a_wrong_file_is_told_by_its_feature() {
    let text = profile().to_json().unwrap();
    let refused = |from: &str, to: &str, part: &str| {
        assert!(text.contains(from), "{from}");
        let error = Profile::parse(text.replacen(from, to, 1).as_bytes(), &contract()).unwrap_err();
        assert!(error.message().starts_with("profile.json: "), "{error}");
        assert!(error.message().contains(part), "{error}");
    };
    refused("galen.profile/1", "galen.profile/2", "schema: expected \"galen.profile/1\"");
    refused("\"name\":\"age\"", "\"name\":\"agee\"", "no feature 'agee'; did you mean 'age'?");
    refused("\"name\":\"sex\"", "\"name\":\"age\"", "feature 'age' comes twice");
    refused("\"name\":\"p[low]\"", "\"name\":\"p[high]\"", "output 'p[high]' comes twice");
    refused("\"edges\":[1.5]", "\"edges\":[1.5,1.5]", "'sex': bins.edges");
    refused("\"edges\":[1.5]", "\"edges\":[1e999]", "number out of range");
    refused("\"edges\":[1.5]", "\"edges\":[1.4,1.5]", "'sex': bins.counts: expected one more");
    refused("\"counts\":[120,120]", "\"counts\":[120,121]", "'sex': bins.counts: expected the sum");
    refused("\"min\":1.0", "\"min\":9.0", "'sex': expected min <= max");
    refused("\"unit\":\"a\"", "\"unit\":\"mo\"", "'age': unit");
    refused("\"rows\":240", "\"rows\":239", "'age': more rows than source.rows");
    refused("\"count\":240", "\"count\":18446744073709551615", "'age': ");
    refused("\"name\":\"low\"", "\"name\":\"lo\"", "'class': categories: one is no label");
    refused("\"rows\":240", "\"rowz\":240", "unknown field `rowz`");
    refused("\"std_pop\"", "\"std\"", "unknown field `std`");

    let mut missing = profile();
    missing.features.remove(1);
    let error = Profile::parse(missing.to_json().unwrap().as_bytes(), &contract()).unwrap_err();
    assert!(error.message().contains("feature 'sex' of the model is missing"), "{error}");
    let mut mistyped = profile();
    mistyped.features[2] = mistyped.features[1].clone();
    let Feature::Numeric(numeric) = &mut mistyped.features[2] else { panic!("it was cloned") };
    numeric.name = "ward".into();
    let error = Profile::parse(mistyped.to_json().unwrap().as_bytes(), &contract()).unwrap_err();
    assert!(error.message().contains("'ward': expected type \"categorical\""), "{error}");
    let large = vec![b' '; BYTES_MAX as usize + 1];
    assert!(Profile::parse(&large, &contract()).is_err());
}
