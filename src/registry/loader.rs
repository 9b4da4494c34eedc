//! From the files of one version to a [`Servable`]: read and verify, load, hold the declared
//! signature against the discovered one, open sessions, warm up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::files::Root;
use super::integrity;
use super::layout::{Layout, MODEL_FILE, WEIGHTS_FILE};
use super::lifecycle::VersionState;
use super::memory::Loads;
use super::servable::{Servable, Work};
use super::table::TableReader;
use super::warmup;
use crate::backend::reshaped::reshaped;
use crate::backend::{Backend, Engines, ModelSource, Session};
use crate::cache::{ResponseCache, VersionCache};
use crate::config::Digests;
use crate::digest::sha256;
use crate::error::{Error, Result};
use crate::event::{LoadCost, Observe, Remember, Watch};
use crate::model::device::Device;
use crate::model::manifest::{Manifest, OutputEntry, Refined};
use crate::model::triton_config::complete;
use crate::model::{Contract, Examples, ModelId, Profile, Signature, examples, mlmodel, profile};
use crate::scheduler::Scheduler;
use crate::scheduler::policy::BatchPolicy;
use crate::tensor::{Dim, Shape, Tensor};

const SUMS_BYTES_MAX: u64 = 1 << 20;
/// Largest file of labels that is read.
const LABELS_BYTES_MAX: u64 = 16 << 20;
const MLMODEL_BYTES_MAX: u64 = 1 << 20;
/// Largest file that an engine reads beside the model file.
const BESIDE_BYTES_MAX: u64 = 64 << 20;
const EXAMPLES_BYTES_MAX: u64 = 16 << 20;

/// What loading needs besides the version itself.
pub struct Loader {
    pub root: Root,
    pub engines: Engines,
    pub model_bytes_max: u64,
    pub digests: Digests,
    pub observe: Arc<dyn Observe>,
    /// Where an ensemble finds its models.
    pub table: TableReader,
    pub cache: ResponseCache,
    pub loads: Loads,
}

/// What is to be loaded.
#[derive(Clone)]
pub struct Order {
    pub id: ModelId,
    pub manifest: Arc<Manifest>,
    /// Files that came with a call and stand for those of the model's directory.
    pub memory: Option<Arc<MemoryFiles>>,
    pub layout: Layout,
}

/// Files by their path beneath the model's directory, such as `1/model.onnx`.
pub type MemoryFiles = BTreeMap<String, Bytes>;

