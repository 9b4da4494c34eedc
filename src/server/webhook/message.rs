//! An alert as Alertmanager's webhook writes it, version 4: one group with one alert.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::Serialize;

use super::super::time::rfc3339;
use crate::digest::sha256;
use crate::event::{AlertChanged, AlertKind};

/// Go's zero time: Alertmanager's "it goes on".
const NEVER: &str = "0001-01-01T00:00:00Z";

type Texts = BTreeMap<&'static str, String>;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Message<'a> {
    version: &'static str,
    group_key: String,
    truncated_alerts: u64,
    status: &'static str,
    receiver: &'static str,
    group_labels: &'a Texts,
    common_labels: &'a Texts,
    common_annotations: &'a Texts,
    #[serde(rename = "externalURL")]
    external_url: &'static str,
    alerts: [Alert<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Alert<'a> {
    status: &'static str,
    labels: &'a Texts,
    annotations: &'a Texts,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: String,
    fingerprint: String,
}

/// The body of the request.
pub fn of(change: &AlertChanged) -> serde_json::Result<Vec<u8>> {
    let AlertChanged { id, kind, ended, began, reasons } = change;
    let labels: Texts = BTreeMap::from([
        ("alertname", alert_name(*kind).to_owned()),
        ("kind", kind.name().to_owned()),
        ("model", id.name.to_string()),
        ("severity", "warning".to_owned()),
        ("version", id.version.to_string()),
    ]);
    let annotations: Texts = BTreeMap::from([
        ("summary", summary(*kind, id.name.as_str(), &id.version.to_string())),
        ("description", reasons.join("\n")),
    ]);
    let status = if ended.is_some() { "resolved" } else { "firing" };
    let line = labels.iter().map(|(name, value)| format!("{name}={value:?}"));
    let line = line.collect::<Vec<_>>().join(", ");
    // Stable over restarts: who reads it knows an alert again.
    let mut fingerprint = sha256(line.as_bytes());
    fingerprint.truncate(16);
    let time = |at: &SystemTime| rfc3339(*at);
    serde_json::to_vec(&Message {
        version: "4",
        group_key: format!("{{}}:{{{line}}}"),
        truncated_alerts: 0,
        status,
        receiver: "galen",
        group_labels: &labels,
        common_labels: &labels,
        common_annotations: &annotations,
        external_url: "",
        alerts: [Alert {
            status,
            labels: &labels,
            annotations: &annotations,
            starts_at: time(began),
            ends_at: ended.as_ref().map_or_else(|| NEVER.to_owned(), time),
            generator_url: format!("/models/{}/versions/{}/{}", id.name, id.version, kind.name()),
            fingerprint,
        }],
    })
}

fn alert_name(kind: AlertKind) -> &'static str {
    match kind {
        AlertKind::Drift => "GalenDrift",
        AlertKind::Quality => "GalenQuality",
        AlertKind::Performance => "GalenPerformance",
    }
}

fn summary(kind: AlertKind, model: &str, version: &str) -> String {
    match kind {
        AlertKind::Drift => {
            format!("What {model} version {version} is asked about is not what it was trained on")
        }
        AlertKind::Quality => format!("Data that {model} version {version} gets are suspect"),
        AlertKind::Performance => format!("{model} version {version} does worse than declared"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{ModelId, ModelName, Version};

    #[test]
    fn it_has_the_members_of_alertmanagers_own() {
        let id = ModelId { name: ModelName::new("m").unwrap(), version: Version::new(2).unwrap() };
        let began = SystemTime::UNIX_EPOCH + Duration::from_secs(951_782_399);
        let mut change = AlertChanged {
            id,
            kind: AlertKind::Drift,
            ended: None,
            began,
            reasons: vec!["age: psi 3.21, above 0.25".to_owned(), "sex: \"x\"".to_owned()],
        };
        let read = |change: &AlertChanged| -> serde_json::Value {
            serde_json::from_slice(&of(change).unwrap()).unwrap()
        };
        let firing = read(&change);
        // Alertmanager's docs, "webhook_config": exactly these.
        let keys = |value: &serde_json::Value| -> Vec<String> {
            value.as_object().unwrap().keys().cloned().collect()
        };
        let mut found = keys(&firing);
        found.sort();
        assert_eq!(
            found,
            [
                "alerts",
                "commonAnnotations",
                "commonLabels",
                "externalURL",
                "groupKey",
                "groupLabels",
                "receiver",
                "status",
                "truncatedAlerts",
                "version"
            ]
        );
        let alert = &firing["alerts"][0];
        let mut found = keys(alert);
        found.sort();
        let expected =
            "annotations endsAt fingerprint generatorURL labels startsAt status".split(' ');
        assert_eq!(found, expected.collect::<Vec<_>>());
        assert_eq!((&firing["version"], &firing["status"]), (&"4".into(), &"firing".into()));
        assert_eq!(alert["startsAt"], "2000-02-28T23:59:59Z");
        assert_eq!(alert["endsAt"], NEVER);
        assert_eq!(alert["labels"]["alertname"], "GalenDrift");
        assert_eq!(alert["annotations"]["description"], "age: psi 3.21, above 0.25\nsex: \"x\"");

        change.ended = Some(began + Duration::from_secs(1));
        let resolved = read(&change);
        assert_eq!(resolved["status"], "resolved");
        assert_eq!(resolved["alerts"][0]["endsAt"], "2000-02-29T00:00:00Z");
        assert_eq!(resolved["alerts"][0]["fingerprint"], alert["fingerprint"]);
        change.kind = AlertKind::Quality;
        assert_ne!(read(&change)["alerts"][0]["fingerprint"], alert["fingerprint"]);
    }
}
