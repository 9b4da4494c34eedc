//! Which versions are in alert, and of what kind; whoever listens is told when that changes.
//!
//! What is in alert is derived from statistics that are kept over a restart, so that nothing is
//! kept here: after one, what still is on is told again.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use super::metrics::Metrics;
use crate::event::{Alarm, AlertChanged, AlertKind};
use crate::model::ModelId;

/// Reasons that are told; a model may have thousands of features.
const REASONS_MAX: usize = 20;

/// The alerts of all versions: three of each at most.
pub struct Alerts {
    on: Mutex<BTreeMap<(ModelId, AlertKind), On>>,
    metrics: Arc<Metrics>,
    listener: Option<Arc<dyn Alarm>>,
}

struct On {
    began: SystemTime,
    reasons: Vec<String>,
}

impl Alerts {
    pub fn new(metrics: Arc<Metrics>, listener: Option<Arc<dyn Alarm>>) -> Self {
        Self { on: Mutex::default(), metrics, listener }
    }

    /// How a version stands now; without a reason, there is no alert.
    pub fn stand(&self, id: &ModelId, kind: AlertKind, mut reasons: Vec<String>, at: SystemTime) {
        if reasons.len() > REASONS_MAX {
            let more = reasons.len() - REASONS_MAX;
            reasons.truncate(REASONS_MAX);
            reasons.push(format!("and {more} more"));
        }
        self.metrics.alert(id, kind, !reasons.is_empty());
        // Held while the listener is told, so that changes are told in their order.
        let mut on = self.on.lock().unwrap_or_else(PoisonError::into_inner);
        match (on.entry((id.clone(), kind)), reasons.is_empty()) {
            (Entry::Vacant(_), true) => {}
            // It goes on, perhaps for another reason.
            (Entry::Occupied(mut entry), false) => entry.get_mut().reasons = reasons,
            (Entry::Vacant(entry), false) => {
                entry.insert(On { began: at, reasons: reasons.clone() });
                self.tell(AlertChanged { id: id.clone(), kind, ended: None, began: at, reasons });
            }
            (Entry::Occupied(entry), true) => {
                let On { began, reasons } = entry.remove();
                let ended = Some(at);
                self.tell(AlertChanged { id: id.clone(), kind, ended, began, reasons });
            }
        }
    }

    /// A version that is gone is in no alert.
    pub fn forget(&self, id: &ModelId, at: SystemTime) {
        for kind in [AlertKind::Drift, AlertKind::Quality, AlertKind::Performance] {
            let on = self.on.lock().unwrap_or_else(PoisonError::into_inner);
            let known = on.contains_key(&(id.clone(), kind));
            drop(on);
            if known {
                self.stand(id, kind, Vec::new(), at);
            }
        }
    }

    fn tell(&self, change: AlertChanged) {
        let kind = change.kind.name();
        match change.ended {
            None => {
                let reasons = change.reasons.join("; ");
                tracing::warn!(model = %change.id, kind, reasons, "an alert begins");
            }
            Some(_) => tracing::info!(model = %change.id, kind, "an alert ends"),
        }
        if let Some(listener) = &self.listener {
            listener.alert_changed(change);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{ModelName, Version};

    #[derive(Default)]
    struct Heard(Mutex<Vec<AlertChanged>>);

    impl Alarm for Heard {
        fn alert_changed(&self, change: AlertChanged) {
            self.0.lock().unwrap().push(change);
        }
    }

    #[test]
    fn only_changes_are_told_and_an_end_says_when_it_began() {
        let (heard, metrics) = (Arc::new(Heard::default()), Arc::new(Metrics::new().unwrap()));
        let alerts = Alerts::new(Arc::clone(&metrics), Some(heard.clone()));
        let id = ModelId { name: ModelName::new("m").unwrap(), version: Version::new(1).unwrap() };
        let at = |s| SystemTime::UNIX_EPOCH + Duration::from_secs(s);
        let stand = |kind, reasons: &[&str], s| {
            alerts.stand(&id, kind, reasons.iter().map(|r| (*r).to_owned()).collect(), at(s));
        };
        stand(AlertKind::Drift, &[], 1);
        stand(AlertKind::Drift, &["a"], 2);
        stand(AlertKind::Quality, &["b"], 3);
        stand(AlertKind::Drift, &["a", "c"], 4);
        let exposed = metrics.handle().render();
        assert!(exposed.contains("galen_alert{model=\"m\",version=\"1\",kind=\"drift\"} 1"));
        stand(AlertKind::Drift, &[], 5);
        stand(AlertKind::Drift, &[], 6);
        alerts.forget(&id, at(7));
        alerts.forget(&id, at(8));
        let heard = heard.0.lock().unwrap();
        let told: Vec<_> =
            (heard.iter()).map(|c| (c.kind, c.began, c.ended, c.reasons.join(" "))).collect();
        assert_eq!(
            told,
            [
                (AlertKind::Drift, at(2), None, "a".to_owned()),
                (AlertKind::Quality, at(3), None, "b".to_owned()),
                (AlertKind::Drift, at(2), Some(at(5)), "a c".to_owned()),
                (AlertKind::Quality, at(3), Some(at(7)), "b".to_owned()),
            ]
        );
        assert!(metrics.handle().render().contains("kind=\"quality\"} 0"));
    }

    #[test]
    fn reasons_are_bounded() {
        let heard = Arc::new(Heard::default());
        let alerts = Alerts::new(Arc::new(Metrics::new().unwrap()), Some(heard.clone()));
        let id = ModelId { name: ModelName::new("m").unwrap(), version: Version::new(1).unwrap() };
        let many = vec!["x".to_owned(); 1000];
        alerts.stand(&id, AlertKind::Drift, many, SystemTime::UNIX_EPOCH);
        let heard = heard.0.lock().unwrap();
        assert_eq!(heard[0].reasons.len(), REASONS_MAX + 1);
        assert_eq!(heard[0].reasons.last().unwrap(), "and 980 more");
    }
}
