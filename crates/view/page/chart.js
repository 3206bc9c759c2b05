// Curves as drawings.

const WIDTH = 420, HEIGHT = 200, LEFT = 44, RIGHT = 8, TOP = 8, BOTTOM = 20;

/** Round numbers that divide a range into a few parts. */
function ticks(low, high, most) {
  const rough = (high - low) / most || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
  const found = [];
  for (let v = Math.ceil(low / step - 1e-9) * step; v <= high + step * 1e-9; v += step) found.push(Math.abs(v) < step * 1e-9 ? 0 : v);
  return found;
}

/**
 * A figure with curves. Each of `lines` has a `name`, a `colour`, `points` [x, y], and may have `band` [x, low, high],
 * `seeds` (thin curves), `marks` (points are marked) and `dash`. `range` fixes the values that are shown.
 */
function chart(title, lines, { range = null, note = null } = {}) {
  const all = lines.filter((line) => line.points.length > 0);
  if (all.length === 0) return null;
  const xs = all.flatMap((line) => line.points.map((p) => p[0]));
  const values = (line) => [line.points.map((p) => p[1]), (line.seeds || []).flat().map((p) => p[1]),
    (line.band || []).flatMap((b) => [b[1], b[2]])].flat();
  const ys = all.flatMap(values);
  const least = (list) => list.reduce((a, b) => Math.min(a, b), Infinity);
  const most = (list) => list.reduce((a, b) => Math.max(a, b), -Infinity);
  let [x0, x1] = [least(xs), most(xs)];
  if (x0 === x1) [x0, x1] = [x0 - 1, x1 + 1];
  let [y0, y1] = range || [least(ys), most(ys)];
  if (!range) {
    const margin = (y1 - y0 || Math.abs(y1) || 1) * 0.06;
    [y0, y1] = [y0 >= 0 && y0 < margin * 4 ? 0 : y0 - margin, y1 + margin];
  }
  const x = (v) => LEFT + ((v - x0) / (x1 - x0)) * (WIDTH - LEFT - RIGHT);
  const y = (v) => TOP + ((y1 - Math.max(y0, Math.min(y1, v))) / (y1 - y0)) * (HEIGHT - TOP - BOTTOM);
  const path = (points) => points.map(([a, b], i) => `${i ? "L" : "M"}${x(a).toFixed(1)} ${y(b).toFixed(1)}`).join("");
  const picture = draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": title });
  for (const v of ticks(y0, y1, 4)) {
    picture.append(draw("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(v), y2: y(v) }),
      draw("text", { x: LEFT - 6, y: y(v) + 3.5, "text-anchor": "end" }, shown(v)));
  }
  for (const v of ticks(x0, x1, 6).filter(Number.isInteger)) {
    picture.append(draw("text", { x: x(v), y: HEIGHT - 5, "text-anchor": "middle" }, String(v)));
  }
  for (const line of all) {
    const style = { fill: "none", stroke: line.colour, "stroke-dasharray": line.dash };
    if (line.band && line.band.length > 1) {
      const there = line.band.map(([a, low]) => [a, low]), back = line.band.map(([a, , high]) => [a, high]).reverse();
      picture.append(draw("path", { d: `${path([...there, ...back])}Z`, fill: line.colour, "fill-opacity": 0.16 }));
    }
    if (line.whiskers) {
      for (const [a, low, high] of line.whiskers) {
        picture.append(draw("line", { x1: x(a), x2: x(a), y1: y(low), y2: y(high), stroke: line.colour, "stroke-opacity": 0.55 }));
      }
    }
    for (const seed of line.seeds || []) picture.append(draw("path", { d: path(seed), ...style, "stroke-width": 0.8, "stroke-opacity": 0.45 }));
    picture.append(draw("path", { d: path(line.points), ...style, "stroke-width": 1.8, "stroke-linejoin": "round" }));
    if (line.marks || line.points.length === 1) {
      for (const [a, b] of line.points) picture.append(draw("circle", { cx: x(a), cy: y(b), r: 2.6, fill: line.colour }));
    }
  }
  const cross = draw("line", { class: "cross", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" });
  picture.append(cross);
  const near = (event) => {
    const box = picture.getBoundingClientRect();
    const wanted = x0 + (((event.clientX - box.left) / box.width) * WIDTH - LEFT) / (WIDTH - LEFT - RIGHT) * (x1 - x0);
    const best = xs.reduce((a, b) => (Math.abs(b - wanted) < Math.abs(a - wanted) ? b : a));
    cross.setAttribute("x1", x(best));
    cross.setAttribute("x2", x(best));
    cross.setAttribute("visibility", "visible");
    const rows = all.flatMap((line) => {
      const point = line.points.find((p) => p[0] === best);
      if (!point) return [];
      const band = (line.band || line.whiskers || []).find((b) => b[0] === best) || (line.whiskers || []).find((b) => b[0] === best);
      return el("tr", {}, el("td", {}, el("i", { class: "swatch", style: `background:${line.colour}` }), line.name),
        el("td", { class: "number" }, shown(point[1], 4)), el("td", { class: "number quiet" }, band ? `${shown(band[1])} – ${shown(band[2])}` : ""));
    });
    hint(event, [el("div", { class: "quiet" }, `step ${best}`), el("table", {}, rows)]);
  };
  picture.addEventListener("pointermove", near);
  picture.addEventListener("pointerdown", near);
  picture.addEventListener("pointerleave", () => {
    cross.setAttribute("visibility", "hidden");
    hint(null);
  });
  return el("figure", {}, el("h3", {}, title), picture, note ? el("figcaption", { class: "quiet" }, note) : null);
}
