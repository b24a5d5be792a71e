// What a run's task can be asked beside its images: controls, and the words of the address that they stand for.

import { make, say } from "/static/common.js";

const MISSING = { paint: "what I paint", black: "black pixels", white: "white pixels", alpha: "transparent pixels" };
const TREES = { none: "none", ward: "Ward", average: "average", complete: "complete" };

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

// The controls of a run, and `asked()`: {paints, query}. `send(title, query, body)` asks at once, without images.
export function optionsOf(run, send) {
  const groups = [], queries = [];
  let paints = () => false;
  if (run.files.includes("mask")) {
    const [chosen, label] = select("What is missing:", MISSING);
    groups.push([label]);
    paints = () => chosen.value === "paint";
    queries.push(() => (paints() ? "" : `&detect=${chosen.value}`));
  }
  if (run.options.includes("hierarchy")) {
    const [chosen, label] = select("Tree of the images:", TREES);
    groups.push([label]);
    queries.push(() => (chosen.value === "none" ? "" : `&hierarchy=${chosen.value}`));
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
    asked: () => ({ paints: paints(), query: queries.map((query) => query()).join("") }),
  };
}
