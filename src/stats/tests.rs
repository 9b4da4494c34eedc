//! The statistics against the real tools: files that Evidently, NannyML, Deepchecks, SciPy and
//! scikit-learn wrote (`tests/golden/drift`).
//!
//! Of `drift_golden.json`, what Galen does not compute is not compared: Anderson-Darling,
//! Cramer-von Mises, Mann-Whitney, t, Epps-Singleton and G tests; Evidently's `chisquare` and `TVD`
//! p-values; the choice of NannyML's edges (distances over them are compared); Deepchecks' earth
//! mover's distance of trimmed samples, and its Cramer's V, which is of another table than counts.

use serde_json::Value;

use super::bins::{Edges, decile_edges};
use super::components::components;
use super::contingency::chi_square;
use super::divergence::{self, Base};
use super::embedding::{self, Rows};
use super::kolmogorov::two_sample;
use super::moments::Moments;
use super::performance::{self, Calibration, Confusion, Estimate, Share};
use super::samples::{self, Sturges, sorted};
use super::tails::chi_square_tail;

const DRIFT: &str = include_str!("../../tests/golden/drift/drift_golden.json");
const PERFORMANCE: &str = include_str!("../../tests/golden/drift/performance_golden.json");
const COMPONENTS: &str = include_str!("../../tests/golden/drift/components_golden.json");
const SCIPY: &str = include_str!("../../tests/golden/drift/scipy_golden.json");

