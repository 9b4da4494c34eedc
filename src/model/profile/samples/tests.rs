//! Samples as they are drawn, as a file may have them, and as windows are compared with them.

use super::*;
use crate::error::Result;
use crate::model::contract::Contract;
use crate::model::manifest::Manifest;
use crate::model::profile::{
    Collector, Exact, Kept, Profile, SCHEMA, Slots, Source, VALUES_MAX, Window,
};
use crate::model::signature::{Signature, TensorSpec};
use crate::stats::kolmogorov::two_sample;
use crate::stats::samples::scores;
use crate::tensor::{DType, Shape, Tensor, shared, strings};

const ROWS: usize = 300;
const WIDTH: usize = 3;
const MANIFEST: &str = r#"
    [[inputs]]
    name = "x"
    [[inputs.features]]
    name = "age"
    [[inputs.features]]
    name = "bmi"
    [[outputs]]
    name = "class"
    labels = ["low", "high"]
"#;

fn contract() -> Contract {
    let spec = TensorSpec::of;
    let signature = Signature {
        inputs: vec![spec("x", DType::F32, &[-1, 2]), spec("note", DType::Bytes, &[-1])],
        outputs: vec![
            spec("class", DType::I64, &[-1]),
            spec("embedding", DType::F32, &[-1, WIDTH as i64]),
        ],
    };
    Contract::derive(&signature, &Manifest::parse(MANIFEST).unwrap(), true, 1000).unwrap()
}

/// Rows of inputs and outputs; `shift` moves ages and embeddings.
fn tensors(rows: usize, seed: u64, shift: f32) -> (Vec<Tensor>, Vec<Tensor>) {
    let mut random = fastrand::Rng::with_seed(seed);
    let x: Vec<f32> = (0..rows).flat_map(|_| [random.f32() * 60.0 + shift, random.f32()]).collect();
    let mut notes = Vec::new();
    (0..rows).for_each(|i| assert!(strings::push(&mut notes, &b"abcdef"[..1 + i % 5])));
    let embedding: Vec<f32> = (0..rows * WIDTH)
        .map(|i| (random.f32() - 0.5) * (WIDTH - i % WIDTH) as f32 + shift / 10.0)
        .collect();
    let classes: Vec<i64> = (0..rows as i64).map(|i| i % 2).collect();
    let new = |name, dtype, shape: Shape, data| Tensor::new(name, dtype, shape, data).unwrap();
    let inputs = vec![
        new("x", DType::F32, Shape::new([rows, 2]), shared(x)),
        new("note", DType::Bytes, Shape::new([rows]), notes.into()),
    ];
    let outputs = vec![
        new("class", DType::I64, Shape::new([rows]), shared(classes)),
        new("embedding", DType::F32, Shape::new([rows, WIDTH]), shared(embedding)),
    ];
    (inputs, outputs)
}

fn profile(samples: usize) -> Profile {
    let contract = contract();
    let (inputs, outputs) = tensors(ROWS, 1, 0.0);
    let collect = |slots: Slots, side, tensors: &[Tensor]| {
        let collector = Collector::new(slots).projecting(Vector::all(&contract, side), 2);
        let mut collector = collector.sampling(side, samples);
        collector.observe(tensors, |_, _| false).unwrap();
        collector.finish().unwrap()
    };
    let inputs = collect(Slots::inputs(&contract).unwrap(), Side::Input, &inputs);
    let outputs = collect(Slots::outputs(&contract).unwrap(), Side::Output, &outputs);
    Profile {
        schema: SCHEMA.to_owned(),
        source: Source { name: "train.csv".into(), rows: ROWS as u64, sha256: "0".repeat(64) },
        model_sha256: None,
        held_out: None,
        projections: [inputs.projections, outputs.projections].concat(),
        samples: inputs.samples.and(outputs.samples),
        features: inputs.features,
        outputs: outputs.features,
    }
}

fn parsed(profile: &Profile) -> Result<Profile> {
    Profile::parse(profile.to_json().unwrap().as_bytes(), &contract())
}

fn sample<'a>(profile: &'a Profile, name: &str) -> &'a Sample {
    profile.samples.columns.iter().find(|sample| sample.name == name).unwrap()
}

fn window(profile: &Profile, rows_max: usize) -> Window {
    Window::new(profile, &contract()).unwrap().keeping(profile, rows_max)
}

/// Adds rows with keys of this seed.
fn observe(window: &mut Window, (inputs, outputs): &(Vec<Tensor>, Vec<Tensor>), seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let rows = inputs[0].rows();
    window.make_room(rows, || random.u64(..));
    window.observe_inputs(inputs);
    window.observe_outputs(outputs);
    window.observe_rows(rows as u64);
}

