"""Writes tests/parquet: one table as CSV, and as Parquet in several codecs and encodings.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install pyarrow==26.0.1
    /tmp/venv/bin/python tests/tools/make_parquet.py
"""

import csv
import datetime
import struct
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

OUT = Path(__file__).resolve().parents[1] / "parquet"
ROWS = 60
START = datetime.datetime(2026, 1, 1)
NOTES = ["kein Fieber", "Übelkeit", "follow-up, 3 days"]
CODES = ["NA", "", " b "]


def single(value: float) -> float:
    """The nearest FP32."""
    return struct.unpack("f", struct.pack("f", value))[0]


INDEX = range(ROWS)
STRIPS = [[single((i * 7 + j * 3) % 11 / 8) for j in range(4)] for i in INDEX]
# name: type, values. A comma stands in a text, a null in three columns.
COLUMNS = {
    "age": (pa.int16(), [20 + i * 7 % 60 for i in INDEX]),
    "bmi": (pa.float64(), [None if i % 9 == 4 else 18 + i * i % 97 / 7 for i in INDEX]),
    "dose": (pa.decimal128(9, 3), [Decimal(i * 37 % 101 - 50) / 8 for i in INDEX]),
    "smoker": (pa.bool_(), [i % 3 == 0 for i in INDEX]),
    "visits": (pa.uint64(), [i % 5 for i in INDEX]),
    "temperature": (pa.float32(), [single(36 + i % 13 / 10) for i in INDEX]),
    "ward": (
        pa.dictionary(pa.int8(), pa.string()),
        [None if i % 10 == 3 else f"ward {i % 4}" for i in INDEX],
    ),
    "note": (pa.string(), [NOTES[i % len(NOTES)] for i in INDEX]),
    "code": (pa.string(), [CODES[i % len(CODES)] for i in INDEX]),
    "strip": (pa.list_(pa.float32()), STRIPS),
    "grid": (pa.list_(pa.list_(pa.int32())), [[[i % 4, i % 3], [1, i % 2]] for i in INDEX]),
    "none": (pa.null(), [None] * ROWS),
    # What no feature is made of.
    "admitted": (pa.timestamp("ns"), [START + datetime.timedelta(hours=i) for i in INDEX]),
    "born": (pa.date32(), [START.date()] * ROWS),
    "scan": (pa.binary(), [bytes([i]) for i in INDEX]),
    "place": (pa.struct([("x", pa.int32())]), [{"x": i} for i in INDEX]),
}


def table() -> pa.Table:
    arrays = {name: pa.array(values, kind) for name, (kind, values) in COLUMNS.items()}
    return pa.table(arrays)


def write_csv(path: Path) -> None:
    """As a data frame is written: a list as one column an element, a null as nothing."""

    def flat(name: str, value) -> dict:
        if not isinstance(value, list):
            return {name: "" if value is None else value}
        if isinstance(value[0], list):
            value = [x for inner in value for x in inner]
        return {f"{name}[{i}]": x for i, x in enumerate(value)}

    names = [name for name in COLUMNS if name not in ("admitted", "born", "scan", "place")]
    rows = []
    for i in INDEX:
        row = {}
        for name in names:
            row |= flat(name, COLUMNS[name][1][i])
        rows.append(row)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    OUT.mkdir(exist_ok=True)
    write_csv(OUT / "table.csv")
    whole = table()
    write = lambda name, table=whole, **how: pq.write_table(  # noqa: E731
        table, OUT / f"{name}.parquet", store_schema=False, **how
    )
    write("plain", compression="none", use_dictionary=False)
    write("snappy", compression="snappy")
    write("gzip", compression="gzip", data_page_version="2.0", write_statistics=False)
    delta = {
        "age": "DELTA_BINARY_PACKED",
        "bmi": "BYTE_STREAM_SPLIT",
        "note": "DELTA_BYTE_ARRAY",
        "visits": "DELTA_BINARY_PACKED",
        "temperature": "BYTE_STREAM_SPLIT",
    }
    write(
        "zstd",
        compression="zstd",
        use_dictionary=False,
        column_encoding=delta,
        row_group_size=25,
        data_page_size=64,
        write_batch_size=8,
    )
    few = whole.select(["age", "note"])
    write("brotli", few, compression="brotli")
    uneven = pa.table({"strip": [[1.0, 2.0], None, [1.0, 2.0, 3.0]]})
    write("uneven", uneven, compression="none")


if __name__ == "__main__":
    main()
