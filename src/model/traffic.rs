//! Where requests go that name no version: to one version, split over several by a sticky hash, and
//! mirrored to one that is only watched. Data and decisions; pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Label, Version};
use crate::error::{Error, Result, quoted};

/// Versions beside the first that may share the requests.
const SPLIT_MAX: usize = 8;
/// Places that requests are spread over: a share is exact to a hundredth of a percent.
const PLACES: u32 = 10_000;
/// A verdict on fewer requests is a verdict on chance.
const REQUESTS_MIN: u64 = 20;
const REQUESTS_LIMIT: u64 = 1_000_000;

/// The traffic policy of one model.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Traffic {
    /// Where requests go that name no version; without it, to the highest version that is ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Destination>,
    /// Shares of them that go elsewhere.
    pub split: Vec<Share>,
    /// A version that gets copies of them, and is compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Shadow>,
    /// When the split ends by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback: Option<Rollback>,
}

/// A version, by number or by label.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "Written", into = "String")]
pub enum Destination {
    Version(Version),
    Label(Label),
}

/// A part of the requests.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    pub to: Destination,
    pub percent: f64,
}

/// Copies that are compared.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Shadow {
    pub to: Destination,
    #[serde(default = "all")]
    pub percent: f64,
    /// Largest absolute difference of numbers that still agree.
    #[serde(default = "tolerance")]
    pub tolerance: f64,
}

/// What ends a split by itself.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Rollback {
    /// Requests of a share that are judged together.
    #[serde(default = "requests")]
    pub requests: u64,
    /// More failures than this, in percent.
    pub error_percent: Option<f64>,
    /// A mean time of answering of more than so many times that of the others.
    pub latency_ratio: Option<f64>,
}

fn all() -> f64 {
    100.0
}

fn tolerance() -> f64 {
    1e-5
}

fn requests() -> u64 {
    200
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Number(u64),
    Text(String),
}

impl TryFrom<Written> for Destination {
    type Error = String;

    fn try_from(written: Written) -> std::result::Result<Self, String> {
        let text = match written {
            Written::Number(number) => number.to_string(),
            Written::Text(text) => text,
        };
        Self::parse(&text)
            .ok_or_else(|| format!("'{}' is neither a version nor a label", quoted(&text)))
    }
}

impl From<Destination> for String {
    fn from(destination: Destination) -> Self {
        destination.to_string()
    }
}

impl std::fmt::Display for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Destination::Version(version) => version.fmt(f),
            Destination::Label(label) => label.fmt(f),
        }
    }
}

impl Destination {
    pub fn parse(text: &str) -> Option<Self> {
        let version = Version::parse(text).map(Destination::Version);
        version.or_else(|| Label::new(text).map(Destination::Label))
    }

    /// The version that it is while labels point as they do.
    pub fn version(&self, labels: &BTreeMap<Label, Version>) -> Option<Version> {
        match self {
            Destination::Version(version) => Some(*version),
            Destination::Label(label) => labels.get(label).copied(),
        }
    }

    /// What a caller wrote, or an error that says what was expected.
    pub fn required(text: &str) -> Result<Self> {
        Self::parse(text).ok_or_else(|| {
            Error::invalid("to: expected a version such as \"2\", or a label such as \"canary\"")
        })
    }
}

/// What became of the requests of one share since the last verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    pub requests: u64,
    pub failures: u64,
    /// Time of those that were answered, in microseconds.
    pub answered_us: u64,
}

impl Window {
    /// Mean time of those that were answered.
    pub fn mean_us(&self) -> Option<f64> {
        let answered = self.requests.saturating_sub(self.failures);
        (answered > 0).then(|| self.answered_us as f64 / answered as f64)
    }
}

