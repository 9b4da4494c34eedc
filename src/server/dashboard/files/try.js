// A form for one record of a version, made from the OpenAPI document, with a real example in it.

import { ApiError, path, send } from "./api.js";
import { bars } from "./distribution.js";
import { h, render } from "./dom.js";
import { duration, number } from "./format.js";
import { meter, note } from "./parts.js";

/** `node` is the panel; it is made anew only when the version changes, so nobody's typing is lost. */
export class TryIt {
  node = h("section", { class: "panel", id: "try", "aria-labelledby": "try-title", "data-live": true });
  #model;
  #version = null;
  #inputs = [];
  #answer = h("div", { id: "answer", role: "status", "aria-live": "polite" });

  constructor(model) {
    this.#model = model;
  }

  /** Shows the form of a version; `operation` is null where the document has none. */
  of(version, operation) {
    this.#version = version;
    this.#inputs = (operation?.fields ?? []).map((field) => new Field(field));
    render(this.#answer);
    const fill = (which) => () => this.#inputs.forEach((input) => input.fill(which));
    this.node.replaceChildren(
      h("h2", { id: "try-title" }, "Try it"),
      operation === null
        ? note("This version has no typed operation.")
        : h("form", {
            novalidate: true,
            onsubmit: (event) => {
              event.preventDefault();
              this.#ask();
            },
          },
          note(operation.hasExample
            ? "Filled in with a held-out example. What you ask is answered by the model and not kept here."
            : "What you ask is answered by the model and not kept here."),
          h("p", { class: "reason form-error", id: "try-error", role: "alert", hidden: true }),
          h("div", { class: "fields" }, this.#inputs.map((input) => input.node)),
          h("div", { class: "actions" },
            h("button", { type: "submit", class: "primary" }, `Ask version ${version}`),
            operation.hasExample
              ? h("button", { type: "button", onclick: fill("example") }, "Fill in the example")
              : null,
            h("button", { type: "button", onclick: fill("nothing") }, "Clear"))),
      this.#answer);
  }

  async #ask() {
    this.#inputs.forEach((input) => input.complain([]));
    this.#complain(null);
    const record = {};
    for (const input of this.#inputs) {
      const value = input.value();
      if (value !== undefined) record[input.name] = value;
    }
    const body = { records: [record] };
    const where = path("models", this.#model, "versions", this.#version, "predict");
    const begun = performance.now();
    try {
      const reply = await send("POST", where, body);
      this.#show(body, where, reply, (performance.now() - begun) * 1000);
    } catch (error) {
      this.#refused(error);
    }
  }

  #show(body, where, reply, us) {
    const { body: answer, text, requestId } = reply;
    render(this.#answer,
      h("h3", {}, "Answer"),
      h("dl", { class: "facts answer" }, Object.entries(answer.predictions[0] ?? {}).map(([name, value]) =>
        h("div", {}, h("dt", {}, name), h("dd", {}, shown(name, value))))),
      note(`By ${answer.model}, version ${answer.version}, in ${duration(us)} as seen here. Request ${requestId}.`),
      h("details", {}, h("summary", {}, "As a client sees it"),
        h("pre", { tabindex: 0, "aria-label": "The request for curl" }, curl(where, body)),
        h("pre", { tabindex: 0, "aria-label": "The answer", id: "answer-json" }, text)));
  }

  /** Every broken rule stands at its field; the rest above the form. */
  #refused(error) {
    render(this.#answer);
    const rest = [];
    const byField = new Map();
    for (const rule of (error instanceof ApiError && error.problem?.errors) || []) {
      const [, , , segment] = rule.pointer.split("/");
      const name = segment?.replaceAll("~1", "/").replaceAll("~0", "~");
      if (this.#inputs.some((input) => input.name === name)) {
        byField.set(name, [...(byField.get(name) ?? []), rule.message]);
      } else rest.push(`${rule.pointer}: ${rule.message}`);
    }
    this.#complain([error.message, ...rest].join("; "));
    const wrong = this.#inputs.filter((input) => byField.has(input.name));
    wrong.forEach((input) => input.complain(byField.get(input.name)));
    wrong[0]?.focus();
  }

  #complain(text) {
    const node = this.node.querySelector("#try-error");
    node.hidden = text === null;
    node.textContent = text ?? "";
  }
}

/** One input with its unit, range and errors. */
class Field {
  name;
  node;
  #field;
  #input;
  #error;

