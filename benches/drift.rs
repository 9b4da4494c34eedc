//! What watching for drift costs by itself: nanoseconds per row of 30 features and 3 outputs that is
//! added to a window on the path of requests, without and with their raw values (32: a class has
//! none). No server, thread or engine is in the loop. Then what comparing raw values takes, in the
//! background.
//!
//! A plain loop, and the minimum of many repeats, as in `queue.rs`, which says why.

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use galen::config::DriftConfig;
use galen::event::Watch;
use galen::model::profile::{Feature, Numeric, Profile, Sample, Side};
use galen::model::{Contract, Manifest, ModelId, ModelName, Signature, TensorSpec, Version};
use galen::observe::drift::Watched;
use galen::stats::embedding::{ROWS_MAX, Rows, auc, discrepancy};
use galen::stats::kolmogorov::two_sample;
use galen::stats::samples::scores;
use galen::tensor::{DType, Dim, Shape, Tensor, shared};

const WIDTH: usize = 30;
/// Rows in one timed round: long beside a look at the clock, short beside a time slice.
const ROUND: usize = 1024;
const REPEATS: usize = 1000;
/// Of two samples that are compared, and numbers in a row of a vector's.
const VALUES: usize = 5000;
const COMPONENTS: usize = 4;

fn main() {
    let (counted, kept) = (watched(false), watched(true));
    println!(
        "| rows in a request | ns per row | with raw values | ns a value |\n|---|---:|---:|---:|"
    );
    for rows in [1, 8, 64] {
        let (without, with) = (least(&counted, rows), least(&kept, rows));
        let value = (with - without) / (WIDTH + 2) as f64;
        println!("| {rows} | {without:.0} | {with:.0} | {value:.1} |");
    }
    println!("\n| comparison | ms |\n|---|---:|");
    for (what, shift) in [("alike", 0.0), ("shifted by half their range", 0.5)] {
        let (reference, current) = (numbers(VALUES, 1, 0.0), numbers(VALUES, 2, shift));
        let columns = || {
            black_box(two_sample(black_box(&reference), black_box(&current)));
            black_box(scores(black_box(&reference), black_box(&current)));
        };
        println!("| a feature, {VALUES} and {VALUES} values, {what} | {:.1} |", shortest(columns));
    }
    let rows = |seed| Rows::new(&numbers(ROWS_MAX * COMPONENTS, seed, 0.0), COMPONENTS);
    let (reference, current) = (rows(1).expect("rows"), rows(2).expect("rows"));
    let vectors = || {
        black_box(discrepancy(black_box(&reference), black_box(&current)));
        black_box(auc(black_box(&reference), black_box(&current)));
    };
    println!("| a vector, {ROWS_MAX} and {ROWS_MAX} rows | {:.0} |", shortest(vectors));
}

fn numbers(count: usize, seed: u64, shift: f64) -> Vec<f64> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..count).map(|_| random.f64() + shift).collect()
}

/// Milliseconds, the least of a few times.
fn shortest(work: impl Fn()) -> f64 {
    let once = |_| {
        let begun = Instant::now();
        work();
        begun.elapsed().as_secs_f64() * 1e3
    };
    (0..5).map(once).fold(f64::INFINITY, f64::min)
}

/// The demo model's own contract and profile; with raw values, those that its profile stands for.
fn watched(raw: bool) -> Watched {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/breast-cancer");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("a demo file");
    let manifest = Manifest::parse(&read("model.toml")).expect("a demo manifest");
    let signature = Signature {
        inputs: vec![spec("features", DType::F32, &[-1, WIDTH as i64])],
        outputs: vec![
            spec("label", DType::I64, &[-1]),
            spec("probabilities", DType::F32, &[-1, 2]),
        ],
    };
    let contract = Contract::derive(&signature, &manifest, true, 64).expect("a demo contract");
    let mut profile =
        Profile::parse(read("1/profile.json").as_bytes(), &contract).expect("a profile");
    if raw {
        let all = [(Side::Input, &profile.features), (Side::Output, &profile.outputs)];
        let all = all.iter().flat_map(|(of, list)| list.iter().map(move |feature| (*of, feature)));
        let columns = all.filter_map(|(of, feature)| match feature {
            Feature::Numeric(Numeric { name, group_means: values, .. }) => {
                Some(Sample { of, name: name.clone(), values: values.clone() })
            }
            Feature::Categorical(_) => None,
        });
        profile.samples.columns = columns.collect();
    }
    let name = ModelName::new("breast-cancer").expect("a name");
    let id = ModelId { name, version: Version::new(1).expect("a version") };
    Watched::new(&id, &profile, &contract, &config(), Instant::now()).expect("it fits")
}

fn config() -> DriftConfig {
    DriftConfig {
        enabled: true,
        window_rows: 1000,
        window_seconds: 3600,
        sample_percent: 100.0,
        snapshot_seconds: 10,
        exact_rows: 5000,
        quantiles: false,
    }
}

fn spec(name: &str, dtype: DType, dims: &[i64]) -> TensorSpec {
    let dim = |&dim: &i64| Dim::from_wire(dim).expect("a dimension");
    TensorSpec { name: name.into(), dtype, dims: dims.iter().map(dim).collect() }
}

/// Nanoseconds per row, of requests of so many rows.
fn least(watched: &Watched, rows: usize) -> f64 {
    let (inputs, outputs) = request(rows);
    let mut best = Duration::MAX;
    for _ in 0..REPEATS {
        let begun = Instant::now();
        for _ in 0..ROUND / rows {
            watched.answered(black_box(&inputs), black_box(&outputs));
        }
        best = best.min(begun.elapsed());
        // What the drift thread does once a second, and so not a cost of the request.
        black_box(watched.gather(&config(), begun, SystemTime::UNIX_EPOCH));
    }
    assert_eq!(watched.dropped(), 0, "one thread is never in its own way");
    best.as_nanos() as f64 / (ROUND / rows * rows) as f64
}

fn request(rows: usize) -> (Vec<Tensor>, Vec<Tensor>) {
    let mut random = fastrand::Rng::with_seed(1);
    let numbers: Vec<f32> = (0..rows * WIDTH).map(|_| random.f32() * 20.0).collect();
    let shares: Vec<f32> = (0..rows).flat_map(|_| [0.25, 0.75]).collect();
    let labels: Vec<i64> = (0..rows).map(|_| random.i64(0..2)).collect();
    let tensor = |name, dtype, shape: Shape, bytes| {
        Tensor::new(name, dtype, shape, bytes).expect("the bytes of its shape")
    };
    let inputs = vec![tensor("features", DType::F32, Shape::new([rows, WIDTH]), shared(numbers))];
    let outputs = vec![
        tensor("label", DType::I64, Shape::new([rows]), shared(labels)),
        tensor("probabilities", DType::F32, Shape::new([rows, 2]), shared(shares)),
    ];
    (inputs, outputs)
}
