//! Who computes. Every model of this engine uses one pool, as large as the processors that this
//! process may use: a call spreads over what is idle, and many calls at once do not make more
//! threads than there are processors. A model that asks for a number of threads gets its own.

use std::sync::{Arc, Mutex, PoisonError};

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::{Error, Result};

/// The pool, made when the first model needs it.
#[derive(Default)]
pub struct Threads {
    shared: Mutex<Option<Arc<ThreadPool>>>,
}

impl Threads {
    /// The pool of a model that asks for this many threads; nothing, and 0, mean the shared one.
    pub fn pool(&self, wish: Option<usize>) -> Result<Arc<ThreadPool>> {
        if let Some(threads) = wish.filter(|&threads| threads > 0) {
            return build(threads);
        }
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = &*shared {
            return Ok(Arc::clone(pool));
        }
        let pool = build(crate::backend::processors())?;
        *shared = Some(Arc::clone(&pool));
        Ok(pool)
    }
}

fn build(threads: usize) -> Result<Arc<ThreadPool>> {
    ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|index| format!("candle-{index}"))
        .build()
        .map(Arc::new)
        .map_err(|error| Error::internal("no threads to compute on").with_detail(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_share_a_pool_unless_they_ask_for_threads() {
        let threads = Threads::default();
        let shared = threads.pool(None).unwrap();
        assert!(Arc::ptr_eq(&shared, &threads.pool(Some(0)).unwrap()));
        assert_eq!(shared.current_num_threads(), crate::backend::processors());
        let own = threads.pool(Some(3)).unwrap();
        assert_eq!(own.current_num_threads(), 3);
        assert!(!Arc::ptr_eq(&own, &threads.pool(Some(3)).unwrap()));
    }
}
