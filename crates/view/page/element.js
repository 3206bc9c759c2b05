"use strict";
// Elements. Texts only ever enter as text, so nothing that an environment or a model wrote is read as markup.

/** Gives a node its attributes and children; an attribute that begins with "on" is a listener. */
function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.flat(9).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** Shows children, which may be lists or nothing, in place of what a node holds. */
function fill(node, ...children) {
  node.replaceChildren();
  return filled(node, null, children);
}

/** An HTML element. */
function el(name, attributes, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** An element of a drawing. */
function draw(name, attributes, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

/** A choice among `options`, pairs of value and label. */
function choice(label, options, value, change) {
  const items = options.map(([v, text]) => el("option", { value: v, selected: String(v) === String(value) }, text));
  const select = el("select", { "aria-label": label, onchange: () => change(select.value) }, items);
  return el("label", {}, label, select);
}

/** Shows a note beside the pointer or an element; nothing hides it. */
function hint(event, content) {
  const box = document.getElementById("hint");
  if (!content) {
    box.hidden = true;
    return;
  }
  fill(box, content);
  box.hidden = false;
  const at = event.target.getBoundingClientRect();
  const [x, y] = event.clientX === undefined ? [at.left, at.bottom] : [event.clientX, event.clientY];
  const { width, height } = box.getBoundingClientRect();
  box.style.left = `${Math.max(4, Math.min(x + 14, innerWidth - width - 6))}px`;
  box.style.top = `${y + 18 + height > innerHeight ? Math.max(4, y - height - 12) : y + 18}px`;
}

/** A number for people. */
function shown(number, digits = 3) {
  if (number === null || number === undefined || Number.isNaN(number)) return "–";
  const size = Math.abs(number);
  if (size >= 1e4) return number.toLocaleString("en", { maximumFractionDigits: 0 });
  if (size !== 0 && size < 10 ** -digits) return number.toExponential(1);
  return String(Number(number.toFixed(size >= 100 ? 1 : digits)));
}

/** A share in percent. */
function percent(share) {
  return share === null || share === undefined ? "–" : `${(100 * share).toFixed(1)} %`;
}

/** Seconds for people. */
function duration(seconds) {
  if (seconds < 60) return `${shown(seconds, 1)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
}

/** The colour of the nth of several things. */
function colour(n) {
  return `var(--c${n % 7})`;
}

function dashes(n) {
  return n < 7 ? null : "5 3";
}
