// The pieces that all views are made of: badges, tables, panels, bars.

import { h } from "./dom.js";

/** A state in a word, never by its colour alone. `tone` is good, warn, bad or quiet. */
export function badge(text, tone, title) {
  return h("span", { class: `badge ${tone}`, title }, text);
}

const STATES = { ready: "good", failed: "bad", unloaded: "quiet", draining: "quiet" };

export function stateBadge(state) {
  return badge(state, STATES[state] ?? "warn");
}

const DRIFT = {
  ok: ["no drift", "good"],
  alarm: ["drift in one window", "warn"],
  alert: ["drift", "bad"],
  warming: ["collecting", "quiet"],
  insufficient: ["too few rows", "quiet"],
  no_profile: ["not watched", "quiet"],
};

export function driftBadge(status) {
  const [text, tone] = DRIFT[status] ?? [status, "quiet"];
  return badge(text, tone);
}

/** A section with a heading; `id` names both. */
export function panel(id, title, ...children) {
  return h("section", { class: "panel", id, "aria-labelledby": `${id}-title`, "data-key": id },
    h("h2", { id: `${id}-title` }, title), children);
}

/** A table: `columns` are `{ title, numeric }`, a row is a list of cells or `{ key, cells }`.
 * The first cell of a row is its header. */
export function table(caption, columns, rows) {
  const cell = (content, index) => {
    const attributes = { "data-label": columns[index].title };
    if (columns[index].numeric) attributes.class = "numeric";
    if (index > 0) return h("td", attributes, content);
    return h("th", { ...attributes, scope: "row" }, content);
  };
  const line = (row) => {
    const cells = Array.isArray(row) ? row : row.cells;
    return h("tr", { "data-key": row.key }, cells.map(cell));
  };
  const head = columns.map((column) =>
    h("th", { scope: "col", class: column.numeric ? "numeric" : null }, column.title));
  // What is wider than the page can be scrolled to, with the keyboard too.
  return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
    h("table", {}, h("caption", { class: "unseen" }, caption),
      h("thead", {}, h("tr", {}, head)), h("tbody", {}, rows.map(line))));
}

/** A share of 0 to 1 as a bar beside its text. */
export function meter(share, text) {
  const width = Math.min(Math.max(share, 0), 1) * 100;
  return h("span", { class: "meter" },
    h("span", { class: "track", "aria-hidden": "true" }, h("span", { class: "fill", "width%": width })),
    h("span", { class: "figure" }, text));
}

/** A name and its value, in a list of such. */
export function facts(pairs) {
  return h("dl", { class: "facts" }, pairs
    .filter((pair) => pair !== null)
    .map(([name, value]) => h("div", { "data-key": name }, h("dt", {}, name), h("dd", {}, value))));
}

export function note(...children) {
  return h("p", { class: "quiet" }, children);
}
