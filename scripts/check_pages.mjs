// Opens the pages of `opid report` and `opid view` in a real headless browser.
//
//     apt-get install chromium; npm install playwright-core
//     node scripts/check_pages.mjs target/release/opid RUN [FOLDER [OTHER RUN]...]
//
// RUN is a run of OPID with kept episodes. Pictures of pages go into FOLDER, one of them of a report on the other runs.
// From the lines of RUN a run of 200 steps with 10,000 episodes is made. Every page must open without an error in the
// console, filters and shading must work, and the large report must open in under 2 seconds.
// CHROMIUM names another browser than /usr/bin/chromium.
import { spawn, spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import zlib from "node:zlib";
import { createRequire } from "node:module";

const { chromium } = createRequire(path.join(process.cwd(), "x.js"))("playwright-core");
const [opid, run, pictures, ...others] = process.argv.slice(2).map((p) => path.resolve(p));
const place = fs.mkdtempSync(path.join(os.tmpdir(), "opid-pages-"));
const STEPS = 200, EPISODES = 50;

function check(truth, what) {
  if (!truth) throw new Error(`not so: ${what}`);
  console.log(`ok  ${what}`);
}

/** A long run with the configuration, metrics and episodes of a short one, again and again. */
function lengthen(from, to) {
  fs.mkdirSync(path.join(to, "trajectories"), { recursive: true });
  const config = fs.readFileSync(path.join(from, "config.toml"), "utf8").replace(/^steps = .*$/m, `steps = ${STEPS}`);
  fs.writeFileSync(path.join(to, "config.toml"), config);
  fs.cpSync(path.join(from, "checkpoints/step_0"), path.join(to, "checkpoints/step_0"), { recursive: true });
  const lines = fs.readFileSync(path.join(from, "metrics.jsonl"), "utf8").trim().split("\n").map((l) => JSON.parse(l));
  const steps = lines.filter((l) => l.update), evaluations = lines.filter((l) => l.evaluation);
  const long = [];
  for (let step = 0; step <= STEPS; step++) {
    if (step > 0) long.push({ ...steps[step % steps.length], step });
    if (step % 20 === 0) for (const e of evaluations.filter((l) => l.step === 0)) long.push({ step, evaluation: { ...e.evaluation, step } });
  }
  fs.writeFileSync(path.join(to, "metrics.jsonl"), long.map((l) => JSON.stringify(l) + "\n").join(""));
  const files = fs.readdirSync(path.join(from, "trajectories")).sort();
  const episodes = files.flatMap((f) => zlib.gunzipSync(fs.readFileSync(path.join(from, "trajectories", f))).toString().trim().split("\n"));
  for (let step = 1; step <= STEPS; step++) {
    const own = Array.from({ length: EPISODES }, (_, i) => {
      const episode = JSON.parse(episodes[(step * EPISODES + i) % episodes.length]);
      return JSON.stringify({ ...episode, group: Math.floor(i / 10), member: i % 10 });
    });
    const name = `step_${String(step).padStart(6, "0")}.jsonl.gz`;
    fs.writeFileSync(path.join(to, "trajectories", name), zlib.gzipSync(own.join("\n") + "\n", { level: 1 }));
  }
}

function report(file, ...runs) {
  const started = performance.now();
  const done = spawnSync(opid, ["report", ...runs, "--out", file], { encoding: "utf8" });
  if (done.status !== 0) throw new Error(done.stderr);
  console.log(`    ${done.stdout.trim()} (${((performance.now() - started) / 1000).toFixed(1)} s to write)`);
}

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || "/usr/bin/chromium", args: ["--no-sandbox"] });
const faults = [];

async function open(url, options = {}) {
  const page = await browser.newPage({ viewport: { width: 1200, height: 900 }, ...options });
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && faults.push(message.text()));
  page.on("pageerror", (error) => faults.push(error.message));
  page.on("request", (request) => !/^(file|data|blob):|^http:\/\/127\.0\.0\.1/.test(request.url()) && faults.push(`asks ${request.url()}`));
  const started = performance.now();
  await page.goto(url);
  await page.waitForSelector("#main[data-ready]");
  return [page, performance.now() - started];
}

