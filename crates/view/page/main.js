// Which page is shown, and keeping it up to date.

const EVERY = 2500;

/** The page that the address names. */
async function show() {
  hint(null);
  const main = document.getElementById("main");
  const [path, query] = location.hash.slice(1).split("?");
  const [page, ...rest] = path.split("/").filter(Boolean);
  const here = page === undefined ? "overview" : "episodes";
  for (const link of document.querySelectorAll("nav a")) link.classList.toggle("here", link.dataset.page === here);
  try {
    if (page === "episodes") showEpisodes(main, new URLSearchParams(query));
    else if (page === "episode") await showEpisode(main, rest);
    else showOverview(main);
    main.dataset.ready = location.hash || "#/";
  } catch (error) {
    fill(main, el("p", { class: "bad" }, `This cannot be shown: ${error.message}.`));
  }
}

/** Draws the page again where it stands. */
function redraw() {
  const { scrollX, scrollY } = window;
  const open = [...document.querySelectorAll("#main details")].map((details) => details.open);
  showOverview(document.getElementById("main"));
  document.querySelectorAll("#main details").forEach((details, i) => { details.open = Boolean(open[i]); });
  scrollTo(scrollX, scrollY);
}

function say(text) {
  document.getElementById("status").textContent = text;
}

async function watch() {
  try {
    const changed = await refresh();
    const running = data.summary.runs.some((run) => run.state === "running");
    say(running ? "live" : "");
    // An episode or a list is left as it is while somebody reads it.
    if (changed && ["", "#/"].includes(location.hash)) redraw();
  } catch (error) {
    say(`no news: ${error.message}`);
  }
  setTimeout(watch, EVERY);
}

addEventListener("hashchange", () => {
  scrollTo(0, 0);
  show();
});
try {
  await refresh();
  document.title = `opid: ${data.summary.groups.map((group) => group.name).join(", ")}`;
  if (!data.live) say(`report of ${new Date(data.summary.made * 1000).toLocaleString()}`);
  await show();
  if (data.live) setTimeout(watch, EVERY);
} catch (error) {
  fill(document.getElementById("main"), el("p", { class: "bad" }, `This page cannot be opened: ${error.message}.`));
}
