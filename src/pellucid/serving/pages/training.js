import { ask, make, offer, say } from "/static/common.js";
import { curve } from "/static/curve.js";

const of = (name) => document.getElementById(name);
const PAUSE = 2000; // ms between looks at a training that is under way
let runs = [], turn = 0;
const run = () => runs.find((one) => one.name === of("run").value);

function told(found) {
  const last = found.history.at(-1);
  const at = last ? `epoch ${Math.floor(last.epoch)} of ${found.epochs}` : "not one epoch yet";
  const size = `${found.parameters.toLocaleString("en")} parameters`;
  if (found.status === "running") return `In training: ${at}; ${size}. The curves follow it.`;
  const took = found.seconds == null ? "" : `, ${found.seconds < 90 ? `${Math.round(found.seconds)} s` : `${Math.round(found.seconds / 60)} min`}`;
  return `The training is ${found.status}: ${at}${took}; ${size}.`;
}

function measures(found) {
  if (!found.measures.length) {
    return [make("p", { class: "soft" }, "It has no measures of its present weights yet; pellucid evaluate makes them.")];
  }
  const titles = [...new Set(found.measures.flatMap((one) => Object.keys(one.measures)))];
  const head = make("tr", {}, make("th", { scope: "col" }, "measure"), ...found.measures.map((one, place) => make("th", { scope: "col",
    class: place ? "" : "own" }, one.of === "model" ? "the model" : one.of.replaceAll("_", " "))));
  const rows = titles.map((title) => make("tr", {}, make("th", { scope: "row" }, title), ...found.measures.map((one, place) => make("td", {
    class: place ? "" : "own" }, one.measures[title] ?? "–"))));
  return [make("h2", {}, `On ${found.images.toLocaleString("en")} ${found.split} images, with 95 % intervals`), make("div", { class: "scroll",
    tabindex: 0, role: "group", "aria-label": "Table of measures" }, make("table", {}, head, ...rows))];
}

function curves(found) {
  const points = (split, key) => found.history.filter((row) => row.split === split && row[key] != null).map((row) => [row.epoch, row[key]]);
  const drawn = [curve("loss", [["training", points("train", "loss")], ["validation", points("val", "loss")]])];
  if (found.main.key !== "loss") {
    const title = found.main.unit ? `${found.main.title} [${found.main.unit}]` : found.main.title;
    drawn.push(curve(title, [["validation", points("val", found.main.key)]]));
  }
  return drawn.filter(Boolean);
}

async function show() {
  const own = ++turn, one = run();
  try {
    const found = await (await ask(`/runs/${encodeURIComponent(one.name)}/training`)).json();
    if (own !== turn) return;
    say(told(found));
    of("measures").replaceChildren(...measures(found));
    of("curves").replaceChildren(...curves(found));
    if (found.status === "running") setTimeout(() => own === turn && show(), PAUSE);
  } catch (fault) {
    if (own === turn) say(fault.message, true);
  }
}

function chosen() {
  const one = run();
  of("report").hidden = !one.report;
  of("report").href = `/runs/${encodeURIComponent(one.name)}/report`;
  const peers = runs.filter((other) => other !== one && other.task === one.task);
  of("others").hidden = !peers.length;
  of("choices").replaceChildren(...peers.map((other, place) => make("label", {}, make("input", { type: "checkbox", name: "run", value: other.name,
    checked: place < 3 }), ` ${other.name}`)));
  for (const place of ["measures", "curves", "table", "compared"]) of(place).replaceChildren();
  show();
}

async function compare(event) {
  event.preventDefault();
  const names = [of("run").value, ...[...of("choices").querySelectorAll("input:checked")].map((input) => input.value)];
  const status = of("compared");
  status.classList.remove("bad");
  of("table").replaceChildren();
  if (names.length < 2) {
    status.textContent = "Choose one or more runs to compare with.";
    return;
  }
  status.textContent = "Comparing …";
  try {
    const found = await (await ask(`/compare?${new URLSearchParams(names.map((name) => ["run", name]))}`)).json();
    const options = [...new Set(found.rows.flatMap((row) => Object.keys(row.options)))];
    const titles = ["run", ...options.map((name) => name.replaceAll("_", " ")), found.measure, "minus the best", "difference"];
    const rows = found.rows.map((row) => make("tr", { class: row.verdict === "best" ? "first" : "" }, make("th", { scope: "row" }, row.run),
      ...[...options.map((name) => row.options[name] ?? ""), row.measure, row.difference, row.verdict].map((text) => make("td", {}, text))));
    of("table").replaceChildren(make("table", {}, make("tr", {}, ...titles.map((title) => make("th", { scope: "col" }, title))), ...rows),
      ...found.notes.map((note) => make("p", { class: "soft" }, note)));
    status.textContent = `${found.rows.length} runs on the test images, with 95 % intervals.`;
  } catch (fault) {
    status.textContent = fault.message;
    status.classList.add("bad");
  }
}

of("run").addEventListener("change", chosen);
of("compare").addEventListener("submit", compare);

async function begin() {
  await offer(async () => {
    const found = await (await ask("/runs")).json();
    ({ runs } = found);
    if (!runs.length && found.learning && !found.learning.fault) setTimeout(begin, PAUSE);
    return found;
  }, chosen);
}

await begin();
