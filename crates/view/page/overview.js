// Runs, their warnings, curves, success by kind of task, time and tokens, configuration.

const overview = { smoothing: 1, hidden: new Set(), way: 0, config: 0 };

/** The measures of training steps that are drawn: column, title, and the values that are shown. */
const MEASURES = [
  ["success", "Success in training", [0, 1]],
  ["score", "Score in training", [0, 1]],
  ["reward", "Reward", null],
  ["turns", "Turns per episode", null],
  ["invalid", "Share of invalid turns", [0, 1]],
  ["zero_variance_groups", "Groups with equal rewards", [0, 1]],
  ["update.kl", "Divergence from the start (nats a token)", null],
  ["update.entropy", "Entropy (nats a token)", null],
  ["update.grad_norm", "Gradient norm", null],
  ["update.clip_fraction", "Clipped tokens", null],
  ["advantage.episode_skill_share", "Share of episode skills in |A|", null],
  ["advantage.step_skill_share", "Share of step skills in |A|", null],
  ["skills.shift_won", "Shift under skills, won episodes (nats a token)", null],
  ["skills.shift_lost", "Shift under skills, lost episodes (nats a token)", null],
  ["skills.agreement", "Shifts with the sign of the outcome", [0, 1]],
  ["response_tokens", "Response tokens a step", null],
  ["tokens_per_second", "Tokens a second", null],
];

/** The phases of a step: column and label. */
const PHASES = [
  ["seconds.rollout", "rollout"],
  ["seconds.reference", "reference"],
  ["seconds.analyzer_wait", "analyzer wait"],
  ["seconds.rescore", "re-score"],
  ["seconds.update", "update"],
];

/** Tokens of a run: column, label. */
const TOKENS = [
  ["response_tokens", "sampled"],
  ["episode_tokens", "of the episodes"],
  ["context_tokens", "of every turn's history and response"],
  ["skills.computed", "computed for re-scoring"],
  ["update.computed", "computed for updates"],
];

function showOverview(main) {
  const { runs, groups } = data.summary;
  const single = runs.length === 1;
  fill(main,
    el("h1", {}, single ? runs[0].name : `${runs.length} runs`),
    runTable(),
    warningList(),
    el("h2", {}, "Curves"),
    curveControls(groups),
    el("div", { class: "charts" }, curves()),
    kindSection(),
    el("h2", {}, "Time and tokens"),
    timeSection(),
    el("h2", {}, "Configuration"),
    configSection(),
  );
}

function groupOf(run) {
  return data.summary.groups.findIndex((group) => group.runs.includes(run));
}

function runTable() {
  const head = ["run", "method", "environment", "seed", "state", "steps", "best success", "a step", "episodes kept"];
  const rows = data.summary.runs.map((run, i) => {
    const best = run.best;
    const state = run.state === "silent" ? `silent for ${duration(run.silent)}` : run.state;
    const left = run.state === "running" && run.step_seconds ? `, ${duration(run.step_seconds * (run.planned - run.done))} left` : "";
    const kept = run.episodes.step.length;
    return el("tr", {},
      el("td", {}, el("i", { class: "swatch", style: `background:${colour(groupOf(i))}` }), run.name),
      el("td", {}, run.method), el("td", {}, run.environment), el("td", {}, run.seed ?? "–"),
      el("td", { class: run.state === "silent" ? "bad" : run.state === "finished" ? "good" : "" }, state + left),
      el("td", {}, `${run.done} / ${run.planned}`),
      el("td", {}, best ? [el("b", {}, shown(best.success)), el("span", { class: "quiet" }, ` [${shown(best.low)}, ${shown(best.high)}] step ${best.step}, T ${best.temperature}`)] : "–"),
      el("td", {}, run.step_seconds ? duration(run.step_seconds) : "–"),
      el("td", {}, kept ? el("a", { href: `#/episodes?run=${i}` }, kept.toLocaleString("en")) : "none"));
  });
  return el("div", { class: "scroll" }, el("table", { id: "runs" }, el("tr", {}, head.map((h) => el("th", {}, h))), rows));
}

function warningList() {
  const items = data.summary.runs.flatMap((run) => {
    const all = [...run.warnings, ...run.episodes.unreadable.map((text) => ({ level: "bad", text: `Episodes that cannot be read: ${text}.` }))];
    return all.map((warning) => el("li", { class: warning.level }, data.summary.runs.length > 1 ? el("b", {}, `${run.name}: `) : null, warning.text));
  });
  const shownFirst = items.slice(0, 8), rest = items.slice(8);
  if (items.length === 0) return el("p", { class: "quiet" }, "Nothing in the metrics calls for a warning.");
  return el("section", { id: "warnings" }, el("h2", {}, "Warnings"), el("ul", { class: "warnings" }, shownFirst),
    rest.length ? el("details", {}, el("summary", {}, `${rest.length} more`), el("ul", { class: "warnings" }, rest)) : null);
}

