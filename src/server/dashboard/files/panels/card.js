// The model card: what its author says of a model, shut until somebody opens it.

import { h } from "../dom.js";
import { number } from "../format.js";
import { markdown } from "../markdown.js";
import { facts, note, panel, table } from "../parts.js";

const TEXTS = [["Licence", "license"], ["Library", "library_name"], ["Task", "pipeline_tag"],
  ["Language", "language"], ["Tags", "tags"], ["Data sets", "datasets"], ["Based on", "base_model"]];
const COLUMNS = [{ title: "Metric" }, { title: "Value", numeric: true }, { title: "Data" }];

export function modelCard(card) {
  if (!card) return null;
  return panel("model-card", "Model card",
    h("details", { "data-key": "card-text", class: "card-text" },
      h("summary", {}, "What its author says"),
      card.problem ? note(card.problem) : null,
      facts([...TEXTS.map(([title, key]) => fact(title, card.metadata[key])), ...galen(card.metadata.galen)]),
      results(card.metadata["model-index"]),
      // Headings of the card stand below that of the panel.
      markdown(card.markdown, 2)));
}

function fact(title, value) {
  const text = plain(value);
  return text ? [title, text] : null;
}

/** Galen's own part of the front matter: names and values as they are written. */
function galen(values) {
  if (typeof values !== "object" || values === null) return [];
  return Object.entries(values).map(([name, value]) => fact(name.replaceAll("_", " "), value));
}

function plain(value) {
  if (Array.isArray(value)) return value.map(plain).filter((text) => text).join(", ");
  if (value === true) return "yes";
  if (value === false) return "no";
  return ["string", "number"].includes(typeof value) ? String(value) : null;
}

/** The figures of `model-index`, as far as they have its form. */
function results(index) {
  const list = (value) => (Array.isArray(value) ? value : []);
  return list(index).flatMap((model) => {
    const rows = list(model?.results).flatMap((result) => list(result?.metrics).map((metric) => [
      plain(metric?.name) ?? plain(metric?.type) ?? "",
      typeof metric?.value === "number" ? number(metric.value) : plain(metric?.value) ?? "",
      [plain(result?.dataset?.name), plain(result?.dataset?.split)].filter((text) => text).join(", "),
    ]));
    const name = plain(model?.name) ?? "";
    return rows.length > 0 ? [h("h3", {}, `Figures of ${name}`), table(`Figures of ${name}`, COLUMNS, rows)] : [];
  });
}
