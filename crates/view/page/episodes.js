// The list of kept episodes, filtered; only the rows in sight are made.

const ROW = 34;
const listing = { run: "", outcome: "", kind: "", step: "", words: "", order: "step", found: [] };

/** Numbers of the episodes that pass the filters: pairs of run and place in its index, in the order asked for. */
function findEpisodes() {
  const found = [];
  const words = listing.words.toLowerCase().split(/\s+/).filter(Boolean);
  data.summary.runs.forEach((run, number) => {
    if (listing.run !== "" && Number(listing.run) !== number) return;
    const e = run.episodes;
    const kind = e.texts.indexOf(listing.kind);
    const fits = e.texts.map((text) => words.map((word) => text.toLowerCase().includes(word)));
    for (let i = 0; i < e.step.length; i++) {
      if (listing.outcome !== "" && String(e.won[i]) !== listing.outcome) continue;
      if (listing.kind !== "" && e.kind[i] !== kind) continue;
      if (listing.step !== "" && e.step[i] !== Number(listing.step)) continue;
      if (!words.every((_, w) => fits[e.goal[i]][w] || fits[e.task[i]][w])) continue;
      found.push([number, i]);
    }
  });
  const by = (key, sign) => found.sort(([a, i], [b, j]) => sign * (data.summary.runs[a].episodes[key][i] - data.summary.runs[b].episodes[key][j]));
  if (listing.order === "newest") found.reverse();
  else if (listing.order !== "step") by(listing.order.slice(1), listing.order[0] === "-" ? -1 : 1);
  return found;
}

function episodeLink(run, i) {
  const e = data.summary.runs[run].episodes;
  return `#/episode/${run}/${e.step[i]}/${e.group[i]}/${e.member[i]}`;
}

function showEpisodes(main, parameters) {
  for (const key of ["run", "outcome", "kind", "step", "words"]) if (parameters.has(key)) listing[key] = parameters.get(key);
  const { runs } = data.summary;
  const total = runs.reduce((a, run) => a + run.episodes.step.length, 0);
  if (total === 0) {
    fill(main, el("h1", {}, "Episodes"), el("p", { class: "quiet" },
      "No episodes were kept. A run keeps those of every checkpoint.trajectories_every steps (0: none)."));
    return;
  }
  const kinds = [...new Set(runs.flatMap((run) => [...new Set(run.episodes.kind)].map((k) => run.episodes.texts[k])))].sort();
  const all = [...new Set(runs.flatMap((run) => run.episodes.step))].sort((a, b) => a - b);
  const count = el("span", { class: "quiet", id: "count" });
  const sky = el("div", { class: "sky" });
  const list = el("div", { class: "list", tabindex: 0, "aria-label": "episodes" }, sky);
  const scroll = () => {
    const first = Math.max(0, Math.floor(list.scrollTop / ROW) - 8);
    const last = Math.min(listing.found.length, first + Math.ceil(list.clientHeight / ROW) + 16);
    fill(sky, listing.found.slice(first, last).map(([run, i], at) => row(run, i, (first + at) * ROW)));
  };
  const update = () => {
    listing.found = findEpisodes();
    const won = listing.found.reduce((a, [run, i]) => a + runs[run].episodes.won[i], 0);
    const n = listing.found.length;
    count.textContent = `${n.toLocaleString("en")} of ${total.toLocaleString("en")} episodes${n ? `, ${percent(won / n)} won` : ""}`;
    sky.style.height = `${n * ROW}px`;
    list.scrollTop = 0;
    scroll();
  };
  const set = (key) => (value) => {
    listing[key] = value;
    update();
  };
  const words = el("input", { type: "search", placeholder: "goal or task", "aria-label": "goal or task", value: listing.words, oninput: () => set("words")(words.value) });
  list.addEventListener("scroll", scroll);
  fill(main, el("h1", {}, "Episodes"),
    el("div", { class: "controls", id: "filters" },
      runs.length > 1 ? choice("run", [["", "all"], ...runs.map((run, i) => [i, run.name])], listing.run, set("run")) : null,
      choice("outcome", [["", "all"], [1, "won"], [0, "lost"]], listing.outcome, set("outcome")),
      choice("kind", [["", "all"], ...kinds.map((k) => [k, k])], listing.kind, set("kind")),
      choice("step", [["", "all"], ...all.map((s) => [s, s])], listing.step, set("step")),
      choice("order", [["step", "as trained"], ["newest", "newest first"], ["-turns", "most turns"], ["-invalid", "most invalid turns"], ["-tokens", "most tokens"], ["-reward", "highest reward"]], listing.order, set("order")),
      words, count),
    list);
  update();
}

function row(run, i, top) {
  const { runs } = data.summary;
  const e = runs[run].episodes;
  const many = runs.length > 1;
  return el("a", { class: many ? "row many" : "row", href: episodeLink(run, i), style: `top:${top}px` },
    many ? el("span", { class: "wide" }, runs[run].name) : null,
    el("span", { class: "quiet" }, `step ${e.step[i]}`),
    el("span", { class: e.won[i] ? "good" : "bad" }, e.won[i] ? "won" : "lost"),
    el("span", { class: "wide quiet" }, e.texts[e.kind[i]]),
    el("span", {}, e.texts[e.goal[i]]),
    el("span", { class: "quiet" }, `${e.turns[i]} turns`),
    el("span", { class: "wide quiet" }, e.invalid[i] ? `${e.invalid[i]} inv.` : ""),
    el("span", { class: "wide quiet" }, `${e.tokens[i]} tok`),
    el("span", { class: "wide quiet" }, `r ${shown(e.reward[i], 2)}`));
}
