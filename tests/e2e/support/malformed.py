"""Requests that are wrong in one way each, over REST: generated, named, and with the status that
they deserve.

Every one that carries data carries the canary, which no answer and no log line may repeat.
"""

import copy
import gzip
import json
import zlib
from dataclasses import dataclass, field

CANARY = "canary-5f1c9e"
CANARY_NUMBER = 31337.625
ADD = "/v2/models/add-sub/infer"
# Of the identity engine, one for each kind of element.
INT8, BOOL, WORDS = (f"/v2/models/{name}/infer" for name in ("int8", "bool", "words"))
PREDICT = "/models/diabetes-progression/predict"
# What a test server takes at most.
BODY_BYTES_MAX = 4 << 20


@dataclass(frozen=True)
class Case:
    name: str
    path: str
    body: bytes
    status: int = 400
    verb: str = "POST"
    headers: dict = field(default_factory=dict)


def dump(value) -> bytes:
    return json.dumps(value).encode()


def good() -> dict:
    """A request that add-sub answers."""
    row = [CANARY_NUMBER] * 16
    return {
        "inputs": [
            {"name": name, "shape": [1, 16], "datatype": "FP32", "data": row}
            for name in ("INPUT0", "INPUT1")
        ]
    }


def first(**changes) -> dict:
    """The good request with another first input; `...` leaves a key out."""
    body = good()
    tensor = {**body["inputs"][0], **changes}
    body["inputs"][0] = {key: value for key, value in tensor.items() if value is not ...}
    return body


def single(datatype: str, data: str, shape: str = "[1,1]") -> bytes:
    """A request with one input, its elements written as they are."""
    text = f'{{"name":"INPUT0","datatype":"{datatype}","shape":{shape},"data":{data}}}'
    return f'{{"inputs":[{text}]}}'.encode()


# Names do come back, so that a caller sees what was wrong; data never does.
NAME = "a-name"
WRONG = {"null": None, "number": 3, "text": CANARY, "list": [CANARY], "object": {"x": CANARY},
         "true": True}


