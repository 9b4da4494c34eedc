//! Windows that fill up, what they say, and what is left of them after a restart.

use std::time::{Duration, Instant, SystemTime};

use super::judge::judge;
use super::snapshot;
use super::watched::Watched;
use crate::config::DriftConfig;
use crate::event::Watch;
use crate::model::profile::{Collector, Profile, Side, Slots, Source};
use crate::model::{Contract, Manifest, ModelId, ModelName, Signature, TensorSpec, Version};
use crate::tensor::{DType, Shape, Tensor, shared};

const CONFIG: DriftConfig = DriftConfig {
    enabled: true,
    window_rows: 1000,
    window_seconds: 60,
    sample_percent: 100.0,
    snapshot_seconds: 10,
    exact_rows: 5000,
    quantiles: false,
};

const MANIFEST: &str = r#"
    [[inputs]]
    name = "x"
    [[inputs.features]]
    name = "age"
    range = [0.0, 120.0]
    [[inputs.features]]
    name = "creatinine"
    [[outputs]]
    name = "class"
    labels = ["low", "high"]
"#;

fn contract() -> Contract {
    let spec = TensorSpec::of;
    let signature = Signature {
        inputs: vec![spec("x", DType::F32, &[-1, 2])],
        outputs: vec![spec("class", DType::I64, &[-1])],
    };
    Contract::derive(&signature, &Manifest::parse(MANIFEST).unwrap(), true, 1000).unwrap()
}

/// Rows as they come: ages about 60, creatinine about 1, three in ten high.
fn rows(random: &mut fastrand::Rng, count: usize) -> (Vec<f32>, Vec<i64>) {
    let mut bell = |mean: f64, std: f64| {
        let sum: f64 = (0..12).map(|_| random.f64()).sum();
        (mean + std * (sum - 6.0)) as f32
    };
    let inputs: Vec<f32> = (0..count).flat_map(|_| [bell(60.0, 8.0), bell(1.0, 0.2)]).collect();
    let classes = (0..count).map(|_| i64::from(random.f64() < 0.3)).collect();
    (inputs, classes)
}

fn tensors((inputs, classes): (Vec<f32>, Vec<i64>)) -> (Vec<Tensor>, Vec<Tensor>) {
    let count = classes.len();
    let x = Tensor::new("x", DType::F32, Shape::new([count, 2]), shared(inputs)).unwrap();
    let class = Tensor::new("class", DType::I64, Shape::new([count]), shared(classes)).unwrap();
    (vec![x], vec![class])
}

fn profile() -> Profile {
    sampled(0)
}

/// With so many raw values of each column.
fn sampled(count: usize) -> Profile {
    let mut random = fastrand::Rng::with_seed(1);
    let (inputs, outputs) = tensors(rows(&mut random, 5000));
    let collect = |slots: Slots, side, tensors: &[Tensor]| {
        let mut collector = Collector::new(slots).sampling(side, count);
        collector.observe(tensors, |_, _| false).unwrap();
        collector.finish().unwrap()
    };
    let contract = contract();
    let source = Source { name: "train.csv".into(), rows: 5000, sha256: "0".repeat(64) };
    let inputs = collect(Slots::inputs(&contract).unwrap(), Side::Input, &inputs);
    let outputs = collect(Slots::outputs(&contract).unwrap(), Side::Output, &outputs);
    Profile {
        schema: crate::model::profile::SCHEMA.into(),
        source,
        model_sha256: None,
        held_out: None,
        projections: Vec::new(),
        samples: inputs.samples.and(outputs.samples),
        features: inputs.features,
        outputs: outputs.features,
    }
}

fn watched(now: Instant) -> Watched {
    watching(&profile(), &CONFIG, now)
}

fn watching(profile: &Profile, config: &DriftConfig, now: Instant) -> Watched {
    let id = ModelId { name: ModelName::new("m").unwrap(), version: Version::new(1).unwrap() };
    Watched::new(&id, profile, &contract(), config, now).unwrap()
}

/// Two full windows of rows that were changed on their way.
fn two_windows(seed: u64, change: impl Fn(&mut fastrand::Rng, &mut [f32], &mut i64)) -> Watched {
    let now = Instant::now();
    let watched = watched(now);
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..2 {
        for _ in 0..10 {
            let (mut inputs, mut classes) = rows(&mut random, 100);
            for (row, class) in inputs.chunks_mut(2).zip(&mut classes) {
                change(&mut random, row, class);
            }
            let (inputs, outputs) = tensors((inputs, classes));
            watched.answered(&inputs, &outputs);
        }
        assert!(watched.gather(&CONFIG, now, SystemTime::now()));
    }
    assert_eq!((watched.rows(), watched.dropped()), (2000, 0));
    watched
}