impl Loader {
    /// Loads one version; `entered` hears of every state on the way to `Ready`, and `found` of the
    /// model file's own signature.
    pub fn load(
        &self,
        order: &Order,
        entered: &dyn Fn(VersionState),
        found: &dyn Fn(&Signature),
    ) -> Result<Servable> {
        let (begun, memory) = (Instant::now(), self.loads.begin());
        let Order { id, manifest, .. } = order;
        entered(VersionState::Verifying);
        if let Some(ensemble) = &manifest.ensemble {
            entered(VersionState::Loading);
            return self.assemble(order, ensemble, begun);
        }
        let files = Files { loader: self, order };
        let (engine, file) = self.chosen(&files)?;
        let sums = files.digests()?;
        let (bytes, mut digests) = if let Some(file) = file {
            let bytes = files.read(&file, self.model_bytes_max)?.ok_or_else(|| {
                Error::invalid(format!("expected a model file {file} in the version folder"))
            })?;
            let digest = sha256(&bytes);
            (bytes, vec![(file, digest)])
        } else {
            (Bytes::new(), Vec::new())
        };
        let mut file_bytes = bytes.len() as u64;
        // What a model file names lies beside it.
        let beside = digests.first().and_then(|(file, _)| file.rsplit_once('/'));
        let beside = beside.map_or_else(String::new, |(folder, _)| format!("{folder}/"));
        let bytes = engine.gather(bytes, self.model_bytes_max, &mut |name, bytes_max| {
            let name = format!("{beside}{name}");
            let data = files.read(&name, bytes_max)?;
            let data = data.ok_or_else(|| Error::invalid(format!("there is no file {name}")))?;
            file_bytes += data.len() as u64;
            digests.push((name, sha256(&data)));
            Ok(data)
        })?;
        let mut others = BTreeMap::new();
        for name in engine.reads_beside() {
            let path = format!("{beside}{name}");
            let Some(data) = files.read(&path, BESIDE_BYTES_MAX)? else { continue };
            file_bytes += data.len() as u64;
            digests.push((path, sha256(&data)));
            others.insert((*name).to_owned(), data);
        }
        if let Some(sums) = sums {
            files.verify(&sums, &digests)?;
        }
        let mut digests = digests.into_iter();
        let (file, digest) = digests.next().unzip();

        entered(VersionState::Loading);
        let source = ModelSource { id, bytes: &bytes, beside: &others, manifest };
        let executable = engine.load(&source)?;
        found(executable.signature());
        // A batch size that nobody asked for may turn out to be no batch size at all.
        let wanted = manifest.batching.batch_size_max.is_some();
        let device = executable.device();
        let mut manifest = complete(manifest, executable.signature())?;
        files.read_labels(&mut manifest)?;
        manifest.name_classes(executable.labels());
        manifest.model_file = file.filter(|file| file != MODEL_FILE);
        let Refined { signature, reshapes } = manifest.refine(executable.signature())?;
        let executable = reshaped(executable, &signature, reshapes);
        let mut policy = batch_policy(&manifest, &signature)?;
        let instances = manifest.engine.instances.unwrap_or(1);
        let mut sessions =
            (0..instances).map(|_| executable.session()).collect::<Result<Vec<_>>>()?;

        entered(VersionState::Warming);
        for session in &mut sessions {
            warm_up(id, session.as_mut(), device, &signature, &mut policy, wanted)?;
        }
        let data = |path: &str| files.read_beside(path, warmup::DATA_BYTES_MAX);
        warmup::run(&data, id, &manifest.warmup, &signature, &policy, &mut sessions)?;
        let records_max = policy.batch_size_max.max(1);
        let contract =
            Contract::derive(&signature, &manifest, policy.batch_size_max > 0, records_max)?;
        let watch = files.watch(&contract);
        let ledger = self.ledger(id, &manifest, &signature, &contract, digest.as_deref())?;
        let cache = self.cache_of(order);
        let sink = self.observe.for_version(id);
        let scheduler =
            Scheduler::start(id.name.as_str(), executable, sessions, policy, Arc::clone(&sink))?;
        Ok(Servable {
            examples: files.examples(&signature),
            id: id.clone(),
            signature,
            contract,
            description: manifest.description.clone(),
            manifest,
            device,
            backend: engine.name(),
            platform: engine.platform(),
            digest,
            work: Work::Queue(scheduler),
            cache,
            data: digests.collect(),
            sink,
            watch,
            ledger,
            file_bytes,
            load: LoadCost { time: begun.elapsed(), memory_bytes: memory.growth() },
        })
    }
}

impl Loader {
    /// The engine that a version gets.
    pub fn engine(&self, order: &Order) -> Result<&Arc<dyn Backend>> {
        self.chosen(&Files { loader: self, order }).map(|(engine, _)| engine)
    }

    /// The engine that a version gets, and the name of the file that it reads.
    fn chosen(&self, files: &Files<'_>) -> Result<(&Arc<dyn Backend>, Option<String>)> {
        let declared = files.declared_file()?;
        let lies_there = declared.as_deref().unwrap_or_else(|| files.usual_file());
        let engine = self.engines.choose(files.order.manifest.backend, lies_there)?;
        let file = engine.model_file().map(|usual| declared.unwrap_or_else(|| usual.to_owned()));
        Ok((engine, file))
    }

    /// A place for its answers, where its configuration lets them be kept.
    pub(super) fn cache_of(&self, order: &Order) -> Option<VersionCache> {
        let wanted = order.manifest.response_cache;
        let cache = wanted.then(|| self.cache.for_version()).flatten();
        if wanted && cache.is_none() {
            tracing::warn!(
                model = %order.id,
                "response_cache is on, but cache.bytes_max is 0: no answers are kept"
            );
        }
        cache
    }

    /// Somebody who remembers its answers, where its configuration declares what they are.
    pub(super) fn ledger(
        &self,
        id: &ModelId,
        manifest: &Manifest,
        signature: &Signature,
        contract: &Contract,
        digest: Option<&str>,
    ) -> Result<Option<Arc<dyn Remember>>> {
        let declared = manifest.performance.as_ref();
        let outcome = declared.map(|declared| declared.resolve(signature, contract)).transpose()?;
        Ok(outcome
            .and_then(|outcome| self.observe.remember(id, outcome, digest.unwrap_or_default())))
    }
}

/// The files of one version, wherever they come from.
struct Files<'a> {
    loader: &'a Loader,
    order: &'a Order,
}

