//! What ought to serve: from what lies there, by each model's version policy, the full set of
//! aspired versions. A version that is left out is not wanted; nothing is implied by silence. Pure.

use std::collections::BTreeSet;

use crate::error::{Error, Result};
use crate::model::Version;
use crate::model::manifest::VersionPolicy;

/// One version that lies there.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    pub version: Version,
    /// Nobody writes to it any more, as far as one can see.
    pub quiet: bool,
    /// It was tried as it is, and failed.
    pub failed: bool,
}

/// The versions of one model that ought to serve.
///
/// A version that failed, or is still being written, does not take the place of one that can
/// serve: `latest` counts the highest usable ones. Versions that a label names are wanted besides.
pub fn aspired(
    policy: &VersionPolicy,
    found: &[Found],
    labelled: &[Version],
) -> Result<BTreeSet<Version>> {
    let mut usable: Vec<Version> = (found.iter())
        .filter(|found| found.quiet && !found.failed)
        .map(|found| found.version)
        .collect();
    usable.sort_unstable();
    let mut wanted: BTreeSet<Version> = match policy {
        VersionPolicy::All => usable.iter().copied().collect(),
        VersionPolicy::Latest(count) => {
            usable[usable.len().saturating_sub(*count)..].iter().copied().collect()
        }
        VersionPolicy::Specific(numbers) => {
            for number in numbers {
                if !found.iter().any(|found| found.version.number() == *number) {
                    return Err(Error::invalid(format!(
                        "version_policy: version {number} is wanted, but there is no folder \
                         {number}/"
                    )));
                }
            }
            let is_wanted = |version: &&Version| numbers.contains(&version.number());
            usable.iter().filter(is_wanted).copied().collect()
        }
    };
    wanted.extend(labelled.iter().filter(|version| usable.contains(version)));
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Found {
        let (number, mark) = text.split_at(text.trim_end_matches(['!', '?']).len());
        let version = Version::parse(number).unwrap();
        Found { version, quiet: mark != "?", failed: mark == "!" }
    }

    /// `!` marks a version that failed, `?` one that is still being written.
    fn numbers(policy: VersionPolicy, versions: &[&str], labelled: &[&str]) -> Option<Vec<u64>> {
        let found: Vec<Found> = versions.iter().map(|text| found(text)).collect();
        let labelled: Vec<Version> =
            labelled.iter().map(|text| Version::parse(text).unwrap()).collect();
        let wanted = aspired(&policy, &found, &labelled).ok()?;
        Some(wanted.iter().map(|version| version.number()).collect())
    }

    #[test]
    fn policies_choose_as_documented() {
        let all = ["1", "2", "7"];
        let of = |policy| numbers(policy, &all, &[]);
        assert_eq!(of(VersionPolicy::default()), Some(vec![7]));
        assert_eq!(of(VersionPolicy::Latest(2)), Some(vec![2, 7]));
        assert_eq!(of(VersionPolicy::Latest(9)), Some(vec![1, 2, 7]));
        assert_eq!(of(VersionPolicy::All), Some(vec![1, 2, 7]));
        assert_eq!(of(VersionPolicy::Specific(vec![7, 1])), Some(vec![1, 7]));
        assert_eq!(of(VersionPolicy::Specific(vec![3])), None);
        assert_eq!(numbers(VersionPolicy::All, &[], &[]), Some(vec![]));
    }

    #[test]
    fn what_failed_or_is_half_written_takes_nobodys_place() {
        let latest = VersionPolicy::default;
        assert_eq!(numbers(latest(), &["1", "2", "3!"], &[]), Some(vec![2]));
        assert_eq!(numbers(latest(), &["1", "2!", "3?"], &[]), Some(vec![1]));
        assert_eq!(numbers(VersionPolicy::Specific(vec![1, 2]), &["1!", "2"], &[]), Some(vec![2]));
    }

    #[test]
    fn labelled_versions_are_wanted_besides() {
        let latest = VersionPolicy::default();
        assert_eq!(numbers(latest, &["1", "2", "3", "4!"], &["1", "4", "9"]), Some(vec![1, 3]));
    }
}
