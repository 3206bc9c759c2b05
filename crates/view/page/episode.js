// One episode: its turns with the routing under them, every token shaded by what it weighed, its group beside it.

const COMPONENTS = [
  ["total", "total"],
  ["outcome", "episode outcome"],
  ["episode", "episode skill"],
  ["step", "step skill"],
];
const viewing = { component: "total", beside: false };

/** The advantage of token i of a turn by component. */
function advantage(turn, i, component) {
  const at = (values) => (values === undefined ? 0 : Array.isArray(values) ? values[i] ?? 0 : values);
  if (component === "outcome") return at(turn.outcome);
  if (component === "total") return at(turn.outcome) + advantage(turn, i, "episode") + advantage(turn, i, "step");
  return turn[component] ? at(turn[component].advantage) : 0;
}

/** Under which skill a turn was scored: as in the figure of the paper. */
function routes(turn) {
  return [turn.step && "STEP", turn.episode && "EP"].filter(Boolean);
}

function routeMarks(turn) {
  const marks = routes(turn);
  return marks.length ? marks.map((route) => el("span", { class: `route ${route}`, title: route === "EP" ? "scored under the skill of the episode" : "scored under the skill of this step" }, route)) : el("span", { class: "quiet", title: "scored under no skill" }, "–");
}

function scaleOf(episodes, component) {
  let most = 0;
  for (const episode of episodes) for (const turn of episode.turns) for (let i = 0; i < turn.old.length; i++) most = Math.max(most, Math.abs(advantage(turn, i, component)));
  return most;
}

function shade(value, scale) {
  if (!scale || !value) return "transparent";
  return `rgba(var(--${value > 0 ? "up" : "down"}), ${(0.08 + 0.67 * Math.min(1, Math.abs(value) / scale)).toFixed(3)})`;
}

async function showEpisode(main, [run, step, group, member]) {
  const known = data.summary.runs[run];
  if (!known) throw new Error("there is no such run");
  const body = await stepOf(run, step);
  const back = el("p", {}, el("a", { href: "#/episodes" }, "← episodes"));
  if (!body) {
    fill(main, back, el("p", { id: "left-out" }, `The episodes of step ${step} are left out of this report, because it would have become too large. `,
      el("code", {}, `opid view ${known.path}`), " shows them; so does a report with a larger --max-mb."));
    return;
  }
  const members = body.episodes.filter((e) => e.group === Number(group)).sort((a, b) => a.member - b.member);
  const episode = members.find((e) => e.member === Number(member));
  if (!episode) throw new Error("there is no such episode");
  const again = () => showEpisode(main, [run, step, group, member]);
  const scale = scaleOf([episode], viewing.component);
  const present = COMPONENTS.filter(([key]) => key === "total" || key === "outcome" || episode.turns.some((t) => t[key]));
  const link = (m) => `#/episode/${run}/${step}/${group}/${m}`;
  fill(main, back,
    el("h1", {}, episode.goal),
    el("div", { class: "facts" }, fact("run", known.name), fact("step", step), fact("task", episode.task), fact("kind", episode.kind),
      el("span", { class: `badge ${episode.won ? "good" : "bad"}` }, episode.won ? "won" : "lost"), fact("reward", shown(episode.reward)),
      episode.score === Number(episode.won) ? null : fact("score", shown(episode.score)), fact("ended by", episode.ending.replace("_", " ")), neighbours(run, step, group, member)),
    el("div", { class: "members", id: "members" }, el("span", { class: "quiet" }, `group ${group}:`), members.map((m) => el("a", { href: link(m.member), class: m === episode ? "here" : "" },
      `${m.member} `, el("span", { class: m.won ? "good" : "bad" }, m.won ? "won" : "lost"), ` ${m.turns.length}`)),
      el("button", { id: "beside", "aria-pressed": String(viewing.beside), onclick: () => {
        viewing.beside = !viewing.beside;
        again();
      } }, "side by side")),
    episode.summary ? el("div", { class: "box" }, el("span", { class: "quiet" }, "analyzer: "), episode.summary) : null,
    body.reason ? el("p", { class: "quiet" }, `Single tokens are not shown: ${body.reason}.`) : null,
    el("div", { class: "controls", id: "components", role: "group", "aria-label": "advantage" }, el("span", { class: "quiet" }, "shaded by"),
      present.map(([key, label]) => el("button", { "data-component": key, "aria-pressed": String(viewing.component === key), onclick: () => {
        viewing.component = key;
        again();
      } }, label)),
      el("span", { class: "quiet" }, scale ? [`−${shown(scale)} `, el("i", { class: "shades" }), ` +${shown(scale)}`] : "no such advantage in this episode")),
    viewing.beside ? beside(members, link) : [flow(episode), episode.turns.map((turn, i) => turnView(episode, turn, i, scale)),
      el("div", { class: "turn" }, el("div", { class: "side" }, "end"), el("pre", { class: "says" }, episode.last_observation))]);
}

function fact(name, value) {
  return el("span", {}, `${name} `, el("b", {}, value));
}

/** Links to the episodes before and after in the list as it was filtered. */
function neighbours(run, step, group, member) {
  if (listing.found.length === 0) listing.found = findEpisodes();
  const here = `#/episode/${run}/${step}/${group}/${member}`;
  const at = listing.found.findIndex(([r, i]) => episodeLink(r, i) === here);
  if (at < 0) return null;
  const link = (to, text) => (listing.found[to] ? el("a", { href: episodeLink(...listing.found[to]) }, text) : null);
  return el("span", {}, link(at - 1, "‹ previous"), " ", link(at + 1, "next ›"));
}

