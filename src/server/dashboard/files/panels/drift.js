// Whether what a model is asked about still looks like what it was trained on.

import { bars } from "../distribution.js";
import { h } from "../dom.js";
import { NOTHING, moment, number, percent, whole } from "../format.js";
import { driftBadge, facts, note, panel, table } from "../parts.js";

/** Worst first. */
const ORDER = ["alert", "alarm", "ok", "insufficient"];
/** Plots that are shown at once; the rest is behind a click. */
const SHOWN = 6;
const REASONS_SHOWN = 5;
/** More scores than this are behind a click, too. */
const SCORES_SHOWN = 12;

const COLUMNS = [{ title: "Feature" }, { title: "State" },
  ...["Rows", "PSI", "PSI by chance", "PSI of an alarm", "Jensen-Shannon", "KL", "Hellinger", "Total variation",
    "Largest share difference", "Chi-squared p", "Mean then", "Mean now"].map((title) =>
    ({ title, numeric: true }))];

export function drift(report) {
  if (!report) return null;
  if (report.status === "no_profile") {
    return panel("drift", "Drift",
      note("This version has no profile of its training data, so drift can not be told."));
  }
  const outputs = report.outputs.map((output) => ({ ...output, name: `${output.name} (output)` }));
  const all = [...report.features, ...outputs].sort(worstFirst);
  return panel("drift", "Drift",
    h("p", { class: "badges" }, driftBadge(report.status)),
    reasons(report.reasons),
    windowFacts(report),
    report.status === "warming"
      ? note("There is no complete window yet: the comparison begins with the first.")
      : [
          plots(all),
          h("details", { "data-key": "scores", open: all.length <= SCORES_SHOWN },
            h("summary", {}, `Scores of all ${all.length}`),
            table("Drift scores by feature", COLUMNS, all.map(scores))),
        ]);
}

function reasons(all) {
  if (all.length === 0) return null;
  const list = (some) => h("ul", { class: "reasons" }, some.map((reason) => h("li", {}, reason)));
  const rest = all.slice(REASONS_SHOWN);
  return [
    list(all.slice(0, REASONS_SHOWN)),
    rest.length > 0
      ? h("details", { "data-key": "reasons" }, h("summary", {}, `${rest.length} more`), list(rest))
      : null,
  ];
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

/** Edges are 32-bit numbers: four digits say what was meant. */
function ranges(edges) {
  const [first, last] = [edges[0], edges.at(-1)].map((edge) => number(edge, 4));
  const between = edges.slice(1).map((edge, index) => `${number(edges[index], 4)} to ${number(edge, 4)}`);
  return [`below ${first}`, ...between, `${last} and above`];
}

function plot({ name, unit, status, bins, edges, reference, current, scores }) {
  const title = `${name}${unit ? ` [${unit}]` : ""}`;
  const labels = edges && edges.length + 1 === bins.length ? ranges(edges) : bins;
  return [
    h("p", { class: "badges" }, driftBadge(status), ` PSI ${number(scores?.psi)}`),
    bars(title, labels, [
      { name: "Training", values: reference.shares, tone: "two" },
      { name: "Now", values: current.shares, tone: "one" },
    ], percent),
  ];
}

/** A probability under which nobody tells small from smaller. */
function chance(p) {
  return p !== null && p < 1e-4 ? "< 0.0001" : number(p);
}

function scores({ name, unit, status, rows, scores, reference, current }) {
  const get = (key) => number(scores?.[key]);
  return {
    key: name,
    cells: [
      `${name}${unit ? ` [${unit}]` : ""}`,
      driftBadge(status),
      whole(rows),
      get("psi"), get("psi_floor"), get("psi_limit"), get("js"), get("kl"), get("hellinger"), get("total_variation"),
      get("l_infinity"),
      scores ? `${chance(scores.chi2_p)}${scores.significant ? " *" : ""}` : NOTHING,
      number(reference.mean),
      number(current?.mean),
    ],
  };
}
