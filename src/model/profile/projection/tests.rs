//! Embeddings made of a few hidden numbers: their profile, their drift, and what a file may say.

use super::*;
use crate::model::manifest::Manifest;
use crate::model::profile::{
    Collected, Collector, Feature, Profile, SCHEMA, Slots, Source, Window,
};
use crate::model::signature::{Signature, TensorSpec};
use crate::tensor::{Shape, Tensor, shared};

const WIDTH: usize = 70;

fn contract() -> Contract {
    let spec = TensorSpec::of;
    let signature = Signature {
        inputs: vec![spec("x", DType::F32, &[-1, 3]), spec("y", DType::F32, &[-1])],
        outputs: vec![
            spec("p", DType::F32, &[-1, 2]),
            spec("embedding", DType::F32, &[-1, WIDTH as i64]),
            spec("ids", DType::I64, &[-1, 5]),
            spec("free", DType::F32, &[-1, -1]),
            spec("map", DType::F32, &[-1, 2, 3]),
            spec("huge", DType::F32, &[-1, 4097]),
        ],
    };
    let manifest = "[[outputs]]\nname = \"p\"\nlabels = [\"low\", \"high\"]";
    Contract::derive(&signature, &Manifest::parse(manifest).unwrap(), true, 8).unwrap()
}

fn vectors(side: Side) -> Vec<Vector> {
    Vector::all(&contract(), side)
}

fn embedding() -> Vector {
    vectors(Side::Output).remove(0)
}

/// Rows that vary in two directions, with a little noise; `turned` swaps them for two others.
fn rows(count: usize, seed: u64, turned: bool) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut row = || {
        let [a, b] = [random.f32() - 0.5, random.f32() - 0.5];
        let noise: Vec<f32> = (0..WIDTH).map(|_| (random.f32() - 0.5) * 0.01).collect();
        let value = move |i: usize| {
            let i = if turned { (i * 11 + 3) % WIDTH } else { i };
            let (wide, narrow) = ((i as f32).sin(), (i as f32 * 0.37).cos());
            0.2 + a * wide + 0.5 * b * narrow
        };
        noise.into_iter().enumerate().map(move |(i, noise)| value(i) + noise).collect::<Vec<_>>()
    };
    (0..count).flat_map(|_| row()).collect()
}

fn tensor(name: &str, width: usize, data: Vec<f32>) -> Tensor {
    let shape = Shape::new([data.len() / width, width]);
    Tensor::new(name, DType::F32, shape, shared(data)).unwrap()
}

/// Outputs up to the embedding; no test looks at those after it.
fn outputs(data: Vec<f32>) -> Vec<Tensor> {
    let count = data.len() / WIDTH;
    vec![tensor("p", 2, vec![0.5; 2 * count]), tensor("embedding", WIDTH, data)]
}

fn collected(data: Vec<f32>, components: usize) -> Result<Collected> {
    let contract = contract();
    let list = Slots::outputs(&contract).unwrap();
    let mut collector = Collector::new(list).projecting(vec![embedding()], components);
    let rest = data.len() / WIDTH;
    let ids = Tensor::new("ids", DType::I64, Shape::new([rest, 5]), shared(vec![1i64; rest * 5]));
    let mut tensors = outputs(data);
    tensors.push(ids.unwrap());
    for (name, width) in [("free", 2), ("map", 6), ("huge", 4097)] {
        tensors.push(tensor(name, width, vec![0.5; rest * width]));
    }
    collector.observe(&tensors, |_, _| false).unwrap();
    collector.finish()
}

fn profile() -> Profile {
    let contract = contract();
    let mut inputs = Collector::new(Slots::inputs(&contract).unwrap());
    let y = Tensor::new("y", DType::F32, Shape::new([300]), shared(vec![1f32; 300])).unwrap();
    inputs.observe(&[tensor("x", 3, vec![1.0; 900]), y], |_, _| false).unwrap();
    let outputs = collected(rows(300, 1, false), 4).unwrap();
    Profile {
        schema: SCHEMA.to_owned(),
        source: Source { name: "train.csv".into(), rows: 300, sha256: "0".repeat(64) },
        model_sha256: None,
        held_out: None,
        projections: outputs.projections,
        samples: Default::default(),
        features: inputs.finish().unwrap().features,
        outputs: outputs.features,
    }
}