/** The turns as a chain, each with its route under it. */
function flow(episode) {
  return el("div", { class: "flow", id: "flow" }, episode.turns.map((turn, i) => el("a", { href: `#turn-${i}`, onclick: (event) => {
    event.preventDefault();
    document.getElementById(`turn-${i}`).scrollIntoView({ behavior: "smooth" });
  } }, el("span", { class: turn.valid ? "node" : "node invalid", title: turn.action }, turn.action || "(nothing)"), el("span", {}, routeMarks(turn)))));
}

function turnView(episode, turn, number, scale) {
  return el("div", { class: "turn", id: `turn-${number}` },
    el("div", { class: "side" }, el("span", {}, `turn ${number + 1}`), el("span", {}, routeMarks(turn))),
    el("div", {},
      long(turn.observation),
      turn.admissible ? el("details", {}, el("summary", {}, `${turn.admissible.length} admissible commands`), el("p", { class: "says" }, turn.admissible.join(", "))) : null,
      turn.cut ? el("p", { class: "bad" }, `${turn.cut} tokens of the prompt were left out.`) : null,
      skillView("episode", number === 0 || turn.episode_injection ? episode.episode_skill : null, turn.episode_injection),
      skillView("step", turn.step_skill, turn.step_injection),
      tokensView(turn, scale),
      el("div", { class: "quiet" }, "action ", el("code", {}, turn.action || "(nothing)"), turn.valid ? null : el("span", { class: "bad" }, " invalid"), turn.ended ? null : el("span", { class: "bad" }, " cut off"))));
}

const LONG = 900;

/** What the environment said; a long text folded. */
function long(text) {
  if (text.length <= LONG) return el("pre", { class: "says" }, text);
  return el("details", {}, el("summary", {}, `${text.slice(0, 200).replace(/\s+/g, " ")}… (${text.length} characters)`), el("pre", { class: "says" }, text));
}

/** A skill, and where it was put into the history: what was added and what made room for it. */
function skillView(kind, skill, injection) {
  if (!skill && !injection) return null;
  const where = injection ? el("details", { class: "injection" }, el("summary", {}, "in the history"), el("pre", {}, injection.before,
    injection.removed ? el("del", {}, injection.removed) : null, el("ins", {}, injection.inserted), injection.after)) : null;
  return el("div", { class: `skill ${kind}` }, el("span", { class: "quiet" }, `${kind} skill: `), skill, where);
}

function tokensView(turn, scale) {
  const box = el("div", { class: "tokens" });
  if (!turn.pieces) {
    const mean = turn.old.length ? turn.old.reduce((a, _, i) => a + advantage(turn, i, viewing.component), 0) / turn.old.length : 0;
    box.append(el("span", { style: `background:${shade(mean, scale)}` }, turn.text));
    return box;
  }
  turn.pieces.forEach((piece, i) => {
    const value = advantage(turn, i, viewing.component);
    const told = (event) => hint(event, tokenHint(turn, i, piece));
    // A line break is shown, or nothing would be there to point at.
    box.append(el("span", { tabindex: 0, style: `background:${shade(value, scale)}`, "data-advantage": value, onpointerenter: told, onpointerdown: told, onpointerleave: () => hint(null), onfocus: told, onblur: () => hint(null) },
      piece === "" ? "·" : piece.replace(/\n/g, "⏎\n")));
  });
  return box;
}

function tokenHint(turn, i, piece) {
  const line = (label, logprob, extra) => el("tr", {}, el("td", {}, label), el("td", { class: "number" }, shown(logprob, 3)), el("td", { class: "number quiet" }, extra));
  const old = turn.old[i];
  const parts = [["episode", "under the episode's skill"], ["step", "under the step's skill"]].filter(([key]) => turn[key]);
  const rows = [line("log-prob, sampled", old, `p ${shown(Math.exp(old))}`),
    ...parts.map(([key, label]) => line(label, turn[key].logprobs[i], `shift ${turn[key].logprobs[i] - old >= 0 ? "+" : "−"}${shown(Math.abs(turn[key].logprobs[i] - old))}`))];
  const weights = COMPONENTS.filter(([key]) => key === "total" || key === "outcome" || turn[key]).map(([key, label]) => line(`advantage, ${label}`, advantage(turn, i, key), ""));
  return [el("b", { class: "mono" }, JSON.stringify(piece)), el("table", {}, rows, weights)];
}

/** The members of a group as columns, turn by turn. */
function beside(members, link) {
  const scale = scaleOf(members, viewing.component);
  const mean = (turn) => (turn.old.length ? turn.old.reduce((a, _, i) => a + advantage(turn, i, viewing.component), 0) / turn.old.length : 0);
  const most = Math.max(...members.map((m) => m.turns.length));
  const rows = Array.from({ length: most }, (_, i) => el("tr", {}, el("td", {}, i + 1), members.map((m) => {
    const turn = m.turns[i];
    if (!turn) return el("td", { class: "quiet" }, i === m.turns.length ? m.ending.replace("_", " ") : "");
    return el("td", { style: `background:${shade(mean(turn), scale)}`, title: turn.observation }, el("code", {}, turn.action || turn.text), " ", routeMarks(turn), turn.valid ? null : el("span", { class: "bad" }, " invalid"));
  })));
  return el("div", { class: "beside" }, el("table", { id: "group" }, el("tr", {}, el("th", {}, "turn"), members.map((m) => el("th", {}, el("a", { href: link(m.member) }, `member ${m.member}`), " ",
    el("span", { class: m.won ? "good" : "bad" }, m.won ? "won" : "lost"), ` r ${shown(m.reward, 2)}`))), rows));
}
