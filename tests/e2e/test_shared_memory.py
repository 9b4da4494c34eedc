"""Tensors in system shared memory, as tritonclient registers and names it, over both doors."""

import contextlib
import os
import stat
import uuid

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
import tritonclient.utils as triton_utils
from tritonclient.utils import shared_memory as shm

from support import oip
from support.registry import Registry
from support.server import Server

DOORS = {"rest": (oip.rest_client, triton_http), "grpc": (oip.grpc_client, triton_grpc)}
# What each door says of a kind of error.
CODES = {
    "rest": {"invalid": "400", "absent": "404", "twice": "400", "off": "501",
             "large": "413"},
    "grpc": {"invalid": "INVALID_ARGUMENT", "absent": "NOT_FOUND", "twice": "ALREADY_EXISTS",
             "off": "UNIMPLEMENTED", "large": "OUT_OF_RANGE"},
}
SENT = np.arange(6, dtype=np.float32).reshape(2, 3)

pytestmark = pytest.mark.skipif(
    not os.path.isdir("/dev/shm"), reason="the system keeps its shared memory objects elsewhere"
)
either_door = pytest.mark.parametrize("door", DOORS)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shm")
    registry = Registry(folder / "models")
    registry.add_echo("echo")
    registry.add_echo("words", datatypes=("BYTES",))
    registry.add_echo("two", datatypes=("FP32", "FP32"))
    flags = ("--allow-client-shm=true", "--body-bytes-max", "100000")
    with Server(registry.path, *flags, cwd=folder) as server:
        yield server.wait_ready()


@contextlib.contextmanager
def memory(byte_size: int):
    """A shared memory object of the test's own: its handle and its key."""
    key = f"/galen-test-{uuid.uuid4().hex}"
    handle = shm.create_shared_memory_region("test", key, byte_size, create_only=True)
    try:
        yield handle, key
    finally:
        shm.destroy_shared_memory_region(handle)


@pytest.fixture
def client(server, door):
    with DOORS[door][0](server) as client:
        yield client
        client.unregister_system_shared_memory()


@contextlib.contextmanager
def refused(door: str, kind: str, text: str):
    with pytest.raises(triton_utils.InferenceServerException, match=text) as caught:
        yield
    assert CODES[door][kind] in str(caught.value.status()), caught.value
    assert "/dev/shm" not in str(caught.value)


def placed(door: str, region: str, byte_size: int, offset: int = 0, shape=SENT.shape, kind="FP32"):
    tensor = DOORS[door][1].InferInput("INPUT0", list(shape), kind)
    tensor.set_shared_memory(region, byte_size, offset)
    return tensor


def wanted(door: str, region: str, byte_size: int, offset: int = 0):
    output = DOORS[door][1].InferRequestedOutput("OUTPUT0")
    output.set_shared_memory(region, byte_size, offset)
    return output


def entry(door: str, answer) -> tuple[str, list[int]]:
    output = answer.get_output("OUTPUT0")
    if door == "rest":
        assert "data" not in output
        return output["datatype"], output["shape"]
    assert list(answer.get_response().raw_output_contents) == [b""]
    return output.datatype, list(output.shape)


@either_door
def test_values_travel_in_memory_both_ways(server, client, door):
    size = SENT.nbytes
    with memory(3 * size) as (handle, key):
        # The region begins behind the first tensor: places in it are its own.
        client.register_system_shared_memory("data", key, 2 * size, offset=size)
        shm.set_shared_memory_region(handle, [SENT], offset=size)
        answer = client.infer(
            "echo", [placed(door, "data", size)], outputs=[wanted(door, "data", size, size)]
        )
        assert entry(door, answer) == ("FP32", [2, 3])
        back = shm.get_contents_as_numpy(handle, np.float32, SENT.shape, offset=2 * size)
        assert np.array_equal(back, SENT)
        untouched = shm.get_contents_as_numpy(handle, np.float32, SENT.shape)
        assert not untouched.any()
        del back, untouched


