// Lines over epochs as SVG, whose colours are those of the page.

import { make } from "/static/common.js";

const WIDE = 440, HIGH = 240, LEFT = 58, RIGHT = 14, TOP = 12, BOTTOM = 42;

function element(kind, attributes, ...inner) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", kind);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...inner);
  return made;
}

// A step of 1, 2 or 5 times a power of ten, that parts a range into four or a few more.
function stepOf(range) {
  const rough = range / 5 || 1, power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map((times) => times * power).find((one) => one >= rough);
}

function ticks(low, high, step) {
  return Array.from({ length: Math.round((high - low) / step) + 1 }, (_, place) => low + place * step);
}

const written = (value) => String(Number(value.toPrecision(4)));

// A figure of lines [name, [[epoch, value], …]], or null where there is no point.
export function curve(title, lines) {
  const drawn = lines.filter(([, points]) => points.length);
  const all = drawn.flatMap(([, points]) => points);
  if (!all.length) return null;
  const values = all.map(([, value]) => value), last = Math.max(1, ...all.map(([epoch]) => epoch));
  let low = Math.min(...values), high = Math.max(...values);
  if (low === high) [low, high] = [low - (Math.abs(low) || 1) / 10, high + (Math.abs(high) || 1) / 10];
  const step = stepOf(high - low), stride = Math.max(1, stepOf(last));
  [low, high] = [Math.floor(low / step) * step, Math.ceil(high / step) * step];
  const x = (epoch) => LEFT + (epoch / last) * (WIDE - LEFT - RIGHT);
  const y = (value) => TOP + (1 - (value - low) / (high - low)) * (HIGH - TOP - BOTTOM);
  const parts = [];
  for (const value of ticks(low, high, step)) {
    parts.push(element("line", { class: "grid", x1: LEFT, x2: WIDE - RIGHT, y1: y(value), y2: y(value) }),
      element("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, written(value)));
  }
  for (const epoch of ticks(0, Math.floor(last / stride) * stride, stride)) {
    parts.push(element("text", { x: x(epoch), y: HIGH - BOTTOM + 16, "text-anchor": "middle" }, written(epoch)));
  }
  parts.push(element("text", { x: (LEFT + WIDE - RIGHT) / 2, y: HIGH - 5, "text-anchor": "middle" }, "epoch"));
  const legend = [];
  drawn.forEach(([name, points]) => {
    const way = points.map(([epoch, value], place) => `${place ? "L" : "M"}${x(epoch).toFixed(1)} ${y(value).toFixed(1)}`).join("");
    parts.push(element("path", { class: name, d: way }));
    if (points.length < 20 && name === "validation") {
      parts.push(...points.map(([epoch, value]) => element("circle", { class: name, cx: x(epoch), cy: y(value), r: 3 })));
    }
    legend.push(make("span", { class: `key ${name}` }, name));
  });
  const words = drawn.map(([name, points]) => `${name} from ${written(points[0][1])} to ${written(points.at(-1)[1])}`).join(", ");
  return make("figure", {}, make("figcaption", {}, `${title} `, ...legend),
    element("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, role: "img", "aria-label": `${title} by epoch: ${words}` }, ...parts));
}
