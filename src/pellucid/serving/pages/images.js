import { ask, bytesOf, events, keep, make, offer, say } from "/static/common.js";
import { shown } from "/static/draw.js";
import { optionsOf } from "/static/options.js";
import { painter } from "/static/paint.js";

const of = (name) => document.getElementById(name);
const PAUSE = 1000; // ms between looks at a run that is still learning
const TRAINED = { running: "its training is under way", stopped: "its training was stopped before its end", failed: "its training failed" };
let runs = [], limits = { upload: Infinity, images: Infinity }, options = null, last = [];
const run = () => runs.find((one) => one.name === of("run").value);
const path = (one, rest) => `/runs/${encodeURIComponent(one.name)}/${rest}`;

function chosen() {
  const one = run(), measured = one.measured;
  const parts = [`${one.task} by ${one.model}, trained on ${one.data} at ${one.size[1]} × ${one.size[0]} px`];
  if (measured) parts.push(`${measured.title} ${measured.text}${measured.unit && ` ${measured.unit}`} on the ${measured.split} images, with its 95 % interval`);
  if (TRAINED[one.status]) parts.push(TRAINED[one.status]);
  if (one.example) parts.push("no run was named, so it was trained when the server started, and goes when the server ends");
  else if (!one.report) parts.push("it has no report yet: pellucid report writes one");
  of("about").textContent = `${parts.join("; ")}.`;
  of("report").hidden = !one.report;
  of("report").href = path(one, "report");
  last = [];
  options = optionsOf(one, (title, query, body) => answered("Asking …", `predict?format=json${query}`, { body }, [], title),
    (words) => (last.length ? predict(last) : say(words)));
  of("options").replaceChildren(...options.controls);
  of("answers").replaceChildren();
  of("painting").replaceChildren();
  say("");
}

async function look(one, lens, file, place) {
  const bar = make("progress", { "aria-label": `Looking through ${lens}` }), words = make("span", { class: "soft" }, "waiting …");
  place.replaceChildren(make("p", { class: "row" }, bar, words));
  try {
    const address = path(one, `look/${lens}?format=events&name=${encodeURIComponent(file.name)}`);
    for await (const { kind, content } of events(await ask(address, { method: "POST", body: file }))) {
      if (kind === "progress") {
        words.textContent = content.count ? `${content.words}: ${content.done} of ${content.count}` : `${content.words} …`;
        if (content.count) [bar.max, bar.value] = [content.count, content.done];
        else bar.removeAttribute("value");
        continue;
      }
      if (kind !== "answer") throw new Error(content.error);
      const picture = make("img", { alt: `${content.lens}: ${content.words}` });
      picture.src = URL.createObjectURL(bytesOf(content.picture));
      await picture.decode();
      place.replaceChildren(make("p", {}, content.words), picture);
      return;
    }
    throw new Error("The answer broke off; ask again.");
  } catch (fault) {
    place.replaceChildren(make("p", { class: "bad" }, fault.message));
  }
}

function lensForm(one, file) {
  if (!one.lenses.length || !file) return [];
  const place = make("div", { class: "map", "aria-live": "polite" });
  const lens = make("select", {}, ...one.lenses.map((name) => make("option", { value: name }, name.replaceAll("_", " "))));
  const button = make("button", { type: "button", onclick: async () => {
    button.disabled = true;
    await look(one, lens.value, file, place);
    button.disabled = false;
  } }, "Look");
  return [make("div", { class: "row" }, make("label", {}, "Lens ", lens), button), place];
}

async function card(one, answer, file) {
  const article = make("article", {}, make("h2", {}, answer.name));
  if (answer.error) {
    article.append(make("p", { class: "bad" }, answer.error));
    return article;
  }
  const image = file ? await createImageBitmap(file).catch(() => null) : null;
  article.append(await shown(answer, image), ...lensForm(one, file));
  return article;
}

