// Answers drawn as their tasks have them: bars, boxes, points, masks, pictures beside the images, text.

import { bytesOf, keep, make } from "/static/common.js";

const COLOURS = ["#ff2d55", "#00a2ff", "#ffb300", "#00c853", "#aa66ff", "#ff6d00", "#00bfa5", "#d500f9"];
const percent = (share) => `${(100 * share).toFixed(1)} %`;
const HIDDEN = new Set(["name", "label", "probabilities", "probability", "box", "detections", "letters", "points", "text", "shares", "picture",
  "file", "counts", "error", "code", "range", "threshold", "objects", "object", "placed"]);

// One canvas; what lies over the image is drawn again whenever a slider moves.
class Stage {
  constructor(image, name) {
    this.image = image;
    this.scale = Math.max(1, Math.min(40, Math.floor(480 / image.width)));
    this.canvas = make("canvas", { role: "img", "aria-label": `${name}, with the answer`, width: image.width * this.scale,
      height: image.height * this.scale });
    this.layers = [];
  }

  draw() {
    const pen = this.canvas.getContext("2d");
    pen.imageSmoothingEnabled = this.scale < 3;
    pen.clearRect(0, 0, this.canvas.width, this.canvas.height);
    pen.drawImage(this.image, 0, 0, this.canvas.width, this.canvas.height);
    for (const layer of this.layers) layer(pen, this.canvas.width, this.canvas.height);
  }

  // px of the image to those of the canvas, and widths that stay visible where a large image is shown small
  at(value) { return value * this.scale; }
  get line() { return Math.max(2, this.canvas.width / 220); }
}

function swatch(colour) {
  const mark = make("span", { class: "swatch", "aria-hidden": "true" });
  mark.style.background = colour;
  return mark;
}

function slider(words, value, change, from = 0, to = 1) {
  const input = make("input", { type: "range", min: from, max: to, step: 0.01, value });
  input.addEventListener("input", () => change(Number(input.value)));
  return make("label", {}, `${words} `, input);
}

function bars(shares, swatches = {}) {
  const rows = Object.entries(shares).sort((a, b) => b[1] - a[1]).slice(0, 8).map(([label, share], place) => {
    const bar = make("span", { "aria-hidden": "true" });
    bar.style.width = `${100 * share}%`;
    const mark = swatches[label] ? [swatch(swatches[label])] : [];
    return make("tr", { class: place ? "" : "first" }, make("th", { scope: "row" }, ...mark, label), make("td", { class: "bar" }, bar),
      make("td", { class: "number" }, percent(share)));
  });
  return make("table", { class: "bars" }, ...rows);
}

function boxes(stage, found) {
  return (pen) => {
    const kinds = [...new Set(found().map((one) => one.label ?? ""))].sort();
    pen.lineWidth = stage.line;
    pen.font = `600 ${Math.max(12, stage.canvas.width / 34)}px system-ui, sans-serif`;
    pen.textBaseline = "bottom";
    for (const one of found()) {
      pen.strokeStyle = COLOURS[kinds.indexOf(one.label ?? "") % COLOURS.length];
      const [x0, y0, x1, y1] = ["x0", "y0", "x1", "y1"].map((side) => stage.at(one[side]));
      pen.strokeRect(x0, y0, x1 - x0, y1 - y0);
      const words = [one.label, one.score == null ? null : one.score.toFixed(2)].filter((word) => word != null).join(" ");
      if (!words) continue;
      const size = parseFloat(pen.font.split(" ")[1]) * 1.25, wide = pen.measureText(words).width + 8;
      const top = y0 < size ? y0 + size : y0, left = Math.max(0, Math.min(x0, stage.canvas.width - wide)); // within the image
      pen.fillStyle = pen.strokeStyle;
      pen.fillRect(left, top - size, wide, size);
      pen.fillStyle = "#000";
      pen.fillText(words, left + 4, top - size * 0.1);
    }
  };
}

function points(stage, named) {
  return (pen) => {
    pen.lineWidth = stage.line / 2;
    Object.values(named).forEach((one, place) => {
      if (one.x == null) return;
      pen.beginPath();
      pen.arc(stage.at(one.x), stage.at(one.y), stage.line * 1.8, 0, 2 * Math.PI);
      pen.fillStyle = COLOURS[place % COLOURS.length];
      pen.strokeStyle = "#fff";
      pen.fill();
      pen.stroke();
    });
  };
}

function facts(answer) {
  const rows = Object.entries(answer).filter(([name, value]) => !HIDDEN.has(name) && value !== null && typeof value !== "object")
    .map(([name, value]) => make("tr", {}, make("th", { scope: "row" }, name.replaceAll("_", " ")), make("td", {}, String(value))));
  return rows.length ? [make("table", {}, ...rows)] : [];
}