function curveControls(groups) {
  const buttons = groups.map((group, i) => el("button", {
    "aria-pressed": String(!overview.hidden.has(i)),
    onclick: () => {
      if (overview.hidden.has(i)) overview.hidden.delete(i);
      else overview.hidden.add(i);
      redraw();
    },
  }, el("i", { class: "swatch", style: `background:${colour(i)}` }), group.name, group.runs.length > 1 ? el("span", { class: "quiet" }, ` ${group.runs.length} seeds`) : null));
  return el("div", { class: "controls", id: "curve-controls" }, groups.length > 1 ? buttons : null,
    choice("mean of the last", [[1, "1 step"], [5, "5 steps"], [10, "10 steps"], [25, "25 steps"]], overview.smoothing, (v) => {
      overview.smoothing = Number(v);
      redraw();
    }),
    groups.some((g) => g.runs.length > 1) ? el("span", { class: "quiet" }, "bands: 95 % intervals over seeds; thin: single seeds") : null);
}

/** The groups that are shown, with their numbers. */
function shownGroups() {
  return data.summary.groups.map((group, i) => [group, i]).filter(([, i]) => !overview.hidden.has(i));
}

function curves() {
  const { runs } = data.summary;
  const figures = [];
  for (const way of ways()) {
    const lines = shownGroups().map(([group, i]) => {
      const seeds = group.runs.map((run) => runs[run].evaluations.filter((e) => wayOf(e) === way));
      const curve = groupCurve(seeds.map((list) => list.map((e) => [e.step, e.report.overall.success])).filter((s) => s.length));
      const whiskers = seeds.length === 1 ? seeds[0].map((e) => [e.step, e.report.overall.low, e.report.overall.high]) : null;
      return { name: group.name, colour: colour(i), dash: dashes(i), marks: true, whiskers, ...curve };
    });
    figures.push(chart(`Evaluation: ${way}`, lines, { range: [0, 1] }));
  }
  for (const [key, title, range] of MEASURES) {
    const lines = shownGroups().map(([group, i]) => {
      const seeds = group.runs.filter((run) => runs[run].columns[key]).map((run) => {
        const values = smoothed(runs[run].columns[key], overview.smoothing);
        return values.map((v, j) => [runs[run].columns.step[j], v]).filter(([, v]) => v !== null);
      });
      return { name: group.name, colour: colour(i), dash: dashes(i), ...groupCurve(seeds.length ? seeds : [[]]) };
    });
    // Success says what score says where tasks cannot be solved in part.
    const same = key === "score" && lines.every((line) => line.points.length === 0) || key === "score" && runs.every((run) => String(run.columns.score) === String(run.columns.success));
    if (!same) figures.push(chart(title, lines, { range }));
  }
  return figures.some(Boolean) ? figures : el("p", { class: "quiet" }, "No training step is done yet.");
}

function kindSection() {
  const all = ways();
  if (all.length === 0) return el("section", {});
  const way = all[Math.min(overview.way, all.length - 1)];
  const { runs } = data.summary;
  const found = shownGroups().map(([group, i]) => {
    const lists = group.runs.map((run) => runs[run].evaluations.filter((e) => wayOf(e) === way)).filter((l) => l.length);
    return { group, i, firsts: lists.map((l) => l[0]), lasts: lists.map((l) => l[l.length - 1]) };
  }).filter((g) => g.lasts.length);
  const kinds = [...new Set(found.flatMap((g) => g.lasts.flatMap((e) => Object.keys(e.report.kinds))))].sort();
  const cell = (list, kind) => {
    const rates = list.map((e) => (kind === null ? e.report.overall : e.report.kinds[kind])).filter(Boolean);
    if (rates.length === 0) return null;
    if (rates.length === 1) return { mean: rates[0].success, low: rates[0].low, high: rates[0].high, tasks: rates[0].tasks };
    return { ...estimate(rates.map((r) => r.success)), tasks: rates[0].tasks };
  };
  const row = (label, kind) => el("tr", {}, el("td", {}, label), found.map((g) => {
    const before = cell(g.firsts, kind), after = cell(g.lasts, kind);
    if (!after) return el("td", {}, "–");
    const clamp = (v) => Math.max(0, Math.min(1, v));
    const bar = draw("svg", { viewBox: "0 0 100 10", width: 100, height: 10, "aria-hidden": "true" },
      draw("rect", { width: 100, height: 10, fill: "var(--line)", "fill-opacity": 0.5 }),
      draw("rect", { width: 100 * after.mean, height: 10, fill: colour(g.i), "fill-opacity": 0.75 }),
      after.low === undefined ? null : draw("line", { x1: 100 * clamp(after.low), x2: 100 * clamp(after.high), y1: 5, y2: 5, stroke: "var(--ink)" }),
      before ? draw("line", { x1: 100 * before.mean, x2: 100 * before.mean, y1: 0, y2: 10, stroke: "var(--ink)", "stroke-width": 2 }) : null);
    const moved = before && before !== after ? `${shown(before.mean)} → ` : "";
    return el("td", {}, bar, " ", el("span", { class: "quiet" }, moved), el("b", {}, shown(after.mean)),
      el("span", { class: "quiet" }, after.low === undefined ? "" : ` [${shown(clamp(after.low))}, ${shown(clamp(after.high))}]`, ` of ${after.tasks}`));
  }));
  return el("section", { id: "kinds" }, el("h2", {}, "Success by kind of task"),
    el("div", { class: "controls" }, choice("evaluation", all.map((w, i) => [i, w]), overview.way, (v) => {
      overview.way = Number(v);
      redraw();
    }), el("span", { class: "quiet" }, "first → last evaluation, 95 % interval of the last; the upright line is the first")),
    el("div", { class: "scroll" }, el("table", {}, el("tr", {}, el("th", {}, "kind"), found.map((g) => el("th", {}, g.group.name))),
      row(el("b", {}, "all"), null), kinds.map((kind) => row(kind, kind)))));
}

