//! Memory that an unloaded model leaves goes back to the system.
//!
//! glibc learns from what is freed: after the first weights that went, blocks of up to 32 MiB come
//! from its arenas instead of from the system, and up to 64 MiB at the end of each arena stay with
//! the process. A dozen loads and unloads of a model of 36 MiB left 150 to 320 MiB, and every
//! session beside another cost nearly twice its weights. [`settle`] ends the learning, and [`trim`]
//! gives back what small blocks left. No crate that is kept up wraps the two, so this is the one
//! file with foreign functions in it.

pub use system::{settle, trim};

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod system {
    /// From here on a block is the system's as soon as it is freed. Larger than what most requests
    /// allocate, for whom asking the system would be slow; smaller than the weights that matter.
    /// Engines that take their scratch memory from here pay for it: 64 texts in one call of MiniLM
    /// on candle take a third more processor time, of which all is page faults.
    const MAPPED_BYTES: i32 = 1 << 20;
    /// How much may stay at the end of an arena, for the requests to come.
    const KEPT_BYTES: i32 = 4 << 20;

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
        // Where a value is refused, memory is as it was.
        let _ = foreign::mallopt(MMAP_THRESHOLD, MAPPED_BYTES);
        let _ = foreign::mallopt(TRIM_THRESHOLD, KEPT_BYTES);
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
    pub fn trim() {}
}
