// All models at a glance: what answers, how much, how fast, and whether the patients have changed.

import { get, optional, path } from "./api.js";
import { has, openapi } from "./document.js";
import { h, render } from "./dom.js";
import { NOTHING, duration, rate } from "./format.js";
import { badge, driftBadge, stateBadge } from "./parts.js";
import { Rates, counters } from "./rates.js";
import { every } from "./refresh.js";

const REFRESH_MS = 3000;
// Latency and drift are one question for each version: asked less often, few at a time.
const DETAILS_MS = 9000;
const AT_A_TIME = 6;

export function fleet() {
  const state = { models: null, rates: new Rates(), details: new Map(), filter: "" };
  const list = h("div", {});
  const draw = () => render(list, body(state));
  const filter = h("input", {
    type: "search",
    id: "filter",
    autocomplete: "off",
    oninput: (event) => {
      state.filter = event.target.value.trim().toLowerCase();
      draw();
    },
  });
  const node = h("div", {},
    h("div", { class: "heading" },
      h("h1", { tabindex: -1 }, "Models"),
      h("label", { class: "filter" }, "Filter by name, state or label ", filter)),
    list);
  draw();

  const overview = every(REFRESH_MS, async (signal) => {
    const [models, stats] = await Promise.all([
      get("models", signal),
      get("v2/models/stats", signal),
    ]);
    const first = state.models === null;
    state.models = models.models;
    state.rates.add(performance.now(), counters(stats));
    draw();
    if (first) details.now();
  });
  const details = every(DETAILS_MS, async (signal) => {
    const document = await openapi(signal);
    const ready = (state.models ?? []).flatMap((model) => model.versions
      .filter((version) => version.state === "ready")
      .map((version) => [model.name, version.version]));
    await eachOf(ready, async ([name, version]) => {
      const base = path("models", name, "versions", version);
      const [latency, drift] = await Promise.all([
        optional(`${base}/latency`, signal),
        has(document, "drift") ? optional(`${base}/drift`, signal) : null,
      ]);
      state.details.set(`${name}/${version}`, { latency, drift });
    });
    draw();
  });
  return {
    title: "Models",
    node,
    stop() {
      overview.stop();
      details.stop();
    },
  };
}

/** Runs `task` for every item, `AT_A_TIME` at a time. */
async function eachOf(items, task) {
  const waiting = [...items];
  const worker = async () => {
    while (waiting.length > 0) await task(waiting.shift());
  };
  await Promise.all(Array.from({ length: AT_A_TIME }, worker));
}

function body(state) {
  if (state.models === null) return h("p", { class: "quiet", "data-key": "wait" }, "Loading…");
  if (state.models.length === 0) {
    return h("div", { class: "empty", "data-key": "empty" },
      h("h2", {}, "There is no model yet"),
      h("p", {}, "Put one into the registry directory, as ", h("code", {}, "NAME/1/model.onnx"),
        ": it appears here by itself."));
  }
  const found = state.models.filter((model) => matches(model, state.filter));
  return [
    summary(state),
    found.length === 0
      ? h("p", { class: "empty", "data-key": "none" }, "No model fits the filter.")
      : models(state, found),
  ];
}

function matches(model, filter) {
  const words = [model.name, ...Object.keys(model.labels ?? {}),
    ...model.versions.map((version) => version.state)];
  return words.some((word) => word.toLowerCase().includes(filter));
}

/** One sentence for whoever only wants to know whether all is well. */
function summary(state) {
  const versions = state.models.flatMap((model) => model.versions);
  const ready = versions.filter((version) => version.state === "ready").length;
  const failed = versions.filter((version) => version.state === "failed").length;
  const broken = state.models.filter((model) => model.problem).length;
  const drifting = [...state.details.values()].filter((one) => one.drift?.status === "alert").length;
  const tile = (figure, text, tone) =>
    h("div", { class: `tile ${tone ?? ""}`, "data-key": text },
      h("span", { class: "big" }, figure), h("span", {}, text));
  let requests = null;
  for (const model of state.models) {
    for (const version of model.versions) {
      const growth = state.rates.of(`${model.name}/${version.version} requests`);
      if (growth !== null) requests = (requests ?? 0) + growth;
    }
  }
  return h("div", { class: "tiles", "data-key": "summary" },
    tile(String(state.models.length), state.models.length === 1 ? "model" : "models"),
    tile(String(ready), ready === 1 ? "version ready" : "versions ready", "good"),
    tile(String(failed + broken), "failed", failed + broken > 0 ? "bad" : null),
    tile(String(drifting), "with drift", drifting > 0 ? "bad" : null),
    tile(rate(requests), "requests per second"));
}

const COLUMNS = ["Model", "Version", "State", "Labels", "Requests/s", "Rows/s", "p50", "p99", "Drift"];
const NUMERIC = new Set(["Requests/s", "Rows/s", "p50", "p99"]);

function models(state, found) {
  const head = COLUMNS.map((title) =>
    h("th", { scope: "col", role: "columnheader", class: NUMERIC.has(title) ? "numeric" : null }, title));
  // The roles are those of a table in any case: on a phone its rows are laid out as cards.
  return h("table", { class: "fleet", role: "table", "data-key": "models" },
    h("caption", { class: "unseen" }, "Models and their versions"),
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, head)),
    found.map((model) => h("tbody", { role: "rowgroup", "data-key": model.name }, rows(state, model))));
}

function rows(state, model) {
  const name = h("a", { href: `#/${path("models", model.name)}` }, model.name);
  if (model.versions.length === 0) {
    const problem = model.problem ?? "no version";
    return row(model.name, [name, NOTHING, [badge("no version", "bad"), reason(problem)]]);
  }
  // The highest first: it is what most requests go to.
  return [...model.versions].reverse().map((version, index) => {
    const key = `${model.name}/${version.version}`;
    const labels = Object.entries(model.labels ?? {})
      .filter(([, to]) => to === version.version)
      .map(([label]) => badge(label, "label"));
    const { latency, drift } = state.details.get(key) ?? {};
    const isReady = version.state === "ready";
    const times = isReady ? latency?.phases.request : null;
    return row(key, [
      index === 0 ? name : h("span", { class: "again" }, model.name),
      h("a", { href: `#/${path("models", model.name, version.version)}`,
        "aria-label": `${model.name}, version ${version.version}` }, version.version),
      [stateBadge(version.state), version.reason ? reason(version.reason) : null],
      labels.length > 0 ? labels : NOTHING,
      isReady ? rate(state.rates.of(`${key} requests`)) : NOTHING,
      isReady ? rate(state.rates.of(`${key} rows`)) : NOTHING,
      duration(times?.p50_us),
      duration(times?.p99_us),
      isReady && drift ? driftBadge(drift.status) : NOTHING,
    ]);
  });
}

function reason(text) {
  return h("span", { class: "reason" }, text);
}

function row(key, cells) {
  return h("tr", { role: "row", "data-key": key }, COLUMNS.map((title, index) => {
    const isEmpty = cells[index] === undefined || cells[index] === NOTHING;
    const attributes = {
      "data-label": title,
      class: `${NUMERIC.has(title) ? "numeric" : ""} ${isEmpty ? "none" : ""}`,
      role: index === 0 ? "rowheader" : "cell",
      scope: index === 0 ? "row" : null,
    };
    return h(index === 0 ? "th" : "td", attributes, cells[index] ?? NOTHING);
  }));
}
