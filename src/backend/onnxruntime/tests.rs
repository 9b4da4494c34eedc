//! How tensors go to a device and come back, with memory of the host's in the device's place: the
//! bindings, the memory that is used again and the recordings are the same, whatever the device.

use std::sync::OnceLock;

use ort::memory::{AllocationDevice, MemoryType};

use super::*;
use crate::config::library;
use crate::model::device::{Precision, TensorRt};
use crate::tensor::{Dim, Shape};

/// Opened once in a process.
fn engine() -> &'static OnnxRuntime {
    static ENGINE: OnceLock<OnnxRuntime> = OnceLock::new();
    ENGINE.get_or_init(|| {
        let own = root().join("target/lib/libonnxruntime.so");
        let candidates: Vec<PathBuf> = library::candidates(None).into_iter().chain([own]).collect();
        let library = find(&candidates).expect("`make onnxruntime` fetches the library");
        OnnxRuntime::open(&library, OnnxRuntimeConfig::default()).unwrap()
    })
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

struct Rig {
    session: session::Session,
    signature: Signature,
}

impl Rig {
    fn new(model: &str) -> Self {
        let bytes = std::fs::read(root().join(model)).unwrap();
        let mut builder = session::Session::builder(&engine().environment).unwrap();
        let session = builder.commit_from_memory(&bytes).unwrap();
        let inputs = specs("input", session.inputs()).unwrap();
        let outputs = specs("output", session.outputs()).unwrap();
        Self { session, signature: Signature { inputs, outputs } }
    }

    fn host(&self) -> Memory {
        Memory::of(&self.session, AllocationDevice::CPU, 0, MemoryType::Default).unwrap()
    }

    fn staged(&self) -> Staged {
        Staged::new(&self.session, self.host()).unwrap()
    }

    /// Other bytes in each tensor and at each turn.
    fn inputs(&self, rows: usize, turn: usize) -> Vec<Tensor> {
        let tensor = |(at, spec): (usize, &TensorSpec)| {
            let fixed = spec.dims.iter().skip(1).map(|dim| match dim {
                Dim::Fixed(extent) => *extent,
                Dim::Any => 3,
            });
            let shape = Shape::new([rows].into_iter().chain(fixed));
            let bytes = shape.iter().product::<usize>() * spec.dtype.size().unwrap();
            let byte = |n: usize| match spec.dtype {
                DType::Bool => u8::from((n + turn).is_multiple_of(2)),
                _ => (n * 37 + at * 11 + turn).to_le_bytes()[0],
            };
            let data: Vec<u8> = (0..bytes).map(byte).collect();
            Tensor::new(&spec.name, spec.dtype, shape, data.into()).unwrap()
        };
        self.signature.inputs.iter().enumerate().map(tensor).collect()
    }
}

/// Bytes, for an answer has the names of outputs.
fn bytes(tensors: &[Tensor]) -> Vec<&[u8]> {
    tensors.iter().map(|tensor| &tensor.data()[..]).collect()
}

#[test]
fn staged_tensors_of_every_type_come_back_as_they_went() {
    for model in ["tests/engines/identity.onnx", "tests/engines/identity-bf16.onnx"] {
        let mut rig = Rig::new(model);
        let mut staged = rig.staged();
        // The same shape twice, then others, then the first again.
        for (turn, rows) in [1, 1, 4, 2, 1].into_iter().enumerate() {
            let inputs = rig.inputs(rows, turn);
            let outputs =
                staged.run(&mut rig.session, &inputs, &rig.signature.outputs, None).unwrap();
            assert_eq!(bytes(&outputs), bytes(&inputs), "{model}, turn {turn}");
            assert!(outputs.iter().all(|output| output.rows() == rows));
        }
    }
}

#[test]
fn memory_is_used_again_where_the_shape_is_the_same() {
    let rig = Rig::new("tests/engines/identity.onnx");
    let mut staged = rig.staged();
    let (one, two) = (rig.inputs(1, 0), rig.inputs(2, 0));
    let Staged { places, host, .. } = &mut staged;
    let mut place =
        |inputs: &[Tensor]| places[0].put(&inputs[0], host).unwrap().data_ptr() as usize;
    let first = place(&one);
    assert_eq!(place(&rig.inputs(1, 1)), first);
    place(&two);
    assert_eq!(place(&two), place(&two));
}

#[test]
fn each_shape_is_recorded_and_more_than_fit_still_run() {
    let mut rig = Rig::new("tests/engines/identity.onnx");
    let mut recorded = Recorded::new(rig.staged(), rig.host());
    for turn in 0..2 {
        for rows in 1..=recorded::RECORDS_MAX + 2 {
            let inputs = rig.inputs(rows, turn);
            let outputs = recorded.run(&mut rig.session, &inputs, &rig.signature.outputs).unwrap();
            assert_eq!(bytes(&outputs), bytes(&inputs), "{rows} rows, turn {turn}");
        }
    }
    assert_eq!(recorded.len(), recorded::RECORDS_MAX);
}

#[test]
fn a_model_answers_the_same_on_every_way() {
    let mut rig = Rig::new("models/ecg-rhythm/1/model.onnx");
    let number = |at: usize| (at as f32 * 0.37).sin();
    let shape = Shape::new([2, 1, 720]);
    let data: Vec<u8> = (0..1_440).flat_map(|at| number(at).to_le_bytes()).collect();
    let inputs = [Tensor::new("x", DType::F32, shape, data.into()).unwrap()];
    let (mut staged, mut recorded) = (rig.staged(), Recorded::new(rig.staged(), rig.host()));
    let outputs = rig.signature.outputs.clone();
    let first = staged.run(&mut rig.session, &inputs, &outputs, None).unwrap();
    let second = recorded.run(&mut rig.session, &inputs, &outputs).unwrap();
    let mut direct = Instance { way: Way::Direct, session: rig.session, outputs };
    let answer = direct.run(&inputs).unwrap();
    assert_eq!(bytes(&first), bytes(&answer));
    assert_eq!(bytes(&second), bytes(&answer));
}

#[test]
fn what_a_model_wants_of_a_gpu_is_asked_of_the_library() {
    let names = |options: &EngineOptions, device| {
        let providers = device::providers(device, options, Some(Path::new("/kept")));
        providers.iter().map(|provider| provider.name().to_owned()).collect::<Vec<_>>()
    };
    let plain = EngineOptions::default();
    let compiled = EngineOptions {
        tensorrt: Some(TensorRt { precision: Precision::Fp16, workspace_bytes_max: Some(1) }),
        ..EngineOptions::default()
    };
    let (cpu, cuda, tensorrt) =
        ("CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider");
    assert_eq!(names(&plain, Device::Cuda(1)), [cuda, cpu]);
    assert_eq!(names(&compiled, Device::Cuda(1)), [tensorrt, cuda, cpu]);
    assert_eq!(names(&compiled, Device::Cpu), [cpu]);
}
