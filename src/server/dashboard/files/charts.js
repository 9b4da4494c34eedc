// Lines over time, drawn by uPlot in the colours of the page.

import uPlot from "./vendor/uplot.js";
import { h } from "./dom.js";

const HEIGHT = 190;
/** Readings that are kept: half an hour of one every three seconds. */
const POINTS_MAX = 600;

/** The colour that a custom property stands for now: a canvas does not know `light-dark()`. */
function colour(name) {
  const probe = h("span", { hidden: true });
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

/** A chart that is added to; `series` are `{ label, color }`, with `color` a custom property. */
export class TimeChart {
  #series;
  #format;
  #data;
  #plot = null;
  #host = h("div", { class: "plot", "aria-hidden": "true" });
  #sizes = new ResizeObserver(() => this.#resize());
  #themed = () => this.#redraw();

  constructor(title, series, format) {
    this.#series = series;
    this.#format = format;
    this.#data = [[], ...series.map(() => [])];
    this.node = h("figure", { class: "chart", "data-live": true },
      h("figcaption", {}, title), this.#host);
    document.addEventListener("themechange", this.#themed);
    this.#sizes.observe(this.#host);
  }

  /** Adds a reading of all series; null leaves a gap. */
  add(seconds, values) {
    this.#data[0].push(seconds);
    values.forEach((value, index) => this.#data[index + 1].push(value));
    if (this.#data[0].length > POINTS_MAX) for (const column of this.#data) column.shift();
    if (this.#plot) this.#plot.setData(this.#data);
    else this.#redraw();
  }

  stop() {
    document.removeEventListener("themechange", this.#themed);
    this.#sizes.disconnect();
    this.#plot?.destroy();
    this.#plot = null;
  }

  #resize() {
    const width = this.#host.clientWidth;
    if (width === 0) return;
    if (this.#plot) this.#plot.setSize({ width, height: HEIGHT });
    else this.#redraw();
  }

  #redraw() {
    const width = this.#host.clientWidth;
    if (width === 0) return;
    this.#plot?.destroy();
    const [text, grid] = [colour("--quiet"), colour("--line")];
    const axis = { stroke: text, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid, width: 1 } };
    const series = this.#series.map(({ label, color }) => ({
      label,
      stroke: colour(color),
      width: 2,
      spanGaps: false,
      points: { show: this.#data[0].length < 2, size: 5 },
      // Without a pointer over the chart there is nothing to say.
      value: (_, value) => (value === null || value === undefined ? "" : this.#format(value)),
    }));
    const options = {
      width,
      height: HEIGHT,
      cursor: { drag: { x: false, y: false } },
      scales: { y: { range: (_, low, high) => [0, high > 0 ? high * 1.1 : 1] } },
      axes: [
        { ...axis, values: (_, times) => times.map((time) => clock(time)), space: 90 },
        { ...axis, size: 64, values: (_, values) => values.map((value) => this.#format(value)) },
      ],
      series: [{ label: "time", value: (_, time) => (time ? clock(time) : "") }, ...series],
    };
    this.#plot = new uPlot(options, this.#data, this.#host);
  }
}

function clock(seconds) {
  return new Date(seconds * 1000).toLocaleTimeString([], { hour12: false });
}