// Pictures that were made rather than found: side by side, and all of them as one file.
function gallery(title, answers) {
  const sheet = answers.find((answer) => answer.name === "sheet");
  const pictures = answers.filter((answer) => answer !== sheet && answer.picture).map((answer) => {
    const picture = make("img", { alt: answer.name });
    picture.src = URL.createObjectURL(bytesOf(answer.picture));
    return make("figure", {}, picture, make("figcaption", { class: "soft" }, answer.name.replaceAll("_", " ")));
  });
  const button = sheet ? [make("button", { type: "button", onclick: () => keep(bytesOf(sheet.picture), "sheet.png") }, "Download all as one picture")] : [];
  return make("article", {}, make("h2", {}, title), make("div", { class: "gallery" }, ...pictures), ...button);
}

async function answered(words, address, request, files, title = "") {
  const one = run();
  say(words);
  try {
    const { answers } = await (await ask(path(one, address), { method: "POST", ...request })).json();
    const cards = title ? [gallery(title, answers)] : await Promise.all(answers.map((answer, place) => card(one, answer, files[place])));
    if (run() !== one) return;
    of("answers").prepend(...cards);
    say(title ? "The pictures are below." : `${cards.length} ${cards.length === 1 ? "answer" : "answers"}.`);
  } catch (fault) {
    say(fault.message, true);
  }
}

async function paint(files) {
  const one = run();
  const editors = await Promise.all(files.map(async (file) => {
    const image = await createImageBitmap(file).catch(() => null);
    if (!image) return make("article", {}, make("h2", {}, file.name), make("p", { class: "bad" }, "This browser cannot show the image, so that nothing can be painted on it."));
    return painter(image, file.name, (mask) => {
      const body = new FormData();
      body.append("images", file);
      body.append("mask", mask, "mask.png");
      return answered("Filling …", "predict?format=json", { body }, [file]);
    });
  }));
  if (run() !== one) return;
  of("painting").replaceChildren(...editors);
  say("Mark what is missing, then fill it.");
}

function predict(given) {
  const files = [...given].filter((file) => file.size);
  if (!files.length) return;
  const { paints, query, parts } = options.asked();
  const all = [...files, ...parts.map(([, file]) => file)], total = all.reduce((sum, file) => sum + file.size, 0);
  if (all.length > limits.images || total > limits.upload) {
    say(`At most ${limits.images} images and ${Math.floor(limits.upload / 2 ** 20)} MiB go at a time; choose fewer.`, true);
    return;
  }
  last = files;
  if (paints) {
    paint(files);
    return;
  }
  of("painting").replaceChildren();
  const body = new FormData();
  for (const [name, file] of [...files.map((file) => ["images", file]), ...parts]) body.append(name, file);
  answered("Asking …", `predict?format=json${query}`, { body }, all);
}

const drop = of("drop");
of("run").addEventListener("change", chosen);
of("files").addEventListener("change", (event) => {
  predict(event.target.files);
  event.target.value = "";
});
for (const kind of ["dragover", "drop"]) document.addEventListener(kind, (event) => event.preventDefault());
drop.addEventListener("dragover", () => drop.classList.add("over"));
drop.addEventListener("dragleave", () => drop.classList.remove("over"));
document.addEventListener("drop", (event) => {
  drop.classList.remove("over");
  if (runs.length) predict(event.dataTransfer.files);
});
document.addEventListener("paste", (event) => {
  if (runs.length) predict(event.clipboardData.files);
});

async function begin() {
  await offer(async () => {
    const found = await (await ask("/runs")).json(), { learning } = found;
    ({ runs, limits } = found);
    of("learning").hidden = !learning;
    if (learning) {
      const at = learning.epochs ? `: epoch ${Math.floor(learning.epoch)} of ${learning.epochs}` : "";
      of("learning").textContent = learning.fault ? `The embedded digits could not be learned: ${learning.fault}` :
        `No run was named, so a small network is learning the embedded digits${at}. It can be asked in a moment; the worksheet page works already.`;
      of("learning").classList.toggle("bad", Boolean(learning.fault));
      if (!learning.fault) {
        setTimeout(begin, PAUSE);
        return null;
      }
    }
    return found;
  }, chosen);
}

await begin();
