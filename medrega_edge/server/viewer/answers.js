// The list of answers. Each remembers its image, its slice, its window and which of its regions are switched off.

import { getMarkedPicture, getObject } from "/viewer/api.js";
import { byId, element } from "/viewer/dom.js";
import { stackOf } from "/viewer/library.js";
import { COLOURS, diametersOf, intervalText, nameOf } from "/viewer/overlay.js";
import { placeKey } from "/viewer/stack.js";
import { changed, on, state } from "/viewer/state.js";
import { sentence, t } from "/viewer/texts.js";

const OBJECTS = { sr: "SR", seg: "SEG", gsps: "GSPS" };

const cards = new Map(); // answer -> its card
let nextId = 1;

/** List an answer; return it. `words` is what a later question goes on from; `request` is what was asked. */
export function addAnswer({ question, words = null, request, image, answer }) {
  const index = request?.image.index ?? null;
  const made = {
    id: nextId++,
    ...{ question, words, request, image, answer, index },
    plane: request?.image.plane ?? null,
    key: request && placeKey(image.id, index, request.image.plane),
    hidden: new Set(),
    highlighted: null,
    focused: null,
  };
  state.answers.unshift(made);
  return made;
}

/** Go back to an answer: its image, its slice and its regions. */
export function goTo(answer) {
  state.selected = answer;
  const stack = answer.request && stackOf(answer.image.id);
  if (stack) {
    const pane = paneFor(stack, answer.key);
    if (pane.key !== answer.key) showPlace(pane, stack, answer);
    pane.setAnswer(answer);
    pane.activate();
  }
  changed("answers");
  cards.get(answer).scrollIntoView({ block: "nearest" });
}

/** Keep the list in line with the state. */
export function showAnswers() {
  on("answers", update);
  on("language", () => {
    cards.clear();
    byId("answers").replaceChildren();
    update();
  });
}

/** The pane that shows a slice, else one that shows its stack, else the active one. */
function paneFor(stack, key) {
  const panes = [state.active, ...state.panes];
  return panes.find((pane) => pane.key === key) ?? panes.find((pane) => pane.stack === stack) ?? state.active;
}

function showPlace(pane, stack, { image, index, plane, request }) {
  const number = stack.places(plane).findIndex((place) => place.image.id === image.id && place.index === index);
  pane.show(stack, number, plane, request.image.window);
}

function update() {
  for (const answer of [...state.answers].reverse()) {
    if (!cards.has(answer)) cards.set(answer, cardOf(answer));
    if (!cards.get(answer).isConnected) byId("answers").prepend(cards.get(answer));
    describe(answer, cards.get(answer));
  }
  byId("answers-none").hidden = state.answers.length > 0;
}

/** Regions of the picture and of the list look alike: switched off, highlighted. */
function describe(answer, card) {
  const isSelected = answer === state.selected;
  card.classList.toggle("selected", isSelected);
  card.querySelector(".question").setAttribute("aria-current", String(isSelected));
  for (const one of card.querySelectorAll("[data-region]")) {
    one.setAttribute("aria-pressed", String(!answer.hidden.has(Number(one.dataset.region))));
  }
  for (const one of card.querySelectorAll("button.sentence")) {
    one.setAttribute("aria-pressed", String(one.dataset.regions === String([...(answer.highlighted ?? [])])));
  }
}

function cardOf(answer) {
  const { confidence, guess, warnings, warning_details: details, labels } = answer.answer;
  return element(
    "li",
    { class: "answer", "data-testid": "answer", "data-id": answer.id },
    element(
      "button",
      { type: "button", class: "question", title: t("go_back"), onclick: () => goTo(answer) },
      answer.question,
    ),
    element("p", { class: "text", "data-testid": "answer-text" }, ...sentencesOf(answer)),
    guess ? element("p", { class: "note" }, t("guess", { guess })) : null,
    confidence === null ? null : element("p", { class: "note" }, t("confidence", { value: confidence.toFixed(2) })),
    labels.length ? element("ul", { class: "classes" }, ...labels.map((label) => element("li", {}, nameOf(label)))) : null,
    element("ul", { class: "regions" }, ...answer.answer.regions.map((region, number) => chipOf(answer, region, number))),
    element(
      "ul",
      { class: "warnings" },
      ...warnings.map((text, number) => element("li", {}, sentence(details?.[number] ?? { message: text }))),
    ),
    savesOf(answer),
  );
}

