// What both pages need: requests whose faults are sentences, elements, and files to keep.

export async function ask(address, options = {}) {
  let response;
  try {
    response = await fetch(address, options);
  } catch {
    throw new Error("The server does not answer; is it still running?");
  }
  if (!response.ok) {
    let said = null;
    try {
      said = await response.json();
    } catch { /* not our own words */ }
    throw new Error(said?.error ?? `The server answers ${response.status}.`);
  }
  return response;
}

// Server-sent events of an answer, one after another: {kind, content}.
export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    const parts = text.split("\n\n");
    text = parts.pop();
    for (const part of parts) {
      const lines = Object.fromEntries(part.split("\n").map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)]));
      yield { kind: lines.event, content: JSON.parse(lines.data) };
    }
  }
}

export function make(kind, attributes = {}, ...inner) {
  const element = document.createElement(kind);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...inner); // text stays text, whatever it contains
  return element;
}

export function bytesOf(picture) {
  return new Blob([Uint8Array.from(atob(picture.base64), (letter) => letter.charCodeAt(0))], { type: picture.type });
}

export function keep(blob, name) {
  const address = URL.createObjectURL(blob);
  make("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

export function say(words, bad = false) {
  const status = document.getElementById("status");
  status.textContent = words;
  status.classList.toggle("bad", bad);
}

// The runs to choose from, as `read` gets them with those that cannot be opened; as long as it gets none, the page stays as it is.
export async function offer(read, chosen) {
  const of = (name) => document.getElementById(name);
  try {
    const found = await read();
    if (!found) return;
    const { runs, refused } = found;
    of("none").hidden = runs.length + refused.length > 0;
    of("asking").hidden = !runs.length;
    of("refused").replaceChildren(...refused.map((one) => make("p", { class: "bad" }, one.error)));
    of("run").replaceChildren(...runs.map((one) => make("option", { value: one.name }, one.name)));
    if (runs.length) chosen();
  } catch (fault) {
    of("none").textContent = fault.message;
    of("none").hidden = false;
  }
}
