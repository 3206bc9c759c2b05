// What is shown: packed into this page, or asked for where the page comes from `opid view`.

const data = { summary: null, live: !document.getElementById("summary"), listeners: [] };

/** A value that the page holds: base64 of gzip of JSON. */
async function unpacked(id) {
  const node = document.getElementById(id);
  if (!node) return null;
  const binary = atob(node.textContent);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

/** Asks the server. */
async function asked(path) {
  const reply = await fetch(path);
  const value = await reply.json();
  if (!reply.ok) throw new Error(value.error || `the server says ${reply.status}`);
  return value;
}

/** Reads the summary, or looks whether there is a newer one; says whether it is another. */
async function refresh() {
  const version = data.summary && data.summary.version;
  const summary = data.live ? await asked(`/summary${version ? `?version=${version}` : ""}`) : await unpacked("summary");
  if (summary.unchanged) return false;
  data.summary = summary;
  return true;
}

const steps = new Map();
const STEPS_KEPT = 12;

/** The episodes of a step in full; null where a report leaves them out. */
function stepOf(run, step) {
  const key = `${run}-${step}`;
  if (!steps.has(key)) {
    const reading = data.live ? asked(`/steps/${run}/${step}`) : unpacked(`steps-${key}`);
    // What could not be had is asked for again the next time.
    reading.catch(() => steps.delete(key));
    steps.set(key, reading);
    if (steps.size > STEPS_KEPT) steps.delete(steps.keys().next().value);
  }
  return steps.get(key);
}

/** Means over the last `width` values; what is missing is left out. */
function smoothed(values, width) {
  if (width <= 1) return values;
  return values.map((value, i) => {
    if (value === null) return null;
    const some = values.slice(Math.max(0, i - width + 1), i + 1).filter((v) => v !== null);
    return some.reduce((a, b) => a + b, 0) / some.length;
  });
}

/** Mean of the values of several seeds with its 95 % interval (Student's t); without an interval for one value. */
function estimate(values) {
  const n = values.length;
  const mean = values.reduce((a, b) => a + b, 0) / n;
  if (n < 2) return { mean };
  const deviation = Math.sqrt(values.reduce((a, v) => a + (v - mean) ** 2, 0) / (n - 1));
  const half = (data.summary.student[n - 2] * deviation) / Math.sqrt(n);
  return { mean, low: mean - half, high: mean + half };
}

/** The curve of a group: `points` [x, mean], `band` [x, low, high] where there are several seeds, and each seed's. */
function groupCurve(seeds) {
  if (seeds.length === 1) return { points: seeds[0], band: [], seeds: [] };
  const at = new Map();
  for (const seed of seeds) for (const [x, y] of seed) at.set(x, [...(at.get(x) || []), y]);
  const xs = [...at.keys()].sort((a, b) => a - b);
  const points = [], band = [];
  for (const x of xs) {
    const { mean, low, high } = estimate(at.get(x));
    points.push([x, mean]);
    if (low !== undefined) band.push([x, low, high]);
  }
  return { points, band, seeds };
}

/** The ways in which any of the runs was evaluated, each a text. */
function ways() {
  const known = new Set();
  for (const run of data.summary.runs) for (const e of run.evaluations) known.add(wayOf(e));
  return [...known];
}

function wayOf(evaluation) {
  const skills = evaluation.skills && evaluation.skills !== "none" ? `, skills of the ${evaluation.skills}` : "";
  return `${evaluation.split}, T ${evaluation.temperature}${skills}`;
}
