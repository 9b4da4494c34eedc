"""The ONNX project's backend test suite: one small model per case, with what it is asked and ought
to answer, as the `onnx` package makes them.

Of its node tests, those are taken that the protocol can say (tensors of its datatypes) and that
ONNX Runtime, called directly, passes: what fails there is no server's doing.
"""

import ctypes
import math
import warnings
from dataclasses import dataclass

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
from onnx.backend.test.case.node import collect_testcases
from onnx.backend.test.runner import Runner
from onnxruntime import OrtValue

T = onnx.TensorProto
# The rest has no name in the protocol: numbers of 8 bits and less that are no plain integers, and
# complex ones.
DATATYPES = {
    T.BOOL: "BOOL", T.UINT8: "UINT8", T.UINT16: "UINT16", T.UINT32: "UINT32", T.UINT64: "UINT64",
    T.INT8: "INT8", T.INT16: "INT16", T.INT32: "INT32", T.INT64: "INT64", T.FLOAT16: "FP16",
    T.BFLOAT16: "BF16", T.FLOAT: "FP32", T.DOUBLE: "FP64", T.STRING: "BYTES",
}


@dataclass(frozen=True)
class Case:
    name: str
    model: bytes
    inputs: dict[str, tuple[str, np.ndarray]]  # Datatype and values.
    outputs: dict[str, np.ndarray]
    rtol: float
    atol: float

    def check(self, answer: dict[str, np.ndarray]):
        """Holds an answer against the suite's, by the suite's own rules."""
        assert list(answer) == list(self.outputs), "other outputs"
        got = list(answer.values())
        Runner.assert_similar_outputs(list(self.outputs.values()), got, self.rtol, self.atol)


def cases() -> list[Case]:
    """Every node test that is one for a server."""
    onnxruntime.set_default_logger_severity(4)
    with warnings.catch_warnings():
        # The suite asks for infinities on purpose.
        warnings.simplefilter("ignore")
        found = [plain(case) for case in collect_testcases(None)]
        return [case for case in found if case and passes(case)]


def plain(case) -> Case | None:
    """A case in tensors that the protocol can say, or None."""
    graph = case.model.graph
    sides = [list(graph.input), list(graph.output)]
    ((inputs, outputs),) = case.data_sets
    if not all(datatype(value) for side in sides for value in side):
        return None
    names = [value.name for value in sides[0]]
    assert len(names) == len(inputs), case.name
    return Case(
        name=case.name,
        model=case.model.SerializeToString(),
        inputs={
            value.name: (datatype(value), array(given)) for value, given in zip(sides[0], inputs)
        },
        outputs={value.name: array(wanted) for value, wanted in zip(sides[1], outputs)},
        rtol=case.rtol,
        atol=case.atol,
    )


def datatype(value: onnx.ValueInfoProto) -> str | None:
    """The protocol's name of a tensor's datatype."""
    if value.type.WhichOneof("value") != "tensor_type":
        return None
    return DATATYPES.get(value.type.tensor_type.elem_type)


def array(value) -> np.ndarray:
    if isinstance(value, onnx.TensorProto):
        value = onnx.numpy_helper.to_array(value)
    value = np.asarray(value)
    return value.astype(np.object_) if value.dtype.kind in "SU" else value


def passes(case: Case) -> bool:
    """Whether ONNX Runtime does, called directly."""
    try:
        case.check(compute(case))
    except Exception:  # Whatever it is, it is not about a server.
        return False
    return True


def compute(case: Case) -> dict[str, np.ndarray]:
    """ONNX Runtime's answer."""
    session = onnxruntime.InferenceSession(case.model, providers=["CPUExecutionProvider"])
    names, inputs = list(case.outputs), {name: given for name, (_, given) in case.inputs.items()}
    tensors = [*inputs.values(), *case.outputs.values()]
    if not any(tensor.dtype == ml_dtypes.bfloat16 for tensor in tensors):
        return dict(zip(names, session.run(names, inputs)))
    # Numpy has no BF16, and the library's own values have no strings: no case has both.
    values = {name: to_ort(given) for name, given in inputs.items()}
    outputs = session.run_with_ort_values(names, values)
    return dict(zip(names, map(from_ort, outputs)))


def to_ort(values: np.ndarray) -> OrtValue:
    if values.dtype == ml_dtypes.bfloat16:
        bits = np.ascontiguousarray(values).view(np.uint16)
        return OrtValue.ortvalue_from_numpy_with_onnx_type(bits, T.BFLOAT16)
    return OrtValue.ortvalue_from_numpy(np.ascontiguousarray(values).reshape(values.shape))


def from_ort(value: OrtValue) -> np.ndarray:
    if value.element_type() != T.BFLOAT16:
        return value.numpy()
    # numpy has no such datatype, so the library gives no view of it.
    size = math.prod(value.shape()) * 2
    bits = ctypes.string_at(value.data_ptr(), size)
    return np.frombuffer(bits, ml_dtypes.bfloat16).reshape(value.shape())
