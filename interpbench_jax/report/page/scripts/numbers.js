// Numbers: their text, means and bootstrap intervals.

const RESAMPLES = 10000;

function fixed(value, digits = 3) {
  return value === null || value === undefined ? "-" : value.toFixed(digits);
}

/** Three significant digits, with an exponent where zeros would fill the column. */
function significant(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  return size >= 0.001 && size < 10000 ? String(Number(value.toPrecision(3)))
    : value.toExponential(2);
}

/** The mean of the values that are known; null if none is. */
function mean(values) {
  const known = values.filter((value) => value !== null);
  return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
}

/** Uniform numbers from 0 to 1 that are the same at every call (mulberry32). */
function randomNumbers(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

/** The 95 % bootstrap interval of a mean over cases, each a list of runs; null for one case. */
function bootstrapInterval(cases) {
  if (cases.length < 2) return null;
  const random = randomNumbers(0);
  const draw = (list) => list[Math.floor(random() * list.length)];
  const means = Array.from({ length: RESAMPLES }, () => {
    let total = 0;
    for (let index = 0; index < cases.length; index += 1) {
      const runs = draw(cases);
      total += runs.length === 1 ? runs[0] : mean(runs.map(() => draw(runs)));
    }
    return total / cases.length;
  }).sort((a, b) => a - b);
  return [quantile(means, 0.025), quantile(means, 0.975)];
}

/** A quantile of sorted values, interpolated linearly. */
function quantile(sorted, share) {
  const place = share * (sorted.length - 1);
  const below = Math.floor(place);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (place - below) * (sorted[above] - sorted[below]);
}
