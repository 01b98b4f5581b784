// Questions and answers. What comes from the server is only ever set as text.
import { nextCall, pan, play, show, showWhole, zoom } from "./picture.js";

const find = (id) => document.getElementById(id);
const NAMES = { against: "Second opinion", presence: "Presence", doubt: "Doubt", random: "Random sample" };
const page = { parts: [], part: null, question: null, marks: {}, typing: "", isSure: false, isBusy: false, hasEnded: false };

const send = async (address, body) => {
  const options = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const answer = await fetch(address, options);
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.error);
  return said;
};

const tell = (text) => {
  find("shown").textContent = text;
};

// One thing at a time: a key that is pressed meanwhile does nothing, so that no answer goes to the next question.
const alone = async (work) => {
  if (page.isBusy || page.hasEnded) return;
  page.isBusy = true;
  try {
    await work();
  } catch (error) {
    const isGone = error instanceof TypeError;
    tell(isGone ? "The review has been ended, or cannot be reached: start it again. What was kept is kept." : error.message);
  } finally {
    page.isBusy = false;
  }
};

const listNames = (species) => {
  find("known").replaceChildren(...species.map((name) => Object.assign(document.createElement("option"), { value: name })));
};

const drawParts = (standing) => {
  find("parts").replaceChildren(
    ...page.parts.map((part) => {
      const button = document.createElement("button");
      button.type = "button";
      button.dataset.part = part;
      const words = Object.assign(document.createElement("small"), { textContent: standing[part] });
      button.append(NAMES[part], words);
      if (part === page.question?.part) button.setAttribute("aria-current", "true");
      button.addEventListener("click", () => choose(part));
      return button;
    }),
  );
};

const choose = (part) =>
  alone(async () => {
    page.part = part;
    const answer = await fetch(`next?part=${part}`);
    take(await answer.json());
  });

const take = (said) => {
  page.question = said.question;
  if (said.species) listNames(said.species);
  page.marks = {};
  closeForm();
  drawParts(said.standing);
  find("asking").hidden = !said.question;
  find("nothing").hidden = Boolean(said.question);
  if (!said.question) {
    find("nothing").querySelector("h2").focus();
    return;
  }
  const one = said.question;
  for (const about of one.species) if (about.label !== null) page.marks[about.name] = about.label;
  find("question").textContent = phrase(one);
  find("path").textContent = one.path;
  find("about").textContent = one.about.join(", ");
  const labelled = one.labelled.length ? `labelled: ${one.labelled.join(", ")}` : "";
  find("notes").textContent = [one.notes, labelled].filter(Boolean).join("; ");
  find("notes").hidden = !find("notes").textContent;
  find("whole").checked = one.whole;
  drawSpecies();
  show(one);
};

const phrase = (one) => {
  const claim = one.claim.join(", ") || one.says;
  if (one.part === "random") return `The model says: ${claim}. Is that right, and all?`;
  if (one.part !== "against") return `Is ${one.asked[0]} in it?`;
  return `Is ${one.asked[0]} in it? The model says: ${claim}. The other program says: ${one.other.join(", ") || "no species"}.`;
};

const WORDS = { 1: "present", 0: "absent" };
const drawSpecies = () => {
  const one = page.question;
  const named = [...one.species];
  for (const name of Object.keys(page.marks)) {
    if (!named.some((about) => about.name === name)) named.push({ name, score: null, claimed: false });
  }
  page.listed = named.map((about) => about.name);
  find("species").replaceChildren(
    ...named.map((about, i) => {
      const [item, button] = [document.createElement("li"), document.createElement("button")];
      const word = WORDS[page.marks[about.name]] ?? (one.asked.includes(about.name) ? "asked" : "not said");
      button.type = "button";
      button.className = [WORDS[page.marks[about.name]] ?? "", one.asked.includes(about.name) ? "asked" : ""].join(" ");
      const name = Object.assign(document.createElement("bdi"), { textContent: about.name });
      const key = Object.assign(document.createElement("kbd"), { textContent: i < 9 ? String(i + 1) : "" });
      const score = document.createElement("span");
      score.className = "score";
      score.textContent = about.score === null ? "" : `, score ${about.score.toFixed(2)}, counts from ${about.threshold.toFixed(2)}`;
      button.append(...(i < 9 ? [key, " "] : []), name, `: ${word}`, score);
      button.addEventListener("click", () => mark(about.name));
      item.append(button);
      return item;
    }),
  );
};

