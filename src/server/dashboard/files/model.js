// One model, or one version of it: what it is, how it does, and the switch between versions.

import { ApiError, get, optional, path } from "./api.js";
import { has, openapi, typedOperation } from "./document.js";
import { h, render } from "./dom.js";
import { bytes, whole } from "./format.js";
import { modelCard } from "./panels/card.js";
import { drift } from "./panels/drift.js";
import { Latency } from "./panels/latency.js";
import { performancePanel } from "./panels/performance.js";
import { quality } from "./panels/quality.js";
import { signature } from "./panels/signature.js";
import { traffic } from "./panels/traffic.js";
import { versions } from "./panels/versions.js";
import { badge, driftBadge, facts, panel, stateBadge } from "./parts.js";
import { every } from "./refresh.js";
import { TryIt } from "./try.js";

const REFRESH_MS = 3000;
/** Windows of drift, quality and performance are minutes long: asked for less often. */
const MONITORING_MS = 9000;

/** The view of `#/models/NAME` (the version that answers) and of `#/models/NAME/VERSION`. */
export function model(name, asked) {
  const state = { name, asked, model: null, version: null };
  const node = h("div", {}, placeholder(state));
  const latency = new Latency();
  const tryIt = new TryIt(name);

  const overview = every(REFRESH_MS, async (signal) => {
    try {
      state.model = await get(path("models", name), signal);
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 404) throw error;
      render(node, missing(name));
      return;
    }
    state.traffic = await optional(`${path("models", name)}/traffic`, signal);
    if (state.card === undefined && state.model.has_card) state.card = await cardOf(name, signal);
    const before = state.version?.version;
    state.version = chosen(state);
    if (state.version?.state === "ready") {
      const base = path("models", name, "versions", state.version.version);
      latency.update(await optional(`${base}/latency`, signal));
      if (before !== state.version.version) await whenVersionChanges(signal);
    }
    draw();
  });

  async function whenVersionChanges(signal) {
    const document = await openapi(signal, true);
    const version = state.version.version;
    state.document = document;
    state.metadata = await optional(path("v2", "models", name, "versions", version), signal);
    tryIt.of(version, typedOperation(document, name, version));
    monitoring.now();
  }

  const monitoring = every(MONITORING_MS, async (signal) => {
    if (state.version?.state !== "ready" || !state.document) return;
    const base = path("models", name, "versions", state.version.version);
    const ask = (what) => (has(state.document, what) ? optional(`${base}/${what}`, signal) : null);
    [state.drift, state.quality, state.performance] = await Promise.all(
      ["drift", "quality", "performance"].map(ask));
    draw();
  });

  const changed = () => overview.now();
  function draw() {
    const { model, version } = state;
    const isReady = version?.state === "ready";
    const panels = [
      model.problem ? panel("problem", "Problem", h("p", { class: "reason" }, model.problem)) : null,
      versions(state, changed),
      traffic(state),
      ...(isReady ? [
        drift(state.drift),
        performancePanel(state.performance),
        quality(state.quality),
        latency.node,
        tryIt.node,
        signature(state.metadata),
      ] : []),
      modelCard(state.card),
    ].filter((part) => part !== null);
    render(node, heading(state), version ? card(version) : null, contents(panels), panels);
  }

  return {
    title: asked ? `${name} ${asked}` : name,
    node,
    stop() {
      overview.stop();
      monitoring.stop();
      latency.stop();
    },
  };
}

/** What its author says of it; null where there is none, or none that can be read. */
async function cardOf(name, signal) {
  try {
    return await optional(`${path("models", name)}/card`, signal);
  } catch (error) {
    if (error instanceof ApiError) return null;
    throw error;
  }
}

/** The version that is shown: the one that was asked for, or the one that answers. */
function chosen({ model, traffic, asked }) {
  const wanted = asked && (model.labels?.[asked] ?? asked);
  if (wanted) return model.versions.find((version) => version.version === wanted) ?? null;
  const answering = traffic?.destinations[0]?.version;
  return model.versions.find((version) => version.version === answering)
    ?? [...model.versions].reverse().find((version) => version.state === "ready")
    ?? model.versions.at(-1)
    ?? null;
}

function missing(name) {
  return [
    h("h1", { tabindex: -1 }, name),
    h("p", { class: "empty" }, "There is no such model. ", h("a", { href: "#/" }, "To the models")),
  ];
}

/** As the heading, so that its focus stays when the answer comes. */
function placeholder({ name, asked }) {
  return h("div", { class: "heading model" }, crumbs(name, asked),
    h("h1", { tabindex: -1 }, name), h("p", { class: "badges" }, "Loading…"));
}

function crumbs(name, asked) {
  return h("p", { class: "crumbs" }, h("a", { href: "#/" }, "Models"), " / ",
    asked ? h("a", { href: `#/${path("models", name)}` }, name) : name,
    asked ? ` / ${asked}` : null);
}

function heading({ name, asked, model, version, drift }) {
  return h("div", { class: "heading model" },
    crumbs(name, asked),
    h("h1", { tabindex: -1 }, name, version ? ` version ${version.version}` : ""),
    h("p", { class: "badges" },
      version ? stateBadge(version.state) : badge("no such version", "bad"),
      drift && version?.state === "ready" ? driftBadge(drift.status) : null),
    version?.reason ? h("p", { class: "reason" }, version.reason) : null,
    model.description ? h("p", { class: "lead" }, model.description) : null);
}

/** Jumps to the panels: an address of their own would be another view's. */
function contents(panels) {
  const jump = ({ id }) => () => {
    const target = document.getElementById(`${id}-title`);
    target.setAttribute("tabindex", "-1");
    target.focus();
    target.scrollIntoView();
  };
  return h("nav", { class: "contents", "aria-label": "On this page", "data-key": "contents" },
    panels.map((part) => h("button", { type: "button", "data-key": part.id, onclick: jump(part) },
      part.querySelector("h2")?.textContent ?? part.id)));
}

function card(version) {
  if (!version.backend) return null;
  return h("div", { class: "panel plain", "data-key": "card" }, facts([
    ["Engine", version.backend],
    ["Records in one request", `up to ${whole(version.records_max)}`],
    version.model_file_bytes ? ["Model file", bytes(version.model_file_bytes)] : null,
    version.load_memory_bytes ? ["Memory", bytes(version.load_memory_bytes)] : null,
    version.sha256 ? ["SHA-256", h("code", { title: version.sha256 }, `${version.sha256.slice(0, 16)}…`)] : null,
  ]));
}
