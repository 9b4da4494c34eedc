"""Processor time of one engine call, in microseconds: the least of many short runs."""

import json
import sys
import time

import numpy
import onnxruntime

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options)
given = json.load(sys.stdin)
row = numpy.array(given["row"], numpy.float32).reshape(given["shape"])
feed = {session.get_inputs()[0].name: row}
best = float("inf")
end = time.monotonic() + 1.5
while time.monotonic() < end:
    begun = time.process_time()
    for _ in range(50):
        session.run(None, feed)
    best = min(best, (time.process_time() - begun) / 50)
print(best * 1e6)