fn parsed(profile: &Profile) -> Result<Profile> {
    Profile::parse(profile.to_json().unwrap().as_bytes(), &contract())
}

/// Names that a window of these rows alarms.
fn alarming(profile: &Profile, data: Vec<f32>) -> Vec<String> {
    let mut window = Window::new(profile, &contract()).unwrap();
    window.observe_outputs(&outputs(data));
    let alarming = |seen: &crate::model::profile::FeatureScores<'_>| {
        seen.scores.is_some_and(|scores| scores.is_alarming())
    };
    window.output_scores().filter(alarming).map(|seen| seen.name.to_owned()).collect()
}

#[test]
fn plain_rows_of_numbers_are_vectors() {
    let of = |side| {
        let vectors = vectors(side).into_iter();
        vectors.map(|v| (v.name.clone(), v.width, v.is_too_long())).collect::<Vec<_>>()
    };
    assert_eq!(of(Side::Input), [("x".to_owned(), 3, false)]);
    let expected = [("embedding".to_owned(), WIDTH, false), ("huge".to_owned(), 4097, true)];
    assert_eq!(of(Side::Output), expected);
}

#[test]
fn a_profile_with_projections_is_read_as_it_was_written() {
    let read = parsed(&profile()).unwrap();
    assert_eq!(parsed(&read).unwrap(), read);
    assert_eq!(parsed(&read).unwrap().digest().unwrap(), read.digest().unwrap());
    let names: Vec<&str> = read.outputs.iter().map(Feature::name).collect();
    let projected = ["embedding.norm", "embedding.pc1", "embedding.pc2"];
    assert_eq!(names[..2], ["p[low]", "p[high]"]);
    assert_eq!(names[2..4], ["embedding.mean", "embedding.std"]);
    assert_eq!(names[4..7], projected);
    let [projection] = &read.projections[..] else { panic!("one vector") };
    assert_eq!((projection.of, projection.mean.len()), (Side::Output, WIDTH));
    // Every number has six digits at most.
    for x in projection.mean.iter().chain(projection.directions.iter().flatten()) {
        assert_eq!(*x, six_digits(f64::from(*x)));
    }
    for feature in &read.outputs[5..7] {
        let Feature::Numeric(score) = feature else { panic!("{feature:?}") };
        assert!(score.mean.abs() < 1e-4 && score.std_pop > 0.5, "{score:?}");
    }
    // A file from before there were vectors says nothing of them, and is read.
    let mut old = read.clone();
    old.projections.clear();
    assert!(parsed(&old).unwrap_err().message().contains("no output 'embedding.norm'"));
    old.outputs.retain(|f| !f.name().contains(".pc") && !f.name().contains(".norm"));
    let old = parsed(&old).unwrap();
    assert!(!old.to_json().unwrap().contains("projections"));
    assert_eq!(alarming(&old, rows(600, 9, false)), Vec::<String>::new());
}

#[test]
fn vectors_of_another_kind_drift_and_others_do_not() {
    let profile = parsed(&profile()).unwrap();
    assert_eq!(alarming(&profile, rows(600, 2, false)), Vec::<String>::new());
    let found = alarming(&profile, rows(600, 3, true));
    assert!(found.contains(&"embedding.pc1".to_owned()), "{found:?}");
    let longer: Vec<f32> = rows(600, 4, false).into_iter().map(|x| x * 3.0).collect();
    assert!(alarming(&profile, longer).contains(&"embedding.norm".to_owned()));
    // What can not be projected is missing.
    let mut window = Window::new(&profile, &contract()).unwrap();
    let mut broken = rows(2, 5, false);
    broken[3] = f32::NAN;
    window.observe_outputs(&outputs(broken));
    let pc1 = window.output_scores().find(|seen| seen.name == "embedding.pc1").unwrap();
    assert_eq!((pc1.accumulator.present(), pc1.accumulator.quality().missing), (1, 1));
}

