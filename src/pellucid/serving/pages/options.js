// What a run's task can be asked beside its images: controls, and the words of the address that they stand for.

import { make, say } from "/static/common.js";

const MISSING = { paint: "what I paint", black: "black pixels", white: "white pixels", alpha: "transparent pixels" };
const TREES = { none: "none", ward: "Ward", average: "average", complete: "complete" };
const LEAST = { classify: "Threshold of the positive class", detect: "Least score" };

function select(words, choices) {
  const chosen = make("select", {}, ...Object.entries(choices).map(([value, title]) => make("option", { value }, title)));
  return [chosen, make("label", {}, `${words} `, chosen)];
}

function number(words, attributes) {
  const input = make("input", { type: "number", ...attributes });
  return [input, make("label", {}, `${words} `, input)];
}

function whole(input) {
  return Math.min(Number(input.max || Infinity), Math.max(Number(input.min), Math.floor(Number(input.value) || 0)));
}

// A tree of the images, its cut, and images to place in it; `again` asks once more about the images that were asked last.
function tree(groups, queries, parts, again) {
  const [chosen, label] = select("Tree of the images:", TREES);
  const [cut, ofCut] = number("Cut into clusters", { min: 1, placeholder: "own" });
  const place = make("input", { type: "file", accept: "image/*,.tif,.tiff,.pgm,.ppm", multiple: true });
  const clear = make("button", { type: "button", hidden: true }, "Place none");
  const within = make("div", { class: "row", hidden: true }, ofCut, make("label", {}, "Place in the tree ", place), clear);
  const grown = () => chosen.value !== "none";
  chosen.addEventListener("change", () => { within.hidden = !grown(); });
  const changed = () => {
    clear.hidden = !place.files.length;
    again(place.files.length ? "Now choose the images of the tree." : "");
  };
  place.addEventListener("change", changed);
  clear.addEventListener("click", () => {
    place.value = "";
    place.focus();
    changed();
  });
  groups.push([label], [within]);
  queries.push(() => (grown() ? `&hierarchy=${chosen.value}${cut.value ? `&cut=${whole(cut)}` : ""}` : ""));
  parts.push(() => (grown() ? [...place.files].filter((file) => file.size).map((file) => ["place", file]) : []));
}

// The controls of a run, and `asked()`: {paints, query, parts}, of which `parts` are further parts of the form, [name, file] each.
// `send(title, query, body)` asks at once, without images; `again(words)` asks about the last images, or says the words if there are none.
export function optionsOf(run, send, again) {
  const groups = [], queries = [], parts = [];
  let paints = () => false;
  if (run.files.includes("mask")) {
    const [chosen, label] = select("What is missing:", MISSING);
    groups.push([label]);
    paints = () => chosen.value === "paint";
    queries.push(() => (paints() ? "" : `&detect=${chosen.value}`));
  }
  if (run.options.includes("hierarchy")) tree(groups, queries, parts, again);
  if (run.options.includes("threshold") && (run.task !== "classify" || run.classes.length === 2)) {
    const [input, label] = number(LEAST[run.task] ?? "Threshold", { min: 0, max: 1, step: 0.01, placeholder: "own" });
    groups.push([label]);
    queries.push(() => (input.value ? `&threshold=${Math.min(1, Math.max(0, Number(input.value)))}` : ""));
  }
  if (run.options.includes("single")) {
    const single = make("input", { type: "checkbox" });
    groups.push([make("label", {}, single, " Each image shows one letter")]);
    queries.push(() => (single.checked ? "&single=true" : ""));
  }
  if (run.options.includes("quality")) {
    const [input, label] = number("Quality", { min: 1, placeholder: "own" });
    groups.push([label]);
    queries.push(() => (input.value ? `&quality=${whole(input)}` : ""));
  }
  if (run.options.includes("samples")) {
    const [count, ofCount] = number("New pictures", { min: 1, max: 64, value: 8 }), [seed, ofSeed] = number("Seed", { min: 0, value: 0 });
    groups.push([ofCount, ofSeed, make("button", { type: "button", onclick: () => send("New pictures",
      `&samples=${whole(count)}&seed=${whole(seed)}`) }, "Generate")]);
    const [dimension, ofDimension] = number("Number of the code", { min: 0, value: 0 });
    groups.push([ofDimension, make("button", { type: "button", onclick: () => send(`A walk along number ${whole(dimension)}`,
      `&vary=${whole(dimension)}&seed=${whole(seed)}`) }, "Walk along it")]);
    const ends = ["From", "to"].map((words) => {
      const input = make("input", { type: "file", accept: "image/*" });
      return [input, make("label", {}, `${words} `, input)];
    });
    groups.push([...ends.map(([, label]) => label), make("button", { type: "button", onclick: () => {
      if (!ends.every(([input]) => input.files.length)) {
        say("Choose two images to interpolate between.", true);
        return;
      }
      const body = new FormData();
      for (const [input] of ends) body.append("interpolate", input.files[0]);
      send("From one image to the other", "", body);
    } }, "Interpolate")]);
  }
  return {
    controls: groups.map((group) => make("div", { class: "row" }, ...group)),
    asked: () => ({ paints: paints(), query: queries.map((query) => query()).join(""), parts: parts.flatMap((part) => part()) }),
  };
}
