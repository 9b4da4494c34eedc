"""Settings of a running server, as tritonclient reads and writes them: its log and its traces."""

import pytest
import tritonclient.utils as triton_utils

from support import oip
from support.server import Server

DOORS = {"rest": oip.rest_client, "grpc": oip.grpc_client}
INVALID = {"rest": "400", "grpc": "INVALID_ARGUMENT"}
UNSUPPORTED = {"rest": "501", "grpc": "UNIMPLEMENTED"}
ABSENT = {"rest": "404", "grpc": "NOT_FOUND"}

either_door = pytest.mark.parametrize("door", DOORS)


@pytest.fixture
def server(registry, start) -> Server:
    registry.add_echo("echo")
    return start(registry.path).wait_ready()


def plain(door: str, answer) -> dict:
    """Settings as they are in JSON on REST."""
    if door == "rest":
        return answer
    out = {}
    for name, setting in answer.settings.items():
        if hasattr(setting, "value"):
            values = list(setting.value)
            out[name] = values if name == "trace_level" else values[0]
        else:
            out[name] = getattr(setting, setting.WhichOneof("parameter_choice"))
    return out


def refused(code: str, text: str):
    def check(call):
        with pytest.raises(triton_utils.InferenceServerException, match=text) as caught:
            call()
        assert code in str(caught.value.status()), caught.value

    return check


def ask(server: Server, number: int) -> str:
    """A request that is news on the level of debugging only; gives back its id."""
    name = f"probe-{number}"
    assert server.get("/v2/health/live", headers={"x-request-id": name}).ok
    return name


def fail(server: Server, number: int) -> str:
    """A request that is news, whose line comes behind those of requests before it."""
    name = f"lost-{number}"
    server.get("/v2/models/nobody", headers={"x-request-id": name})
    return name


def ids(server: Server) -> list[str]:
    lines = server.log.records()
    return [line["request_id"] for line in lines if line.get("message") == "request"]


@either_door
def test_the_log_follows_its_settings(server, door):
    with DOORS[door](server) as client:
        start = plain(door, client.get_log_settings())
        assert start == {
            "log_file": "",
            "log_info": True,
            "log_warning": True,
            "log_error": True,
            "log_verbose_level": 0,
            "log_format": "default",
        }
        changed = plain(door, client.update_log_settings({"log_verbose_level": 1}))
        assert changed == {**start, "log_verbose_level": 1}
        seen = [ask(server, 1), fail(server, 2)]
        server.log.wait_for(message="request", request_id="lost-2")

        client.update_log_settings({"log_verbose_level": 0})
        ask(server, 3)
        seen.append(fail(server, 4))
        server.log.wait_for(message="request", request_id="lost-4")

        quiet = plain(door, client.update_log_settings({"log_info": False, "log_error": True}))
        assert quiet == {**start, "log_info": False}
        assert plain(door, client.get_log_settings()) == quiet
        fail(server, 5)
        client.update_log_settings({"log_info": True})
        seen.append(fail(server, 6))
        server.log.wait_for(message="request", request_id="lost-6")
    assert [name for name in ids(server) if name.startswith(("probe", "lost"))] == seen


@either_door
def test_the_form_of_lines_can_be_changed(server, door):
    with DOORS[door](server) as client:
        assert plain(door, client.update_log_settings({"log_format": "text"}))[
            "log_format"
        ] == "text"
        fail(server, 1)
        back = plain(door, client.update_log_settings({"log_format": "ISO8601"}))
        assert back["log_format"] == "ISO8601"
        fail(server, 2)
        server.log.wait_for(message="request", request_id="lost-2")
    text = [line for line in server.log.text().splitlines() if "lost-1" in line]
    assert len(text) == 1 and not text[0].startswith("{"), text


@either_door
def test_what_the_log_can_not_do_is_refused_whole(server, door):
    with DOORS[door](server) as client:
        before = plain(door, client.get_log_settings())
        for settings, code, text in [
            ({"log_info": False, "log_file": "/tmp/galen.log"}, UNSUPPORTED, "'log_file'"),
            ({"log_info": False, "log_format": "xml"}, INVALID, "'log_format': expected default"),
            ({"log_info": False, "log_colour": True}, INVALID, "no log setting 'log_colour'"),
            ({"log_info": False, "log_warning": None}, INVALID, "'log_warning': expected true"),
        ]:
            refused(code[door], text)(lambda: client.update_log_settings(settings))
        assert plain(door, client.update_log_settings({"log_file": ""})) == before
        assert plain(door, client.get_log_settings()) == before


@pytest.mark.parametrize(
    "body",
    [{"log_info": 1}, {"log_verbose_level": -1}, {"log_verbose_level": 2**32},
     {"log_verbose_level": "1"}, {"log_error": [True]}, {"log_file": {"a": 1}}],
)
def test_a_log_setting_of_another_type_is_refused(server, body):
    answer = server.post("/v2/logging", body)
    assert answer.status_code == (501 if "log_file" in body else 400)
    assert next(iter(body)) in answer.json()["error"]


TRACE = {
    "trace_level": ["OFF"],
    "trace_rate": "1000",
    "trace_count": "-1",
    "log_frequency": "0",
    "trace_file": "",
}


@either_door
def test_traces_are_off_and_stay_so(server, door):
    with DOORS[door](server) as client:
        for model in (None, "echo"):
            assert plain(door, client.get_trace_settings(model)) == TRACE
            for settings in (TRACE, {"trace_level": None}, {"trace_level": "OFF"}):
                answer = client.update_trace_settings(model, settings)
                assert plain(door, answer) == TRACE
            for name, value in [
                ("trace_level", ["TIMESTAMPS"]),
                ("trace_level", ["OFF", "TENSORS"]),
                ("trace_rate", "1"),
                ("trace_count", "5"),
                ("log_frequency", "10"),
                ("trace_file", "/tmp/trace.json"),
            ]:
                call = refused(UNSUPPORTED[door], f"trace setting '{name}'")
                call(lambda: client.update_trace_settings(model, {name: value}))
            unknown = refused(INVALID[door], "no trace setting 'trace_colour'")
            unknown(lambda: client.update_trace_settings(model, {"trace_colour": "red"}))
        refused(ABSENT[door], "unknown model")(lambda: client.get_trace_settings("nobody"))
        change = lambda: client.update_trace_settings("nobody", {"trace_level": ["OFF"]})
        refused(ABSENT[door], "unknown model")(change)
        as_json = {"as_json": True} if door == "grpc" else {}
        extensions = client.get_server_metadata(**as_json)["extensions"]
        assert "logging" in extensions and "trace" not in extensions