fn exact(profile: &Profile, kept: &Kept) -> Exact {
    Exact::of(profile, kept)
}

fn column(tensor: &Tensor, place: usize, width: usize) -> Vec<f64> {
    tensor.to_f64s().unwrap().chunks(width).map(|row| row[place]).collect()
}

#[test]
fn samples_are_read_as_they_were_written() {
    let with = profile(100);
    let read = parsed(&with).unwrap();
    assert_eq!(read, with);
    assert_eq!(profile(100), with, "seeded");
    let without = profile(0);
    assert!(without.samples.is_empty() && !without.to_json().unwrap().contains("samples"));
    assert_ne!(read.digest().unwrap(), without.digest().unwrap());
    let names: Vec<&str> = read.samples.columns.iter().map(|s| s.name.as_str()).collect();
    let scores = ["embedding.norm", "embedding.pc1", "embedding.pc2"];
    assert_eq!(names[..3], ["age", "bmi", "note.length"]);
    assert_eq!(names[3..6], ["embedding[0]", "embedding[1]", "embedding[2]"]);
    assert_eq!(names[6..], scores, "neither texts nor classes");
    let [vector] = &read.samples.vectors[..] else { panic!("one vector") };
    assert_eq!((vector.rows.len(), vector.rows[0].len()), (100, 2));
}

#[test]
fn a_column_is_drawn_by_itself_and_in_order() {
    let (inputs, _) = tensors(ROWS, 1, 0.0);
    let some = profile(100);
    let rows_of = |name: &str, place: usize| -> Vec<usize> {
        let all = column(&inputs[0], place, 2);
        let values = &sample(&some, name).values;
        assert!(values.len() == 100 && values.is_sorted());
        values.iter().map(|x| all.iter().position(|y| x == y).expect("a value of it")).collect()
    };
    let (mut ages, mut bmis) = (rows_of("age", 0), rows_of("bmi", 1));
    ages.sort_unstable();
    bmis.sort_unstable();
    assert_ne!(ages, bmis, "other rows");
    // More than there are: all of them.
    let mut ages = column(&inputs[0], 0, 2);
    ages.sort_unstable_by(f64::total_cmp);
    assert_eq!(sample(&profile(5000), "age").values, ages);
    // The order of the rows of scores is not that of training.
    let rows = &profile(5000).samples.vectors[0].rows;
    assert!(rows.len() == ROWS && rows.is_sorted_by(|a, b| a[0] <= b[0]));
}

#[test]
fn a_wrong_sample_is_told_by_its_name() {
    let refused = |change: fn(&mut Samples), part: &str| {
        let mut profile = profile(100);
        change(&mut profile.samples);
        let error = parsed(&profile).unwrap_err();
        assert!(error.message().starts_with("profile.json: "), "{error}");
        assert!(error.message().contains(part), "{error}");
    };
    let finite = "'age': values: expected finite numbers in ascending order";
    refused(|s| s.columns[0].values.reverse(), finite);
    refused(|s| s.columns[0].values[3] = f64::NAN, "invalid type: null");
    refused(|s| s.columns[0].values.truncate(1), "'age': values: expected 2 to 5000");
    refused(|s| s.columns[0].values = vec![1.0; 5001], "'age': values: expected 2 to 5000");
    refused(|s| s.columns[0].values = vec![1.0; ROWS + 1], "no more than the feature's count");
    refused(|s| s.columns[0].name = "agee".into(), "'agee': the model has no such feature");
    refused(|s| s.columns[0].of = Side::Output, "'age': the model has no such feature");
    refused(|s| s.columns[0].name = "note".into(), "'note': expected one whose values are numbers");
    refused(
        |s| (s.columns[0].of, s.columns[0].name) = (Side::Output, "class".into()),
        "'class': expected one whose values are numbers",
    );
    refused(|s| s.columns.push(s.columns[0].clone()), "'age': comes twice");
    refused(|s| s.vectors[0].name = "x".into(), "'x': there is no projection");
    refused(|s| s.vectors[0].of = Side::Input, "'embedding': there is no projection");
    refused(|s| s.vectors.push(s.vectors[0].clone()), "'embedding': comes twice");
    refused(|s| s.vectors[0].rows.truncate(1), "'embedding': rows: expected 2 to 1000");
    refused(|s| s.vectors[0].rows = vec![vec![0.0; 2]; 1001], "rows: expected 2 to 1000");
    refused(|s| s.vectors[0].rows[1].truncate(1), "rows: expected as many finite numbers");
    let text = profile(100).to_json().unwrap();
    let wrong = text.replacen("\"columns\"", "\"colums\"", 1);
    let error = Profile::parse(wrong.as_bytes(), &contract()).unwrap_err();
    assert!(error.message().contains("unknown field `colums`"), "{error}");
    let infinite = text.replacen("\"values\":[", "\"values\":[-1e999,", 1);
    let error = Profile::parse(infinite.as_bytes(), &contract()).unwrap_err();
    assert!(error.message().contains("number out of range"), "{error}");
}

