"""ONNX Runtime's library: opened when the first model wants it, and nobody's end where it is none."""

from pathlib import Path

from support.server import until


def libraries(server) -> set[str]:
    """Names of what the process has mapped."""
    lines = Path(f"/proc/{server.process.pid}/maps").read_text().splitlines()
    return {Path(line.split()[-1]).name for line in lines if "/" in line}


def has_library(server) -> bool:
    return any("onnxruntime" in name for name in libraries(server))


def test_it_is_opened_when_the_first_model_comes(registry, start, figures):
    server = start(registry.path).wait_ready()
    assert not has_library(server)
    idle = server.memory_bytes()
    registry.add_demo("ecg-rhythm")
    until(lambda: server.get("/v2/models/ecg-rhythm/ready").ok)
    assert has_library(server)
    assert len(server.log.wait_for(message="onnxruntime loaded")) == 1
    figures.append(f"a server without models: {idle / 2**20:.1f} MiB (debug build)")


def test_models_of_other_engines_do_without_it(registry, start):
    registry.add_demo("ecg-rhythm")
    server = start(registry.path, "--backend", "tract").wait_ready()
    assert not has_library(server)


def test_a_library_that_is_none_is_told_and_another_engine_serves(registry, start, tmp_path):
    library = tmp_path / "libonnxruntime.so"
    library.write_text("no library")
    registry.add_demo("ecg-rhythm")
    folder = registry.add_demo("breast-cancer")
    text = (folder / "model.toml").read_text()
    asked = text.replace('backend = "auto"', 'backend = "onnxruntime"')
    assert asked != text
    (folder / "model.toml").write_text(asked)
    server = start(registry.path, "--onnxruntime", str(library)).wait_ready()
    [ready] = server.log.wait_for(message="version ready", model="ecg-rhythm")
    assert ready["backend"] == "tract"
    failed = server.log.wait_for(count=2, message="version failed", model="breast-cancer")
    assert all(f"{library} can not be used" in record["reason"] for record in failed)
    [warning] = server.log.wait_for(message="onnxruntime is not available")
    assert warning["level"] == "WARN" and str(library) in warning["reason"]