def texts() -> list[Case]:
    """No JSON, or none that is a request."""
    whole = dump(good())
    cases = {
        "nothing": b"",
        "blank": b"  \n ",
        "word": CANARY.encode(),
        "garbage behind": whole + b"x",
        "two documents": whole + whole,
        "byte order mark": b"\xef\xbb\xbf" + whole,
        "comment": b"/**/" + whole,
        "single quotes": whole.replace(b'"', b"'"),
        "trailing comma": whole[:-1] + b",}",
        "utf-16": whole.decode().encode("utf-16"),
        "invalid utf-8": whole.replace(b"INPUT0", b"INPUT\xff"),
        "invalid utf-8 in an unknown key": whole[:-1] + b',"\xc3\x28":1}',
        "nul bytes": b"\0" * 1000,
        "binary": bytes(range(256)) * 16,
        "open text": b'{"id":"' + CANARY.encode(),
        "control character in a text": whole.replace(b"INPUT0", b"INPUT0\n"),
        "bad escape": whole.replace(b"INPUT0", b"\\x41"),
        "lone surrogate": whole.replace(b"INPUT0", b"\\ud800"),
    }
    for tenth in range(1, 10):
        cases[f"cut off at {tenth} tenths"] = whole[: len(whole) * tenth // 10]
    for name, value in WRONG.items():
        cases[f"top level {name}"] = dump(value)
    return [Case(name, ADD, body) for name, body in cases.items()]


def documents() -> list[Case]:
    """JSON whose parts are missing, double or of the wrong kind."""
    cases = {
        "no inputs": {},
        "empty inputs": {"inputs": []},
        "missing input": {"inputs": good()["inputs"][:1]},
        "extra input": {"inputs": [*good()["inputs"], {**good()["inputs"][0], "name": "X"}]},
        "duplicate input": {"inputs": [good()["inputs"][0]] * 2},
        "unknown input": first(name="INPUT7"),
        "very many inputs": {"inputs": good()["inputs"] * 2500},
        "unknown output": {**good(), "outputs": [{"name": "OUTPUT7"}]},
        "output without name": {**good(), "outputs": [{}]},
        "very many outputs": {**good(), "outputs": [{"name": "OUTPUT0"}] * 5000},
        "long id": {**good(), "id": CANARY * 100},
        "reserved parameter": {**good(), "parameters": {"triton_x": CANARY}},
        "negative timeout": {**good(), "parameters": {"timeout": -1}},
        "timeout of words": {**good(), "parameters": {"timeout": CANARY}},
    }
    for key in ("inputs", "outputs", "parameters", "id"):
        fine = {"inputs": (), "outputs": (), "parameters": ("object",), "id": ("text",)}[key]
        for name, value in WRONG.items():
            if name not in fine:
                cases[f"{key} is {name}"] = {**good(), key: value}
    for key in ("name", "shape", "datatype", "data"):
        cases[f"input without {key}"] = first(**{key: ...})
        for name, value in WRONG.items():
            named = name == "text" and key in ("name", "datatype")
            cases[f"{key} is {name}"] = first(**{key: NAME if named else value})
    for name, value in WRONG.items():
        if name != "object":
            cases[f"input parameters are {name}"] = first(parameters=value)
    found = [Case(name, ADD, dump(body)) for name, body in cases.items()]
    text = dump(good())
    twice = {
        "inputs twice": text[:-1] + b',"inputs":[]}',
        "name twice": text.replace(b'"name": "INPUT0"', b'"name":"INPUT0","name":"INPUT0"'),
        "shape twice": text.replace(b'"shape"', b'"shape":[1,16],"shape"', 1),
        "datatype twice": text.replace(b'"datatype"', b'"datatype":"FP32","datatype"', 1),
        "data twice": text.replace(b'"data"', b'"data":[],"data"', 1),
    }
    return found + [Case(name, ADD, body) for name, body in twice.items()]


def shapes() -> list[Case]:
    """Shapes and counts that do not fit."""
    row = [CANARY_NUMBER] * 16
    cases = {
        "flat": [16],
        "too many axes": [1, 16, 1],
        "no axes": [],
        "other extent": [1, 15],
        "transposed": [16, 1],
        "more rows than data": [2, 16],
        "negative": [-1, 16],
        "fraction": [1.5, 16],
        "exponent": [1e0, 16],
        "text": ["1", CANARY],
        "nested": [[1, 16]],
        "beyond 32 bits": [2**31, 4],
        "product beyond 64 bits": [2**62, 2**62],
        "2^63": [2**63, 16],
        "2^64": [2**64, 16],
        "10^40": [10**40, 16],
        "64 axes": [1] * 64,
        "10000 axes": [1] * 10_000,
        "terabytes": [2**40, 16],
    }
    found = [Case(f"shape: {name}", ADD, dump(first(shape=shape))) for name, shape in cases.items()]
    for name, data in {
        "one less": row[:-1],
        "one more": [*row, CANARY_NUMBER],
        "none": [],
        "a hundred thousand": row * 6250,
        "nested and one less": [row[:-1]],
        "nested deeper than any tensor": nest(row, 100),
    }.items():
        found.append(Case(f"data: {name}", ADD, dump(first(data=data))))
    both = first(shape=[65, 16], data=row * 65)
    both["inputs"][1] = {**both["inputs"][0], "name": "INPUT1"}
    uneven = copy.deepcopy(both)
    uneven["inputs"][0] = {**uneven["inputs"][0], "shape": [2, 16], "data": row * 2}
    found.append(Case("more rows than a batch may have", ADD, dump(both)))
    found.append(Case("inputs of unlike rows", ADD, dump(uneven)))
    return found


def nest(value, depth: int):
    for _ in range(depth):
        value = [value]
    return value


def elements() -> list[Case]:
    """Elements that their datatype can not hold, and datatypes that the model does not take."""
    found = [
        Case(f"datatype {datatype}", ADD, dump(first(datatype=datatype)))
        for datatype in ("fp32", "FP99", "", "FP64", "INT32", "FP16", "BF16", "BOOL", "BYTES")
    ]
    floats = [f'"{CANARY}"', "null", "true", "{}", '"1.0"', "1e999", "-1e999", "1e39", "NaN",
              "Infinity", "-Infinity", "nan", "inf", "0x10", "01", ".5", "5.", "+1", "1_000", "1e",
              "--1", "[1,[2]]", '{"x":1}', '"NaN "']
    found += [
        Case(f"FP32 {text}", ADD, dump(good()).replace(b"31337.625", text.encode(), 1))
        for text in floats
    ]
    integers = ["128", "-129", "1.5", "1e3", "1e400", '"1"', "true", "null",
                "9223372036854775808", "9" * 400]
    found += [Case(f"INT8 {text[:30]}", INT8, single("INT8", f"[{text}]")) for text in integers]
    flags = ["0", "1", '"true"', "null", "True", "[]"]
    found += [Case(f"BOOL {text}", BOOL, single("BOOL", f"[{text}]")) for text in flags]
    words = ["1", "null", "true", "{}", '"\\ud800"', '"\\u12"', '"\n"', f'"{CANARY}","{CANARY}"']
    found += [Case(f"BYTES {text!r}", WORDS, single("BYTES", f"[{text}]")) for text in words]
    return found


def binaries() -> list[Case]:
    """Lies about where the JSON ends and how long the raw tensors are."""

    def case(name: str, size, raw: bytes, header: object = ..., path=ADD, **changes) -> Case:
        body = first(data=..., parameters={"binary_data_size": size}, **changes)
        if path != ADD:
            body["inputs"] = body["inputs"][:1]
        text = dump(body)
        length = str(len(text) if header is ... else header)
        headers = {"Inference-Header-Content-Length": length}
        return Case(f"binary: {name}", path, text + raw, headers=headers)

    raw = b"canary-5f1c9e!!!" * 4
    found = [
        case("one byte short", 64, raw[:-1]),
        case("one byte more", 64, raw + b"!"),
        case("nothing", 64, b""),
        case("size too small", 60, raw),
        case("size too large", 68, raw),
        case("size of words", CANARY, raw),
        case("size negative", -1, raw),
        case("size with a fraction", 64.5, raw),
        case("size 2^63", 2**63, raw),
        case("size 2^64", 2**64, raw),
        case("size is null", None, raw),
        case("no multiple of the element", 63, raw[:-1]),
        case("flag that is neither 0 nor 1", 1, b"\2", path=BOOL, datatype="BOOL", shape=[1, 1]),
        case("text longer than what is there", 8, b"\xff\xff\xff\xffcana", path=WORDS,
             datatype="BYTES", shape=[1, 1]),
        case("text of half a length", 3, b"\1\0\0", path=WORDS, datatype="BYTES", shape=[1, 1]),
        case("fewer texts than elements", 5, b"\1\0\0\0c", path=WORDS, datatype="BYTES",
             shape=[2, 1]),
        case("more texts than elements", 10, b"\1\0\0\0c" * 2, path=WORDS, datatype="BYTES",
             shape=[1, 1]),
    ]
    for header in ("-1", "1", "99999999", "9" * 40, "0x10", "1.5", CANARY, "", "+64", "64 64"):
        found.append(case(f"header {header[:20]!r}", 64, raw, header=header))
    both = dump(first(parameters={"binary_data_size": 64}))
    found.append(Case("binary: also data", ADD, both + raw,
                      headers={"Inference-Header-Content-Length": str(len(both))}))
    text = dump(good())
    found.append(Case("binary: size without header", ADD,
                      dump(first(data=..., parameters={"binary_data_size": 64}))))
    found.append(Case("binary: bytes behind plain JSON", ADD, text + raw,
                      headers={"Inference-Header-Content-Length": str(len(text))}))
    return found


def bombs() -> list[Case]:
    """What has brought servers down: depth, breadth and size."""
    deep, open_brackets = 10**6, 200_000
    text = dump(good()).decode()
    found = []
    for name, path in (("infer", ADD), ("predict", PREDICT)):
        known = "inputs" if path == ADD else "records"
        found += [
            Case(f"{name}: array {deep} deep", path, b"[" * deep + b"]" * deep),
            Case(f"{name}: {open_brackets} open brackets", path, b"[" * open_brackets),
            Case(f"{name}: {open_brackets} open braces", path, b'{"a":' * open_brackets),
            Case(f"{name}: deep {known}", path,
                 f'{{"{known}":{"[" * deep}{"]" * deep}}}'.encode()),
            Case(f"{name}: deep unknown key", path,
                 f'{{"x":{"[" * deep}{"]" * deep},{text[1:]}'.encode()),
            Case(f"{name}: deep braces in {known}", path,
                 f'{{"{known}":[{"{" + chr(34) + "a" + chr(34) + ":"}'.encode()
                 + b'{"a":' * open_brackets),
        ]
    data = "[" * deep + "1" + "]" * deep
    found += [
        Case("deep data", ADD, single("FP32", data, "[1,16]")),
        Case("deep data before its shape", ADD,
             f'{{"inputs":[{{"data":{data},"name":"INPUT0"}}]}}'.encode()),
        Case("deep shape", ADD, single("FP32", "[]", data)),
        Case("deep parameters", ADD, f'{{"parameters":{{"a":{data}}},{text[1:]}'.encode()),
        Case("a number of a million digits", ADD, single("FP32", f"[{'9' * deep}]", "[1,1]")),
        Case("a million zeros", ADD, single("FP32", f"[{'0,' * deep}0]", "[1,16]")),
        Case("a long unknown key", ADD, f'{{"{CANARY * 50_000}":1,"inputs":[]}}'.encode()),
        Case("many unknown keys", ADD,
             ("{" + ",".join(f'"k{i}":1' for i in range(100_000)) + "}").encode()),
        Case("many parameters", ADD,
             dump({**good(), "parameters": {f"k{i}": 1 for i in range(5000)}})),
        Case("larger than the limit", ADD, b" " * (BODY_BYTES_MAX + 1), 413),
        Case("larger than the limit, typed", PREDICT, b" " * (BODY_BYTES_MAX + 1), 413),
    ]
    return found


def encodings() -> list[Case]:
    """Bodies that say they are packed."""
    body = dump(good())
    packed = {"br": body, "zstd": body, CANARY: body, "gzip, gzip": body}
    broken = {"gzip": gzip.compress(body)[:-9], "deflate": zlib.compress(body)[:-5]}
    bomb = gzip.compress(b" " * (256 << 20), compresslevel=9)
    found = [Case(f"encoding {name}", path, data, 415, headers={"Content-Encoding": name})
             for name, data in packed.items() for path in (ADD, PREDICT)]
    found += [Case(f"cut {name}", ADD, data, 400, headers={"Content-Encoding": name})
              for name, data in broken.items()]
    found += [Case(f"plain {name}", ADD, body, 400, headers={"Content-Encoding": name})
              for name in broken]
    return [*found, Case("gzip bomb", ADD, bomb, 413, headers={"Content-Encoding": "gzip"})]


def selectors() -> list[Case]:
    """Models, versions and paths that are not there, and what is not done to those that are."""
    body = dump(good())
    infer, predict = ("v2/models", "infer"), ("models", "predict")
    versions = {404: ("9", "9" * 18, "%ff"),
                400: ("0", "-1", "+1", "01", "1.0", "%00", "%31%00", "9" * 30,
                      "18446744073709551616", "..", "%2e%2e", "1%2f..", "..%2f1", "%20")}
    found = [
        Case(f"{verb}: version {version[:20]!r}", f"/{root}/add-sub/versions/{version}/{verb}",
             body, status)
        for root, verb in (infer, predict)
        for status, names in versions.items()
        for version in names
    ]
    found += [
        Case(f"{verb}: model {model[:30]!r}", f"/{root}/{model}/{verb}", body, 404)
        for root, verb in (infer, predict)
        for model in ("nobody", "Add-Sub", "add-sub%20", "%00", "add-sub%00", "%ff%fe", ".", "..",
                      "%2e%2e", "%2e%2e%2fadd-sub", "..%2f..%2fetc%2fpasswd", "add-sub%2f1",
                      "%252e%252e", "a" * 5000, "%F0%9F%92%89", "-", "training")
    ]
    found += [
        Case(f"path {path[:40]!r}", path, b"", 404, verb="GET")
        for path in ("/v1", "/v3", "/v2/nothing", "/v2/models/", "/v2//models", "//v2",
                     "/v2/health", "/v2/health/", "/models/", "/models/add-sub/",
                     "/models/add-sub/versions", "/models/add-sub/versions/1", "/..", "/%2e%2e",
                     "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/docs/../../Cargo.toml",
                     "/models/../galen.toml", "/v2/models/add-sub/1/model.onnx",
                     "/models/add-sub/model.toml", "/model.toml", "/metrics", "/.git/config",
                     "/openapi.json/", "/openapi.yaml", "/v2/models/%2e%2e", "/v2/models/%00",
                     "/v2/models/nobody/ready", "/v2/models/nobody", "/models/nobody",
                     "/favicon.ico", "/" + "a" * 8000)
    ]
    paths = {"/v2": "GET", "/v2/health/live": "GET", "/v2/health/ready": "GET",
             "/v2/models": "GET", "/v2/models/add-sub": "GET", "/v2/models/add-sub/ready": "GET",
             "/models": "GET", "/models/add-sub": "GET", "/openapi.json": "GET", "/docs/": "GET",
             ADD: "POST", PREDICT: "POST", "/models/add-sub/versions/1/predict": "POST"}
    found += [
        Case(f"{verb} {path}", path, body, 405, verb=verb)
        for path, right in paths.items()
        for verb in ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW")
        if verb != right
    ]
    return found


def records() -> list[Case]:
    """The typed API: what is no record, and records that break the contract."""
    names = ("age", "sex", "bmi", "bp", "total_cholesterol", "ldl", "hdl", "tch_ratio", "ltg_log",
             "glucose")
    fine = dict(zip(names, (59.0, 2.0, 32.1, 101.0, 157.0, 93.2, 38.0, 4.0, 4.85, 87.0)))
    text = dump({"records": [fine]}).decode()

    def changed(**changes) -> dict:
        record = {**fine, **changes}
        return {"records": [{k: v for k, v in record.items() if v is not ...}]}

    broken = {
        "no records": {},
        "empty": {"records": []},
        "too many": {"records": [fine] * 65},
        "far too many": {"records": [{}] * 50_000},
        "a feature short": changed(age=...),
        "no features": {"records": [{}]},
        "a feature more": changed(shoe_size=CANARY),
        "near miss": changed(age=..., agee=59),
        "too old": changed(age=CANARY_NUMBER),
        "too young": changed(age=-0.5),
        "beyond 32 bits": changed(age=1e300),
        "text": changed(age=CANARY),
        "text of a number": changed(age="59"),
        "list": changed(age=[59]),
        "null": changed(age=None),
        "true": changed(age=True),
        "object": changed(age={"value": CANARY}),
        "unknown key": {"records": [fine], "note": CANARY},
        "second record is bad": {"records": [fine, {**fine, "sex": CANARY}]},
    }
    for name, value in WRONG.items():
        broken[f"records are {name}"] = {"records": value}
        broken[f"a record is {name}"] = {"records": [value]}
        broken[f"top level {name}"] = value
    found = [Case(f"typed: {name}", PREDICT, dump(body), 422) for name, body in broken.items()]
    twice = {
        "a feature twice": text.replace('"age": 59.0', '"age":59.0,"age":59.0'),
        "records twice": text[:-1] + ',"records":[]}',
    }
    found += [Case(f"typed: {name}", PREDICT, body.encode(), 422) for name, body in twice.items()]
    cut = {f"cut off at {n} tenths": text[: len(text) * n // 10] for n in range(10)}
    for number in ("NaN", "Infinity", "-Infinity", "nan", "01", ".5", "5.", "+1", "0x1", "1e"):
        cut[number] = text.replace("59.0", number, 1)
    return found + [Case(f"typed: {name}", PREDICT, body.encode()) for name, body in cut.items()]


CASES = [
    case
    for make in (texts, documents, shapes, elements, binaries, bombs, encodings, selectors, records)
    for case in make()
]
