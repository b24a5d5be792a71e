import { ask, keep, make, say } from "/static/common.js";

const of = (name) => document.getElementById(name);
const asked = () => ({
  sheet: of("sheet").value,
  digits: Number(of("digits").value) || 6,
  exact: of("exact").checked,
  verify: of("verify").checked,
});
const post = (form, body) =>
  ask(`/worked/solve?format=${form}`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
let turn = 0;

async function working(words, work) {
  const own = ++turn;
  say(words);
  try {
    const said = await work(() => own === turn);
    if (own === turn) say(said);
  } catch (fault) {
    if (own === turn) say(fault.message, true);
  }
}

function solve() {
  return working("Solving …", async (current) => {
    of("solution").replaceChildren();
    const page = await (await post("html", asked())).text();
    if (current()) of("solution").innerHTML = page; // the worked half's own HTML, with every name escaped
    return "Solved; every line was checked.";
  });
}

function check() {
  return working("Checking …", async (current) => {
    const body = { ...asked(), answers: of("given").value };
    delete body.exact;
    delete body.verify;
    const found = await (await post("json", body)).json();
    if (current()) of("report").replaceChildren(make("h2", {}, "Your answers"), make("pre", {}, found.text));
    return "";
  });
}

of("form").addEventListener("submit", (event) => {
  event.preventDefault();
  solve();
});
of("sheet").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) solve();
});
of("check").addEventListener("click", check);
of("latex").addEventListener("click", () =>
  working("Solving …", async () => {
    keep(await (await post("latex", asked())).blob(), "worksheet.tex");
    return "worksheet.tex was written; pdflatex makes a PDF of it.";
  }));
solve();
