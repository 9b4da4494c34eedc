// How fast counters grow: the server counts since a version was loaded, people ask "per second".

/** Keeps readings of counters of the last while, and tells their growth. */
export class Rates {
  #windowMs;
  #readings = [];

  constructor(windowMs = 30_000) {
    this.#windowMs = windowMs;
  }

  /** Takes in a reading: `counters` is a plain object of numbers, `now` milliseconds. */
  add(now, counters) {
    this.#readings.push({ now, counters });
    // One reading from before the window is its beginning.
    while (this.#readings.length > 2 && now - this.#readings[1].now >= this.#windowMs) {
      this.#readings.shift();
    }
  }

  /** Growth per second over the window; null before the second reading, or where it fell. */
  of(name) {
    const last = this.#readings.at(-1);
    const first = this.#readings.find((reading) => name in reading.counters);
    if (!last || !first || first === last || !(name in last.counters)) return null;
    const growth = last.counters[name] - first.counters[name];
    const seconds = (last.now - first.now) / 1000;
    return growth < 0 || seconds <= 0 ? null : growth / seconds;
  }
}

/** The counters of `/v2/models/stats`, by `MODEL/VERSION`. */
export function counters(stats) {
  const found = {};
  for (const one of stats?.model_stats ?? []) {
    const key = `${one.name}/${one.version}`;
    found[`${key} requests`] = one.inference_stats.success.count;
    found[`${key} failures`] = one.inference_stats.fail.count;
    found[`${key} rows`] = one.inference_count;
  }
  return found;
}