#[test]
fn a_score_is_the_plain_sum() {
    let projection = Projection::fit(&embedding(), rows(200, 6, false), 3).unwrap();
    let record: Vec<f64> = (0..WIDTH).map(|i| (i as f64 * 0.3).sin()).collect();
    for (place, direction) in projection.directions.iter().enumerate() {
        let terms = record.iter().zip(&projection.mean).zip(direction);
        let expected: f64 =
            terms.map(|((x, mean), d)| (x - f64::from(*mean)) * f64::from(*d)).sum();
        assert!((projection.score(&record, place).unwrap() - expected).abs() < 1e-12);
    }
    assert_eq!(projection.score(&record, 3), None);
    assert_eq!(projection.score(&record[1..], 0), None);
    let one = 1.0 / 3f64.sqrt();
    assert_eq!(euclidean(&[one, one * (1.0 + 1e-7), one * (1.0 - 1e-7)]), 1.0);
    assert!((euclidean(&[3.0, 4.0, 0.1]) - 5.001).abs() < 1e-4);
    assert!(euclidean(&[f64::NAN]).is_nan() && euclidean(&[f64::INFINITY]).is_infinite());
}

#[test]
fn no_direction_is_the_picture_of_one_row() {
    let mut data = rows(100, 7, false);
    let odd: Vec<f32> = (0..WIDTH).map(|i| if i == 5 { 40.0 } else { 0.0 }).collect();
    data[20 * WIDTH..21 * WIDTH].copy_from_slice(&odd);
    let projection = Projection::fit(&embedding(), data.clone(), 4).unwrap();
    // With it, the first direction would be axis 5.
    assert!(projection.directions[0][5].abs() < 0.5);
    // It still is a row of the profile.
    let collected = collected(data, 4).unwrap();
    assert!(
        collected.features.iter().all(|feature| feature.count() == 100 || feature.name() == "free")
    );
    // Many such rows leave no direction, rather than theirs.
    let axes: Vec<f32> =
        (0..WIDTH * 60).map(|i| if i / WIDTH == i % WIDTH { 1000.0 } else { 0.0 }).collect();
    for direction in Projection::fit(&embedding(), axes, 8).unwrap().directions {
        assert!(direction.iter().all(|x| x.abs() < 0.9), "{direction:?}");
    }
}

#[test]
fn few_vectors_are_refused() {
    let message =
        |rows: Vec<f32>| Projection::fit(&embedding(), rows, 4).unwrap_err().message().to_owned();
    assert!(message(rows(29, 8, false)).contains("'embedding' has 29 vectors"));
    assert!(message(Vec::new()).contains("they need 30"));
    assert!(Projection::fit(&embedding(), rows(34, 8, false), 4).is_ok());
    // The profile as a whole needs more.
    assert!(collected(rows(40, 8, false), 4).unwrap_err().message().contains("needs 50"));
    // Vectors that are all the same have a length only.
    let constant = collected(vec![0.5; WIDTH * 60], 4).unwrap();
    assert_eq!(constant.projections[0].directions.len(), 0);
    assert_eq!(constant.features.last().unwrap().name(), "embedding.norm");
}

#[test]
fn a_wrong_projection_is_told_by_its_vector() {
    let refused = |change: fn(&mut Profile), part: &str| {
        let mut profile = profile();
        change(&mut profile);
        let error = parsed(&profile).unwrap_err();
        assert!(error.message().contains(part), "{error}");
    };
    refused(|p| p.projections[0].name = "p".into(), "'p': the model has no such vector");
    refused(|p| p.projections[0].of = Side::Input, "'embedding': the model has no such vector");
    refused(|p| p.projections[0].mean.truncate(1), "mean: expected 70 numbers");
    refused(|p| p.projections[0].directions[0].truncate(1), "expected up to 8 of length 1");
    refused(|p| p.projections[0].directions[1][0] += 1.0, "each of 70 numbers");
    refused(
        |p| {
            let direction = p.projections[0].directions[0].clone();
            p.projections[0].directions = vec![direction; 9];
        },
        "up to 8",
    );
    refused(|p| p.projections.push(p.projections[0].clone()), "'embedding' comes twice");
    refused(|p| drop(p.projections[0].directions.pop()), "no output 'embedding.pc");
}