function sumOf(run, key) {
  return (run.columns[key] || []).reduce((a, v) => a + (v || 0), 0);
}

function timeSection() {
  const { runs } = data.summary;
  const longest = Math.max(...runs.map((run) => PHASES.reduce((a, [key]) => a + sumOf(run, key), 0)), 1e-9);
  const bars = runs.flatMap((run) => {
    const parts = PHASES.map(([key, label], i) => [label, sumOf(run, key), i]);
    const total = parts.reduce((a, p) => a + p[1], 0);
    const told = (event) => hint(event, el("table", {}, parts.map(([label, v]) => el("tr", {}, el("td", {}, label), el("td", { class: "number" }, duration(v)), el("td", { class: "number" }, percent(v / (total || 1)))))));
    return [el("span", {}, run.name, el("span", { class: "quiet" }, ` ${duration(total)}`)),
      el("div", { class: "track", tabindex: 0, onpointermove: told, onpointerleave: () => hint(null), onfocus: told, onblur: () => hint(null) },
        parts.map(([, v, i]) => el("i", { style: `width:${(100 * v) / longest}%;background:${colour(i)}` })))];
  });
  const legend = el("div", { class: "legend" }, PHASES.map(([, label], i) => el("span", {}, el("i", { class: "swatch", style: `background:${colour(i)}` }), label)));
  const used = TOKENS.filter(([key]) => runs.some((run) => sumOf(run, key) > 0));
  const table = el("div", { class: "scroll" }, el("table", {},
    el("tr", {}, el("th", {}, "tokens"), used.map(([, label]) => el("th", { class: "number" }, label))),
    runs.map((run) => el("tr", {}, el("td", {}, run.name), used.map(([key]) => el("td", { class: "number" }, sumOf(run, key).toLocaleString("en")))))));
  return el("section", { id: "time" }, el("div", { class: "bars" }, bars), legend, table);
}

const CLIPPED = 60;

/** The beginning of a long value. */
function clipped(text) {
  return text.length > CLIPPED ? `${text.slice(0, CLIPPED)}…` : text;
}

function configSection() {
  const { runs, differences } = data.summary;
  const head = el("tr", {}, el("th", {}, "key"), runs.map((run) => el("th", {}, run.name)));
  const rows = differences.map((d) => el("tr", {}, el("td", {}, el("code", {}, d.key)), d.values.map((v) => el("td", { class: "mono", title: v }, clipped(v ?? "–")))));
  const run = runs[Math.min(overview.config, runs.length - 1)];
  const whole = el("details", {}, el("summary", {}, "All keys"),
    runs.length > 1 ? el("div", { class: "controls" }, choice("run", runs.map((r, i) => [i, r.name]), overview.config, (v) => {
      overview.config = Number(v);
      redraw();
    })) : null,
    el("table", {}, Object.entries(run.config).map(([key, value]) => el("tr", {}, el("td", {}, el("code", {}, key)), el("td", { class: "mono" }, value)))));
  return el("section", { id: "config" },
    runs.length > 1 ? [el("p", { class: "quiet" }, rows.length ? "What differs between the runs:" : "The runs do not differ."),
      rows.length ? el("div", { class: "scroll" }, el("table", {}, head, rows)) : null] : null, whole);
}
