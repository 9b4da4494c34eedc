"""A client that knows nothing but `proto/`: asks a model, and says what became true, with stubs that
protoc made from the files. A program of its own, since the clients of Triton in the tests' process
bring the same messages along.

Arguments: the folder of the stubs, the server's address. On standard input, JSON: `model`, `version`,
`input` (name), `rows`, `labels`, `sites`. Prints JSON: the request ids, and what became of labels.
"""

import json
import sys

import grpc
import numpy as np

ROWS = 50


def main(stubs: str, address: str) -> dict:
    sys.path.insert(0, stubs)
    import feedback_pb2
    import feedback_pb2_grpc
    import inference_pb2
    import inference_pb2_grpc

    asked = json.load(sys.stdin)
    rows = np.array(asked["rows"], np.float32)
    told = {"ids": [], "joined": 0, "already_labelled": 0, "unknown": 0, "errors": []}
    with grpc.insecure_channel(address) as channel:
        models = inference_pb2_grpc.GRPCInferenceServiceStub(channel)
        feedback = feedback_pb2_grpc.FeedbackStub(channel)

        def give(labels, model=asked["model"], version=""):
            request = feedback_pb2.GiveLabelsRequest(
                model_name=model, model_version=version, labels=labels
            )
            return feedback.GiveLabels(request, timeout=20)

        for first in range(0, len(rows), ROWS):
            part = rows[first : first + ROWS]
            tensor = inference_pb2.ModelInferRequest.InferInputTensor(
                name=asked["input"], datatype="FP32", shape=part.shape
            )
            request = inference_pb2.ModelInferRequest(
                model_name=asked["model"],
                model_version=asked["version"],
                inputs=[tensor],
                raw_input_contents=[part.astype("<f4").tobytes()],
            )
            answer, call = models.ModelInfer.with_call(request, timeout=20)
            assert answer.model_version == asked["version"]
            metadata = dict(call.initial_metadata()) | dict(call.trailing_metadata())
            told["ids"].append(metadata["x-request-id"])
        labels = [
            feedback_pb2.Label(
                prediction_id=told["ids"][row // ROWS],
                row=row % ROWS,
                label=label,
                groups={"site": asked["sites"][row]},
            )
            for row, label in enumerate(asked["labels"])
        ]
        # Twice: the second time, every one of them has its label.
        for _ in range(2):
            answer = give(labels)
            for count in ("joined", "already_labelled", "unknown"):
                told[count] += getattr(answer, count)
            assert not answer.invalid
        wrong = [
            (labels[:1], "nobody", ""),
            (labels[:1], asked["model"], "77"),
            ([], asked["model"], ""),
            ([feedback_pb2.Label(prediction_id="nobody", label=asked["labels"][0])], asked["model"], ""),
            ([feedback_pb2.Label(prediction_id=told["ids"][0], quantity=1.0)], asked["model"], ""),
        ]
        for given, model, version in wrong:
            try:
                give(given, model, version)
                told["errors"].append("OK")
            except grpc.RpcError as error:
                told["errors"].append(error.code().name)
    return told


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
