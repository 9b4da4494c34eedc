//! How a version is run, key by key, and why: what the configuration says, what the model file
//! decides, and what is a default. Pure.

use serde::Serialize;

use crate::error::Error;
use crate::model::device::{Device, Placement, TensorRt};
use crate::model::manifest::{BackendChoice, Manifest};
use crate::model::{Signature, manifest, triton_config};
use crate::scheduler::policy::BatchPolicy;
use crate::tensor::Dim;

/// One key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    pub key: &'static str,
    pub value: String,
    pub why: String,
}

/// What the answer depends on.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// The name of the configuration file.
    pub file: Option<&'static str>,
    /// The configuration as it was written.
    pub manifest: &'a Manifest,
    /// The operator's engine for models that name none.
    pub backend_default: BackendChoice,
    pub onnxruntime_missing: Option<&'a Error>,
    /// Name and platform.
    pub engine: Option<(&'static str, &'static str)>,
    /// Where it computes, where the version loads.
    pub device: Option<Device>,
    /// What came of it, where the version loads.
    pub served: Option<(&'a Signature, &'a BatchPolicy)>,
}

const DEFAULT: &str = "default";

pub fn settings(asked: &Asked<'_>) -> Vec<Setting> {
    let setting = |key, value: String, why: String| Setting { key, value, why };
    let engine = &asked.manifest.engine;
    let (name, platform) = asked.engine.unwrap_or(("none", ""));
    let mut settings = vec![
        setting("backend", name.to_owned(), backend_why(asked)),
        setting("platform", platform.to_owned(), "the engine's".to_owned()),
        device(asked),
        number("instances", engine.instances, 1, asked),
        threads(asked, name),
    ];
    let Some((signature, policy)) = asked.served else { return settings };
    let (value, why) = batching(asked, signature, policy);
    settings.push(setting("batching", value, why));
    if policy.batch_size_max > 1 && policy.join {
        let wishes = &asked.manifest.batching;
        let delay = wishes.queue_delay_us_max.map(|us| usize::try_from(us).unwrap_or(usize::MAX));
        settings.push(number("queue_delay_us_max", delay, 0, asked));
        if let Some(target) = wishes.latency_target_us {
            let target = usize::try_from(target).unwrap_or(usize::MAX);
            settings.push(number("latency_target_us", Some(target), 0, asked));
        }
    }
    let depth = asked.manifest.batching.queue_depth_max;
    settings.push(number("queue_depth_max", depth, BatchPolicy::QUEUE_DEPTH_MAX, asked));
    settings
}

fn number(
    key: &'static str,
    asked_for: Option<usize>,
    default: usize,
    asked: &Asked<'_>,
) -> Setting {
    let why = asked_for.map_or_else(|| DEFAULT.to_owned(), |_| asked.says());
    Setting { key, value: asked_for.unwrap_or(default).to_string(), why }
}

fn device(asked: &Asked<'_>) -> Setting {
    let wish = asked.manifest.engine.device;
    let value = match (asked.device, asked.manifest.engine.tensorrt) {
        (None, _) => "none".to_owned(),
        (Some(device @ Device::Cuda(_)), Some(TensorRt { precision, .. })) => {
            format!("{device} through TensorRT, {}", precision.name())
        }
        (Some(device), _) => device.to_string(),
    };
    let why = match (wish, asked.device) {
        (Placement::Auto, Some(Device::Cuda(_))) => "auto: the engine found a GPU".to_owned(),
        (Placement::Auto, _) => "auto: the engine has no GPU to compute on".to_owned(),
        (Placement::OnOrCpu(_), Some(Device::Cpu)) => {
            format!("{}, with cpu where the GPU is not to be had; the log says why", asked.says())
        }
        _ => asked.says(),
    };
    Setting { key: "device", value, why }
}

