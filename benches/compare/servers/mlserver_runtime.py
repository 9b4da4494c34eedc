"""MLServer: a runtime of our own over ONNX Runtime, in the server's process, adaptive batching on.

(Its own runtimes do not read ONNX; a worker process of its own costs more than these models.)
"""

import numpy
import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse


class Onnx(MLModel):
    async def load(self) -> bool:
        self.session = None
        # Without a file, the address is that of the model's folder.
        if str(self.settings.parameters.uri).endswith(".onnx"):
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            self.session = onnxruntime.InferenceSession(self.settings.parameters.uri, options)
            self.names = [output.name for output in self.session.get_outputs()]
        return True

    async def predict(self, payload):
        given = payload.inputs[0]
        array = NumpyCodec.decode_input(given).astype(numpy.float32, copy=False)
        if self.session is None:
            named = [("OUTPUT0", array)]
        else:
            named = zip(self.names, self.session.run(None, {given.name: array}), strict=True)
        outputs = [NumpyCodec.encode_output(name, value) for name, value in named]
        return InferenceResponse(model_name=self.name, outputs=outputs)
