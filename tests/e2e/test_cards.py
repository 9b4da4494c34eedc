"""Model cards over REST: what lies beside the configuration, in its two parts, and nothing else."""

import os

import pytest
import yaml

from support.server import MODELS


@pytest.mark.parametrize("model", sorted(path.parent.name for path in MODELS.glob("*/model.toml")))
def test_every_demo_model_has_a_card_that_says_what_it_is_for(shared, model):
    answer = shared.get(f"/models/{model}/card")
    assert answer.status_code == 200, answer.text
    card = answer.json()
    text = (MODELS / model / "README.md").read_text()
    _, front, markdown = text.split("---\n", 2)
    assert card == {
        "model": model,
        "metadata": yaml.safe_load(front),
        "problem": None,
        "markdown": markdown.lstrip("\n"),
    }
    assert card["metadata"]["license"] and card["metadata"]["galen"]["not_for_clinical_use"] is True
    for heading in ("## Model Details", "## Uses", "## Bias, Risks, and Limitations"):
        assert heading in card["markdown"]
    assert shared.get(f"/models/{model}").json()["has_card"] is True


def test_a_card_is_read_anew_and_only_from_the_models_folder(registry, start, tmp_path):
    card = registry.add_echo("m") / "README.md"
    server = start(registry.path).wait_ready()
    answer = server.get("/models/m/card")
    assert (answer.status_code, answer.json()["detail"]) == (404, "model 'm' has no card")
    assert server.get("/models/m").json()["has_card"] is False
    assert server.get("/models/nobody/card").status_code == 404
    assert server.get("/models/..%2Fm/card").status_code == 404

    card.write_text("---\nlicense: [\n---\nplain <b>text</b>")
    found = server.get("/models/m/card").json()
    assert (found["metadata"], found["markdown"]) == ({}, "plain <b>text</b>")
    assert "front matter" in found["problem"]
    card.write_text("changed")
    assert server.get("/models/m/card").json()["markdown"] == "changed"

    secret = tmp_path / "secret"
    secret.write_text("secret")
    for spoil, why in [
        (lambda: card.symlink_to(secret), "links are not followed"),
        (lambda: os.link(secret, card), "hard links are not read"),
        (lambda: card.write_bytes(b"x" * (256 * 1024 + 1)), "more than the limit"),
        (lambda: card.write_bytes(b"\xff"), "UTF-8"),
        (lambda: os.mkfifo(card), "regular file"),
    ]:
        card.unlink()
        spoil()
        answer = server.get("/models/m/card")
        assert answer.status_code == 400 and why in answer.json()["detail"], answer.text
        assert "secret" not in answer.text
