//! Traffic policies that were set by a call, kept across restarts; and what promoting and rolling
//! back mean.
//!
//! As with labels, `model.toml` declares a policy, a call replaces it, and that holds until
//! `model.toml` itself says something else.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::traffic::{Destination, Traffic};
use crate::model::{Label, Manifest, ModelName, Version};
use crate::state;

/// The name of the file in the state folder.
const FILE: &str = "traffic.json";

/// How one model's unversioned requests are steered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Steering {
    pub policy: Option<Traffic>,
    /// A call said so, not the configuration.
    pub by_call: bool,
    /// The version to roll back to, which is kept ready.
    pub previous: Option<Version>,
    /// Why it was rolled back the last time.
    pub note: Option<String>,
}

/// What a call changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    policy: Option<Traffic>,
    /// What `model.toml` said then.
    declared: Option<Traffic>,
    previous: Option<u64>,
    note: Option<String>,
}

/// All of them, and where they are kept.
pub struct TrafficStore {
    folder: PathBuf,
    models: BTreeMap<String, Kept>,
}

impl TrafficStore {
    /// Reads what was kept. As with labels, a broken file must not send traffic somewhere else.
    pub fn open(folder: &Path) -> Result<Self> {
        let models = state::open(folder, FILE).map_err(|error| {
            Error::invalid(format!(
                "{}; it holds the traffic policies that were set by calls: restore it, or remove \
                 it to go back to those of model.toml",
                error.message()
            ))
        })?;
        Ok(Self { folder: folder.to_owned(), models })
    }

    /// As it stands.
    pub fn of(&self, model: &ModelName, manifest: &Manifest) -> Steering {
        match self.models.get(model.as_str()) {
            Some(kept) if kept.declared == manifest.traffic => Steering {
                policy: kept.policy.clone(),
                by_call: true,
                previous: kept.previous.and_then(Version::new),
                note: kept.note.clone(),
            },
            _ => Steering { policy: manifest.traffic.clone(), ..Steering::default() },
        }
    }

    /// Sets it and keeps that; `None` goes back to the configuration.
    pub fn set(
        &mut self,
        model: &ModelName,
        manifest: &Manifest,
        steering: Option<Steering>,
    ) -> Result<()> {
        let before = self.models.clone();
        match steering {
            Some(Steering { policy, previous, note, .. }) => {
                let declared = manifest.traffic.clone();
                let previous = previous.map(Version::number);
                let kept = Kept { policy, declared, previous, note };
                self.models.insert(model.to_string(), kept);
            }
            None => {
                self.models.remove(model.as_str());
            }
        }
        state::save(&self.folder, FILE, &self.models).inspect_err(|_| self.models = before)
    }
}

/// A change of direction: the new policy, and a label that moves with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    pub steering: Steering,
    pub label: Option<(Label, Version)>,
}

/// All unversioned requests go to `version` from now on. `now` is where most of them go.
pub fn promote(before: &Steering, version: Version, now: Option<Version>) -> Turn {
    let policy = before.policy.clone().unwrap_or_default();
    let previous = now.filter(|now| *now != version).or(before.previous);
    turn(before, policy, version, previous)
}

/// A split or a shadow ends; where there is none, requests go back to where they went before the
/// last promotion. With a `reason` it is a split's own verdict, which ends nothing else.
pub fn roll_back(before: &Steering, reason: Option<String>) -> Result<Turn> {
    let mut policy = before.policy.clone().unwrap_or_default();
    if !policy.split.is_empty() || policy.shadow.is_some() {
        (policy.split, policy.shadow) = (Vec::new(), None);
        let previous = before.previous;
        let steering = Steering { policy: Some(policy), by_call: true, previous, note: reason };
        return Ok(Turn { steering, label: None });
    }
    if reason.is_some() {
        // A verdict is on a split. Requests that came before a promotion may bring one after it.
        return Err(Error::invalid("the split that is to be rolled back has ended already"));
    }
    let version = before.previous.ok_or_else(|| {
        Error::invalid("there is nothing to roll back: no split, no shadow, and no promotion")
    })?;
    Ok(turn(before, policy, version, None))
}

