"""Writes tests/golden/trace_sampling.json: which traces OpenTelemetry's own sampler records, for the
unit test of src/server/otlp/sampling.rs. It wants the PyPI package `opentelemetry-sdk` (1.45.2).

    python tests/tools/make_sampling_golden.py
"""

import json
import random
from pathlib import Path

from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased

OUT = Path(__file__).resolve().parents[1] / "golden" / "trace_sampling.json"
PERCENTS = [0.0, 0.1, 12.5, 30.0, 50.0, 99.9, 100.0]
LAST = 2**64


def ids() -> list[int]:
    """Some by chance, and on both sides of each limit; this close, the SDKs of two languages may
    differ by their rounding."""
    chance = random.Random(4318)
    found = [1, LAST - 1, LAST, 2**128 - 1]
    found += [chance.getrandbits(128) for _ in range(40)]
    for percent in PERCENTS:
        bound = round(percent / 100 * LAST)
        found += [(7 << 64) + (bound + step) % LAST for step in (-4096, 4096)]
    return found


def main() -> None:
    cases = []
    for trace_id in ids():
        samplers = map(TraceIdRatioBased, (percent / 100 for percent in PERCENTS))
        decisions = [sampler.should_sample(None, trace_id, "x").decision for sampler in samplers]
        sampled = [decision == Decision.RECORD_AND_SAMPLE for decision in decisions]
        cases.append({"trace_id": f"{trace_id:032x}", "sampled": sampled})
    lines = ",\n".join(f"    {json.dumps(case)}" for case in cases)
    OUT.write_text(f'{{\n  "percents": {json.dumps(PERCENTS)},\n  "cases": [\n{lines}\n  ]\n}}\n')


if __name__ == "__main__":
    main()