/// Names in alert, with the reasons of the last window.
fn alerts(watched: &Watched) -> Vec<(String, String)> {
    let state = watched.state();
    let last = state.last.as_ref().unwrap();
    let named = watched.names().into_iter().zip(&last.verdicts);
    let named = named.filter(|(_, verdict)| verdict.is_alert());
    named.map(|(name, verdict)| (name, verdict.reasons().join("; "))).collect()
}

#[test]
fn nothing_is_said_of_rows_like_those_of_training() {
    for seed in 2..22 {
        let watched = two_windows(seed, |_, _, _| {});
        assert_eq!(alerts(&watched), [], "seed {seed}");
    }
}

#[test]
fn every_fault_is_named_within_two_windows() {
    type Change = fn(&mut fastrand::Rng, &mut [f32], &mut i64);
    let faults: [(&str, &str, Change); 6] = [
        ("age", "psi ", |_, row, _| row[0] += 8.0),
        ("creatinine", "about 88.", |_, row, _| row[1] *= 88.4),
        ("age", "5.", |random, row, _| {
            if random.f64() < 0.05 {
                row[0] = f32::NAN;
            }
        }),
        ("creatinine", "every value is the same number", |_, row, _| row[1] = 1.0),
        ("output:class", "psi ", |random, _, class| *class = i64::from(random.f64() < 0.7)),
        ("output:class", "of new categories", |random, _, class| {
            if random.f64() < 0.03 {
                *class = 7;
            }
        }),
    ];
    for (name, reason, change) in faults {
        let found = alerts(&two_windows(5, change));
        assert_eq!(found.len(), 1, "{name}, {reason}: {found:?}");
        assert!(found[0].0 == name && found[0].1.contains(reason), "{name}, {reason}: {found:?}");
    }
}

#[test]
fn one_alarming_window_is_no_alert_and_a_small_one_says_nothing() {
    let now = Instant::now();
    let watched = watched(now);
    let mut random = fastrand::Rng::with_seed(3);
    let shifted = |random: &mut fastrand::Rng, count| {
        let (mut inputs, classes) = rows(random, count);
        inputs.chunks_mut(2).for_each(|row| row[0] += 30.0);
        tensors((inputs, classes))
    };
    let (inputs, outputs) = shifted(&mut random, 1000);
    watched.answered(&inputs, &outputs);
    assert!(watched.gather(&CONFIG, now, SystemTime::now()));
    assert_eq!(alerts(&watched), []);
    assert!(!watched.state().last.as_ref().unwrap().verdicts[0].drift.reasons.is_empty());
    // It ends by its age, with too few rows to take back or to confirm what was said.
    let (inputs, outputs) = shifted(&mut random, 100);
    watched.answered(&inputs, &outputs);
    let later = now + Duration::from_secs(CONFIG.window_seconds);
    assert!(!watched.gather(&CONFIG, later - Duration::from_secs(1), SystemTime::now()));
    assert!(watched.gather(&CONFIG, later, SystemTime::now()));
    let state = watched.state();
    let verdict = &state.last.as_ref().unwrap().verdicts[0];
    assert_eq!((verdict.sufficient, verdict.drift.streak), (false, 1));
}