// The canvas, its sliders and the words of one answer; `image` is null where the browser cannot show it.
export async function shown(answer, image) {
  const words = [], controls = [];
  const picture = answer.picture ? await createImageBitmap(bytesOf(answer.picture)) : null;
  const stage = image || picture ? new Stage(image ?? picture, answer.name) : null;
  const label = answer.label ?? (answer.box && answer.object != null ? "nothing" : null);
  if (label != null) words.push(make("p", { class: "label" }, "Answer: ", make("strong", {}, label)));
  if (answer.placed) words.push(make("p", { class: "label" }, "Placed in the tree: ", make("strong", {}, `cluster ${answer.cluster}`)));
  if (answer.object != null) words.push(make("p", {}, `An object is there: ${percent(answer.object)}`));
  if (answer.probabilities) words.push(bars(answer.probabilities));
  if (answer.text != null) words.push(make("pre", {}, answer.text || "No text was found."));
  if (answer.box?.x0 != null && stage) stage.layers.push(boxes(stage, () => [{ ...answer.box, label: answer.label }]));
  if (answer.points) {
    if (stage) stage.layers.push(points(stage, answer.points));
    words.push(make("table", {}, ...Object.entries(answer.points).map(([name, one], place) => make("tr", {}, make("th", { scope: "row" },
      swatch(COLOURS[place % COLOURS.length]), name), make("td", { class: "number" }, one.x == null ? "–" : `${one.x}, ${one.y} px`)))));
  }
  if (answer.detections) detections(answer, stage, words, controls);
  if (answer.shares && picture && image) await mask(answer, stage, picture, words, controls);
  else if (picture && image) beside(stage, picture, controls);
  if (picture && answer.picture) {
    words.push(make("p", {}, make("button", { type: "button", onclick: () => keep(bytesOf(answer.picture), `${answer.name}-answer.png`) },
      "Download the picture")));
  }
  if (answer.file) {
    words.push(make("p", {}, make("button", { type: "button", onclick: () => keep(bytesOf(answer.file), answer.name + answer.file.suffix) },
      `Download the file (${answer.bytes?.toLocaleString("en") ?? "?"} bytes)`)));
  }
  words.push(...facts(answer));
  stage?.draw();
  return make("div", { class: "pair" }, make("div", {}, ...(stage ? [stage.canvas] : [make("p", { class: "soft" },
    "This browser cannot show the image; the answer is that of the file.")]), ...controls), make("div", {}, ...words));
}

function detections(answer, stage, words, controls) {
  let least = answer.threshold ?? 0;
  const found = () => answer.detections.filter((one) => one.score >= least);
  const count = make("p", { class: "label", role: "status" });
  const told = () => {
    const many = {};
    for (const one of found()) many[one.label] = (many[one.label] ?? 0) + 1;
    count.textContent = found().length ? Object.entries(many).map(([name, number]) => `${number} × ${name}`).join(", ") : "Nothing was found.";
  };
  told();
  words.push(count);
  if (!stage) return;
  stage.layers.push(boxes(stage, found));
  controls.push(slider("Least score", least, (value) => { least = value; told(); stage.draw(); }, least));
}

// The colours of the classes, in their order: the palette of a PNG is its PLTE chunk.
async function palette(picture) {
  const bytes = new DataView(await bytesOf(picture).arrayBuffer());
  for (let at = 8; at + 12 <= bytes.byteLength; at += 12 + bytes.getUint32(at)) {
    if (bytes.getUint32(at + 4) !== 0x504c5445) continue;
    return Array.from({ length: bytes.getUint32(at) / 3 }, (_, place) => [0, 1, 2].map((plane) => bytes.getUint8(at + 8 + 3 * place + plane)));
  }
  return [];
}

async function mask(answer, stage, picture, words, controls) {
  const known = (await palette(answer.picture)).map((colour) => `rgb(${colour.join(" ")})`);
  const cover = new OffscreenCanvas(picture.width, picture.height), pen = cover.getContext("2d");
  pen.drawImage(picture, 0, 0);
  const pixels = pen.getImageData(0, 0, picture.width, picture.height);
  for (let at = 0; at < pixels.data.length; at += 4) { // black is the background, which stays as it is
    if (!pixels.data[at] && !pixels.data[at + 1] && !pixels.data[at + 2]) pixels.data[at + 3] = 0;
  }
  pen.putImageData(pixels, 0, 0);
  let share = 0.55;
  stage.layers.push((over, wide, high) => {
    over.globalAlpha = share;
    over.imageSmoothingEnabled = false;
    over.drawImage(cover, 0, 0, wide, high);
    over.globalAlpha = 1;
  });
  controls.push(slider("Mask", share, (value) => { share = value; stage.draw(); }));
  words.push(bars(answer.shares, Object.fromEntries(Object.keys(answer.shares).map((name, place) => [name, known[place]]))));
}

function beside(stage, picture, controls) {
  let share = 0.5;
  stage.layers.push((pen, wide, high) => {
    const edge = Math.round(share * wide);
    pen.imageSmoothingEnabled = false;
    if (edge < wide) pen.drawImage(picture, picture.width * share, 0, picture.width * (1 - share), picture.height, edge, 0, wide - edge, high);
    pen.fillStyle = "#ff2d55";
    pen.fillRect(edge - 1, 0, 2, high);
  });
  controls.push(slider("Before | after", share, (value) => { share = value; stage.draw(); }));
}
