// The list of answers. Each remembers its image, its slice, its window and which of its regions are switched off.

import { getMarkedPicture, getObject } from "/viewer/api.js";
import { byId, element } from "/viewer/dom.js";
import { stackOf } from "/viewer/library.js";
import { COLOURS, diametersOf, intervalText, nameOf } from "/viewer/overlay.js";
import { nameOfStack, sliceText, telling, windowTexts } from "/viewer/places.js";
import { placeKey } from "/viewer/stack.js";
import { changed, on, state } from "/viewer/state.js";
import { sentence, t } from "/viewer/texts.js";

const OBJECTS = { sr: "SR", seg: "SEG", gsps: "GSPS" };

const cards = new Map(); // answer -> its card
let nextId = 1;

/**
 * List an answer; return it. `words` is what a later question goes on from; `request` is what was asked, `view` about which
 * picture of the image. Each is null where it is not known.
 */
export function addAnswer({ question, words, request, view, image, answer }) {
  const made = {
    id: nextId++,
    ...{ question, words, request, view, image, answer },
    key: view && placeKey(image.id, view.index, view.plane),
    hidden: new Set(),
    highlighted: null,
    focused: null,
  };
  state.answers.unshift(made);
  return made;
}

/**
 * Go back to an answer: its image, its slice, its window and its regions, in each pane that shows its picture. Where that
 * is on the screen, a new answer and a sentence keep the window that the person has chosen meanwhile.
 */
export function goTo(answer, { keepsWindow = false } = {}) {
  state.selected = answer;
  const stack = stackFor(answer);
  if (stack) {
    const pane = paneFor(stack, answer.key);
    if (pane.key !== answer.key) showPlace(pane, stack, answer);
    else if (!keepsWindow && pane.window !== answer.view.window) pane.setWindow(answer.view.window);
    for (const one of state.panes) if (one.key === answer.key) one.setAnswer(answer);
    pane.activate();
  }
  changed("answers");
  cards.get(answer).scrollIntoView({ block: "nearest" });
}

/** Keep the list in line with the state. */
export function showAnswers() {
  on("answers", update);
  on("panes", mark);
  on("stacks", update); // a slice gets another number when one before it comes
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

function showPlace(pane, stack, { view: { id, index, plane, window } }) {
  const number = stack.places(plane).findIndex((place) => place.image.id === id && place.index === index);
  pane.show(stack, number, plane, window);
}

/** The stack that has the picture of an answer, null where it is not known or was removed. */
function stackFor({ view }) {
  return view && stackOf(view.id);
}

function update() {
  for (const answer of [...state.answers].reverse()) {
    if (!cards.has(answer)) cards.set(answer, cardOf(answer));
    if (!cards.get(answer).isConnected) byId("answers").prepend(cards.get(answer));
    locate(answer, cards.get(answer));
    describe(answer, cards.get(answer));
  }
  byId("answers-none").hidden = state.answers.length > 0;
}

function mark() {
  for (const [answer, card] of cards) describe(answer, card);
}

/** Say where the picture of an answer is; what needs an image that has gone cannot be saved. */
function locate(answer, card) {
  card.querySelector(".where").replaceChildren(...whereOf(answer));
  const isGone = stackFor(answer) === null;
  for (const button of card.querySelectorAll("[data-from-image]")) {
    button.disabled = isGone;
    button.title = isGone ? t("where_removed") : button.dataset.file;
  }
}

/** The image, the plane, the slice and the window of an answer; a line breaks between them, not within one. */
function whereOf(answer) {
  const { view, key, image } = answer;
  const stack = stackFor(answer);
  if (!stack) return [t(!image ? "where_not_open" : view ? "where_removed" : "where_unknown")];
  const window = windowTexts(answer.answer.image.window, image.window_unit).join(" ");
  const plane = view.plane && t(`plane_${view.plane}`);
  const parts = [plane, sliceText(stack, view.plane, key), window].filter(Boolean);
  return [nameOfStack(stack), ...parts.flatMap((part) => [" · ", element("span", {}, part)])];
}

/** Whether an answer is the chosen one and its picture, where there is one, is on the screen. */
function isInSight(answer) {
  return answer === state.selected && (!stackFor(answer) || state.panes.some(({ shown }) => shown === answer.key));
}

/** Regions of the picture and of the list look alike: switched off, highlighted. */
function describe(answer, card) {
  const isSelected = isInSight(answer);
  card.classList.toggle("selected", isSelected);
  card.querySelector(".question").setAttribute("aria-current", String(isSelected));
  for (const one of card.querySelectorAll("[data-region]")) {
    one.setAttribute("aria-pressed", String(!answer.hidden.has(Number(one.dataset.region))));
  }
  card.querySelector(".saves-all").hidden = answer.hidden.size === 0;
  for (const one of card.querySelectorAll("button.sentence")) {
    one.setAttribute("aria-pressed", String(one.dataset.regions === String([...(answer.highlighted ?? [])])));
  }
}

function cardOf(answer) {
  const { confidence, guess, labels } = answer.answer;
  return element(
    "li",
    { class: "answer", "data-testid": "answer", "data-id": answer.id },
    element(
      "button",
      { type: "button", class: "question", title: t("go_back"), onclick: () => goTo(answer) },
      answer.question,
    ),
    element("p", { class: "note where", "data-testid": "answer-where" }),
    element("p", { class: "text", "data-testid": "answer-text" }, ...sentencesOf(answer)),
    kindOf(answer),
    guess ? element("p", { class: "note" }, t("guess", { guess })) : null,
    confidence === null ? null : element("p", { class: "note" }, t("confidence", { value: confidence.toFixed(2) })),
    labels.length ? element("ul", { class: "classes" }, ...labels.map((label) => element("li", {}, nameOf(label)))) : null,
    element("ul", { class: "regions" }, ...answer.answer.regions.map((region, number) => chipOf(answer, region, number))),
    notRegarded(answer),
    element("ul", { class: "warnings" }, ...warningsOf(answer).map((text) => element("li", {}, text))),
    savesOf(answer),
  );
}

/** What the model took the image for, where the file does not say what it is. */
function kindOf({ answer: { image } }) {
  if (typeof image.modality_confidence !== "number") return null;
  const text = t("taken_for", { kind: t(`modality_${image.modality}`), value: image.modality_confidence.toFixed(2) });
  return element("p", { class: "note", "data-testid": "taken-for" }, text);
}

/** The words of the question that the answer does not regard. */
function notRegarded({ answer: { facts } }) {
  const words = (facts.parts ?? [facts]).flatMap((part) => part.not_regarded ?? []);
  if (!words.length) return null;
  const text = t("not_regarded", { words: [...new Set(words)].join(t("between_names")) });
  return element("p", { class: "note", "data-testid": "not-regarded" }, text);
}

function warningsOf({ answer: { warnings, warning_details: details } }) {
  return telling(warnings.map((message, number) => details?.[number] ?? { message })).map(sentence);
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
        goTo(answer, { keepsWindow: true });
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
  const all = element("span", { class: "saves-all", "data-testid": "saves-all", hidden: true }, t("saves_all"));
  const row = element("p", { class: "saves", role: "group", "aria-label": t("save") }, element("span", {}, t("save")), all);
  const add = (name, file, make) => {
    const save = async () => saveAs(await make(), file);
    const onclick = () => save().catch((error) => (byId("status").textContent = sentence(error)));
    const facing = { "data-save": name.toLowerCase(), "data-from-image": name !== "JSON", "data-file": file };
    row.append(element("button", { type: "button", title: file, ...facing, onclick }, name));
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
