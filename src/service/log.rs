//! What is logged, and in which form: seen and changed while the server runs.

use super::Service;
use crate::error::Result;
pub use crate::observe::telemetry::{Levels, LogChange, LogForm, LogSettings};

impl Service {
    pub fn log_settings(&self) -> LogSettings {
        self.0.log.settings()
    }

    /// Changes the log at once; gives back how it is then.
    pub fn change_log(&self, change: LogChange) -> Result<LogSettings> {
        let settings = self.0.log.change(change)?;
        let levels = settings.levels;
        tracing::info!(
            log_error = levels.error,
            log_warning = levels.warning,
            log_info = levels.info,
            log_verbose_level = levels.verbose,
            log_format = ?settings.form,
            "the log was changed by a call"
        );
        Ok(settings)
    }
}