impl Traffic {
    pub fn validate(&self) -> Result<()> {
        let wrong = |message: String| Err(Error::invalid(format!("traffic.{message}")));
        if self.split.len() > SPLIT_MAX {
            return wrong(format!("split: expected at most {SPLIT_MAX} shares"));
        }
        let is_share = |percent: f64| percent > 0.0 && percent <= 100.0;
        for (position, share) in self.split.iter().enumerate() {
            if !is_share(share.percent) {
                return wrong(format!("split.percent of '{}': expected 0 to 100", share.to));
            }
            let earlier = self.split.iter().take(position).any(|other| other.to == share.to);
            if earlier || Some(&share.to) == self.to.as_ref() {
                return wrong(format!("split: '{}' is named twice", share.to));
            }
        }
        if self.split.iter().map(|share| share.percent).sum::<f64>() > 100.0 {
            return wrong("split: the shares are more than 100 percent together".into());
        }
        if let Some(shadow) = &self.shadow {
            if !is_share(shadow.percent) {
                return wrong("shadow.percent: expected 0 to 100".into());
            }
            if !(shadow.tolerance.is_finite() && shadow.tolerance >= 0.0) {
                return wrong("shadow.tolerance: expected 0 or more".into());
            }
        }
        let Some(rollback) = &self.rollback else { return Ok(()) };
        if !(REQUESTS_MIN..=REQUESTS_LIMIT).contains(&rollback.requests) {
            return wrong(format!(
                "rollback.requests: expected {REQUESTS_MIN} to {REQUESTS_LIMIT}"
            ));
        }
        if rollback.error_percent.is_some_and(|percent| !(0.0..=100.0).contains(&percent)) {
            return wrong("rollback.error_percent: expected 0 to 100".into());
        }
        if rollback.latency_ratio.is_some_and(|ratio| !(ratio.is_finite() && ratio > 1.0)) {
            return wrong("rollback.latency_ratio: expected more than 1".into());
        }
        if rollback.error_percent.is_none() && rollback.latency_ratio.is_none() {
            return wrong("rollback: expected error_percent, latency_ratio or both".into());
        }
        Ok(())
    }

    /// Every destination, each of which must be kept ready.
    pub fn destinations(&self) -> impl Iterator<Item = &Destination> {
        let split = self.split.iter().map(|share| &share.to);
        self.to.iter().chain(split).chain(self.shadow.iter().map(|shadow| &shadow.to))
    }

    /// Which share a request with this key belongs to; `None`: to none, and so to `to`.
    ///
    /// The same key always gets the same answer, on every replica; and as shares grow from the
    /// lowest places up, the first share keeps its callers when it grows.
    pub fn share_of(&self, model: &str, key: &str) -> Option<usize> {
        if self.split.is_empty() {
            return None;
        }
        let place = f64::from(place(model, "split", key));
        let mut end = 0.0;
        self.split.iter().position(|share| {
            end += share.percent * f64::from(PLACES) / 100.0;
            place < end
        })
    }

    /// Whether a copy of a request with this key goes to the shadow.
    pub fn is_shadowed(&self, model: &str, key: &str) -> bool {
        self.shadow.as_ref().is_some_and(|shadow| {
            let places = shadow.percent * f64::from(PLACES) / 100.0;
            shadow.percent >= 100.0 || f64::from(place(model, "shadow", key)) < places
        })
    }
}

impl Rollback {
    /// Why a share should end, judged by its own requests and those of the others.
    pub fn verdict(&self, share: &Window, others: &Window) -> Option<String> {
        if share.requests < self.requests {
            return None;
        }
        let failed = share.failures as f64 * 100.0 / share.requests as f64;
        if let Some(most) = self.error_percent.filter(|most| failed > *most) {
            return Some(format!(
                "{failed:.1} % of {} requests failed, more than {most} %",
                share.requests
            ));
        }
        let (most, mean, base) = (self.latency_ratio?, share.mean_us()?, others.mean_us()?);
        (mean > most * base).then(|| {
            format!(
                "{} requests took {mean:.0} us on average, more than {most} times the {base:.0} us \
                 of the others",
                share.requests
            )
        })
    }
}

