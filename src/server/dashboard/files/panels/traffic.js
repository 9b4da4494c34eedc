// Where unversioned requests go, what became of them there, and how a shadow compares.

import { h } from "../dom.js";
import { NOTHING, duration, number, percent, whole } from "../format.js";
import { facts, meter, note, panel, table } from "../parts.js";

const COLUMNS = [{ title: "To" }, { title: "Version" }, { title: "Share" },
  { title: "Requests", numeric: true }, { title: "Failures", numeric: true },
  { title: "Mean time", numeric: true }];
const OUTPUTS = [{ title: "Output" }, { title: "Rows", numeric: true }, { title: "Agree", numeric: true },
  { title: "Mean difference", numeric: true }, { title: "Largest", numeric: true }];

export function traffic({ traffic }) {
  if (!traffic) return null;
  const rows = traffic.destinations.map((destination, index) => ({
    key: index,
    cells: [
      destination.to ?? "highest ready",
      destination.version ?? NOTHING,
      meter(destination.percent / 100, `${number(destination.percent)} %`),
      traffic.policy ? whole(destination.requests) : NOTHING,
      traffic.policy ? whole(destination.failures) : NOTHING,
      duration(destination.mean_us),
    ],
  }));
  const by = traffic.set_by === "call" ? "Set by a call" : "Set by the configuration";
  return panel("traffic", "Traffic",
    traffic.policy
      ? note(`${by}; counted since it was last changed, without requests that name a version.`)
      : note("There is no policy: all requests that name no version go to the highest that is ready."),
    table("Destinations of unversioned requests", COLUMNS, rows),
    traffic.shadow ? shadow(traffic.shadow) : null);
}

function shadow(seen) {
  const rows = Object.entries(seen.outputs).map(([name, output]) => ({
    key: name,
    cells: [name, whole(output.rows), percent(output.agreement), number(output.difference_mean),
      number(output.difference_max)],
  }));
  return h("div", { "data-key": "shadow" },
    h("h3", {}, `Shadow: version ${seen.version ?? NOTHING}`),
    facts([
      ["Rows that agree", seen.agreement === null ? NOTHING : meter(seen.agreement, percent(seen.agreement))],
      ["Compared requests", whole(seen.compared)],
      ["Copies without an answer", whole(seen.failed)],
      ["Copies not made", whole(seen.dropped)],
    ]),
    seen.reason ? h("p", { class: "reason" }, seen.reason) : null,
    rows.length > 0 ? table("Agreement by output", OUTPUTS, rows) : null);
}