// Neither, present, absent, neither.
const mark = (name) => {
  const now = page.marks[name];
  if (now === undefined) page.marks[name] = 1;
  else if (now === 1) page.marks[name] = 0;
  else delete page.marks[name];
  drawSpecies();
};

const answer = (said, named = []) =>
  alone(async () => {
    const { clip, key } = page.question;
    const body = { clip, key, answer: said, named, marks: page.marks, whole: find("whole").checked, part: page.part };
    take(await send("answer", body));
    tell("kept");
  });

const undo = () => alone(async () => {
  take(await send("undo", {}));
  tell("the last answer is taken back");
});

// Other species: a form that completes names; what is not known is taken at the second Enter.
const openForm = (typing) => {
  Object.assign(page, { typing, isSure: false });
  find("typing").textContent = typing === "other"
    ? "Which species is it instead? Several are separated by ;"
    : "Which species is there too? Several are separated by ;";
  find("other").hidden = false;
  find("typed").value = "";
  find("typed").focus();
};
const closeForm = () => {
  if (find("other").contains(document.activeElement)) document.activeElement.blur();
  find("other").hidden = true;
};
find("typed").addEventListener("input", () => {
  page.isSure = false;
});
find("other").addEventListener("submit", async (event) => {
  event.preventDefault();
  let names = null;
  await alone(async () => {
    try {
      ({ names } = await send("names", { typed: find("typed").value, sure: page.isSure }));
    } catch (error) {
      page.isSure = true;
      throw error;
    }
  });
  if (!names) return;
  if (page.typing === "other") {
    answer("other", names);
    return;
  }
  for (const name of names) page.marks[name] = 1;
  closeForm();
  drawSpecies();
  tell(`${names.join(", ")}: present`);
});
find("cancel").addEventListener("click", closeForm);

const end = () => alone(async () => {
  const said = await send("end", {});
  page.hasEnded = true;
  for (const id of ["asking", "nothing", "end"]) find(id).hidden = true;
  find("ended").hidden = false;
  find("count").textContent = said.answers === 1 ? "1 answer is" : `${said.answers} answers are`;
  find("table").textContent = said.table;
  find("ended").querySelector("h2").focus();
});

const toggle = (id) => {
  find(id).checked = !find(id).checked;
  find(id).dispatchEvent(new Event("change"));
};
find("hide").addEventListener("change", () => document.body.classList.toggle("hidden-scores", find("hide").checked));
const KEYS = {
  r: () => answer("right"), w: () => answer("wrong"), n: () => answer("none"), u: () => answer("unsure"), s: () => answer("skip"),
  z: undo, o: () => openForm("other"), a: () => openForm("also"), e: () => toggle("whole"), h: () => toggle("hide"),
  c: nextCall, "+": () => zoom(true), "=": () => zoom(true), "-": () => zoom(false), 0: showWhole, ",": () => pan(false), ".": () => pan(true),
  " ": play,
};
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || page.hasEnded) return;
  if (event.key === "Escape") closeForm();
  const at = event.target;
  if (at instanceof HTMLInputElement && at.type !== "checkbox") return;
  if (event.key === " " && at.closest("button, input, select")) return;
  if (at instanceof HTMLSelectElement) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const isNumber = /^[1-9]$/.test(key);
  if (!page.question && key !== "z") return;
  if (isNumber && page.listed?.[Number(key) - 1]) mark(page.listed[Number(key) - 1]);
  else if (KEYS[key] && !isNumber) {
    event.preventDefault();
    KEYS[key]();
  }
});

for (const button of document.querySelectorAll("[data-answer]")) {
  button.addEventListener("click", () => answer(button.dataset.answer));
}
const PRESSES = {
  instead: () => openForm("other"), also: () => openForm("also"), undo, "undo-last": undo, end, play, call: nextCall,
  closer: () => zoom(true), wider: () => zoom(false), all: showWhole, back: () => pan(false), on: () => pan(true),
};
for (const [id, press] of Object.entries(PRESSES)) find(id).addEventListener("click", press);

const begin = async () => {
  const answered = await fetch("state");
  const state = await answered.json();
  if (!answered.ok) throw new Error(state.error);
  page.parts = state.parts;
  find("title").textContent = state.title;
  document.title = `batcache review: ${state.title}`;
  const offered = state.slower.map((slower) => Object.assign(document.createElement("option"), { value: slower, textContent: `${slower} times` }));
  find("slower").replaceChildren(...offered);
  find("slower").value = "10";
  take(state);
};
alone(begin);
