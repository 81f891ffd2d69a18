// Completion of the name that is being typed, among the names that the model can locate in such an image.

import { element } from "/viewer/dom.js";
import { state } from "/viewer/state.js";
import { t } from "/viewer/texts.js";

const MOST = 8; // names in the list
const LEAST_LETTERS = 2; // of an English name before it is completed
const MOST_WORDS = 4; // of a name
const CHINESE = /[\u3400-\u9fff]/;

/** Complete names in a text box with a list below it. Return `handle(event)`, which tells whether it took a key. */
export function completeNames(box, list) {
  let found = []; // {name, length}: a name, and how much of the text's end it replaces
  let chosen = -1;

  const show = () => {
    list.hidden = found.length === 0;
    box.setAttribute("aria-expanded", String(!list.hidden));
    list.replaceChildren(...found.map(({ name }, number) => optionOf(name, number)));
    if (chosen >= 0) box.setAttribute("aria-activedescendant", `name-${chosen}`);
    else box.removeAttribute("aria-activedescendant");
  };

  const optionOf = (name, number) => {
    const option = element("li", { role: "option", id: `name-${number}`, "aria-selected": String(number === chosen) }, name);
    option.addEventListener("pointerdown", (event) => {
      event.preventDefault(); // the focus stays in the box
      accept(number);
    });
    return option;
  };

  const accept = (number) => {
    const { name, length } = found[number];
    box.value = box.value.slice(0, box.value.length - length) + name;
    close();
  };

  const close = () => {
    [found, chosen] = [[], -1];
    show();
  };

  box.addEventListener("input", () => {
    [found, chosen] = [matches(box.value), -1];
    show();
  });
  box.addEventListener("blur", close);
  box.form.addEventListener("submit", close);
  list.setAttribute("aria-label", t("names"));

  return {
    handle(event) {
      if (list.hidden) return false;
      if (event.key === "Escape") close();
      else if (event.key === "Enter" && chosen >= 0) accept(chosen);
      else if (event.key === "ArrowDown") chosen = (chosen + 1) % found.length;
      else if (event.key === "ArrowUp") chosen = ((chosen + found.length) % (found.length + 1)) - (chosen === 0 ? 1 : 0);
      else return false;
      event.preventDefault();
      show();
      return true;
    },
  };
}

/** Names that fit the end of the text: its last words, or its last Chinese characters; the longest end first. */
function matches(text) {
  const isChinese = CHINESE.test(text);
  const names = state.info.labels.filter(fits).map((label) => label[isChinese ? "zh" : "en"]);
  for (const end of isChinese ? endsOfChinese(text) : endsOfEnglish(text)) {
    const typed = end.toLowerCase();
    const beginning = names.filter((name) => name.toLowerCase().startsWith(typed));
    if (!beginning.length) continue;
    const others = names.filter((name) => !beginning.includes(name) && holds(name.toLowerCase(), typed, isChinese));
    const found = [...beginning, ...others].slice(0, MOST);
    return found.length === 1 && found[0].toLowerCase() === typed ? [] : found.map((name) => ({ name, length: end.length }));
  }
  return [];
}

/** Whether a name has what was typed further behind: "kid" of "left kidney". */
function holds(name, typed, isChinese) {
  return name.includes(isChinese ? typed : ` ${typed}`);
}

/** Whether an image such as that of the active pane can show a name. */
function fits({ modalities }) {
  const modality = state.active.facts?.modality;
  return !modality || !modalities || modalities.includes(modality);
}

function endsOfEnglish(text) {
  const words = text.split(/(?<=\s)/);
  return words
    .map((_, number) => words.slice(number).join(""))
    .slice(-MOST_WORDS)
    .filter((end) => end.trim().length >= LEAST_LETTERS);
}

function endsOfChinese(text) {
  return [...text].map((_, number) => [...text].slice(number).join("")).slice(-8);
}
