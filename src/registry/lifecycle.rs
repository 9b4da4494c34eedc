//! The states of a version.
//!
//! ```text
//! New -> Verifying -> Loading -> Warming -> Ready -> Draining -> Unloaded -> New
//!  any state before Ready -> Failed -> New
//! ```
//!
//! A ready version whose files change is loaded anew beside itself: it stays `Ready` while the new
//! one comes, and keeps serving when the new one fails.

use std::fmt;

/// Where a version stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionState {
    /// Seen, nothing done yet.
    New,
    /// Its files are read and their digests compared.
    Verifying,
    /// The engine loads it.
    Loading,
    /// It runs on made-up input, so that the first caller does not pay for it.
    Warming,
    /// It answers.
    Ready,
    /// It takes no new requests; those it has accepted finish.
    Draining,
    /// It is gone from memory, as was wanted.
    Unloaded,
    /// It can not serve; the reason stands beside it.
    Failed,
}

impl VersionState {
    /// Whether the state machine has this arrow.
    pub fn may_become(self, next: VersionState) -> bool {
        use VersionState::{Draining, Failed, Loading, New, Ready, Unloaded, Verifying, Warming};
        matches!(
            (self, next),
            (New, Verifying)
                | (Verifying, Loading)
                | (Loading, Warming)
                | (Warming, Ready)
                | (New | Verifying | Loading | Warming, Failed)
                | (Ready, Draining)
                | (Draining, Unloaded)
                | (Failed | Unloaded, New)
                // Wanted again, or not wanted any more, before anything was done.
                | (Draining, New)
                | (New | Failed, Unloaded)
        )
    }

    pub fn name(self) -> &'static str {
        match self {
            VersionState::New => "new",
            VersionState::Verifying => "verifying",
            VersionState::Loading => "loading",
            VersionState::Warming => "warming",
            VersionState::Ready => "ready",
            VersionState::Draining => "draining",
            VersionState::Unloaded => "unloaded",
            VersionState::Failed => "failed",
        }
    }

    /// Whether it is on its way to `Ready`.
    pub fn is_coming(self) -> bool {
        use VersionState::{Loading, New, Verifying, Warming};
        matches!(self, New | Verifying | Loading | Warming)
    }

    /// Whether it does not serve because nobody wants it to.
    pub fn is_retired(self) -> bool {
        matches!(self, VersionState::Draining | VersionState::Unloaded)
    }
}

impl fmt::Display for VersionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::VersionState::{
        Draining, Failed, Loading, New, Ready, Unloaded, Verifying, Warming,
    };

    #[test]
    fn no_state_is_skipped_on_the_way_up_or_down() {
        let path = [New, Verifying, Loading, Warming, Ready, Draining, Unloaded];
        for (i, from) in path.into_iter().enumerate() {
            for (j, to) in path.into_iter().enumerate() {
                let back = (i, j) == (6, 0) || (i, j) == (5, 0) || (i, j) == (0, 6);
                assert_eq!(from.may_become(to), j == i + 1 || back, "{from} -> {to}");
            }
            assert_eq!(from.may_become(Failed), from.is_coming());
            assert_eq!(Failed.may_become(from), matches!(from, New | Unloaded));
        }
    }
}
