// A mask painted over an image with a brush, or put there as rectangles by numbers; what is marked is missing.

import { make } from "/static/common.js";

const COLOUR = "#ff2d55", OPAQUE = 64; // a quarter of a pixel, so that thin lines have no gaps

function put(pen, one) {
  pen.fillStyle = pen.strokeStyle = COLOUR;
  if (one.kind === "rectangle") {
    pen.fillRect(one.left, one.top, one.width, one.height);
    return;
  }
  pen.lineWidth = one.size;
  pen.lineCap = pen.lineJoin = "round";
  pen.beginPath();
  pen.moveTo(...one.points[0]);
  for (const point of one.points) pen.lineTo(...point);
  pen.stroke();
}

// The editor of one image; `send` gets the mask as a PNG, white where a pixel is missing, once it is asked for.
export function painter(image, name, send) {
  const { width, height } = image, side = Math.min(width, height);
  const scale = Math.max(1, Math.min(40, Math.floor(480 / width)));
  const mask = new OffscreenCanvas(width, height), pen = mask.getContext("2d", { willReadFrequently: true });
  const canvas = make("canvas", { class: "paint", role: "img", "aria-label": `${name}, with what is marked as missing`, width: width * scale,
    height: height * scale });
  const marked = make("p", { role: "status" });
  let strokes = [], under = null;

  function draw() {
    const over = canvas.getContext("2d");
    over.imageSmoothingEnabled = scale < 3;
    over.drawImage(image, 0, 0, canvas.width, canvas.height);
    over.imageSmoothingEnabled = false;
    over.globalAlpha = 0.65;
    over.drawImage(mask, 0, 0, canvas.width, canvas.height);
    over.globalAlpha = 1;
  }

  // Every pixel is marked or not: what is shown is what is sent.
  function settle() {
    pen.clearRect(0, 0, width, height);
    for (const one of strokes) put(pen, one);
    const pixels = pen.getImageData(0, 0, width, height);
    let count = 0;
    for (let at = 3; at < pixels.data.length; at += 4) {
      pixels.data[at] = pixels.data[at] >= OPAQUE ? 255 : 0;
      count += pixels.data[at] > 0;
    }
    pen.putImageData(pixels, 0, 0);
    marked.textContent = `${count.toLocaleString("en")} of ${(width * height).toLocaleString("en")} px are marked.`;
    fill.disabled = !count || count === width * height;
    undo.disabled = clear.disabled = !strokes.length;
    draw();
  }

  function change(next) {
    strokes = next;
    settle();
  }

  async function blob() {
    const made = new OffscreenCanvas(width, height), own = made.getContext("2d");
    const pixels = pen.getImageData(0, 0, width, height);
    for (let at = 0; at < pixels.data.length; at += 4) {
      pixels.data.fill(pixels.data[at + 3] ? 255 : 0, at, at + 3);
      pixels.data[at + 3] = 255;
    }
    own.putImageData(pixels, 0, 0);
    return made.convertToBlob({ type: "image/png" });
  }

  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * width, ((event.clientY - box.top) / box.height) * height];
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    event.preventDefault();
    canvas.setPointerCapture(event.pointerId);
    under = { kind: "stroke", size: Number(brush.value), points: [place(event)] };
    put(pen, under);
    draw();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!under) return;
    under.points.push(place(event));
    put(pen, { ...under, points: under.points.slice(-2) });
    draw();
  });
  for (const kind of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(kind, () => {
      if (!under) return;
      const done = under;
      under = null;
      change([...strokes, done]);
    });
  }

  const brush = make("input", { type: "range", min: 1, max: Math.max(2, Math.round(side / 2)), value: Math.max(2, Math.round(side / 8)) });
  const number = (words, value, least, most) => {
    const input = make("input", { type: "number", min: least, max: most, value });
    return [input, make("label", {}, `${words} `, input)];
  };
  const quarter = (length) => Math.floor(length / 4), half = (length) => Math.max(1, Math.floor(length / 2));
  const [left, ofLeft] = number("Left", quarter(width), 0, width - 1), [top, ofTop] = number("Top", quarter(height), 0, height - 1);
  const [wide, ofWide] = number("Width", half(width), 1, width), [high, ofHigh] = number("Height", half(height), 1, height);
  const add = make("button", { type: "button", onclick: () => change([...strokes, { kind: "rectangle", left: Math.round(left.value),
    top: Math.round(top.value), width: Math.round(wide.value), height: Math.round(high.value) }]) }, "Mark the rectangle");
  const undo = make("button", { type: "button", onclick: () => change(strokes.slice(0, -1)) }, "Undo");
  const clear = make("button", { type: "button", onclick: () => change([]) }, "Clear");
  const fill = make("button", { type: "button", onclick: async () => {
    fill.disabled = true;
    await send(await blob());
    settle();
  } }, "Fill what is marked");
  settle();
  return make("article", {}, make("h2", {}, name), make("div", { class: "pair" }, make("div", {}, canvas, marked), make("div", {},
    make("p", { class: "soft" }, "Paint over what is missing, or mark rectangles by their numbers, in px."),
    make("div", { class: "row" }, make("label", {}, "Brush ", brush), undo, clear),
    make("fieldset", {}, make("legend", {}, "Rectangle"), make("div", { class: "row" }, ofLeft, ofTop, ofWide, ofHigh, add)),
    make("div", { class: "row" }, fill))));
}