@either_door
def test_one_side_alone_may_be_shared(client, door):
    module = DOORS[door][1]
    with memory(SENT.nbytes) as (handle, key):
        client.register_system_shared_memory("data", key, SENT.nbytes)
        shm.set_shared_memory_region(handle, [SENT])
        answer = client.infer("echo", [placed(door, "data", SENT.nbytes)])
        assert np.array_equal(answer.as_numpy("OUTPUT0"), SENT)
        other = module.InferInput("INPUT0", list(SENT.shape), "FP32").set_data_from_numpy(SENT + 1)
        client.infer("echo", [other], outputs=[wanted(door, "data", SENT.nbytes)])
        back = shm.get_contents_as_numpy(handle, np.float32, SENT.shape)
        assert np.array_equal(back, SENT + 1)
        del back


@either_door
def test_inputs_in_memory_and_in_the_message_can_be_mixed(client, door):
    with memory(SENT.nbytes) as (handle, key):
        client.register_system_shared_memory("data", key, SENT.nbytes)
        shm.set_shared_memory_region(handle, [SENT])
        other = DOORS[door][1].InferInput("INPUT1", list(SENT.shape), "FP32")
        other.set_data_from_numpy(SENT + 1)
        answer = client.infer("two", [placed(door, "data", SENT.nbytes), other])
    assert np.array_equal(answer.as_numpy("OUTPUT0"), SENT)
    assert np.array_equal(answer.as_numpy("OUTPUT1"), SENT + 1)


@either_door
def test_strings(client, door):
    words = np.array([["ward", ""]], dtype=np.object_)
    packed = triton_utils.serialize_byte_tensor(words)
    size = len(packed.item())
    with memory(2 * size) as (handle, key):
        client.register_system_shared_memory("words", key, 2 * size)
        shm.set_shared_memory_region(handle, [packed])
        client.infer(
            "words",
            [placed(door, "words", size, shape=words.shape, kind="BYTES")],
            outputs=[wanted(door, "words", size, size)],
        )
        back = shm.get_contents_as_numpy(handle, np.object_, [1, 2], offset=size)
        assert back.tolist() == [[b"ward", b""]]


def test_a_region_of_one_door_is_there_on_the_other(server):
    with memory(8) as (_, key), oip.rest_client(server) as rest, oip.grpc_client(server) as other:
        rest.register_system_shared_memory("both", key, 4, offset=2)
        expected = {"name": "both", "key": key, "offset": 2, "byte_size": 4}
        assert rest.get_system_shared_memory_status() == [expected]
        assert rest.get_system_shared_memory_status("both") == [expected]
        status = other.get_system_shared_memory_status("both", as_json=True)
        assert status["regions"]["both"] == {**expected, "offset": "2", "byte_size": "4"}
        other.unregister_system_shared_memory("both")
        assert rest.get_system_shared_memory_status() == []


@either_door
def test_what_can_not_be_registered(client, door):
    with memory(8) as (_, key):
        client.register_system_shared_memory("one", key, 8)
        with refused(door, "twice", "region 'one' already in manager"):
            client.register_system_shared_memory("one", key, 8)
        for offset, size in [(0, 1 << 20), (1 << 20, 1), (2**63 - 1, 2**63 - 1)]:
            with refused(door, "invalid", "reach beyond the object"):
                client.register_system_shared_memory("two", key, size, offset=offset)
        with refused(door, "invalid", "must be 1 or more"):
            client.register_system_shared_memory("two", key, 0)
    for key in ["/galen-test-absent", "../etc/passwd", "/../etc/passwd", "/", "a/b", "..", ""]:
        with refused(door, "invalid", "its 'key' names no shared memory object"):
            client.register_system_shared_memory("two", key, 1)
    if door == "grpc":
        with refused(door, "invalid", "the name of a shared memory region is"):
            client.register_system_shared_memory("a/b", "/x", 1)
    with refused(door, "absent", "Unable to find shared memory region: 'two'"):
        client.get_system_shared_memory_status("two")


@either_door
def test_links_and_fifos_are_not_opened(client, door):
    for make in (lambda path: os.symlink("/etc/passwd", path), os.mkfifo, os.mkdir):
        path = f"/dev/shm/galen-test-{uuid.uuid4().hex}"
        make(path)
        try:
            with refused(door, "invalid", "its 'key' names no shared memory object"):
                client.register_system_shared_memory("odd", os.path.basename(path), 1)
        finally:
            os.rmdir(path) if stat.S_ISDIR(os.lstat(path).st_mode) else os.unlink(path)


