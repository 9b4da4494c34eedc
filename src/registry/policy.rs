//! Which step the registry takes next. Pure: snapshots in, at most one action out, no clock and no
//! memory, so that asking twice gives the same answer. (TensorFlow Serving's aspired-version
//! policy; this one preserves availability: old before new is never given up.)

use crate::model::ModelId;

/// What the policy may know of a version.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub id: ModelId,
    /// It ought to serve.
    pub aspired: bool,
    /// It answers.
    pub serving: bool,
    /// A load is under way.
    pub loading: bool,
    /// What lies there is not what serves, and may be tried now.
    pub due: bool,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Load(ModelId),
    Unload(ModelId),
}

/// The next step, if there is one to take now.
///
/// A version that is not wanted leaves once every wanted version of its model serves. At most
/// `loads_max` versions load at a time; models with nothing serving go first, and of one model the
/// highest version, as it is the one that unversioned requests want.
pub fn next_action(snapshots: &[Snapshot], loads_max: usize) -> Option<Action> {
    let of = |id: &ModelId| {
        let name = id.name.clone();
        snapshots.iter().filter(move |other| other.id.name == name)
    };
    let leaves = snapshots.iter().find(|version| {
        let awaited = of(&version.id).any(|other| other.aspired && !other.serving);
        version.serving && !version.aspired && !version.loading && !awaited
    });
    if let Some(version) = leaves {
        return Some(Action::Unload(version.id.clone()));
    }
    if snapshots.iter().filter(|version| version.loading).count() >= loads_max {
        return None;
    }
    snapshots
        .iter()
        .filter(|version| version.aspired && version.due && !version.loading)
        .max_by(|a, b| {
            let busy = |id: &ModelId| of(id).any(|other| other.serving || other.loading);
            let urgent = busy(&b.id).cmp(&busy(&a.id));
            let newest = a.id.version.cmp(&b.id.version);
            urgent.then(newest).then_with(|| b.id.name.cmp(&a.id.name))
        })
        .map(|version| Action::Load(version.id.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ModelName, Version};
    use proptest::prelude::*;

    /// `+` aspired, `*` serving, `~` loading, `!` due.
    fn snapshot(text: &str) -> Snapshot {
        let (id, marks) = text.split_once(' ').unwrap_or((text, ""));
        let (name, version) = id.split_once('/').unwrap();
        let name = ModelName::new(name).unwrap();
        Snapshot {
            id: ModelId { name, version: Version::parse(version).unwrap() },
            aspired: marks.contains('+'),
            serving: marks.contains('*'),
            loading: marks.contains('~'),
            due: marks.contains('!'),
        }
    }

    fn next(versions: &[&str], loads_max: usize) -> Option<String> {
        let snapshots: Vec<Snapshot> = versions.iter().map(|text| snapshot(text)).collect();
        next_action(&snapshots, loads_max).map(|action| match action {
            Action::Load(id) => format!("load {id}"),
            Action::Unload(id) => format!("unload {id}"),
        })
    }

    fn is(versions: &[&str], expected: &str) {
        assert_eq!(next(versions, 2).as_deref(), Some(expected), "{versions:?}");
    }

    #[test]
    fn highest_version_first_and_no_model_starves_another() {
        is(&["a/1 +!", "a/2 +!", "b/1 +!"], "load a/2");
        is(&["a/1 +!", "a/2 +~", "b/1 +!"], "load b/1");
        assert_eq!(next(&["a/1 +!", "a/2 +~", "b/1 +~"], 2), None);
        is(&["a/1 +!", "a/2 +*", "b/1 +*"], "load a/1");
        assert_eq!(next(&["a/1 +*", "a/2 +*"], 2), None);
    }

    #[test]
    fn the_old_version_stays_until_the_new_one_serves() {
        is(&["a/1 *", "a/2 +!"], "load a/2");
        assert_eq!(next(&["a/1 *", "a/2 +~"], 2), None);
        is(&["a/1 *", "a/2 +*"], "unload a/1");
        assert_eq!(next(&["a/1 *", "a/2 +"], 2), None, "tried and failed: the old one stays");
        is(&["a/1 *"], "unload a/1");
        is(&["a/1 *", "b/1 +!"], "unload a/1");
    }

    #[test]
    fn a_serving_version_whose_files_changed_is_loaded_beside_itself() {
        is(&["a/1 +*!"], "load a/1");
        assert_eq!(next(&["a/1 +*~!"], 2), None);
        assert_eq!(next(&["a/1 *~"], 2), None, "its load must end before it can leave");
    }

    proptest! {
        /// Whatever happens, a model that serves and is wanted keeps something that serves.
        #[test]
        fn availability_is_preserved(
            marks in proptest::collection::vec((any::<bool>(), any::<bool>(), any::<bool>()), 1..6)) {
            let mut versions: Vec<Snapshot> = marks.iter().enumerate().map(|(i, m)| {
                let mut version = snapshot(&format!("a/{}", i + 1));
                (version.aspired, version.serving, version.due) = (m.0, m.1, m.0 && !m.1);
                version
            }).collect();
            let wanted = versions.iter().any(|v| v.aspired);
            let mut served = versions.iter().any(|v| v.serving);
            for step in 0..20 {
                let Some(action) = next_action(&versions, 1) else { break };
                match action {
                    // Every second load fails.
                    Action::Load(id) => {
                        let version = versions.iter_mut().find(|v| v.id == id).unwrap();
                        version.due = false;
                        version.serving |= step % 2 == 0;
                    }
                    Action::Unload(id) => {
                        versions.iter_mut().find(|v| v.id == id).unwrap().serving = false;
                    }
                }
                let serves = versions.iter().any(|v| v.serving);
                prop_assert!(!wanted || !served || serves, "{versions:?}");
                served |= serves;
            }
        }
    }
}
