//! Answers that were given, kept for requests that are equal to the last byte: nothing is compared
//! by a hash alone. Equal requests that arrive while one of them is at work are computed once.
//!
//! One store for the whole server, bounded in bytes: requests and answers count, and what was used
//! least lately leaves first. What this room must not know: models, protocols, who asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::error::{Error, Result};
use crate::event::CacheLookedUp;
use crate::infer::{Computed, Timings};
use crate::tensor::Tensor;

/// Room for the store's own entry, as far as it can be told.
const ENTRY_BYTES: u64 = 256;
/// An answer of a small model; only sizes the store's tables.
const ANSWER_BYTES: u64 = 4096;

/// The store of the whole server.
#[derive(Clone)]
pub struct ResponseCache(Option<Arc<Store>>);

struct Store {
    entries: Cache<Key, Arc<Kept>, Bytewise>,
    versions: AtomicU64,
}

/// Whose answer it is, and to what.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    /// Of one load of one version: what was computed by replaced bytes is no answer any more.
    version: u64,
    request: Bytes,
}

/// All outputs, in memory of their own.
struct Kept {
    outputs: Vec<Tensor>,
    bytes: u64,
}

#[derive(Clone)]
struct Bytewise;

impl Weighter<Key, Arc<Kept>> for Bytewise {
    fn weight(&self, key: &Key, kept: &Arc<Kept>) -> u64 {
        ENTRY_BYTES + key.request.len() as u64 + kept.bytes
    }
}

impl ResponseCache {
    /// A store of at most so many bytes; 0 keeps nothing.
    pub fn new(bytes_max: u64) -> Self {
        let items = usize::try_from(bytes_max / ANSWER_BYTES).unwrap_or(usize::MAX);
        let entries = || Cache::with_weighter(items.clamp(64, 1 << 20), bytes_max, Bytewise);
        let store = || Arc::new(Store { entries: entries(), versions: AtomicU64::new(0) });
        Self((bytes_max > 0).then(store))
    }

    /// The part of one load of one version; `None` where nothing is kept.
    pub fn for_version(&self) -> Option<VersionCache> {
        let store = Arc::clone(self.0.as_ref()?);
        let version = store.versions.fetch_add(1, Ordering::Relaxed);
        Some(VersionCache { store, version })
    }
}

/// The answers of one version. They leave with it.
pub struct VersionCache {
    store: Arc<Store>,
    version: u64,
}

impl VersionCache {
    /// The kept answer; or that of an equal request that is at work; or what `compute` gives, which
    /// is kept unless it is an error.
    pub async fn answer(
        &self,
        inputs: &[Tensor],
        deadline: Instant,
        compute: impl Future<Output = Result<Computed>>,
    ) -> Result<(Computed, CacheLookedUp)> {
        let begun = Instant::now();
        let key = Key { version: self.version, request: written(inputs) };
        let found = self.store.entries.get_value_or_guard_async(&key);
        let found = tokio::time::timeout_at(deadline.into(), found).await;
        let guard = match found.map_err(|_| Error::deadline())? {
            Ok(kept) => {
                let outputs = kept.outputs.clone();
                let (timings, runs) = (Timings::default(), Vec::new());
                let answer = Computed { outputs, timings, batch_rows: 0, runs };
                return Ok((answer, CacheLookedUp { hit: true, time: begun.elapsed() }));
            }
            // Dropped without an answer, it lets the next of the waiting ones compute.
            Err(guard) => guard,
        };
        let looked = begun.elapsed();
        let computed = compute.await?;
        let begun = Instant::now();
        // It may have left the store in the meantime; the answer is given all the same.
        let _ = guard.insert(Arc::new(Kept::of(&computed.outputs)));
        let time: Duration = looked + begun.elapsed();
        Ok((computed, CacheLookedUp { hit: false, time }))
    }
}

impl Drop for VersionCache {
    fn drop(&mut self) {
        self.store.entries.retain(|key, _| key.version != self.version);
    }
}

impl Kept {
    /// A copy: outputs are slices of a batch, which must not live as long as they are kept.
    fn of(outputs: &[Tensor]) -> Self {
        let outputs: Vec<Tensor> = outputs.iter().map(Tensor::detached).collect();
        let bytes = outputs.iter().map(|output| output.data().len() as u64).sum();
        Self { outputs, bytes }
    }
}