  constructor(field) {
    this.name = field.name;
    this.#field = field;
    const id = `field-${field.name}`;
    this.#error = h("span", { class: "reason", id: `${id}-error` });
    this.#input = control(field, { id, "aria-describedby": `${id}-hint ${id}-error` });
    this.node = h("div", { class: field.kind === "array" ? "field wide" : "field" },
      h("label", { for: id }, field.name, field.unit ? h("span", { class: "unit" }, ` ${field.unit}`) : null),
      this.#input,
      h("span", { class: "hint", id: `${id}-hint` }, hint(field)),
      this.#error);
    this.fill("example");
  }

  /** "example" puts the example in; anything else empties the field. */
  fill(which) {
    const value = which === "example" ? this.#field.example : undefined;
    if (value === undefined) this.#input.value = "";
    else this.#input.value = typeof value === "object" ? JSON.stringify(value) : String(value);
  }

  /** What is sent: undefined for an empty field, text where it is nothing better. */
  value() {
    const text = this.#input.value.trim();
    if (text === "") return undefined;
    if (this.#field.kind === "string") return text;
    try {
      return JSON.parse(text);
    } catch {
      return text;
    }
  }

  complain(messages) {
    this.#error.textContent = messages.join("; ");
    if (messages.length > 0) this.#input.setAttribute("aria-invalid", "true");
    else this.#input.removeAttribute("aria-invalid");
  }

  focus() {
    this.#input.focus();
  }
}

function control(field, attributes) {
  const options = field.options ?? (field.kind === "boolean" ? ["true", "false"] : null);
  if (options) {
    return h("select", attributes, h("option", { value: "" }, ""),
      options.map((option) => h("option", { value: option }, option)));
  }
  if (field.kind === "array") return h("textarea", { ...attributes, rows: 3, spellcheck: "false" });
  const isNumber = field.kind === "number" || field.kind === "integer";
  return h("input", { ...attributes, type: "text", autocomplete: "off", inputmode: isNumber ? "decimal" : null });
}

function hint({ description, low, high, kind, required, default: fallback }) {
  // Kept on one line.
  const bounds = low !== undefined && high !== undefined
    ? `${number(low)} to ${number(high)}`.replaceAll(" ", "\u00a0")
    : null;
  const left = required ? null : `left out: ${fallback ?? "missing"}`;
  return [description, bounds, kind === "array" ? "a list, as JSON" : null, left]
    .filter((part) => part).join(" · ");
}

/** Longer lists of numbers are drawn. */
const LISTED_MAX = 8;
const DRAWN_MAX = 512;

/** A prediction: probabilities and long lists as bars, numbers and words as they are. */
function shown(name, value) {
  if (value === null) return "not a number";
  if (typeof value === "number") return String(value);
  if (typeof value === "object" && !Array.isArray(value)) {
    return h("ul", { class: "shares" }, Object.entries(value).map(([label, share]) =>
      h("li", {}, h("span", { class: "share-name" }, label),
        typeof share === "number" && share >= 0 && share <= 1 ? meter(share, String(share)) : String(share))));
  }
  if (typeof value === "object" && value.length > LISTED_MAX && value.length <= DRAWN_MAX
    && value.every((item) => typeof item === "number" && item >= 0)) {
    return bars(`${name}: ${value.length} numbers in order`, value.map((_, index) => String(index + 1)),
      [{ name: "Value", values: value, tone: "one" }], String);
  }
  if (typeof value === "object") return h("code", { class: "wide" }, JSON.stringify(value));
  return String(value);
}

function curl(where, body) {
  const address = new URL(where, location.origin + location.pathname);
  // A quote inside a quoted word of the shell.
  const text = JSON.stringify(body).replaceAll("'", "'\\''");
  return `curl -s '${address}' -H 'content-type: application/json' -d '${text}'`;
}
