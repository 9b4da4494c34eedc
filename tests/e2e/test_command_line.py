"""What was typed wrong is told at once, with exit code 64 and the nearest right word, before any
port is bound.
"""

import socket

import pytest

from support.server import MODELS, run

USAGE = 64


def refused(*arguments: str, cwd) -> str:
    outcome = run(*arguments, cwd=cwd)
    assert outcome.returncode == USAGE, outcome.stderr
    assert outcome.stdout == ""
    assert "listening" not in outcome.stderr
    return outcome.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["serve", "--model", "x"], "--models"),
        (["serve", "--htpp", "x"], "--http"),
        (["sreve"], "serve"),
        ([], "Usage"),
        (["serve", "--http", "nowhere"], "http: expected IP:PORT"),
        (["serve", "--grpc", "127.0.0.1:99999"], "grpc: expected IP:PORT"),
        (["serve", "--backend", "tensorflow"], "onnxruntime"),
        (["serve", "--log-format", "xml"], "expected auto, text, json or ecs"),
        (["serve", "--log-filter", "galen=loud"], "log filter"),
        (["serve", "--body-bytes-max", "1"], "limits.body_bytes_max: expected"),
        (["serve", "--request-timeout-ms", "soon"], "--request-timeout-ms"),
        (["serve", "--cors-origins", "ward"], "rest.cors_origins"),
        (["serve", "--config", "no-such.toml"], "no-such.toml"),
        (["completions", "basic"], "bash"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_mistyped_is_told(tmp_path, arguments, words):
    assert words in refused(*arguments, cwd=tmp_path)


@pytest.mark.parametrize("command", ["serve", "check"])
def test_a_registry_that_is_not_there(tmp_path, command):
    flags = ["--models", "nowhere"] if command == "serve" else ["nowhere"]
    assert "nowhere" in refused(command, *flags, cwd=tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[limits]\nbody_byte_max = 1", "did you mean 'body_bytes_max'?"),
        ("htttp = 'off'", "did you mean 'http'?"),
        ("[rset]\n", "did you mean 'rest'?"),
        ("http = 1", "line 1"),
        ("[limits\n", "line 1"),
    ],
)
@pytest.mark.parametrize("named", [True, False], ids=["named", "found"])
def test_a_wrong_configuration_file(tmp_path, text, words, named):
    name = "ward.toml" if named else "galen.toml"
    (tmp_path / name).write_text(text)
    flags = ["--config", name] if named else []
    message = refused("serve", *flags, cwd=tmp_path)
    assert name in message and words in message


@pytest.mark.parametrize("door", ["http", "grpc", "metrics"])
def test_an_address_that_is_taken(tmp_path, door):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        doors = {"http": "off", "grpc": "off", "metrics": "off", door: address}
        flags = [word for name, where in doors.items() for word in (f"--{name}", where)]
        outcome = run("serve", "--models", str(MODELS), *flags, cwd=tmp_path)
    assert outcome.returncode == USAGE
    assert f"can not listen on {address}" in outcome.stderr
    assert "in use" in outcome.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completions(tmp_path, shell):
    outcome = run("completions", shell, cwd=tmp_path)
    assert outcome.returncode == 0
    assert "shutdown-delay-ms" in outcome.stdout and "galen" in outcome.stdout


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_help_is_no_error(tmp_path, flag):
    outcome = run(flag, cwd=tmp_path)
    assert (outcome.returncode, outcome.stderr) == (0, "")
    assert "galen" in outcome.stdout.lower()
