// Distributions in buckets: what lies between two readings of them, and their percentiles. Pure.

/** What was counted since `before`; all of `after` where the counts began anew. */
export function since(after, before) {
  if (!before || before.length !== after.length) return after;
  const counts = after.map((count, index) => count - before[index]);
  return counts.some((count) => count < 0) ? after : counts;
}

export function total(counts) {
  return counts.reduce((sum, count) => sum + count, 0);
}

/** The value that a share `q` does not exceed, as though values lay evenly in their bucket. */
export function quantile(bounds, counts, q) {
  const all = total(counts);
  if (all === 0) return null;
  const rank = q * all;
  let seen = 0;
  let low = 0;
  for (let index = 0; index < bounds.length; index += 1) {
    const count = counts[index];
    if (count > 0 && seen + count >= rank) {
      return low + (bounds[index] - low) * Math.min(Math.max((rank - seen) / count, 0), 1);
    }
    seen += count;
    low = bounds[index];
  }
  return bounds[bounds.length - 1];
}

/** Fewer, wider buckets for a picture: two to each doubling, empty ends left out. */
export function coarse(bounds, counts) {
  const merged = [];
  let low = 0;
  let sum = 0;
  bounds.forEach((bound, index) => {
    sum += counts[index];
    const half = 2 ** Math.floor(Math.log2(bound));
    if (bound === half || bound === half * 1.5) {
      merged.push({ low, high: bound, count: sum });
      low = bound;
      sum = 0;
    }
  });
  const beyond = counts[bounds.length] ?? 0;
  if (beyond > 0) merged.push({ low, high: Infinity, count: beyond });
  const used = merged.map((bar) => bar.count > 0);
  return merged.slice(Math.max(used.indexOf(true), 0), used.lastIndexOf(true) + 1);
}