impl Files<'_> {
    fn read(&self, name: &str, bytes_max: u64) -> Result<Option<Bytes>> {
        let Order { id, memory, layout, .. } = self.order;
        match memory {
            Some(memory) => Ok(memory.get(&format!("{}/{name}", id.version)).cloned()),
            None => self.loader.root.read(&layout.version(id).join(name), bytes_max),
        }
    }

    /// Name of the model file, where the configuration or `MLmodel` says it.
    fn declared_file(&self) -> Result<Option<String>> {
        if let Some(file) = &self.order.manifest.model_file {
            return Ok(Some(file.clone()));
        }
        let Some(text) = self.read(mlmodel::FILE, MLMODEL_BYTES_MAX)? else { return Ok(None) };
        let text = str::from_utf8(&text)
            .map_err(|_| Error::invalid(format!("{}: expected UTF-8 text", mlmodel::FILE)))?;
        mlmodel::onnx_file(text).map(Some)
    }

    /// The model file that lies there, of those that need no declaration.
    fn usual_file(&self) -> &'static str {
        let lies_there = |name: &str| match &self.order.memory {
            Some(memory) => memory.contains_key(&format!("{}/{name}", self.order.id.version)),
            None => {
                let folder = self.order.layout.version(&self.order.id);
                self.loader.root.is_file(&folder.join(name))
            }
        };
        let is_transformer = !lies_there(MODEL_FILE) && lies_there(WEIGHTS_FILE);
        if is_transformer { WEIGHTS_FILE } else { MODEL_FILE }
    }

    /// A file beside the configuration, by its path beneath the model's directory.
    fn read_beside(&self, path: &str, bytes_max: u64) -> Result<Option<Bytes>> {
        let beside = || {
            let folder = self.order.layout.model(&self.order.id.name);
            self.loader.root.read(&folder.join(path), bytes_max)
        };
        match self.order.memory.as_ref().and_then(|memory| memory.get(path)) {
            Some(bytes) => Ok(Some(bytes.clone())),
            None => beside(),
        }
    }

    /// Class names that lie in files of their own, one a line.
    fn read_labels(&self, manifest: &mut Manifest) -> Result<()> {
        for OutputEntry { name, labels, labels_file, .. } in &mut manifest.outputs {
            let Some(file) = labels_file else { continue };
            let bytes = self.read_beside(file, LABELS_BYTES_MAX)?.ok_or_else(|| {
                Error::invalid(format!("output '{name}': there is no file {file} with its labels"))
            })?;
            let text = str::from_utf8(&bytes)
                .map_err(|_| Error::invalid(format!("{file}: expected UTF-8 text")))?;
            *labels = text.lines().map(|line| line.trim_end().to_owned()).collect();
        }
        Ok(())
    }

    /// The list of digests, where the policy wants it looked at.
    fn digests(&self) -> Result<Option<String>> {
        if self.loader.digests == Digests::Ignore {
            return Ok(None);
        }
        let list = self.read(integrity::FILE, SUMS_BYTES_MAX)?;
        if list.is_none() && self.loader.digests == Digests::Require {
            return Err(Error::invalid(format!(
                "expected {} in the version folder, as registry.digests = \"require\" asks for",
                integrity::FILE
            )));
        }
        let text = list.map(|list| String::from_utf8(list.into()));
        text.transpose()
            .map_err(|_| Error::invalid(format!("{}: expected UTF-8 text", integrity::FILE)))
    }

    /// Holds every listed file against its digest. Those that the engine's bytes were `taken` from
    /// were read and hashed once, and must be listed.
    fn verify(&self, list: &str, taken: &[(String, String)]) -> Result<()> {
        let list = integrity::parse(list)?;
        let verdict = (taken.iter())
            .try_for_each(|(name, digest)| integrity::verify(&list, name, digest))
            .and_then(|()| self.verify_others(&list, taken));
        match verdict {
            Err(error) if self.loader.digests == Digests::Warn => {
                tracing::warn!(model = %self.order.id, %error, "digests do not match");
                Ok(())
            }
            verdict => verdict,
        }
    }

    fn verify_others(&self, list: &[(&str, &str)], taken: &[(String, String)]) -> Result<()> {
        let is_taken = |name: &str| taken.iter().any(|(taken, _)| taken == name);
        for (name, _) in list.iter().filter(|(name, _)| !is_taken(name)) {
            let bytes = self.read(name, self.loader.model_bytes_max)?.ok_or_else(|| {
                Error::invalid(format!("{} lists {name}, which is not there", integrity::FILE))
            })?;
            integrity::verify(list, name, &sha256(&bytes))?;
        }
        Ok(())
    }

    /// What training looked like, and somebody who holds requests against it. A version must not
    /// fail for its profile: one that does not fit is said in the log.
    fn watch(&self, contract: &Contract) -> Option<Arc<dyn Watch>> {
        let id = &self.order.id;
        let watched = match self.read(profile::FILE, profile::BYTES_MAX) {
            Ok(Some(text)) => Profile::parse(&text, contract)
                .and_then(|profile| self.loader.observe.watch(id, &profile, contract)),
            Ok(None) => return None,
            Err(error) => Err(error),
        };
        watched
            .inspect_err(|error| tracing::warn!(model = %id, %error, "the profile is not used"))
            .ok()
            .flatten()
    }

    /// Examples illustrate; a broken file is worth a warning, not a refusal to serve.
    fn examples(&self, signature: &Signature) -> Option<Examples> {
        let parsed = match self.read(examples::FILE, EXAMPLES_BYTES_MAX) {
            Ok(Some(text)) => Examples::parse(&text, signature),
            Ok(None) => return None,
            Err(error) => Err(error),
        };
        let model = &self.order.id;
        parsed.inspect_err(|error| tracing::warn!(%model, %error, "the examples are not used")).ok()
    }
}