#[test]
fn a_window_is_compared_value_by_value() {
    let profile = profile(100);
    let mut window = window(&profile, 5000);
    let mut rows = tensors(200, 2, 5.0);
    let mut x: Vec<f32> = rows.0[0].to_f64s().unwrap().iter().map(|&x| x as f32).collect();
    (x[0], x[2]) = (f32::NAN, f32::INFINITY);
    rows.0[0] = Tensor::new("x", DType::F32, Shape::new([200, 2]), shared(x)).unwrap();
    observe(&mut window, &rows, 1);
    let kept = window.take_kept().unwrap();
    let found = exact(&profile, &kept);
    assert_eq!((found.rows, found.scores.len()), (200, profile.features.len() + 7));
    let (ages, all) = (column(&rows.0[0], 0, 2), &sample(&profile, "age").values);
    let age = found.scores[0].unwrap();
    let test = two_sample(all, &ages).unwrap();
    assert_eq!((age.current, age.reference, age.ks, age.ks_p), (198, 100, test.statistic, test.p));
    assert_eq!(age.distances, scores(all, &ages).unwrap());
    let second = found.scores[profile.features.len() + 2].unwrap();
    let values = column(&rows.1[1], 1, WIDTH);
    let test = two_sample(&sample(&profile, "embedding[1]").values, &values).unwrap();
    assert_eq!((second.ks, second.ks_p), (test.statistic, test.p));
    // A text and a class have no values, and what was given away is gone.
    assert!(found.scores[2].is_none() && found.scores[profile.features.len()].is_none());
    assert!(window.take_kept().unwrap().is_empty());
}

#[test]
fn vectors_from_elsewhere_are_told_apart_and_others_are_not() {
    let profile = profile(200);
    let compared = |seed, shift| {
        let mut window = window(&profile, 5000);
        observe(&mut window, &tensors(200, seed, shift), 1);
        exact(&profile, &window.take_kept().unwrap()).vectors.remove(0)
    };
    let (same, other) = (compared(3, 0.0), compared(3, 10.0));
    assert_eq!(
        (same.label().as_str(), same.current, same.reference),
        ("output:embedding", 200, 200)
    );
    assert!(same.mmd_p > 0.05 && (same.auc - 0.5).abs() < 0.1, "{same:?}");
    assert!(other.mmd_p < 0.02 && other.auc > 0.8, "{other:?}");
}

#[test]
fn parts_of_a_window_are_compared_alike_however_they_are_merged() {
    let profile = profile(100);
    let parts: Vec<Window> = (0..3)
        .map(|part| {
            let mut window = window(&profile, 150);
            observe(&mut window, &tensors(90, 10 + part, 0.0), part);
            window
        })
        .collect();
    let merged = |order: [usize; 3]| {
        let mut whole = window(&profile, 150);
        order.iter().for_each(|&part| whole.merge(&parts[part]));
        let kept = whole.take_kept().unwrap();
        (exact(&profile, &kept), kept.rows())
    };
    let first = merged([0, 1, 2]);
    assert_eq!(first.1, 150, "of 270");
    assert_eq!([merged([2, 0, 1]), merged([1, 2, 0])], [first.clone(), first]);
}

#[test]
fn without_samples_nothing_is_kept_and_memory_has_a_bound() {
    let (with, without) = (profile(100), profile(0));
    for mut window in [window(&without, 5000), window(&with, 0)] {
        observe(&mut window, &tensors(10, 1, 0.0), 1);
        assert_eq!((window.rows_kept_max(), window.take_kept()), (0, None));
    }
    assert_eq!(window(&with, 5000).rows_kept_max(), 5000);
    assert_eq!(window(&with, usize::MAX).rows_kept_max(), VALUES_MAX / 9);
    let mut window = window(&with, 20);
    observe(&mut window, &tensors(300, 1, 0.0), 1);
    let empty = super::super::Window::new(&with, &contract()).unwrap().keeping(&with, 20);
    assert_ne!(window, empty);
    window.reset();
    assert_eq!(window, empty);
}