fn threads(asked: &Asked<'_>, engine: &str) -> Setting {
    let wish = asked.manifest.engine.threads;
    if engine == BackendChoice::Tract.name() {
        let why = "tract computes on the thread that calls it; instances are its parallelism";
        return Setting { key: "threads", value: "1".to_owned(), why: why.to_owned() };
    }
    let is_candle = engine == BackendChoice::Candle.name();
    if is_candle && wish.is_none_or(|threads| threads == 0) {
        let why = "candle's models share one pool of as many threads as this process may use \
                   processors";
        return Setting { key: "threads", value: "shared".to_owned(), why: why.to_owned() };
    }
    let mut setting = number("threads", wish, 1, asked);
    match wish {
        None => setting.why.push_str(": a server has its parallelism in its requests"),
        Some(0) => setting.value = "0, the processors this process may use".to_owned(),
        Some(_) => {}
    }
    setting
}

fn backend_why(asked: &Asked<'_>) -> String {
    let wish = asked.manifest.backend;
    if wish != BackendChoice::Auto {
        return format!("{}: {}", asked.says(), wish.name());
    }
    if asked.engine.is_some_and(|(name, _)| name == BackendChoice::Candle.name()) {
        return "auto: the version has a transformer's model.safetensors".to_owned();
    }
    if asked.backend_default != BackendChoice::Auto {
        return format!("the operator's setting backend = \"{}\"", asked.backend_default.name());
    }
    match asked.onnxruntime_missing {
        None => "auto: ONNX Runtime, whose library was found".to_owned(),
        Some(error) => format!("auto: ONNX Runtime is not available ({error})"),
    }
}

/// Whether requests share an engine call, and why or why not.
fn batching(asked: &Asked<'_>, signature: &Signature, policy: &BatchPolicy) -> (String, String) {
    let size = policy.batch_size_max;
    let on = || match (size, policy.join) {
        (1, _) => "off, one row in a request".to_owned(),
        (_, false) => format!("off, up to {size} rows in a request"),
        _ if policy.grows() => format!("on, up to {size} rows in a call, as far as it pays"),
        _ => format!("on, up to {size} rows in a call"),
    };
    let off = || "off".to_owned();
    let is_tritons = asked.file == Some(triton_config::FILE);
    let fixed = signature.inputs.iter().chain(&signature.outputs);
    let fixed = fixed.filter(|spec| spec.dims.first() != Some(&Dim::Any));
    let fixed: Vec<String> =
        fixed.map(|spec| format!("'{}' is {}", spec.name, spec.dims_text())).collect();
    match asked.manifest.batching.batch_size_max {
        Some(0) if is_tritons => {
            let why = "config.pbtxt has max_batch_size 0, or lists inputs and outputs without it";
            (off(), why.to_owned())
        }
        Some(0) => (off(), format!("{}: batch_size_max = 0", asked.says())),
        Some(_) if !policy.join && size > 1 => {
            let what = if is_tritons { "no dynamic_batching" } else { "join = false" };
            (on(), format!("{}: {what}", asked.says()))
        }
        Some(_) => (on(), asked.says()),
        None if !fixed.is_empty() => {
            let why = format!("every first extent would have to be -1, but {}", fixed.join(", "));
            (off(), why)
        }
        None if size == 0 => {
            (off(), "the first extent is free, but does not count rows: see the log".to_owned())
        }
        None if asked.manifest.batch_size_completed.is_some() => {
            (on(), "Triton's completion: config.pbtxt is silent, and the model can".to_owned())
        }
        None => (on(), format!("{DEFAULT}: the first extent of every tensor is free")),
    }
}

