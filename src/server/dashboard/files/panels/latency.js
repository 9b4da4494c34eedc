// How long requests take: percentiles since the load, the last minutes over time, distributions.

import { TimeChart } from "../charts.js";
import { bars } from "../distribution.js";
import { h, render } from "../dom.js";
import { duration, whole } from "../format.js";
import { coarse, quantile, since, total } from "../histogram.js";
import { note, panel, table } from "../parts.js";

const PHASES = [
  { name: "request", title: "Whole request", color: "--series-1" },
  { name: "queue", title: "Queue", color: "--series-2" },
  { name: "compute_input", title: "Compute input", color: "--series-3" },
  { name: "compute_infer", title: "Infer", color: "--series-1" },
  { name: "compute_output", title: "Compute output", color: "--series-4" },
];
const COLUMNS = [{ title: "Phase" }, ...["Requests", "Mean", "p50", "p90", "p99"].map((title) =>
  ({ title, numeric: true }))];

/** Keeps what is drawn over time; `node` is the panel. */
export class Latency {
  node = h("section", { class: "panel", id: "latency", "aria-labelledby": "latency-title", "data-live": true });
  #before = null;
  #shown = "request";
  #latest = null;
  #request = new TimeChart("Request time over time", [
    { label: "p50", color: "--series-1" }, { label: "p99", color: "--series-2" }], duration);
  #phases = new TimeChart("Where the time goes: mean of each phase",
    PHASES.slice(1).map(({ title, color }) => ({ label: title, color })), duration);

  /** Takes in an answer of `/latency`; null where there is none. */
  update(report) {
    if (report === null) return;
    const isOther = this.#before?.version !== report.version;
    const before = isOther ? null : this.#before;
    if (before) this.#add(report, before);
    this.#before = report;
    this.#latest = report;
    this.#draw();
  }

  stop() {
    this.#request.stop();
    this.#phases.stop();
  }

  #add(report, before) {
    const now = Date.now() / 1000;
    const counts = since(report.phases.request.counts, before.phases.request.counts);
    this.#request.add(now, [0.5, 0.99].map((q) => quantile(report.bounds_us, counts, q)));
    this.#phases.add(now, PHASES.slice(1).map(({ name }) => {
      const [phase, last] = [report.phases[name], before.phases[name]];
      const count = phase.count - last.count;
      return count > 0 ? (phase.sum_us - last.sum_us) / count : null;
    }));
  }

  #draw() {
    const { bounds_us: bounds, phases, batch_sizes: batches } = this.#latest;
    const rows = PHASES.map(({ name, title }) => {
      const phase = phases[name];
      const mean = phase.count > 0 ? phase.sum_us / phase.count : null;
      const cells = [title, whole(phase.count), ...[mean, phase.p50_us, phase.p90_us, phase.p99_us].map(duration)];
      return { key: name, cells };
    });
    render(this.node,
      h("h2", { id: "latency-title" }, "Latency"),
      note("Since the version was loaded:"),
      table("Latency by phase", COLUMNS, rows),
      h("div", { class: "pair" }, this.#request.node, this.#phases.node),
      h("div", { class: "pair" }, this.#histogram(bounds, phases), batchSizes(batches)));
  }

  #histogram(bounds, phases) {
    const choose = h("select", {
      id: "latency-phase",
      onchange: (event) => {
        this.#shown = event.target.value;
        this.#draw();
      },
    }, PHASES.map(({ name, title }) => h("option", { value: name, selected: name === this.#shown }, title)));
    const { title } = PHASES.find(({ name }) => name === this.#shown);
    const found = coarse(bounds, phases[this.#shown].counts);
    return h("div", { "data-key": "histogram" },
      h("p", {}, h("label", {}, "Phase ", choose)),
      total(phases[this.#shown].counts) === 0
        ? note("No request was answered yet.")
        : bars(`${title}: how many requests took how long`, found.map(range),
            [{ name: "Requests", values: found.map((bar) => bar.count), tone: "one" }], whole));
  }
}

function range({ low, high }) {
  return high === Infinity ? `over ${duration(low)}` : `${duration(low)} to ${duration(high)}`;
}

function batchSizes({ bounds, counts }) {
  const last = counts.findLastIndex((count) => count > 0);
  if (last < 0) return h("div", { "data-key": "batches" }, note("No batch was run yet."));
  const label = (bound, index) =>
    index === 0 || bounds[index - 1] + 1 === bound ? String(bound) : `${bounds[index - 1] + 1} to ${bound}`;
  const labels = [...bounds.map(label), `over ${bounds.at(-1)}`].slice(0, last + 1);
  return h("div", { "data-key": "batches" },
    bars("Batch sizes: engine calls by their rows", labels,
      [{ name: "Engine calls", values: counts.slice(0, last + 1), tone: "one" }], whole));
}
