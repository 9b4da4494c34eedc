// What is wrong with the data that comes in: missing, out of range, of new kinds.

import { NOTHING, whole } from "../format.js";
import { note, panel, table } from "../parts.js";

const COUNTS = [
  ["Missing", "missing"], ["Wrong type", "wrong_type"], ["Infinite", "infinite"],
  ["Below range", "below_range"], ["Above range", "above_range"],
  ["Below training", "below_trained"], ["Above training", "above_trained"],
  ["New categories", "new_categories"],
];
const COLUMNS = [{ title: "Feature" }, { title: "Rows", numeric: true },
  ...COUNTS.map(([title]) => ({ title, numeric: true })), { title: "Remarks" }];

export function quality(report) {
  if (!report) return null;
  if (!report.features.length) return panel("quality", "Data quality", note("Nothing was checked yet."));
  const rows = report.features.map((feature) => ({
    key: feature.name,
    cells: [
      feature.name,
      whole(feature.rows),
      ...COUNTS.map(([, key]) => (feature[key] ? share(feature[key], feature.rows) : "0")),
      [...(feature.reasons ?? []), feature.constant ? "always the same value" : null]
        .filter((remark) => remark !== null).join("; ") || NOTHING,
    ],
  }));
  return panel("quality", "Data quality",
    note(`Of the last complete window, ${whole(report.rows)} rows.`),
    table("Data quality by feature", COLUMNS, rows));
}

function share(count, rows) {
  const percent = rows > 0 ? ` (${((count / rows) * 100).toFixed(1)} %)` : "";
  return `${whole(count)}${percent}`;
}
