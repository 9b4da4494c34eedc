//! Whether a version does worse than it is declared to. Pure.
//!
//! A figure is in alert when its whole 95 % interval lies below what is declared, of at least
//! [`CASES_MIN`] cases; and until the figure itself is back. It is looked at whenever labels come,
//! so by chance alone more often than the one look in forty that the interval promises.

use super::report::{CASES_MIN, Summary};
use crate::model::performance::AtLeast;

/// The figures in alert, with why. `before` are the names of those that were.
pub fn judge(
    summary: &Summary,
    at_least: &AtLeast,
    before: &[&'static str],
) -> Vec<(&'static str, String)> {
    let shares = [summary.sensitivity, summary.specificity, summary.ppv, summary.npv];
    let declared = at_least.each().into_iter().zip(shares);
    let alert = |((name, least), share)| {
        let (least, share): (f64, crate::stats::performance::Share) = (least?, share?);
        let begins = share.of >= CASES_MIN as u64 && share.high < least;
        let goes_on = before.contains(&name) && share.value < least;
        let reason = || {
            let crate::stats::performance::Share { of, value, low, high } = share;
            format!("{name} {value:.3} ({low:.3} to {high:.3}, {of} cases), below {least}")
        };
        (begins || goes_on).then(|| (name, reason()))
    };
    declared.filter_map(alert).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::performance::wilson;

    fn names(hits: u64, of: u64, before: &[&'static str]) -> Vec<&'static str> {
        let summary = Summary { sensitivity: wilson(hits, of), ..Summary::default() };
        let at_least = AtLeast { sensitivity: Some(0.9), npv: Some(0.9), ..AtLeast::default() };
        judge(&summary, &at_least, before).into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn an_alert_needs_cases_and_more_than_chance_and_ends_when_the_figure_is_back() {
        assert_eq!(names(0, 29, &[]), [""; 0], "too few");
        assert_eq!(names(0, 30, &[]), ["sensitivity"]);
        // 85 of 100: Wilson's interval ends at 0.907.
        assert_eq!(names(85, 100, &[]), [""; 0]);
        assert_eq!(names(85, 100, &["sensitivity"]), ["sensitivity"]);
        assert_eq!(names(85, 100, &["npv"]), [""; 0], "another figure's alert is not this one's");
        assert_eq!(names(90, 100, &["sensitivity"]), [""; 0]);
        assert_eq!(names(850, 1000, &[]), ["sensitivity"]);
        assert_eq!(names(0, 0, &["sensitivity"]), [""; 0]);
    }
}