/// Where the policy goes to a label, the label moves; otherwise the policy names the version.
fn turn(
    before: &Steering,
    mut policy: Traffic,
    version: Version,
    previous: Option<Version>,
) -> Turn {
    (policy.split, policy.shadow) = (Vec::new(), None);
    let label = match &policy.to {
        Some(Destination::Label(label)) => Some((label.clone(), version)),
        _ => {
            policy.to = Some(Destination::Version(version));
            None
        }
    };
    let note = before.note.clone();
    let steering = Steering { policy: Some(policy), by_call: true, previous, note };
    Turn { steering, label }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(number: u64) -> Version {
        Version::new(number).unwrap()
    }

    fn steering(text: &str) -> Steering {
        let manifest = Manifest::parse(text).unwrap();
        Steering { policy: manifest.traffic, ..Steering::default() }
    }

    fn to(turn: &Turn) -> String {
        turn.steering.policy.as_ref().unwrap().to.as_ref().unwrap().to_string()
    }

    #[test]
    fn a_promotion_ends_the_split_and_can_be_taken_back_once() {
        let before = steering("[traffic]\nsplit = [{ to = 2, percent = 5 }]");
        let promoted = promote(&before, version(2), Some(version(1)));
        assert_eq!((to(&promoted).as_str(), &promoted.label), ("2", &None));
        assert!(promoted.steering.policy.as_ref().unwrap().split.is_empty());
        let back = roll_back(&promoted.steering, None).unwrap();
        assert_eq!((to(&back).as_str(), back.steering.previous), ("1", None));
        assert!(roll_back(&back.steering, None).is_err());
        let again = promote(&promoted.steering, version(2), Some(version(2)));
        assert_eq!(again.steering.previous, Some(version(1)), "nothing was promoted");
    }

    #[test]
    fn where_the_policy_names_a_label_the_label_moves() {
        let before = steering("labels = { stable = 1 }\n[traffic]\nto = 'stable'");
        let promoted = promote(&before, version(2), Some(version(1)));
        let stable = Label::new("stable").unwrap();
        assert_eq!(promoted.label, Some((stable.clone(), version(2))));
        assert_eq!(to(&promoted), "stable");
        let back = roll_back(&promoted.steering, None).unwrap();
        assert_eq!(back.label, Some((stable, version(1))));
    }

    #[test]
    fn a_split_is_rolled_back_before_a_promotion() {
        let mut before = steering("[traffic]\nto = 1\nshadow = { to = 2 }");
        before.previous = Some(version(7));
        let back = roll_back(&before, Some("too slow".into())).unwrap();
        assert_eq!((to(&back).as_str(), back.steering.previous), ("1", Some(version(7))));
        assert_eq!(back.steering.note.as_deref(), Some("too slow"));
    }

    #[test]
    fn a_verdict_on_a_split_that_has_ended_takes_no_promotion_back() {
        let before = steering("[traffic]\nsplit = [{ to = 2, percent = 5 }]");
        let promoted = promote(&before, version(2), Some(version(1))).steering;
        assert!(roll_back(&promoted, Some("'2': too slow".into())).is_err());
        assert!(roll_back(&promoted, None).is_ok(), "a person may");
    }

    #[test]
    fn a_policy_set_by_a_call_holds_until_the_configuration_says_something_else() {
        let folder = std::env::temp_dir().join(format!("galen-traffic-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let model = ModelName::new("m").unwrap();
        let one = Manifest::parse("[traffic]\nto = 1").unwrap();
        let mut store = TrafficStore::open(&folder).unwrap();
        let promoted = promote(&store.of(&model, &one), version(2), Some(version(1)));
        store.set(&model, &one, Some(promoted.steering.clone())).unwrap();
        let store = TrafficStore::open(&folder).unwrap();
        assert_eq!(store.of(&model, &one), promoted.steering);
        let edited = Manifest::parse("[traffic]\nto = 3").unwrap();
        assert_eq!(store.of(&model, &edited).policy, edited.traffic);
        std::fs::write(folder.join(FILE), "{").unwrap();
        assert!(TrafficStore::open(&folder).is_err());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
