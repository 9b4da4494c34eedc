// Numbers as people read them. A dash stands for what is not known.

export const NOTHING = "–";

function isNumber(value) {
  return typeof value === "number" && Number.isFinite(value);
}

/** Up to three significant digits, never an exponent for what fits. */
export function number(value, digits = 3) {
  if (!isNumber(value)) return NOTHING;
  if (value !== 0 && Math.abs(value) < 1e-4) return value.toExponential(1);
  return value.toLocaleString("en", { maximumSignificantDigits: Math.max(digits, 1) });
}

/** A whole number with its groups. */
export function whole(value) {
  return isNumber(value) ? Math.round(value).toLocaleString("en") : NOTHING;
}

/** A time given in microseconds. */
export function duration(us) {
  if (!isNumber(us)) return NOTHING;
  if (us < 1000) return `${number(us)} µs`;
  if (us < 1e6) return `${number(us / 1e3)} ms`;
  return `${number(us / 1e6)} s`;
}

/** A share of 0 to 1. */
export function percent(share) {
  return isNumber(share) ? `${number(share * 100)} %` : NOTHING;
}

/** How often per second. */
export function rate(perSecond) {
  if (!isNumber(perSecond)) return NOTHING;
  return perSecond >= 100 ? whole(perSecond) : number(perSecond, 2);
}

/** Bytes in binary units. */
export function bytes(count) {
  if (!isNumber(count)) return NOTHING;
  const units = ["B", "KiB", "MiB", "GiB"];
  let index = 0;
  while (count >= 1024 && index < units.length - 1) {
    count /= 1024;
    index += 1;
  }
  return `${number(count)} ${units[index]}`;
}

/** A value with its interval. */
export function interval(estimate) {
  if (!estimate || !isNumber(estimate.value)) return NOTHING;
  return `${number(estimate.value)} (${number(estimate.low)} to ${number(estimate.high)})`;
}

/** A moment of RFC 3339, in the reader's own time. */
export function moment(text) {
  const date = new Date(text);
  return Number.isNaN(date.getTime()) ? NOTHING : date.toLocaleString();
}