#[test]
fn a_restart_takes_up_where_the_snapshot_stood() {
    let folder = std::env::temp_dir().join(format!("galen-drift-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    let before = two_windows(5, |_, row, _| row[0] += 30.0);
    let (inputs, outputs) = tensors(rows(&mut fastrand::Rng::with_seed(9), 77));
    before.answered(&inputs, &outputs);
    // What was not put together yet is written down, too.
    assert_eq!(before.state().current.rows(), 0);
    snapshot::save(&folder, &before).unwrap();

    let after = watched(Instant::now());
    snapshot::restore(&folder, &after).unwrap();
    assert_eq!(after.rows(), 2077);
    assert_eq!(alerts(&after), alerts(&before));
    assert_eq!(alerts(&after).len(), 1);
    {
        let (a, b) = (after.state(), before.state());
        assert_eq!(a.current, b.current);
        assert_eq!((a.current.rows(), a.completed, a.gathered), (77, 2, 2077));
        assert!(a.restored_at.is_some());
        let judged = judge(&after.profile, &a.current, &[]);
        assert!(judged.iter().all(|verdict| !verdict.sufficient));
    }
    // Another replica's window comes on top.
    let other = snapshot::export(&before, SystemTime::now());
    snapshot::merge(&after, &other).unwrap();
    let counted = |watched: &Watched| {
        let state = watched.state();
        (state.current.rows(), state.gathered)
    };
    assert_eq!(counted(&after), (154, 2154));
    // No sum of counts from elsewhere overflows.
    let mut text = serde_json::to_value(&other).unwrap();
    text["current"]["features"][0]["counts"][0] = u64::MAX.into();
    let endless = serde_json::from_value(text).unwrap();
    assert!(snapshot::merge(&after, &endless).is_err());
    assert_eq!(counted(&after), (154, 2154));

    // A time that no clock can show is refused, and nothing is taken over of the rest.
    let path = folder.join("m-1.json");
    let whole: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    for pointer in ["/saved_at_s", "/last/at_s"] {
        let mut late = whole.clone();
        *late.pointer_mut(pointer).unwrap() = u64::MAX.into();
        std::fs::write(&path, late.to_string()).unwrap();
        let fresh = watched(Instant::now());
        assert!(snapshot::restore(&folder, &fresh).is_err(), "{pointer}");
        assert_eq!((fresh.rows(), fresh.state().current.rows()), (0, 0));
    }
    std::fs::write(&path, whole.to_string()).unwrap();

    // What was cut off, or counted against another profile, is not used.
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, &text[..text.len() / 2]).unwrap();
    let fresh = watched(Instant::now());
    assert!(snapshot::restore(&folder, &fresh).is_err());
    assert_eq!(fresh.rows(), 0);
    let digest = fresh.profile.digest().unwrap();
    std::fs::write(&path, text.replace(&digest, &"0".repeat(64))).unwrap();
    snapshot::restore(&folder, &fresh).unwrap();
    assert_eq!(fresh.rows(), 0);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn raw_values_of_the_last_window_are_compared_once() {
    let now = Instant::now();
    let watched = watching(&sampled(500), &CONFIG, now);
    let mut random = fastrand::Rng::with_seed(4);
    let mut window = |shift: f32| {
        let (mut inputs, classes) = rows(&mut random, 1000);
        inputs.chunks_mut(2).for_each(|row| row[0] += shift);
        let (inputs, outputs) = tensors((inputs, classes));
        watched.answered(&inputs, &outputs);
    };
    window(0.0);
    assert!(watched.compare().is_none(), "it is not complete");
    assert!(watched.gather(&CONFIG, now, SystemTime::now()));
    // Another one ends before it was compared.
    window(4.0);
    let at = SystemTime::now();
    assert!(watched.gather(&CONFIG, now, at));
    let compared = watched.compare().unwrap();
    assert_eq!((compared.at, compared.rows, compared.exact.rows), (at, 1000, 1000));
    let [Some(age), Some(creatinine), None] = compared.exact.scores[..] else {
        panic!("a class has no values: {compared:?}")
    };
    assert_eq!((age.current, age.reference), (1000, 500));
    assert!(age.ks_p < 1e-6 && creatinine.ks_p > 0.01, "{compared:?}");
    assert!((age.distances.wasserstein - 4.0).abs() < 1.0, "{age:?}");
    assert_eq!(watched.state().exact.as_ref().unwrap().rows, 1000);
    assert!(watched.compare().is_none(), "it was compared");
    // A large score of raw values alone is no alert.
    assert!(!watched.state().last.as_ref().unwrap().is_alert());
}

#[test]
fn raw_values_are_kept_where_they_are_wanted_and_never_on_disk() {
    let now = Instant::now();
    let off = DriftConfig { exact_rows: 0, ..CONFIG };
    for (profile, config) in [(sampled(0), CONFIG), (sampled(500), off)] {
        let watched = watching(&profile, &config, now);
        let (inputs, outputs) = tensors(rows(&mut fastrand::Rng::with_seed(1), 1000));
        watched.answered(&inputs, &outputs);
        assert!(watched.gather(&CONFIG, now, SystemTime::now()));
        assert!(watched.compare().is_none());
    }
    let watched = watching(&sampled(500), &CONFIG, now);
    let (inputs, outputs) = tensors(rows(&mut fastrand::Rng::with_seed(1), 700));
    watched.answered(&inputs, &outputs);
    let saved = snapshot::export(&watched, SystemTime::now());
    let plain = two_windows(1, |_, _, _| {});
    let keys = |snapshot: &snapshot::Snapshot| {
        let value = serde_json::to_value(snapshot).unwrap();
        value["current"]["features"][0].as_object().unwrap().keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(keys(&saved), keys(&snapshot::export(&plain, SystemTime::now())));
    // What was seen before a restart is counted, and not compared.
    snapshot::merge(&watched, &saved).unwrap();
    assert!(watched.gather(&CONFIG, now, SystemTime::now()));
    let compared = watched.compare().unwrap();
    assert_eq!((compared.rows, compared.exact.rows), (1400, 700));
}