const background = (page, n) => page.locator(".tokens span").nth(n).evaluate((node) => getComputedStyle(node).backgroundColor);

try {
  // A report of one run.
  const small = path.join(place, "small.html");
  report(small, run);
  let [page] = await open(`file://${small}#/`);
  check((await page.locator("figure svg path").count()) > 10, "curves are drawn");
  check((await page.locator("#kinds tr").count()) > 2, "success by kind of task");
  check((await page.locator("#time .track i").count()) >= 5, "time by phase");
  await page.locator("#curve-controls select").selectOption("5");
  check((await page.locator("figure").count()) > 10, "curves are smoothed");
  const figure = page.locator("figure svg").nth(2);
  await figure.hover();
  check(await page.locator("#hint").isVisible(), "curves tell their values");
  await page.mouse.move(2, 2);

  await page.locator("nav a", { hasText: "Episodes" }).click();
  await page.waitForSelector("a.row");
  const number = async () => Number((await page.locator("#count").textContent()).split(" ")[0].replace(",", ""));
  const all = await number();
  await page.locator("#filters select[aria-label=outcome]").selectOption("0");
  const lost = await number();
  await page.locator("#filters select[aria-label=outcome]").selectOption("1");
  check(lost > 0 && lost + (await number()) === all, `${all} episodes, ${lost} of them lost`);
  check((await page.locator("a.row .bad").count()) === 0, "the list has won episodes only");
  await page.locator("#filters select[aria-label=kind]").selectOption({ index: 1 });
  check((await number()) < all - lost, "episodes by kind");
  await page.locator("#filters select[aria-label=step]").selectOption({ index: 1 });
  await page.locator("#filters input").fill("no such words");
  check((await number()) === 0, "episodes by words");
  await page.locator("#filters input").fill("");
  await page.locator("#filters select[aria-label=step]").selectOption("");
  await page.locator("#filters select[aria-label=order]").selectOption("-turns");
  await page.locator("a.row").first().click();

  await page.waitForSelector(".tokens span");
  check((await page.locator(".route.EP").count()) > 0, "the routing is shown");
  check((await page.locator("#flow .node").count()) === (await page.locator(".turn").count()) - 1, "a node for every turn");
  const shades = [];
  for (const component of ["total", "outcome", "episode"]) {
    await page.locator(`[data-component=${component}]`).click();
    await page.waitForSelector(`[data-component=${component}][aria-pressed=true]`);
    const n = await page.locator(".tokens span").count();
    shades.push((await Promise.all(Array.from({ length: n }, (_, i) => background(page, i)))).join());
  }
  check(new Set(shades).size === 3, "every component has its own shades");
  await page.locator(".tokens span").first().hover();
  const told = await page.locator("#hint").textContent();
  check(/log-prob, sampled/.test(told) && /shift/.test(told) && /advantage, total/.test(told), "tokens tell their log-probabilities");
  await page.locator(".injection summary").first().click();
  check((await page.locator(".injection ins").first().textContent()).trim().length > 3, "a skill is shown where it was put");
  await page.locator("#beside").click();
  check((await page.locator("#group th").count()) > 2, "the members of a group stand side by side");
  await page.close();

  // On a phone, in the dark.
  [page] = await open(`file://${small}#/`, { viewport: { width: 390, height: 800 }, colorScheme: "dark", hasTouch: true });
  const width = () => page.evaluate(() => document.documentElement.scrollWidth);
  check((await width()) <= 390, "the overview fits a phone");
  check((await page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor)) !== "rgb(255, 255, 255)", "dark where that is wanted");
  await page.goto(`file://${small}#/episodes`);
  await page.waitForSelector("a.row");
  check((await width()) <= 390, "the list fits a phone");
  await page.locator("a.row").first().click();
  await page.waitForSelector(".tokens span");
  check((await width()) <= 390, "an episode fits a phone");
  await page.locator(".tokens span").first().tap();
  check(await page.locator("#hint").isVisible(), "a tap tells of a token");
  await page.close();

  // A long run.
  const long = path.join(place, "long"), large = path.join(place, "large.html");
  lengthen(run, long);
  report(large, long);
  const times = [];
  for (let i = 0; i < 3; i++) {
    const [page, time] = await open(`file://${large}#/`);
    times.push(time);
    await page.close();
  }
  const size = fs.statSync(large).size / 1e6;
  check(Math.max(...times) < 2000, `${STEPS} steps with ${STEPS * EPISODES} episodes (${size.toFixed(1)} MB) open in ${times.map((t) => t.toFixed(0)).join(", ")} ms`);
  let time;
  [page, time] = await open(`file://${large}#/episodes`);
  check((await page.locator("#count").textContent()).startsWith("10,000"), `its list opens in ${time.toFixed(0)} ms`);
  check((await page.locator("a.row").count()) < 100, "only rows in sight are made");
  await page.locator(".list").evaluate((list) => { list.scrollTop = list.scrollHeight; });
  await page.waitForFunction((step) => [...document.querySelectorAll("a.row")].some((row) => row.textContent.includes(`step ${step}`)), STEPS);
  const clicked = performance.now();
  await page.locator("a.row", { hasText: `step ${STEPS}` }).last().click();
  await page.waitForSelector(".tokens span");
  console.log(`    an episode of it opens in ${(performance.now() - clicked).toFixed(0)} ms`);
  await page.close();

  // A page that is served while a run goes on.
  const server = spawn(opid, ["view", long, "--port", "0"], { stdio: ["ignore", "ignore", "pipe"] });
  try {
    const url = await new Promise((resolve, reject) => {
      let said = "";
      server.stderr.on("data", (text) => {
        said += text;
        const address = /http:\S+(?=\s)/.exec(said);
        if (address) resolve(address[0]);
      });
      server.on("exit", () => reject(new Error("opid view ended")));
    });
    [page, time] = await open(url);
    check((await page.locator("#runs").textContent()).includes("200 / 200"), `opid view opens in ${time.toFixed(0)} ms`);
    const metrics = path.join(long, "metrics.jsonl");
    const last = fs.readFileSync(metrics, "utf8").trim().split("\n").map((l) => JSON.parse(l)).findLast((l) => l.update);
    fs.appendFileSync(metrics, JSON.stringify({ ...last, step: STEPS + 1 }) + "\n");
    await page.waitForFunction(() => document.getElementById("runs").textContent.includes("201 / 200"), null, { timeout: 15000 });
    check(true, "a new step shows by itself");
    await page.goto(`${url}#/episode/0/3/1/2`);
    await page.waitForSelector(".tokens span");
    check(true, "episodes are served");
    await page.close();
  } finally {
    server.kill();
  }

  if (pictures) {
    fs.mkdirSync(pictures, { recursive: true });
    const several = path.join(place, "several.html");
    report(several, ...(others.length ? others : [run]));
    [page] = await open(`file://${several}#/`, { viewport: { width: 1100, height: 760 } });
    await page.evaluate(() => scrollTo(0, document.getElementById("curve-controls").getBoundingClientRect().top + scrollY - 90));
    await page.screenshot({ path: path.join(pictures, "report.png") });
    await page.goto(`file://${small}#/episodes?outcome=1`);
    await page.waitForSelector("a.row");
    await page.locator("a.row").nth(2).click();
    await page.waitForSelector(".tokens span");
    await page.locator("[data-component=episode]").click();
    await page.locator(".injection summary").first().click();
    await page.screenshot({ path: path.join(pictures, "episode.png") });
    await page.close();
  }
  check(faults.length === 0, `no errors in the console${faults.length ? `: ${faults.join("; ")}` : ""}`);
} finally {
  await browser.close();
  fs.rmSync(place, { recursive: true, force: true });
}
