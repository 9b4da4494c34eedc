//! Memory that an unloaded model leaves goes back to the system.
//!
//! glibc learns from what is freed: after the first weights that went, blocks of up to 32 MiB come
//! from its arenas instead of from the system, and up to 64 MiB at the end of each arena stay with
//! the process. A dozen loads and unloads of a model of 36 MiB left 150 to 320 MiB, and every
//! session beside another cost nearly twice its weights. So a load ([`Loading`]) gets its larger
//! blocks from the system, which has them back as soon as they are freed, and [`trim`] gives back
//! what small blocks left. Requests get theirs from the arenas: engines ask for the same scratch
//! memory again and again, and fresh pages cost a batch of 64 texts on candle a third more time.
//!
//! No crate that is kept up wraps the two functions, so this is the one file with foreign ones.

pub use system::{settle, trim};

use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many loads are under way. A lock, so that the last word to the allocator is the right one.
static LOADS: Mutex<usize> = Mutex::new(0);

/// While one of these lives, larger blocks come from the system.
#[derive(Debug)]
pub struct Loading(());

impl Loading {
    pub fn begin() -> Self {
        let mut loads = loads();
        *loads += 1;
        if *loads == 1 {
            system::map_larger_blocks(true);
        }
        Self(())
    }
}

impl Drop for Loading {
    fn drop(&mut self) {
        let mut loads = loads();
        *loads -= 1;
        if *loads == 0 {
            system::map_larger_blocks(false);
        }
    }
}

fn loads() -> MutexGuard<'static, usize> {
    LOADS.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod system {
    /// Blocks from which on the system is asked, and how much may stay free at the end of an arena.
    struct Thresholds {
        mapped: i32,
        kept: i32,
    }

    /// Smaller than the weights that matter.
    const LOADING: Thresholds = Thresholds { mapped: 1 << 20, kept: 4 << 20 };
    /// What glibc's learning ends at.
    const SERVING: Thresholds = Thresholds { mapped: 32 << 20, kept: 64 << 20 };

    /// Numbers of parameters in malloc.h.
    const TRIM_THRESHOLD: i32 = -1;
    const MMAP_THRESHOLD: i32 = -3;

    #[allow(unsafe_code)]
    mod foreign {
        unsafe extern "C" {
            // Both are thread-safe by their manuals, take no pointer, and give none.
            pub safe fn malloc_trim(pad: usize) -> i32;
            pub safe fn mallopt(parameter: i32, value: i32) -> i32;
        }
    }

    /// To be called once, as the process starts. It overrules what the environment says
    /// (`MALLOC_MMAP_THRESHOLD_`, `GLIBC_TUNABLES`).
    pub fn settle() {
        map_larger_blocks(false);
    }

    pub fn map_larger_blocks(is_loading: bool) {
        let Thresholds { mapped, kept } = if is_loading { LOADING } else { SERVING };
        // Where a value is refused, memory is as it was.
        let _ = foreign::mallopt(MMAP_THRESHOLD, mapped);
        let _ = foreign::mallopt(TRIM_THRESHOLD, kept);
    }

    /// Gives free memory back. To be called where a model has just left, not on the path of
    /// requests: it walks through the whole heap.
    pub fn trim() {
        // Whether anything was given back is nothing that would have to be acted on.
        let _ = foreign::malloc_trim(0);
    }
}

/// Other allocators learn, and give back, what they like.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
mod system {
    pub fn settle() {}
    pub fn map_larger_blocks(_: bool) {}
    pub fn trim() {}
}
