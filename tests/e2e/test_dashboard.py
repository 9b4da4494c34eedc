"""The dashboard in a real browser: what a person sees and clicks, on the demo models."""

import json
import re
import socket
from contextlib import contextmanager

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect, sync_playwright

from support import browser as browsers
from support import monitoring
from support.browser import PHONE, Tab
from support.demo import LATEST
from support.server import Server

SERIOUS = {"serious", "critical"}
REQUESTS = 20


@pytest.fixture(scope="module")
def browser(figures):
    if not browsers.executable():
        reason = "browser tests: NOT RUN, there is no Chromium; `make venv` says how to get one"
        figures.append(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(
            executable_path=browsers.executable(), args=browsers.FLAGS
        )
        yield found
        found.close()


@pytest.fixture
def tab(browser, shared):
    """A page on the demo models, on which nothing may go wrong."""
    tab = Tab(browser, shared)
    yield tab
    tab.close()
    assert tab.problems == []


def example(server: Server, model: str, version: str) -> dict:
    path = f"/models/{model}/versions/{version}/predict"
    operation = server.get("/openapi.json").json()["paths"][path]["post"]
    return operation["requestBody"]["content"]["application/json"]["example"]


def row(page, name: str):
    """The first row of a model in the fleet."""
    link = page.get_by_role("link", name=name, exact=True)
    return page.get_by_role("row").filter(has=link).first


def panel(page, title: str):
    return page.get_by_role("region", name=title, exact=True)


def test_the_fleet_shows_every_model_and_its_traffic(tab, shared):
    page = tab.open("/")
    expect(page).to_have_title("Models – Galen")
    for model, version in LATEST.items():
        expect(row(page, model)).to_contain_text("ready")
        expect(row(page, model)).to_contain_text(version)
    asked = example(shared, "diabetes-progression", "1")
    for _ in range(REQUESTS):
        assert shared.post("/models/diabetes-progression/predict", asked).ok
    cell = row(page, "diabetes-progression").locator("[data-label='Requests/s']")
    expect(cell).to_have_text(re.compile(r"^[1-9]|^0\.[0-9]*[1-9]"))
    page.get_by_label("Filter").fill("diabetes")
    expect(page.get_by_role("link", name="breast-cancer", exact=True)).to_have_count(0)
    expect(row(page, "diabetes-progression")).to_be_visible()
    page.get_by_label("Filter").fill("no such thing")
    expect(page.get_by_text("No model fits the filter")).to_be_visible()


def test_a_model_is_opened_and_told_with_its_latency(tab, shared):
    asked = example(shared, "breast-cancer", "2")
    for _ in range(REQUESTS):
        assert shared.post("/models/breast-cancer/versions/2/predict", asked).ok
    page = tab.open("/")
    page.get_by_role("link", name="breast-cancer", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("breast-cancer version 2")
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    expect(page.locator(".lead")).to_contain_text("Tells malignant from benign")
    expect(panel(page, "Signature")).to_contain_text("[-1, 30]")
    latency = shared.get("/models/breast-cancer/versions/2/latency").json()
    line = panel(page, "Latency").get_by_role("row").filter(has_text="Infer")
    seen = int(line.locator("[data-label='Requests']").inner_text().replace(",", ""))
    assert REQUESTS <= seen <= latency["phases"]["compute_infer"]["count"]
    panel(page, "Latency").get_by_role("combobox").select_option("Infer")
    expect(panel(page, "Latency").get_by_text("Infer: how many requests").first).to_be_visible()
    # Two readings make the first point of the lines.
    expect(panel(page, "Latency").locator("canvas")).to_have_count(2)
    page.get_by_role("link", name="1", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("breast-cancer version 1")


def test_the_page_reckons_as_the_server_does(tab, shared):
    asked = example(shared, "breast-cancer", "1")
    for _ in range(REQUESTS):
        assert shared.post("/models/breast-cancer/versions/1/predict", asked).ok
    report = shared.get("/models/breast-cancer/versions/1/latency").json()
    script = """async ([bounds, counts, before]) => {
        const { quantile, coarse, since } = await import("/dashboard/histogram.js");
        return {
            quantiles: [0.5, 0.9, 0.99].map((q) => quantile(bounds, counts, q)),
            coarse: coarse(bounds, counts).map((bar) => bar.count),
            since: since(counts, before),
            restarted: since(before, counts),
        };
    }"""
    page = tab.open("/")
    for name, phase in report["phases"].items():
        counts = phase["counts"]
        before = [count // 2 for count in counts]
        found = page.evaluate(script, [report["bounds_us"], counts, before])
        told = [phase["p50_us"], phase["p90_us"], phase["p99_us"]]
        assert found["quantiles"] == pytest.approx(told, abs=0.051), name
        assert sum(found["coarse"]) == phase["count"]
        assert found["since"] == [count - half for count, half in zip(counts, before)]
        assert found["restarted"] == before, "what began anew counts as a whole"


@pytest.mark.parametrize("model", ["breast-cancer", "diabetes-progression", "ecg-rhythm"])
def test_the_example_of_the_form_is_answered_as_curl_is(tab, shared, model):
    version = LATEST[model]
    page = tab.open(f"/#/models/{model}/{version}")
    page.get_by_role("button", name=f"Ask version {version}").click()
    answer = page.locator("#answer")
    answer.get_by_text("As a client sees it").click()
    shown = json.loads(page.locator("#answer-json").inner_text())
    path = f"/models/{model}/versions/{version}/predict"
    told = shared.post(path, example(shared, model, version)).json()
    assert shown["predictions"] == told["predictions"]
    expect(answer).to_contain_text(next(iter(told["predictions"][0])))


def test_what_is_wrong_stands_at_its_field(browser, shared):
    tab = Tab(browser, shared)
    page = tab.open("/#/models/diabetes-progression/1")
    page.locator("#field-age").fill("410")
    page.locator("#field-sex").fill("many")
    page.locator("#field-bmi").fill("")
    page.get_by_role("button", name="Ask version 1").click()
    expect(page.locator("#field-age-error")).to_contain_text("0 to 120")
    expect(page.locator("#field-age")).to_be_focused()
    for name in ("age", "sex", "bmi"):
        expect(page.locator(f"#field-{name}")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#field-bp")).not_to_have_attribute("aria-invalid", "true")
    page.get_by_role("button", name="Fill in the example").click()
    page.get_by_role("button", name="Ask version 1").click()
    expect(page.locator("#answer")).to_contain_text("progression")
    expect(page.locator("#field-age-error")).to_be_empty()
    tab.close()
    # The browser itself notes an answer of 422.
    assert [p for p in tab.problems if "422" not in p] == []


def test_a_version_is_promoted_and_rolled_back_once_it_is_confirmed(browser, registry, start):
    registry.add_echo("echo", versions=(1, 2), settings='version_policy = "all"')
    server = start(registry.path).wait_ready()
    answering = lambda: server.get("/models/echo/traffic").json()["destinations"][0]["version"]
    tab = Tab(browser, server)
    page = tab.open("/#/models/echo")
    promote = page.get_by_role("button", name="Promote version 1")
    promote.click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Promote version 1 of echo?")
    expect(dialog).to_contain_text("will go to version 1")
    expect(dialog).to_contain_text("instead of version 2")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    assert answering() == "2", "nothing happens before it is confirmed"
    promote.click()
    dialog.get_by_role("button", name="Promote version 1").click()
    expect(page.get_by_role("status").filter(has_text="go to version 1")).to_be_visible()
    assert answering() == "1"
    expect(panel(page, "Versions").get_by_role("row").filter(has_text="100 %")).to_contain_text("1")
    page.get_by_role("button", name="Roll back to version 2").click()
    expect(dialog).to_contain_text("will go back to version 2")
    dialog.get_by_role("button", name="Roll back").click()
    expect(page.get_by_role("status").filter(has_text="rolled back")).to_be_visible()
    assert answering() == "2"
    tab.close()
    assert tab.problems == []


@contextmanager
def monitored(tab: Tab, model: str):
    """The server as it is with the monitoring endpoints, which a demo model has little to say on."""
    def document(route):
        body = route.fetch().json()
        for name in monitoring.PANELS:
            body["paths"].setdefault(f"/models/{{model}}/{name}", {})
        route.fulfill(json=body)

    def answer(route):
        _, _, asked, _, version, what = route.request.url.split("://")[1].split("/")
        if asked == model:
            route.fulfill(json=monitoring.ANSWERS[what.split("?")[0]](asked, version))
        else:
            route.fulfill(json={**monitoring.drift(asked, version), "status": "no_profile",
                                "features": [], "outputs": [], "reasons": []})

    tab.page.route("**/openapi.json", document)
    tab.page.route(re.compile(r"/models/[^/]+/versions/[^/]+/(drift|quality|performance)"), answer)
    yield
    tab.page.unroute_all(behavior="ignoreErrors")


def test_drift_quality_and_performance_are_shown_where_they_are_known(tab):
    with monitored(tab, "breast-cancer"):
        page = tab.open("/")
        expect(row(page, "breast-cancer").locator("[data-label='Drift']")).to_have_text("drift")
        expect(row(page, "ecg-rhythm").locator("[data-label='Drift']")).to_have_text("not watched")
        page.get_by_role("link", name="breast-cancer", exact=True).click()
        drift = panel(page, "Drift")
        expect(drift).to_contain_text("mean_radius: psi 3.21, above 0.25")
        expect(drift.get_by_role("img")).to_have_count(4)
        # The worst comes first.
        expect(drift.locator("figcaption").first).to_have_text("mean_radius [mm]")
        drift.get_by_text("Numbers").first.click()
        expect(drift.get_by_role("row", name="15.9 and above 20 % 40 %")).to_be_visible()
        expect(panel(page, "Data quality")).to_contain_text("41 (4.1 %)")
        expect(panel(page, "Performance")).to_contain_text("0.91 (0.87 to 0.94)")
        expect(panel(page, "Performance")).to_contain_text("too few")
        expect(panel(page, "Performance")).to_contain_text("worse than declared")
        expect(panel(page, "Performance")).to_contain_text("170 cases), below 0.95")
        table = drift.get_by_role("table", name="Drift scores by feature")
        expect(table.locator("[data-label='PSI of an alarm']").first).to_have_text("0.425")
        page.get_by_role("button", name="Data quality").click()
        expect(page.locator("#quality-title")).to_be_focused()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_keeps_anybody_out(browser, shared, scheme):
    axe = Axe()
    tab = Tab(browser, shared, scheme, PHONE if scheme == "dark" else browsers.DESKTOP)

    def check(where: str):
        found = axe.run(tab.page).response["violations"]
        told = [f"{where}: {v['id']}: {v['help']} {[n['target'] for n in v['nodes']]}"
                for v in found if v["impact"] in SERIOUS]
        assert not told, "\n".join(told)

    with monitored(tab, "breast-cancer"):
        page = tab.open("/")
        expect(row(page, "breast-cancer").locator("[data-label='Drift']")).to_have_text("drift")
        check("fleet")
        tab.open("/#/models/breast-cancer")
        expect(panel(page, "Performance")).to_be_visible()
        page.get_by_text("What its author says").click()
        check("model")
        page.get_by_role("button", name="Promote version 1").click()
        check("dialog")
        page.keyboard.press("Escape")
        # What is wider than a phone scrolls in its own box.
        wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, f"the page is {wide} px wider than the screen"
    tab.close()
    assert tab.problems == []


def test_the_theme_is_chosen_and_kept(tab):
    page = tab.open("/")
    expect(row(page, "identity")).to_be_visible()
    background = lambda: page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    light = background()
    page.get_by_role("button", name="Switch to the dark theme").click()
    dark = background()
    assert dark != light
    page.reload()
    assert background() == dark


def test_a_server_that_is_gone_is_told_and_found_again(browser, registry, start, tmp_path):
    registry.add_echo("echo")
    socket_path = free_address()
    server = start(registry.path, http=socket_path).wait_ready()
    tab = Tab(browser, server)
    page = tab.open("/")
    expect(row(page, "echo")).to_contain_text("ready")
    server.stop()
    expect(page.get_by_role("alert")).to_contain_text("The server does not answer")
    expect(row(page, "echo")).to_be_visible()
    start(registry.path, http=socket_path).wait_ready()
    expect(page.get_by_role("alert")).to_be_hidden()
    tab.close()
    # The browser itself notes that nobody answered.
    assert [p for p in tab.problems if "ERR_CONNECTION_REFUSED" not in p
            and "ERR_EMPTY_RESPONSE" not in p and "ERR_CONNECTION_RESET" not in p] == []


def free_address() -> str:
    """An address that two servers, one after the other, can have."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return "127.0.0.1:%d" % probe.getsockname()[1]


def test_nothing_is_asked_while_nobody_looks(tab):
    page = tab.page
    page.clock.install()
    tab.open("/")
    expect(row(page, "identity")).to_be_visible()
    asked = []
    page.on("request", lambda request: asked.append(request.url))

    def is_quiet() -> bool:
        page.clock.run_for(1_000)
        asked.clear()
        page.clock.run_for(60_000)
        # A round trip to the page: what it had asked by then has been told.
        page.evaluate("0")
        return asked == []

    assert not is_quiet()
    page.get_by_role("button", name="Pause").click()
    assert is_quiet()
    with page.expect_request(lambda request: request.url.endswith("/models")):
        page.get_by_role("button", name="Pause").click()
    hide = """hidden => {
        Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    page.evaluate(hide, True)
    assert is_quiet()
    with page.expect_request(lambda request: request.url.endswith("/models")):
        page.evaluate(hide, False)


def test_what_somebody_reads_or_types_survives_a_refresh(tab):
    page = tab.page
    page.clock.install()
    with monitored(tab, "breast-cancer"):
        tab.open("/#/models/breast-cancer")
        numbers = panel(page, "Drift").locator("details").first
        numbers.locator("summary").click()
        first = page.locator(".field input").first
        first.fill("12.5")
        button = page.get_by_role("button", name="Promote version 1")
        button.focus()
        # Every part of the page is drawn anew at least once.
        for _ in range(2):
            with page.expect_response(re.compile("/drift")):
                page.clock.run_for(10_000)
        expect(button).to_be_focused()
        expect(numbers).to_have_attribute("open", "")
        expect(first).to_have_value("12.5")


def test_an_empty_registry_says_what_to_do(browser, registry, start):
    server = start(registry.path).wait_ready()
    tab = Tab(browser, server)
    page = tab.open("/")
    expect(page.get_by_role("heading", name="There is no model yet")).to_be_visible()
    tab.open("/#/models/nobody")
    expect(page.get_by_text("There is no such model")).to_be_visible()
    tab.close()
    assert [p for p in tab.problems if "404" not in p] == []


def test_what_the_api_says_is_text_and_never_markup(browser, registry, start):
    markup = "<img src=x onerror=alert(1)><b>bold</b>"
    registry.add_echo("echo", settings=f"description = '{markup}'")
    server = start(registry.path).wait_ready()
    tab = Tab(browser, server)
    page = tab.open("/#/models/echo")
    expect(page.get_by_text(markup, exact=True)).to_be_visible()
    expect(page.locator("main b, main img")).to_have_count(0)
    tab.close()
    assert tab.problems == []


def test_the_card_is_shut_and_reads_well_when_it_is_opened(tab):
    page = tab.open("/#/models/breast-cancer/2")
    card = panel(page, "Model card")
    text = card.get_by_text("Tells malignant from benign breast masses")
    expect(card.get_by_text("What its author says")).to_be_visible()
    expect(text).to_be_hidden()
    card.get_by_text("What its author says").focus()
    page.keyboard.press("Enter")
    expect(text).to_be_visible()
    expect(card.get_by_role("heading", name="Out-of-Scope Use")).to_be_visible()
    expect(card.get_by_role("row", name="ROC AUC 0.9931 0.9802")).to_be_visible()
    expect(card.get_by_role("table", name="Figures of breast-cancer/2")).to_contain_text("0.98")
    expect(card.get_by_text("not for clinical use").first).to_be_visible()
    expect(card.locator("li").filter(has_text="569 masses from one hospital")).to_contain_text(
        "Cytology, imaging and referral have changed since."
    )
    expect(card.locator("code").filter(has_text="examples.json").first).to_be_visible()
    assert "<!--" not in card.inner_text() and "**" not in card.inner_text()


HOSTILE_CARD = """---
license: "<img src=x onerror=alert(1)>"
tags: {a: [b]}
model-index: [{name: <b>n</b>, results: [{metrics: [{name: x, value: "<i>1</i>"}]}, 7]}, null, x]
galen: {note: "<script>alert(2)</script>"}
---
# Title <b>bold</b>

<script>alert(3)</script><img src=x onerror=alert(4)>

[run](javascript:alert) [data](data:text/html,x) [file](/v2/health/live) [page](https://example.org/a)
**strong *em `code <u>`*** & &lt; ![picture](http://elsewhere.invalid/x.png)

| a | <b>b</b> |
|---|---|
| 1 | <img src=x> |

```html
<iframe src=//elsewhere.invalid></iframe>
```
* item
  <a href=javascript:alert(6)>x</a>
"""


def test_nothing_in_a_card_is_markup(browser, registry, start):
    folder = registry.add_echo("echo")
    (folder / "README.md").write_text(HOSTILE_CARD)
    server = start(registry.path).wait_ready()
    tab = Tab(browser, server)
    page = tab.open("/#/models/echo")
    card = panel(page, "Model card")
    card.get_by_text("What its author says").click()
    expect(card.get_by_role("heading", name="Title <b>bold</b>")).to_be_visible()
    expect(card).to_contain_text("<script>alert(3)</script><img src=x onerror=alert(4)>")
    expect(card).to_contain_text("<img src=x onerror=alert(1)>")
    expect(card).to_contain_text("<iframe src=//elsewhere.invalid></iframe>")
    expect(card.locator("script, img, iframe, b, i, u, style, object, embed, form")).to_have_count(0)
    links = card.locator("a")
    addresses = [link.get_attribute("href") for link in links.all()]
    assert addresses == ["https://example.org/a", "http://elsewhere.invalid/x.png"]
    assert {link.get_attribute("rel") for link in links.all()} == {"noopener noreferrer"}
    expect(card).to_contain_text("run (javascript:alert)")
    tab.close()
    assert tab.problems == []


def test_the_api_page_works_in_a_browser_too(tab):
    page = tab.open("/")
    page.get_by_role("link", name="API").click()
    expect(page.get_by_role("heading", name="Galen")).to_be_visible()
    expect(page.get_by_text("/models/breast-cancer/predict").first).to_be_visible()
