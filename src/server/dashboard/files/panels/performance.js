// How right a model is, where labels have come back: overall, by group, and its calibration.

import { h, s } from "../dom.js";
import { NOTHING, interval, number, percent, whole } from "../format.js";
import { badge, facts, note, panel, table } from "../parts.js";

const RATES = [["Sensitivity", "sensitivity"], ["Specificity", "specificity"], ["PPV", "ppv"], ["NPV", "npv"]];
const COLUMNS = [{ title: "Group" }, { title: "Cases", numeric: true }, { title: "AUC", numeric: true },
  { title: "Brier", numeric: true }, ...RATES.map(([title]) => ({ title, numeric: true }))];
const BINS = [{ title: "Score" }, { title: "Cases", numeric: true },
  { title: "Mean score", numeric: true }, { title: "Found positive", numeric: true }];
const SIZE = 220;

export function performancePanel(report) {
  if (!report || report.declared === false) return null;
  const { overall } = report;
  const alert = report.alert ?? [];
  return panel("performance", "Performance",
    alert.length > 0
      ? [h("p", { class: "badges" }, badge("worse than declared", "bad")),
          h("ul", { class: "reasons" }, alert.map((reason) => h("li", {}, reason)))]
      : null,
    facts([
      ["Labelled cases", whole(report.labelled)],
      ["Waiting for a label", whole(report.pending)],
      report.expired > 0 ? ["Never labelled", whole(report.expired)] : null,
      ["Threshold", number(report.threshold)],
      ...(overall ? overallFacts(overall) : []),
    ]),
    note("Intervals are Wilson's, at 95 %."),
    report.calibration?.length > 0 ? calibration(report.calibration) : null,
    report.groups?.length > 0
      ? [h("h3", {}, "By group"),
          table("Performance by group", COLUMNS, report.groups.map(group))]
      : null);
}

function overallFacts(overall) {
  return [
    ["AUC", number(overall.auc)],
    ["Brier score", number(overall.brier)],
    ["Log loss", number(overall.log_loss)],
    ["Expected calibration error", number(overall.ece)],
    ...RATES.map(([title, key]) => [title, interval(overall[key])]),
  ];
}

function group(one) {
  const title = `${one.name}: ${one.value}`;
  if (one.suppressed) {
    return { key: title, cells: [title, "too few", NOTHING, NOTHING, ...RATES.map(() => NOTHING)] };
  }
  return {
    key: title,
    cells: [title, whole(one.n), number(one.auc), number(one.brier), ...RATES.map(([, key]) => interval(one[key]))],
  };
}

/** Said against seen: a well-calibrated model lies on the diagonal. */
function calibration(bins) {
  const seen = bins.filter((bin) => bin.count > 0);
  const x = (share) => (share * SIZE).toFixed(1);
  const y = (share) => ((1 - share) * SIZE).toFixed(1);
  const points = seen.map((bin) => `${x(bin.mean_score)},${y(bin.share_positive)}`).join(" ");
  const rows = bins.map((bin) => [
    `${number(bin.low)} to ${number(bin.high)}`, whole(bin.count), number(bin.mean_score),
    percent(bin.share_positive)]);
  return h("figure", { class: "bars", "data-key": "calibration" },
    h("figcaption", {}, "Calibration: what was found, against the score that was given"),
    s("svg", { viewBox: `-6 -6 ${SIZE + 12} ${SIZE + 12}`, class: "square", role: "img",
      "aria-label": "Calibration curve. The table below has the numbers." },
      s("rect", { class: "frame", x: 0, y: 0, width: SIZE, height: SIZE }),
      s("line", { class: "base dashed", x1: 0, y1: SIZE, x2: SIZE, y2: 0 }),
      s("polyline", { class: "curve", points }),
      s("text", { x: SIZE - 6, y: SIZE - 8, "text-anchor": "end" }, "score given →"),
      s("text", { x: 8, y: 16 }, "↑ found positive"),
      seen.map((bin) => s("circle", { class: "one", cx: x(bin.mean_score), cy: y(bin.share_positive), r: 4 },
        s("title", {}, `${percent(bin.share_positive)} of ${whole(bin.count)}`)))),
    h("details", {}, h("summary", {}, "Numbers"), table("Calibration", BINS, rows)));
}
