// Bars of counts or shares: one set, or two side by side. Drawn as SVG, told as a table.

import { h, s } from "./dom.js";

const WIDTH = 320;
const HEIGHT = 120;
const SLOTS_MIN = 5;

/** `sets` are `{ name, values, tone }` over the same `labels`; `format` writes a value. */
export function bars(title, labels, sets, format) {
  const highest = Math.max(...sets.flatMap((set) => set.values), Number.MIN_VALUE);
  // A few bars are not blown up to the whole width.
  const slot = WIDTH / Math.max(labels.length, SLOTS_MIN);
  const used = (Math.max(labels.length, 1) * slot) / WIDTH * 100;
  const gap = Math.min(slot * 0.15, 4);
  const width = (slot - 2 * gap) / sets.length;
  const drawn = labels.flatMap((label, index) => sets.map((set, nth) => {
    const height = (Math.max(set.values[index], 0) / highest) * (HEIGHT - 4);
    const text = `${label}: ${sets.length > 1 ? `${set.name} ` : ""}${format(set.values[index])}`;
    return s("rect", {
      class: set.tone,
      x: (index * slot + gap + nth * width).toFixed(2),
      y: (HEIGHT - height).toFixed(2),
      width: Math.max(width, 0.5).toFixed(2),
      height: height.toFixed(2),
    }, s("title", {}, text));
  }));
  const picture = s("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none",
    role: "img", "aria-label": `${title}. The table below has the numbers.` },
    drawn,
    s("line", { class: "base", x1: 0, x2: WIDTH, y1: HEIGHT, y2: HEIGHT }));
  const legend = sets.length > 1
    ? h("p", { class: "legend" }, sets.map((set) =>
        h("span", {}, h("span", { class: `swatch ${set.tone}`, "aria-hidden": "true" }), set.name)))
    : null;
  return h("figure", { class: "bars" },
    h("figcaption", {}, title),
    picture,
    h("div", { class: "ends", "aria-hidden": "true", "width%": used },
      h("span", {}, labels[0] ?? ""), h("span", {}, labels.length > 1 ? labels.at(-1) : "")),
    legend,
    h("details", {}, h("summary", {}, "Numbers"), numbers(title, labels, sets, format)));
}

function numbers(title, labels, sets, format) {
  return h("table", { class: "small" },
    h("caption", { class: "unseen" }, title),
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Range"),
      sets.map((set) => h("th", { scope: "col", class: "numeric" }, set.name)))),
    h("tbody", {}, labels.map((label, index) => h("tr", {},
      h("th", { scope: "row" }, label),
      sets.map((set) => h("td", { class: "numeric" }, format(set.values[index])))))));
}