/// A place from 0 to [`PLACES`]: FNV-1a, finished as `SplitMix64` does so that near keys part.
fn place(model: &str, purpose: &str, key: &str) -> u32 {
    let parts = [model, "\0", purpose, "\0", key];
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for byte in parts.iter().flat_map(|part| part.bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^= hash >> 31;
    u32::try_from(hash % u64::from(PLACES)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn traffic(text: &str) -> Result<Traffic> {
        let traffic: Traffic = crate::config::toml_from_str(text)?;
        traffic.validate().map(|()| traffic)
    }

    #[test]
    fn a_policy_is_read_and_what_makes_no_sense_is_refused() {
        let text = "to = 'stable'
            split = [{ to = 'canary', percent = 10 }, { to = 3, percent = 2.5 }]
            shadow = { to = '4' }
            rollback = { error_percent = 5 }";
        let policy = traffic(text).unwrap();
        let names: Vec<String> = policy.destinations().map(ToString::to_string).collect();
        assert_eq!(names, ["stable", "canary", "3", "4"]);
        let json = serde_json::to_string(&policy).unwrap();
        assert_eq!(serde_json::from_str::<Traffic>(&json).unwrap(), policy);
        for (text, expected) in [
            ("to = '-'", "neither a version nor a label"),
            ("to = 0", "neither a version nor a label"),
            ("split = [{ to = 1, percent = 0 }]", "split.percent of '1'"),
            ("split = [{ to = 1, percent = 60 }, { to = 2, percent = 60 }]", "more than 100"),
            ("to = 1\nsplit = [{ to = '1', percent = 6 }]", "'1' is named twice"),
            ("shadow = { to = 1, percent = 101 }", "shadow.percent"),
            ("shadow = { to = 1, tolerance = -1 }", "shadow.tolerance"),
            ("rollback = { requests = 5, error_percent = 1 }", "rollback.requests"),
            ("rollback = { }", "error_percent, latency_ratio or both"),
            ("rollback = { latency_ratio = 0.5 }", "rollback.latency_ratio"),
            ("colour = 1", "colour"),
        ] {
            let error = traffic(text).unwrap_err();
            assert!(error.message().contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn shares_are_as_large_as_they_say_and_keep_their_callers_as_they_grow() {
        let split = |percent: f64| {
            let to = Destination::parse("canary").unwrap();
            Traffic { split: vec![Share { to, percent }], ..Traffic::default() }
        };
        let keys: Vec<String> = (0..20_000).map(|number| format!("patient-{number}")).collect();
        let chosen = |percent: f64| -> Vec<&String> {
            let policy = split(percent);
            keys.iter().filter(|key| policy.share_of("m", key).is_some()).collect()
        };
        let (ten, thirty) = (chosen(10.0), chosen(30.0));
        let share = ten.len() as f64 / keys.len() as f64;
        assert!((share - 0.1).abs() < 0.015, "{share}");
        assert!(ten.iter().all(|key| thirty.contains(key)));
        assert_eq!(chosen(100.0).len(), keys.len());
        // Another model's tenth is another tenth.
        let policy = split(10.0);
        let both = ten.iter().filter(|key| policy.share_of("other", key).is_some()).count();
        assert!(both * 5 < ten.len(), "{both} of {}", ten.len());
    }

    #[test]
    fn a_share_is_judged_by_its_errors_and_by_its_time() {
        let rollback =
            Rollback { requests: 100, error_percent: Some(5.0), latency_ratio: Some(2.0) };
        let window = |requests, failures, answered_us| Window { requests, failures, answered_us };
        let others = window(1000, 0, 1_000_000);
        assert_eq!(rollback.verdict(&window(99, 99, 0), &others), None, "too few");
        assert_eq!(rollback.verdict(&window(100, 5, 95_000), &others), None);
        let verdict = rollback.verdict(&window(100, 6, 94_000), &others).unwrap();
        assert_eq!(verdict, "6.0 % of 100 requests failed, more than 5 %");
        let verdict = rollback.verdict(&window(100, 0, 250_000), &others).unwrap();
        assert!(verdict.contains("took 2500 us on average, more than 2 times the 1000 us"));
        assert_eq!(rollback.verdict(&window(100, 0, 250_000), &Window::default()), None);
    }

    proptest! {
        #[test]
        fn the_same_key_always_goes_the_same_way(key in ".{0,40}", percent in 0.01f64..100.0) {
            let to = Destination::parse("2").unwrap();
            let policy = Traffic { split: vec![Share { to, percent }], ..Traffic::default() };
            prop_assert_eq!(policy.share_of("m", &key), policy.share_of("m", &key));
        }
    }
}
