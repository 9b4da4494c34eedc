// The versions of a model with their labels, and the switch between them.

import { path, send } from "../api.js";
import { confirm } from "../dialog.js";
import { h } from "../dom.js";
import { NOTHING } from "../format.js";
import { badge, note, panel, stateBadge, table } from "../parts.js";
import { say } from "../toast.js";

const COLUMNS = [{ title: "Version" }, { title: "State" }, { title: "Traffic" },
  { title: "Switch" }, { title: "Labels" }];

export function versions(state, changed) {
  const { name, model, traffic } = state;
  const rows = [...model.versions].reverse().map((version) => ({
    key: version.version,
    cells: [
      h("a", { href: `#/${path("models", name, version.version)}` }, version.version),
      [stateBadge(version.state), version.reason ? h("span", { class: "reason" }, version.reason) : null],
      shareOf(traffic, version.version),
      promoteButton(state, version, changed),
      labelsOf(model, version.version),
    ],
  }));
  return panel("versions", "Versions",
    table(`Versions of ${name}`, COLUMNS, rows),
    traffic ? rollback(state, changed) : null);
}

function labelsOf(model, version) {
  const labels = Object.entries(model.labels ?? {}).filter(([, to]) => to === version);
  return labels.length > 0 ? labels.map(([label]) => badge(label, "label")) : NOTHING;
}

function shareOf(traffic, version) {
  const percent = (traffic?.destinations ?? [])
    .filter((destination) => destination.version === version)
    .reduce((sum, destination) => sum + destination.percent, 0);
  return percent > 0 ? `${percent} %` : NOTHING;
}

/** The version that unversioned requests go to now. */
function current(traffic) {
  return traffic.destinations[0]?.version ?? null;
}

/** What ends when requests are sent elsewhere. */
function ends(traffic) {
  const policy = traffic.policy;
  return [
    policy?.split?.length > 0
      ? `The split ends: ${policy.split.map((share) => `${share.percent} % to ${share.to}`).join(", ")}.`
      : null,
    policy?.shadow ? `The shadow ends: copies to ${policy.shadow.to}.` : null,
  ].filter((fact) => fact !== null);
}

function promoteButton({ name, traffic }, version, changed) {
  const isAlone = traffic?.destinations.length === 1 && current(traffic) === version.version;
  if (!traffic || version.state !== "ready" || isAlone) return NOTHING;
  const from = current(traffic);
  const onclick = () => change(changed, {
    title: `Promote version ${version.version} of ${name}?`,
    facts: [
      from === null
        ? `All requests to ${name} that name no version will go to version ${version.version}.`
        : `All requests to ${name} that name no version will go to version ${version.version}, `
          + `from now on${from === version.version ? "" : ` instead of version ${from}`}.`,
      ...ends(traffic),
      from === null || from === version.version
        ? "It holds across restarts."
        : `Version ${from} stays ready, so that you can roll back. It holds across restarts.`,
    ],
    action: `Promote version ${version.version}`,
  }, `${path("models", name)}/promote`, { to: version.version },
  `Unversioned requests to ${name} go to version ${version.version}.`);
  return h("button", { type: "button", onclick }, `Promote version ${version.version}`);
}

function rollback({ name, traffic }, changed) {
  const ending = ends(traffic);
  const why = traffic.rolled_back ? note(`Rolled back the last time because: ${traffic.rolled_back}`) : null;
  if (ending.length === 0 && !traffic.previous) return why;
  const facts = ending.length > 0
    ? [...ending, `All requests to ${name} that name no version will go to version ${current(traffic) ?? NOTHING}.`]
    : [`All requests to ${name} that name no version will go back to version ${traffic.previous}, `
        + `instead of version ${current(traffic) ?? NOTHING}.`, "It holds across restarts."];
  const action = ending.length > 0 ? "End the trial" : `Roll back to version ${traffic.previous}`;
  const onclick = () => change(changed, { title: `Roll back ${name}?`, facts, action },
    `${path("models", name)}/rollback`, undefined, `${name} was rolled back.`);
  return [h("p", { class: "actions", "data-key": "rollback" },
    h("button", { type: "button", onclick }, action)), why];
}

async function change(changed, question, where, body, done) {
  if (!(await confirm(question))) return;
  try {
    await send("POST", where, body);
    say(done);
  } catch (error) {
    say(`Nothing was changed: ${error.message}`);
  }
  changed();
}