/// Types, shapes and data of a request in one piece; no two requests write the same.
fn written(inputs: &[Tensor]) -> Bytes {
    let data: usize = inputs.iter().map(|input| input.data().len()).sum();
    let mut text = Vec::with_capacity(data + inputs.len() * 48);
    for input in inputs {
        text.extend_from_slice(input.dtype().name().as_bytes());
        text.push(0);
        text.extend_from_slice(&(input.shape().len() as u64).to_le_bytes());
        for &extent in input.shape().iter() {
            text.extend_from_slice(&(extent as u64).to_le_bytes());
        }
        text.extend_from_slice(&(input.data().len() as u64).to_le_bytes());
        text.extend_from_slice(input.data());
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::{DType, Shape};
    use std::sync::atomic::AtomicUsize;

    fn tensor(dtype: DType, shape: &[usize], data: &[u8]) -> Tensor {
        Tensor::new("x", dtype, Shape::new(shape.iter().copied()), data.to_vec().into()).unwrap()
    }

    fn bytes(data: &[u8]) -> Tensor {
        tensor(DType::U8, &[data.len()], data)
    }

    fn computed(data: &[u8]) -> Computed {
        let (timings, runs) = (Timings::default(), Vec::new());
        Computed { outputs: vec![bytes(data)], timings, batch_rows: 1, runs }
    }

    async fn ask(cache: &VersionCache, input: &[u8], output: &[u8]) -> (Vec<u8>, bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        let compute = async { Ok(computed(output)) };
        let (answer, looked) = cache.answer(&[bytes(input)], deadline, compute).await.unwrap();
        (answer.outputs[0].data().to_vec(), looked.hit)
    }

    #[test]
    fn requests_that_differ_anywhere_are_written_differently() {
        let requests = [
            vec![bytes(&[1, 2])],
            vec![bytes(&[1]), bytes(&[2])],
            vec![tensor(DType::U8, &[1, 2], &[1, 2])],
            vec![tensor(DType::I8, &[2], &[1, 2])],
            vec![tensor(DType::U8, &[2, 0], &[]), bytes(&[1, 2])],
            vec![bytes(&[1, 2]), bytes(&[])],
            vec![],
        ];
        let all: std::collections::BTreeSet<Bytes> =
            requests.iter().map(|request| written(request)).collect();
        assert_eq!(all.len(), requests.len());
    }

    #[tokio::test]
    async fn an_equal_request_gets_the_kept_answer_and_no_other_does() {
        let store = ResponseCache::new(1 << 20);
        let (one, two) = (store.for_version().unwrap(), store.for_version().unwrap());
        assert_eq!(ask(&one, b"a", b"first").await, (b"first".to_vec(), false));
        assert_eq!(ask(&one, b"a", b"other").await, (b"first".to_vec(), true));
        assert_eq!(ask(&one, b"b", b"other").await, (b"other".to_vec(), false));
        assert_eq!(ask(&two, b"a", b"second").await, (b"second".to_vec(), false));
        assert!(ResponseCache::new(0).for_version().is_none());
    }

    #[tokio::test]
    async fn the_store_stays_within_its_bytes_and_a_version_leaves_none() {
        let store = ResponseCache::new(100_000);
        let entries = || &store.0.as_ref().unwrap().entries;
        let cache = store.for_version().unwrap();
        for number in 0..500u32 {
            ask(&cache, &number.to_le_bytes(), &[7; 1000]).await;
            assert!(entries().weight() <= 100_000);
        }
        assert!(entries().len() > 20, "{}", entries().len());
        ask(&cache, b"huge", &vec![1; 200_000]).await;
        assert!(entries().weight() <= 100_000);
        drop(cache);
        assert_eq!(entries().len(), 0);
    }

    #[tokio::test]
    async fn equal_requests_at_once_are_computed_once_and_an_error_is_not_kept() {
        let cache = ResponseCache::new(1 << 20).for_version().unwrap();
        let count = AtomicUsize::new(0);
        let deadline = Instant::now() + Duration::from_secs(20);
        let one = || {
            let compute = async {
                tokio::task::yield_now().await;
                // The first fails, and the next of the waiting ones computes.
                match count.fetch_add(1, Ordering::Relaxed) {
                    0 => Err(Error::internal("once")),
                    _ => Ok(computed(b"y")),
                }
            };
            let cache = &cache;
            async move { cache.answer(&[bytes(b"x")], deadline, compute).await }
        };
        let answers = futures_util::future::join_all((0..10).map(|_| one())).await;
        let failed = answers.iter().filter(|answer| answer.is_err()).count();
        let hits = answers.iter().flatten().filter(|(_, looked)| looked.hit).count();
        assert_eq!((failed, hits, count.load(Ordering::Relaxed)), (1, 8, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_another_past_his_deadline() {
        let cache = ResponseCache::new(1 << 20).for_version().unwrap();
        let far = Instant::now() + Duration::from_secs(3600);
        let inputs = [bytes(b"x")];
        let first = cache.answer(&inputs, far, std::future::pending());
        let soon = Instant::now() + Duration::from_millis(5);
        let second = cache.answer(&inputs, soon, async { Ok(computed(b"y")) });
        tokio::select! {
            biased;
            _ = first => unreachable!("it never ends"),
            answer = second => assert_eq!(
                answer.unwrap_err().kind(),
                crate::error::ErrorKind::DeadlineExceeded
            ),
        }
    }
}