@either_door
def test_wrong_places_are_refused_and_nothing_is_written(client, door):
    size = SENT.nbytes
    with memory(4 * size) as (handle, key):
        client.register_system_shared_memory("data", key, 2 * size)
        shm.set_shared_memory_region(handle, [SENT])
        good_input, good_output = placed(door, "data", size), wanted(door, "data", size, size)
        for offset, length in [(2 * size, size), (size + 4, size), (2**62, size), (0, 3 * size)]:
            with refused(door, "invalid", "input 'INPUT0': invalid offset \\+ byte size"):
                client.infer("echo", [placed(door, "data", length, offset)])
            with refused(door, "invalid", "output 'OUTPUT0': invalid offset \\+ byte size"):
                bad = wanted(door, "data", length, offset)
                client.infer("echo", [good_input], outputs=[bad])
        with refused(door, "invalid", "input byte size mismatch for input 'INPUT0'"):
            client.infer("echo", [placed(door, "data", size - 4)])
        with refused(door, "invalid", f"\\({size - 4} bytes\\) should be at least {size} bytes"):
            client.infer("echo", [good_input], outputs=[wanted(door, "data", size - 4, size)])
        with refused(door, "absent", "Unable to find shared memory region: 'other'"):
            client.infer("echo", [placed(door, "other", size)], outputs=[good_output])
        back = shm.get_contents_as_numpy(handle, np.float32, SENT.shape, offset=size)
        assert not back.any()
        del back
        client.unregister_system_shared_memory("data")
        with refused(door, "absent", "Unable to find shared memory region: 'data'"):
            client.infer("echo", [good_input])


@either_door
def test_an_object_that_shrinks_is_an_error(client, door):
    size = SENT.nbytes
    path = f"/dev/shm/galen-test-{uuid.uuid4().hex}"
    with open(path, "wb") as file:
        file.write(bytes(size))
    try:
        client.register_system_shared_memory("data", os.path.basename(path), size)
        os.truncate(path, 4)
        with refused(door, "invalid", "region 'data' is smaller than it was"):
            client.infer("echo", [placed(door, "data", size)])
        tensor = DOORS[door][1].InferInput("INPUT0", list(SENT.shape), "FP32")
        tensor.set_data_from_numpy(SENT)
        with refused(door, "invalid", "region 'data' is smaller than it was"):
            client.infer("echo", [tensor], outputs=[wanted(door, "data", size)])
        assert os.path.getsize(path) == 4
    finally:
        os.unlink(path)


@either_door
def test_a_small_request_can_not_ask_for_more_than_a_body_may_hold(client, door):
    size = 100_004
    with memory(size) as (_, key):
        client.register_system_shared_memory("data", key, size)
        with refused(door, "large", "larger than the limit of 100000 bytes"):
            client.infer("echo", [placed(door, "data", size, shape=(1, size // 4))])


@either_door
def test_cuda_memory_is_refused_by_name(client, door):
    status = client.get_cuda_shared_memory_status(**({"as_json": True} if door == "grpc" else {}))
    assert status in ([], {})
    client.unregister_cuda_shared_memory()
    with refused(door, "off", "CUDA shared memory is not supported"):
        client.register_cuda_shared_memory("data", b"aGFuZGxl", 0, 8)


@either_door
def test_it_is_off_unless_it_is_wanted(server, shared, door):
    with DOORS[door][0](shared) as client:
        for call in (
            lambda: client.register_system_shared_memory("data", "/psm", 8),
            client.unregister_system_shared_memory,
            client.get_system_shared_memory_status,
            lambda: client.infer("identity", [placed(door, "data", 8)]),
        ):
            with refused(door, "off", "--allow-client-shm=true"):
                call()
    for allowed in (server, shared):
        with DOORS[door][0](allowed) as client:
            metadata = client.get_server_metadata(**({"as_json": True} if door == "grpc" else {}))
        assert ("system_shared_memory" in metadata["extensions"]) == (allowed is server)
        assert "cuda_shared_memory" not in metadata["extensions"]
