//! Drift statistics over a restart: a file per version, whole or not at all. It holds counts, no
//! row of anybody's.

use std::path::Path;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::judge::judge;
use super::watched::{Complete, Watched};
use crate::error::{Error, Result};
use crate::model::profile::{SavedWindow, Window};
use crate::state::{self, moment, seconds, version_file};

/// The only format there is.
const SCHEMA: &str = "galen.window/1";

/// The file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    schema: String,
    /// Of the profile that it was counted against.
    profile: String,
    saved_at_s: u64,
    rows: u64,
    dropped: u64,
    completed: u64,
    current: SavedWindow,
    last: Option<SavedComplete>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedComplete {
    window: SavedWindow,
    at_s: u64,
    /// Windows in a row that drifted, of each feature and output, and those of poor quality.
    streaks: Vec<u32>,
    #[serde(default)]
    quality_streaks: Vec<u32>,
}

/// Writes down where a version stands.
pub fn save(folder: &Path, watched: &Watched) -> Result<()> {
    state::save(folder, &version_file(&watched.id), &export(watched, SystemTime::now()))
}

/// Where a version stands, for a file or for another replica.
pub fn export(watched: &Watched, now: SystemTime) -> Snapshot {
    let state = watched.up_to_now();
    let last = state.last.as_ref().map(|last| SavedComplete {
        window: last.window.save(),
        at_s: seconds(last.at),
        streaks: last.verdicts.iter().map(|verdict| verdict.drift.streak).collect(),
        quality_streaks: last.verdicts.iter().map(|verdict| verdict.quality.streak).collect(),
    });
    Snapshot {
        schema: SCHEMA.to_owned(),
        profile: watched.digest.clone(),
        saved_at_s: seconds(now),
        rows: state.gathered,
        dropped: watched.dropped(),
        completed: state.completed,
        current: state.current.save(),
        last,
    }
}

/// Takes up where the last process stood. Without a file, or with one of another profile, nothing.
pub fn restore(folder: &Path, watched: &Watched) -> Result<()> {
    let Some(kept) = state::open::<Option<Snapshot>>(folder, &version_file(&watched.id))? else {
        return Ok(());
    };
    if kept.schema != SCHEMA || kept.profile != watched.digest {
        tracing::info!(model = %watched.id, "another profile: drift is counted from anew");
        return Ok(());
    }
    let mut state = watched.state();
    let empty = state.current.clone();
    let taken = |saved: &SavedWindow| -> Result<Window> {
        let mut window = empty.clone();
        let fits = window.add(saved);
        fits.then_some(window).ok_or_else(|| Error::invalid("the counts do not fit the profile"))
    };
    let current = taken(&kept.current)?;
    let no_moment = || Error::invalid("a time is none that a clock can show");
    let saved_at = moment(kept.saved_at_s).ok_or_else(no_moment)?;
    let last = kept.last.as_ref().map(|last| -> Result<Complete> {
        let window = taken(&last.window)?;
        let mut verdicts = judge(&watched.profile, &window, &[]);
        for (verdict, streak) in verdicts.iter_mut().zip(&last.streaks) {
            verdict.drift.streak = *streak;
        }
        for (verdict, streak) in verdicts.iter_mut().zip(&last.quality_streaks) {
            verdict.quality.streak = *streak;
        }
        let at = moment(last.at_s).ok_or_else(no_moment)?;
        Ok(Complete { window, at, verdicts })
    });
    state.last = last.transpose()?;
    state.current = current;
    state.completed = kept.completed;
    state.gathered = kept.rows;
    state.restored_at = Some(saved_at);
    drop(state);
    watched.resume(kept.rows, kept.dropped);
    Ok(())
}

/// Adds the running window of another replica to this one's.
pub fn merge(watched: &Watched, other: &Snapshot) -> Result<()> {
    if other.schema != SCHEMA {
        return Err(Error::invalid(format!("schema: expected \"{SCHEMA}\"")));
    }
    if other.profile != watched.digest {
        return Err(Error::invalid("profile: these counts were made against another profile"));
    }
    let mut state = watched.state();
    if !state.current.add(&other.current) {
        return Err(Error::invalid("current: the counts do not fit the profile"));
    }
    state.gathered += other.current.rows;
    drop(state);
    watched.resume(other.current.rows, 0);
    Ok(())
}