fn read(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

fn counts(value: &Value) -> Vec<u64> {
    value.as_array().unwrap().iter().map(|number| number.as_u64().unwrap()).collect()
}

#[track_caller]
fn close(given: f64, expected: &Value, tolerance: f64) {
    let expected = expected.as_f64().unwrap();
    let scale = expected.abs().max(1.0);
    assert!((given - expected).abs() <= tolerance * scale, "{given} is not {expected}");
}

/// To a part of the value: for probabilities, however small.
#[track_caller]
fn near(given: f64, expected: &Value, tolerance: f64) {
    let expected = expected.as_f64().unwrap();
    assert!((given - expected).abs() <= tolerance * expected.abs(), "{given} is not {expected}");
}

#[test]
fn numeric_drift_is_evidentlys_and_scipys() {
    let golden = read(DRIFT);
    let of = |key: &str| &golden["numeric_results"][key];
    let reference = numbers(&golden["numeric"]["ref"]);
    let current = numbers(&golden["numeric"]["cur"]);
    let scores = samples::scores(&reference, &current).unwrap();
    close(scores.psi, of("evidently_psi"), 1e-12);
    close(scores.kullback_leibler, of("evidently_kl_div"), 1e-12);
    close(scores.jensen_shannon, of("evidently_jensenshannon"), 1e-12);
    close(scores.hellinger, of("evidently_hellinger"), 1e-12);
    close(scores.wasserstein, of("scipy_wasserstein"), 1e-12);
    close(scores.wasserstein, &golden["nannyml_0_13_1"]["w"], 1e-12);
    close(scores.wasserstein_normed, of("evidently_wasserstein"), 1e-12);
    let test = two_sample(&reference, &current).unwrap();
    close(test.statistic, of("scipy_ks_stat"), 1e-12);
    close(test.statistic, &golden["deepchecks_0_19_1"]["ks"], 1e-12);
    close(test.statistic, &golden["nannyml_0_13_1"]["ks"], 1e-12);
    near(test.p, of("scipy_ks_p_exact_auto"), 1e-12);
    near(test.p, of("evidently_ks"), 1e-12);
    let moments: Moments = reference.iter().copied().collect();
    close(moments.std_sample().unwrap(), of("pd_std"), 1e-12);
    close(moments.std_sample().unwrap(), of("ref_std_ddof1"), 1e-12);
    close(moments.std_pop().unwrap(), of("ref_std_ddof0"), 1e-12);

    let pooled = sorted(&[&reference[..], &current[..]].concat());
    let range = pooled[pooled.len() - 1] - pooled[0];
    close(scores.wasserstein / range, &golden["deepchecks_0_19_1"]["emd_m0"], 1e-12);
    for (edge, expected) in Sturges::of(&pooled).edges.iter().zip(numbers(of("sturges_edges"))) {
        // serde_json reads 17 digits to the last one but one.
        assert!((edge - expected).abs() < 1e-12, "{edge} {expected}");
    }
}

#[test]
fn decile_bins_are_numpys() {
    let golden = read(DRIFT);
    let of = |key: &str| &golden["numeric_results"][key];
    let reference = sorted(&numbers(&golden["numeric"]["ref"]));
    let current = numbers(&golden["numeric"]["cur"]);
    let edges = decile_edges(&reference);
    let expected = numbers(of("decile_inner_edges_type7"));
    assert_eq!(edges.len(), expected.len());
    for (edge, expected) in edges.iter().zip(expected) {
        assert!((edge - expected).abs() < 1e-12, "{edge} {expected}");
    }
    let edges = Edges::new(edges).unwrap();
    let (p, q) = (edges.count(&current), edges.count(&reference));
    assert_eq!((&p, &q), (&counts(of("decile_counts_cur")), &counts(of("decile_counts_ref"))));
    close(divergence::psi(&p, &q).unwrap(), of("galen_psi_decile_eps1e-4"), 1e-12);
    let js = divergence::jensen_shannon(&p, &q, Base::Two).unwrap();
    close(js, of("galen_js_base2_decile"), 1e-12);
    close(divergence::hellinger(&p, &q).unwrap(), of("hellinger_decile"), 1e-12);
}

#[test]
fn distances_over_given_edges_are_nannymls() {
    let golden = read(DRIFT);
    let of = |key: &str| &golden["nannyml_0_13_1"][key];
    let edges = numbers(&golden["nannyml_doane_edges"]);
    // Closed at the reference's maximum, and one bin for what lies outside.
    let count = |values: &[f64]| {
        let inside = Sturges { edges: edges.clone() }.count(&sorted(values));
        let outside = values.len() as u64 - inside.iter().sum::<u64>();
        [inside, vec![outside]].concat()
    };
    let p = count(&numbers(&golden["numeric"]["cur"]));
    let q = count(&numbers(&golden["numeric"]["ref"]));
    close(divergence::jensen_shannon(&p, &q, Base::Two).unwrap(), of("js"), 1e-6);
    close(divergence::hellinger(&p, &q).unwrap(), of("hel"), 1e-6);
}

#[test]
fn categorical_drift_is_everybodys() {
    let golden = read(DRIFT);
    let of = |key: &str| &golden["categorical_results"][key];
    let keys: Vec<&str> =
        of("keys").as_array().unwrap().iter().map(|key| key.as_str().unwrap()).collect();
    let count = |side: &str| -> Vec<u64> {
        let values = golden["categorical"][side].as_array().unwrap();
        let of = |key: &&str| values.iter().filter(|value| value.as_str() == Some(key)).count();
        keys.iter().map(|key| of(key) as u64).collect()
    };
    let (p, q) = (count("cur"), count("ref"));
    close(divergence::psi(&p, &q).unwrap(), of("evidently_psi"), 1e-12);
    close(divergence::kullback_leibler(&q, &p).unwrap(), of("evidently_kl_div"), 1e-12);
    let js = |base| divergence::jensen_shannon(&p, &q, base).unwrap();
    close(js(Base::E), of("evidently_jensenshannon"), 1e-12);
    close(js(Base::Two), &golden["nannyml_0_13_1"]["cat_js"], 1e-12);
    let hellinger = divergence::hellinger(&p, &q).unwrap();
    close(hellinger, of("evidently_hellinger"), 1e-12);
    close(hellinger, &golden["nannyml_0_13_1"]["cat_hel"], 1e-12);
    let l_infinity = divergence::l_infinity(&p, &q).unwrap();
    close(l_infinity, &golden["nannyml_0_13_1"]["cat_linf"], 1e-12);
    let floored = divergence::psi_floored(&p, &q, 0.01).unwrap();
    close(floored, &golden["deepchecks_0_19_1"]["cat_psi"], 1e-12);
    let test = chi_square(&q, &p).unwrap();
    close(test.statistic, &of("scipy_chi2_contingency")[0], 1e-12);
    near(test.p, &of("scipy_chi2_contingency")[1], 1e-12);
    close(test.dof as f64, &of("scipy_chi2_contingency")[2], 0.0);
}

#[track_caller]
fn interval(share: Option<Share>, value: &Value, ends: &Value) {
    let share = share.unwrap();
    close(share.value, value, 1e-12);
    close(share.low, &ends[0], 1e-12);
    close(share.high, &ends[1], 1e-12);
}

#[test]
fn performance_is_scikit_learns() {
    let golden = read(PERFORMANCE);
    let scores = numbers(&golden["p"]);
    let labels: Vec<bool> = counts(&golden["y"]).into_iter().map(|y| y == 1).collect();
    let threshold = golden["threshold"].as_f64().unwrap();
    close(performance::auc(&scores, &labels).unwrap(), &golden["auc"], 1e-12);
    close(performance::brier(&scores, &labels).unwrap(), &golden["brier"], 1e-12);
    close(performance::log_loss(&scores, &labels).unwrap(), &golden["logloss"], 1e-12);
    let calibration = Calibration::of(&scores, &labels).unwrap();
    close(calibration.ece(), &golden["ece10_equalwidth"], 1e-12);
    close(calibration.mce(), &golden["mce10"], 1e-12);

    for group in ["all", "F", "M"] {
        let of = &golden[group];
        let mut counts = Confusion::default();
        let groups = golden["group"].as_array().unwrap();
        for ((score, &label), member) in scores.iter().zip(&labels).zip(groups) {
            if group == "all" || member.as_str() == Some(group) {
                counts.push(*score >= threshold, label);
            }
        }
        let cells = [
            (counts.true_positives, "tp"),
            (counts.false_positives, "fp"),
            (counts.false_negatives, "fn"),
            (counts.true_negatives, "tn"),
        ];
        for (count, key) in cells {
            assert_eq!(Some(count), of[key].as_u64(), "{group} {key}");
        }
        interval(counts.sensitivity(), &of["sensitivity"], &of["sens_wilson95"]);
        interval(counts.specificity(), &of["specificity"], &of["spec_wilson95"]);
    }
    assert_eq!(
        Confusion::of(&scores, &labels, threshold).total(),
        golden["y"].as_array().unwrap().len() as u64
    );
}

#[test]
fn performance_without_labels_is_nannymls() {
    let golden = read(PERFORMANCE);
    let estimate = Estimate::of(&numbers(&golden["p"]), 0.5).unwrap();
    let of = |key: &str| &golden["cbpe"][key];
    close(estimate.true_positives, of("tp"), 1e-12);
    close(estimate.false_positives, of("fp"), 1e-12);
    close(estimate.false_negatives, of("fn"), 1e-12);
    close(estimate.true_negatives, of("tn"), 1e-12);
    close(estimate.accuracy().unwrap(), of("accuracy"), 1e-12);
    close(estimate.sensitivity().unwrap(), of("sensitivity"), 1e-12);
    close(estimate.specificity().unwrap(), of("specificity"), 1e-12);
    close(estimate.ppv().unwrap(), of("precision"), 1e-12);
    close(estimate.auc.unwrap(), of("auroc"), 1e-12);
}

/// As `spread` of `tests/tools/make_stats_golden.py`.
fn spread(count: u64, step: f64, power: u64, shift: f64) -> Vec<f64> {
    let value = |i: u64| (i as f64 * step) % 1.0;
    (1..=count).map(value).map(|x| if power == 2 { x * x + shift } else { x + shift }).collect()
}

const GOLDEN: f64 = 0.618_033_988_749_895;
const ROOT: f64 = 0.414_213_562_373_095_1;

#[test]
fn kolmogorov_smirnov_is_scipys_on_every_branch() {
    for case in read(SCIPY)["ks"].as_array().unwrap() {
        let whole = |key: &str| case[key].as_u64().unwrap();
        let a = spread(whole("n"), GOLDEN, 1, 0.0);
        let b = spread(whole("m"), ROOT, whole("power"), case["shift"].as_f64().unwrap());
        let test = two_sample(&a, &b).unwrap();
        close(test.statistic, &case["statistic"], 1e-12);
        near(test.p, &case["p"], 1e-6);
    }
}

#[test]
fn chi_square_is_scipys() {
    let golden = read(SCIPY);
    for case in golden["chi_square"].as_array().unwrap() {
        let test = chi_square(&counts(&case["table"][0]), &counts(&case["table"][1])).unwrap();
        close(test.statistic, &case["statistic"], 1e-12);
        near(test.p, &case["p"], 1e-10);
        assert_eq!(Some(test.dof), case["dof"].as_u64());
        close(test.cramers_v, &case["cramers_v"], 1e-12);
    }
    for case in golden["chi_square_tails"].as_array().unwrap() {
        let (x, dof) = (case["x"].as_f64().unwrap(), case["dof"].as_u64().unwrap());
        near(chi_square_tail(x, dof), &case["p"], 1e-10);
    }
}

#[test]
fn embeddings_are_compared_as_by_numpy_and_scikit_learn() {
    let golden = &read(SCIPY)["embedding"];
    let size = |key: &str| golden[key].as_u64().unwrap();
    let a = Rows::new(&spread(size("n") * 3, GOLDEN, 1, 0.0), 3).unwrap();
    let b = Rows::new(&spread(size("m") * 3, ROOT, 1, 0.2), 3).unwrap();
    let test = embedding::discrepancy(&a, &b).unwrap();
    close(test.mmd2, &golden["mmd2"], 1e-12);
    assert!(test.p < 0.02);
    let parts: Vec<usize> = [size("n"), size("m")]
        .iter()
        .flat_map(|&count| (0..count as usize).map(|row| row % embedding::FOLDS))
        .collect();
    let area = embedding::auc_in_folds(&a, &b, &parts).unwrap();
    close(area, &golden["classifier_auc"], 1e-9);
}

#[test]
fn principal_components_are_numpys() {
    for case in read(COMPONENTS)["cases"].as_array().unwrap() {
        let whole = |key: &str| case[key].as_u64().unwrap();
        let (rows, width) = (whole("rows"), whole("width") as usize);
        let plain = spread(rows * whole("width"), GOLDEN, 2, 0.0);
        // As `rows` of `tests/tools/make_components_golden.py`.
        let mixed = |row: &[f64]| -> Vec<f32> {
            let value = |i: usize| row[i] * 8.0 / (1 + i) as f64 + row[(i + 1) % width] / 2.0;
            (0..width).map(|i| value(i) as f32).collect()
        };
        let data: Vec<f32> = plain.chunks_exact(width).flat_map(mixed).collect();
        let found = components(&data, width, whole("count") as usize).unwrap();
        let all = |found: &[f64], expected: &Value, tolerance: f64| {
            let expected = expected.as_array().unwrap();
            assert_eq!(found.len(), expected.len());
            found.iter().zip(expected).for_each(|(x, y)| close(*x, y, tolerance));
        };
        all(&found.mean, &case["mean"], 1e-12);
        all(&found.variances, &case["variances"], 1e-12);
        let directions = case["directions"].as_array().unwrap();
        for (found, expected) in found.directions.iter().zip(directions) {
            all(found, expected, 1e-6);
        }
    }
}
