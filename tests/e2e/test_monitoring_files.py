"""Prometheus' and Grafana's files in docker/: they speak of metrics that Galen has, under its names,
and what compose mounts is there. `make lint` has promtool read and test the rules.
"""

import json
import re

import pytest
import yaml

from support.server import REPOSITORY

DOCKER = REPOSITORY / "docker"
RULES = yaml.safe_load((DOCKER / "prometheus/rules.yml").read_text())
DASHBOARD = json.loads((DOCKER / "grafana/dashboards/galen.json").read_text())
# Prometheus' own, about what it scrapes.
PROMETHEUS = {"up"}
METRIC = re.compile(r"\b(?:nv|galen)_\w+|\bup\b|\bgalen:[\w:]+")


def listed() -> dict[str, str]:
    """The metrics of README's table, each with its kind."""
    table = re.findall(r"^\| `(\w+)` \| (\w+) \|", (REPOSITORY / "README.md").read_text(), re.M)
    return dict(table)


def rules() -> list[dict]:
    return [rule for group in RULES["groups"] for rule in group["rules"]]


def panels() -> list[dict]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def expressions() -> list[tuple[str, str]]:
    """Every expression, with where it stands."""
    found = [(rule.get("alert") or rule["record"], rule["expr"]) for rule in rules()]
    found += [(p["title"], target["expr"]) for p in panels() for target in p["targets"]]
    queries = DASHBOARD["templating"]["list"]
    return found + [(variable["name"], variable["query"]["query"]) for variable in queries]


def base(name: str) -> str:
    """The name in README's table: histograms are asked for by their parts."""
    for ending in ("_bucket", "_sum", "_count"):
        stem = name.removesuffix(ending)
        if listed().get(stem) == "histogram":
            return stem
    return name


@pytest.mark.parametrize("where, expression", expressions(), ids=lambda text: text[:40])
def test_every_metric_is_one_of_galens(where, expression):
    names = set(METRIC.findall(expression))
    assert names, f"{where} asks for no metric"
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    unknown = {base(name) for name in names} - set(listed()) - PROMETHEUS - recorded
    assert not unknown, f"{where}: Galen has no {unknown}"


def test_a_histogram_is_asked_for_by_its_parts():
    for where, expression in expressions():
        for name in METRIC.findall(expression):
            assert listed().get(name) != "histogram", f"{where}: {name} has no samples of its own"


def test_every_alert_says_how_bad_it_is_and_what_to_do():
    alerts = [rule for rule in rules() if "alert" in rule]
    assert len(alerts) >= 7
    tested = (DOCKER / "prometheus/rules_test.yml").read_text()
    for alert in alerts:
        assert alert["labels"]["severity"] in {"critical", "warning", "info"}
        assert alert["annotations"]["summary"]
        assert f"alertname: {alert['alert']}\n" in tested, f"{alert['alert']} has no test"


def test_panels_have_ids_and_places_of_their_own():
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    taken = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                 for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken, f"{panel['title']} lies on another panel"
        taken |= cells


def test_what_compose_mounts_is_there():
    compose = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    mounts = [m for service in compose["services"].values() for m in service["volumes"]]
    paths = [mount.split(":")[0] for mount in mounts if mount.startswith(".")]
    assert len(paths) == 5
    for path in paths:
        assert (DOCKER / path).exists(), path
    for service in compose["services"].values():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), "there is no authentication in front of it"
    sources = yaml.safe_load((DOCKER / "grafana/provisioning/datasources/galen.yaml").read_text())
    uids = {source["uid"] for source in sources["datasources"]}
    assert {panel["datasource"]["uid"] for panel in panels()} <= uids