/// Name of the model file in a version's folder.
pub fn model_file(manifest: &Manifest) -> &str {
    manifest.model_file.as_deref().unwrap_or(MODEL_FILE)
}

/// The batch policy, or why the manifest's wish can not be met.
fn batch_policy(manifest: &Manifest, signature: &Signature) -> Result<BatchPolicy> {
    let batchable = signature.could_batch();
    let wished = manifest.batching.batch_size_max.unwrap_or(0);
    if wished > 0 && !batchable {
        let shapes: Vec<String> = signature
            .inputs
            .iter()
            .chain(&signature.outputs)
            .map(|spec| format!("{} {}", spec.name, spec.dims_text()))
            .collect();
        return Err(Error::invalid(format!(
            "batching.batch_size_max is {wished}, but the model has no batch axis: every input and \
             output needs -1 as its first extent; it has {}. Fix: leave batch_size_max out, or \
             export the model with a free first axis",
            shapes.join(", ")
        )));
    }
    Ok(BatchPolicy::new(&manifest.batching, batchable))
}

/// Runs on zeros, alone and (where batching is on) as two rows; on a GPU, where a new shape may
/// mean a search for the best kernels or a compilation, as the largest batch, too. A model may well
/// refuse zeros; one that answers two rows with another number of rows can not be batched.
fn warm_up(
    id: &ModelId,
    session: &mut dyn Session,
    device: Device,
    signature: &Signature,
    policy: &mut BatchPolicy,
    batching_wanted: bool,
) -> Result<()> {
    let most = policy.batch_size_max;
    let sizes = [(1, true), (2, most > 1), (most, most > 2 && device != Device::Cpu)];
    for (rows, _) in sizes.into_iter().filter(|(_, runs)| *runs) {
        let inputs = signature
            .inputs
            .iter()
            .map(|spec| Tensor::zeros(spec.dtype, probe_shape(&spec.dims, rows)))
            .collect::<Result<Vec<_>>>()?;
        let outputs = match session.run(&inputs) {
            Ok(outputs) => outputs,
            Err(error) => {
                tracing::info!(model = %id, rows, ?error, "warm-up on zeros was refused");
                return Ok(());
            }
        };
        let fits = |output: &Tensor| !output.shape().is_empty() && output.rows() == rows;
        if policy.batch_size_max > 0 && !outputs.iter().all(fits) {
            if batching_wanted {
                return Err(Error::invalid(format!(
                    "batching.batch_size_max is set, but for {rows} rows the model answers with \
                     another number of rows. Fix: batch_size_max = 0"
                )));
            }
            tracing::warn!(
                model = %id,
                "the first axis is free but does not count rows; batching is off"
            );
            policy.batch_size_max = 0;
            return Ok(());
        }
    }
    Ok(())
}

fn probe_shape(dims: &[Dim], rows: usize) -> Shape {
    Shape::new(dims.iter().enumerate().map(|(axis, dim)| match dim {
        Dim::Fixed(extent) => *extent,
        Dim::Any if axis == 0 => rows,
        Dim::Any => 1,
    }))
}
