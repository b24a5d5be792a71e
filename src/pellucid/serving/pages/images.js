import { ask, bytesOf, make, say } from "/static/common.js";
import { shown } from "/static/draw.js";

const of = (name) => document.getElementById(name);
const TITLES = { black: "black pixels", white: "white pixels", alpha: "transparent pixels" };
let runs = [], limits = { upload: Infinity, images: Infinity };
const run = () => runs.find((one) => one.name === of("run").value);
const path = (one, rest) => `/runs/${encodeURIComponent(one.name)}/${rest}`;

function chosen() {
  const one = run();
  of("about").textContent = `${one.task} by ${one.model}, trained on ${one.data} at ${one.size[1]} × ${one.size[0]} px` +
    (one.report ? "" : "; it has no report yet: pellucid report writes one");
  of("report").hidden = !one.report;
  of("report").href = path(one, "report");
  const options = [];
  if (one.options.includes("detect")) {
    options.push(make("label", {}, "What is missing ", make("select", { id: "detect" },
      ...Object.entries(TITLES).map(([value, words]) => make("option", { value }, words)))));
  }
  if (one.options.includes("samples")) {
    options.push(make("label", {}, "New pictures ", make("input", { id: "samples", type: "number", min: 1, max: 64, value: 8 })),
      make("label", {}, "Seed ", make("input", { id: "seed", type: "number", min: 0, value: 0 })),
      make("button", { type: "button", onclick: generate }, "Generate"));
  }
  of("options").replaceChildren(...options);
  of("answers").replaceChildren();
  say("");
}

function lensForm(one, file) {
  if (!one.lenses.length || !file) return [];
  const place = make("div", { class: "map", "aria-live": "polite" });
  const lens = make("select", {}, ...one.lenses.map((name) => make("option", { value: name }, name.replaceAll("_", " "))));
  const button = make("button", { type: "button" }, "Look");
  button.addEventListener("click", async () => {
    button.disabled = true;
    place.replaceChildren(make("p", { class: "soft" }, `Looking through ${lens.value} …`));
    try {
      const address = path(one, `look/${lens.value}?format=json&name=${encodeURIComponent(file.name)}`);
      const seen = await (await ask(address, { method: "POST", body: file })).json();
      const picture = make("img", { alt: `${seen.lens}: ${seen.words}` });
      picture.src = URL.createObjectURL(bytesOf(seen.picture));
      await picture.decode();
      place.replaceChildren(make("p", {}, seen.words), picture);
    } catch (fault) {
      place.replaceChildren(make("p", { class: "bad" }, fault.message));
    }
    button.disabled = false;
  });
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

async function answered(words, address, options, files) {
  const one = run();
  say(words);
  try {
    const found = await (await ask(path(one, address), { method: "POST", ...options })).json();
    const cards = await Promise.all(found.answers.map((answer, place) => card(one, answer, files[place])));
    if (run() !== one) return;
    of("answers").prepend(...cards);
    say(`${cards.length} ${cards.length === 1 ? "answer" : "answers"}.`);
  } catch (fault) {
    say(fault.message, true);
  }
}

function predict(given) {
  const files = [...given].filter((file) => file.size);
  if (!files.length) return;
  const total = files.reduce((sum, file) => sum + file.size, 0);
  if (files.length > limits.images || total > limits.upload) {
    say(`At most ${limits.images} images and ${Math.floor(limits.upload / 2 ** 20)} MiB go at a time; choose fewer.`, true);
    return;
  }
  const body = new FormData();
  for (const file of files) body.append("images", file);
  const detect = document.getElementById("detect");
  answered("Asking …", `predict?format=json${detect ? `&detect=${detect.value}` : ""}`, { body }, files);
}

function generate() {
  const [samples, seed] = [of("samples"), of("seed")].map((input) => Math.max(Number(input.min), Math.floor(Number(input.value) || 0)));
  answered("Generating …", `predict?format=json&samples=${samples}&seed=${seed}`, {}, []);
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

try {
  ({ runs, limits } = await (await ask("/runs")).json());
  of("none").hidden = runs.length > 0;
  of("asking").hidden = !runs.length;
  of("run").replaceChildren(...runs.map((one) => make("option", { value: one.name }, one.name)));
  if (runs.length) chosen();
} catch (fault) {
  of("none").textContent = fault.message;
  of("none").hidden = false;
}