impl Asked<'_> {
    fn says(&self) -> String {
        format!("{} says so", self.file.unwrap_or(manifest::FILE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TensorSpec;
    use crate::model::triton_config::TritonConfig;
    use crate::tensor::DType;

    fn signature(dims: &[Dim]) -> Signature {
        let spec =
            |name: &str| TensorSpec { name: name.into(), dtype: DType::F32, dims: dims.to_vec() };
        Signature { inputs: vec![spec("x")], outputs: vec![spec("y")] }
    }

    fn asked<'a>(manifest: &'a Manifest) -> Asked<'a> {
        Asked {
            file: None,
            manifest,
            backend_default: BackendChoice::Auto,
            onnxruntime_missing: None,
            engine: Some(("onnxruntime", "onnxruntime_onnx")),
            device: Some(Device::Cpu),
            served: None,
        }
    }

    fn batching_of(text: &str, is_tritons: bool, dims: &[Dim], size: Option<usize>) -> String {
        let manifest = if is_tritons {
            TritonConfig::from_text(text).unwrap().into_manifest("m").unwrap()
        } else {
            Manifest::parse(text).unwrap()
        };
        let signature = signature(dims);
        let mut policy = BatchPolicy::new(&manifest.batching, signature.could_batch());
        policy.batch_size_max = size.unwrap_or(policy.batch_size_max);
        let file = is_tritons.then_some(triton_config::FILE);
        let asked = Asked { file, served: Some((&signature, &policy)), ..asked(&manifest) };
        let setting = settings(&asked).into_iter().find(|setting| setting.key == "batching");
        setting.map(|setting| format!("{} ({})", setting.value, setting.why)).unwrap()
    }

    #[test]
    fn why_batching_is_on_or_off() {
        let (free, fixed) = ([Dim::Any, Dim::Fixed(2)], [Dim::Fixed(1), Dim::Fixed(2)]);
        fn toml(text: &str, dims: &[Dim], size: Option<usize>) -> String {
            batching_of(text, false, dims, size)
        }
        let all_free = "default: the first extent of every tensor is free";
        assert_eq!(
            toml("", &free, None),
            format!("on, up to 64 rows in a call, as far as it pays ({all_free})")
        );
        assert_eq!(
            toml("", &fixed, None),
            "off (every first extent would have to be -1, but 'x' is [1,2], 'y' is [1,2])"
        );
        assert!(toml("", &free, Some(0)).contains("does not count rows"));
        let sized = |size| format!("[batching]\nbatch_size_max = {size}");
        assert_eq!(toml(&sized("0"), &free, None), "off (model.toml says so: batch_size_max = 0)");
        assert_eq!(
            toml(&sized("1"), &free, None),
            "off, one row in a request (model.toml says so)"
        );
        assert_eq!(
            toml(&sized("8"), &free, None),
            "on, up to 8 rows in a call, as far as it pays (model.toml says so)"
        );
        assert_eq!(
            toml(&sized("8\njoin = false"), &free, None),
            "off, up to 8 rows in a request (model.toml says so: join = false)"
        );
        let tritons = |text: &str, size| batching_of(text, true, &free, Some(size));
        assert!(
            tritons("", 4)
                .contains("on, up to 4 rows in a call, as far as it pays (Triton's completion")
        );
        let listed = "max_batch_size: 8
            input { name: 'x' data_type: TYPE_FP32 dims: 2 }
            output { name: 'y' data_type: TYPE_FP32 dims: 2 }";
        assert!(tritons(listed, 8).contains("config.pbtxt says so: no dynamic_batching"));
    }

    #[test]
    fn what_compiles_for_a_gpu_is_said() {
        let text = "[engine]\ndevice = 'cuda or cpu'\n[engine.tensorrt]\nprecision = 'fp16'";
        let manifest = Manifest::parse(text).unwrap();
        let value = |device| {
            let asked = Asked { device: Some(device), ..asked(&manifest) };
            settings(&asked).into_iter().find(|setting| setting.key == "device").unwrap().value
        };
        assert_eq!(value(Device::Cuda(0)), "cuda:0 through TensorRT, fp16");
        assert_eq!(value(Device::Cpu), "cpu");
    }

    #[test]
    fn why_this_engine() {
        let why = |asked: &Asked<'_>| settings(asked)[0].why.clone();
        let auto = Manifest::default();
        assert_eq!(why(&asked(&auto)), "auto: ONNX Runtime, whose library was found");
        let missing = Error::unsupported("no library");
        let without = Asked { onnxruntime_missing: Some(&missing), ..asked(&auto) };
        assert_eq!(why(&without), "auto: ONNX Runtime is not available (no library)");
        let operators = Asked { backend_default: BackendChoice::Tract, ..asked(&auto) };
        assert_eq!(why(&operators), "the operator's setting backend = \"tract\"");
        let named = Manifest { backend: BackendChoice::Tract, ..Manifest::default() };
        assert_eq!(why(&asked(&named)), "model.toml says so: tract");
    }
}
