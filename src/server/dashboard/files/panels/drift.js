// Whether what a model is asked about still looks like what it was trained on.

import { bars } from "../distribution.js";
import { h } from "../dom.js";
import { NOTHING, moment, number, percent, whole } from "../format.js";
import { driftBadge, facts, note, panel, table } from "../parts.js";

/** Worst first. */
const ORDER = ["alert", "alarm", "ok", "insufficient"];
/** Plots that are shown at once; the rest is behind a click. */
const SHOWN = 6;

const COLUMNS = [{ title: "Feature" }, { title: "State" },
  ...["Rows", "PSI", "PSI by chance", "Jensen-Shannon", "KL", "Hellinger", "Total variation",
    "Largest share difference", "Chi-squared p", "Mean then", "Mean now"].map((title) =>
    ({ title, numeric: true }))];

export function drift(report) {
  if (!report) return null;
  if (report.status === "no_profile") {
    return panel("drift", "Drift",
      note("This version has no profile of its training data, so drift can not be told."));
  }
  const all = [...report.features, ...report.outputs].sort(worstFirst);
  return panel("drift", "Drift",
    h("p", { class: "badges" }, driftBadge(report.status)),
    report.reasons.length > 0
      ? h("ul", { class: "reasons" }, report.reasons.map((reason) => h("li", {}, reason)))
      : null,
    windowFacts(report),
    report.status === "warming"
      ? note("There is no complete window yet: the comparison begins with the first.")
      : [
          plots(all),
          h("h3", {}, "Scores"),
          table("Drift scores by feature", COLUMNS, all.map(scores)),
        ]);
}

function worstFirst(a, b) {
  const rank = (feature) => ORDER.indexOf(feature.status);
  return rank(a) - rank(b) || (b.scores?.psi ?? 0) - (a.scores?.psi ?? 0);
}

function windowFacts({ profile, rows, dropped, window, restored_at: restored }) {
  return facts([
    profile ? ["Compared with", `${profile.name}, ${whole(profile.rows)} rows`] : null,
    ["Rows seen", whole(rows)],
    dropped > 0 ? ["Rows not counted", whole(dropped)] : null,
    ["Window now", `${whole(window.current_rows)} of ${whole(window.rows_target)} rows`],
    ["Complete windows", whole(window.completed)],
    window.completed_at ? ["The last one", `${moment(window.completed_at)}, ${whole(window.rows)} rows`] : null,
    restored ? ["Taken up again", moment(restored)] : null,
  ]);
}

function plots(all) {
  const drawn = all.filter((feature) => feature.current).map((feature) =>
    h("div", { class: "plotted", "data-key": feature.name }, plot(feature)));
  if (drawn.length === 0) return null;
  return [
    h("h3", {}, "Then and now"),
    h("div", { class: "grid" }, drawn.slice(0, SHOWN)),
    drawn.length > SHOWN
      ? h("details", { "data-key": "more" }, h("summary", {}, `${drawn.length - SHOWN} more`),
          h("div", { class: "grid" }, drawn.slice(SHOWN)))
      : null,
  ];
}

function plot({ name, unit, status, bins, reference, current, scores }) {
  const title = `${name}${unit ? ` [${unit}]` : ""}`;
  return [
    h("p", { class: "badges" }, driftBadge(status), ` PSI ${number(scores?.psi)}`),
    bars(title, bins, [
      { name: "Training", values: reference.shares, tone: "two" },
      { name: "Now", values: current.shares, tone: "one" },
    ], percent),
  ];
}

function scores({ name, unit, status, rows, scores, reference, current }) {
  const get = (key) => number(scores?.[key]);
  return {
    key: name,
    cells: [
      `${name}${unit ? ` [${unit}]` : ""}`,
      driftBadge(status),
      whole(rows),
      get("psi"), get("psi_floor"), get("js"), get("kl"), get("hellinger"), get("total_variation"),
      get("l_infinity"),
      scores ? `${number(scores.chi2_p)}${scores.significant ? " *" : ""}` : NOTHING,
      number(reference.mean),
      number(current?.mean),
    ],
  };
}
