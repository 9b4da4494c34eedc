// What goes in and what comes out, as tensors.

import { h } from "../dom.js";
import { panel, table } from "../parts.js";

const COLUMNS = [{ title: "Name" }, { title: "Datatype" }, { title: "Shape" }];

export function signature(metadata) {
  if (!metadata) return null;
  const rows = (tensors) => tensors.map((tensor) =>
    [tensor.name, tensor.datatype, `[${tensor.shape.join(", ")}]`]);
  return panel("signature", "Signature",
    h("h3", {}, "Inputs"), table("Inputs", COLUMNS, rows(metadata.inputs)),
    h("h3", {}, "Outputs"), table("Outputs", COLUMNS, rows(metadata.outputs)));
}