/** A region in the list: its number and name; a switch for it. Its interval shows while it is pointed at. */
function chipOf(answer, region, number) {
  const focus = (focused) => () => redraw(answer, { focused });
  const interval = intervalText(region);
  const chip = element(
    "button",
    {
      type: "button",
      class: "region-switch",
      "data-region": number,
      "data-testid": "region-switch",
      title: t("region_switch"),
      onclick: () => toggle(answer, number),
      onpointerenter: focus(number),
      onpointerleave: focus(null),
      onfocus: focus(number),
      onblur: focus(null),
    },
    element("span", { class: "number" }, String(number + 1)),
    element("span", { class: "name" }, nameOf(region)),
  );
  chip.querySelector(".number").style.borderColor = COLOURS[number % COLOURS.length];
  const details = [diametersOf(region), interval].filter(Boolean).join(" · ");
  return element("li", {}, chip, details ? element("span", { class: "interval-text", role: "note" }, details) : null);
}

function toggle(answer, number) {
  const hidden = new Set(answer.hidden);
  if (!hidden.delete(number)) hidden.add(number);
  redraw(answer, { hidden });
}

function redraw(answer, changes) {
  Object.assign(answer, changes);
  for (const pane of state.panes) if (pane.answer === answer) pane.update();
  describe(answer, cards.get(answer));
}

/** Split an answer into sentences; one that names regions is a button that highlights them. */
function sentencesOf(answer) {
  return (
    answer.answer.text.match(/(?:[^.!?。！？\n]|[.!?](?!\s|$))+[.!?。！？\n]*\s*/g)?.map((text) => {
      const numbers = regionsIn(text, answer.answer.regions);
      if (!numbers.length) return element("span", {}, text);
      const highlight = () => {
        const isOn = String([...(answer.highlighted ?? [])]) === String(numbers);
        goTo(answer);
        redraw(answer, { highlighted: isOn ? null : new Set(numbers) });
      };
      return element(
        "button",
        { type: "button", class: "sentence", title: t("highlight"), "data-regions": String(numbers), onclick: highlight },
        text,
      );
    }) ?? []
  );
}

/** Numbers of the regions whose label a sentence contains; "kidney" is not found in "left kidney" if that is a label too. */
function regionsIn(text, regions) {
  const labels = [...new Set(regions.map(({ label }) => label))].sort((a, b) => b.length - a.length);
  let rest = text.toLowerCase();
  const found = labels.filter((label) => {
    const isIn = rest.includes(label.toLowerCase());
    rest = rest.replaceAll(label.toLowerCase(), "\n");
    return isIn;
  });
  return regions.flatMap(({ label }, number) => (found.includes(label) ? [number] : []));
}

/** Buttons that save an answer. The names of the files say nothing about the patient. */
function savesOf(answer) {
  const row = element("p", { class: "saves", role: "group", "aria-label": t("save") }, element("span", {}, t("save")));
  const add = (name, file, make) => {
    const save = async () => saveAs(await make(), file);
    const onclick = () => save().catch((error) => (byId("status").textContent = sentence(error)));
    row.append(element("button", { type: "button", "data-save": name.toLowerCase(), title: file, onclick }, name));
  };
  add("JSON", "medrega-answer.json", () => new Blob([JSON.stringify(answer.answer, null, 2)], { type: "application/json" }));
  if (!answer.request) return row;
  add("PNG", "medrega-answer.png", () => getMarkedPicture(answer.request));
  if (!answer.image.is_dicom || !state.info.dicom_objects) return row;
  const hasMasks = answer.answer.regions.some(({ mask }) => mask);
  for (const [kind, name] of Object.entries(OBJECTS)) {
    if (kind !== "seg" || hasMasks) add(name, `medrega-answer-${kind}.dcm`, () => getObject(answer.request, kind));
  }
  return row;
}

function saveAs(blob, name) {
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000); // the browser has read it by then
}
