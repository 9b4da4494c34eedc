// The OpenAPI document: which operations this server has, and what a model takes.

import { get } from "./api.js";

let kept = null;

/** The document; fetched anew where `fresh` is asked for. */
export async function openapi(signal, fresh = false) {
  if (kept === null || fresh) kept = await get("openapi.json", signal);
  return kept;
}

/** Whether the server has `/models/{model}/NAME`: what it does not have is not asked for. */
export function has(document, name) {
  return `/models/{model}/${name}` in document.paths;
}

/** The fields and the example of a version's typed operation; null where there is none. */
export function typedOperation(document, model, version) {
  const record = document.components?.schemas?.[`${model}.${version}.Record`];
  const operation = document.paths[`/models/${model}/versions/${version}/predict`]?.post;
  if (!record || !operation) return null;
  const example = operation.requestBody?.content?.["application/json"]?.example?.records?.[0];
  const required = new Set(record.required ?? []);
  // `required` keeps the order of the contract, `properties` that of the alphabet.
  const names = new Set([...required, ...Object.keys(record.properties ?? {})]);
  const fields = [...names].map((name) =>
    field(name, record.properties?.[name] ?? {}, required.has(name), example?.[name]),
  );
  return { fields, hasExample: example !== undefined };
}

// Bounds that are those of the datatype say nothing about the measurement.
const BOUND_MAX = 1e9;

function field(name, schema, required, example) {
  const unit = /^(.*?)\s*\[(.+)\]$/s.exec(schema.description ?? "");
  const bound = (value) =>
    typeof value === "number" && Math.abs(value) < BOUND_MAX ? value : undefined;
  const kind = Array.isArray(schema.type) ? schema.type[0] : schema.type;
  return {
    name,
    kind,
    required,
    example,
    description: unit ? unit[1] : (schema.description ?? ""),
    unit: unit?.[2] ?? "",
    low: bound(schema.minimum),
    high: bound(schema.maximum),
    default: schema.default,
    options: schema.enum,
  };
}
