// The box for questions, its history and its completion of names, and the buttons of the tasks.

import { getRegions } from "/viewer/api.js";
import { addAnswer, goTo } from "/viewer/answers.js";
import { completeNames } from "/viewer/completion.js";
import { byId } from "/viewer/dom.js";
import { upright } from "/viewer/drawing.js";
import { setOverlays, state } from "/viewer/state.js";
import { language, sentence, t } from "/viewer/texts.js";

const MOST_EARLIER = 8; // questions that a request brings along
const CHINESE = /[\u3400-\u9fff]/;
const SEPARATORS = /\s*(?:[,，、;；]|\band\b|和|与|及)\s*/;
const WISH = /^\s*(?:please\s+)?(?:locate|find|outline|segment|请?(?:定位|勾画|分割))\s*(?:the\s+)?/i;

const asked = []; // texts, the newest last
let recalled = 0; // how far back arrow up has gone
let pending = 0; // questions under way
let fault = ""; // why the last one that failed did

/** Let a person ask. */
export function acceptQuestions() {
  const box = byId("question");
  const completion = completeNames(box, byId("names"));
  byId("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    const question = box.value.trim();
    if (question) ask(question, { question }, question);
  });
  box.addEventListener("keydown", (event) => {
    if (completion.handle(event) || !["ArrowUp", "ArrowDown"].includes(event.key)) return;
    event.preventDefault();
    recall(event.key === "ArrowUp" ? 1 : -1);
  });
  for (const button of byId("tasks").querySelectorAll("button"))
    button.addEventListener("click", () => askTask(button.dataset.task));
}

/** Ask what is in the box that the person drew, or for its outline. */
export async function askAboutBox(task) {
  const pane = state.active;
  const drawn = pane.box;
  await pane.loading;
  if (pane.box !== drawn) return; // it went with its slice
  const box = upright(drawn).map((value) => Math.round(value * 100) / 100);
  const isAnswered = await ask(t(`box_${task}`), { task, box });
  if (isAnswered && pane.box === drawn) pane.removeCurrent(); // the answer has the box now
}

function askTask(task) {
  if (task === "identify")
    return state.active.hasBox ? askAboutBox(task) : ask(t("words_identify"), { question: t("words_identify") });
  if (task === "report" || task === "grounded_report") return ask(t(`task_${task}`), { task });
  const names = byId("question")
    .value.replace(WISH, "")
    .split(SEPARATORS)
    .map((name) => name.replace(/^the\s+/i, "").trim())
    .filter(Boolean);
  if (!names.length) return beginWith(t(`words_${task}`, { names: "" }));
  const words = t(`words_${task}`, { names: names.join(t("comma")) });
  return ask(words, { task, names }, words);
}

function beginWith(words) {
  byId("question").value = words;
  byId("question").focus();
}

/** Ask about the picture of the active pane; `words` is what a later question may go on from. Return whether it was answered. */
async function ask(question, wish, words = null) {
  const pane = state.active;
  const typed = byId("question").value;
  [pending, fault] = [pending + 1, ""];
  say();
  try {
    await pane.loading; // the question is about what the person will see
    if (!pane.facts) throw new Error(t(pane.stack ? "ask_no_picture" : "ask_no_image"));
    await answered(pane, question, wish, words);
    if (words) remember(words, typed);
    return true;
  } catch (error) {
    fault = sentence(error);
    return false;
  } finally {
    pending -= 1;
    say();
  }
}

/** Send a question about what a pane shows, and show its answer. */
async function answered(pane, question, wish, words) {
  const image = pane.place.image;
  const answerIn = CHINESE.test(question) ? "zh" : language(); // who asks in Chinese reads Chinese
  const request = { image: pane.request, ...wish, language: answerIn, history: earlier(pane.key) };
  pane.isChosen = true;
  const answer = await getRegions(request);
  setOverlays(true);
  goTo(addAnswer({ question, words, request, view: request.image, image, answer }), { keepsWindow: true });
}

/** Earlier questions about the same picture, the oldest first: "how big is it?" means what they named. */
function earlier(key) {
  const words = state.answers.filter((answer) => answer.key === key && answer.words).map((answer) => answer.words);
  return words.slice(0, MOST_EARLIER).reverse();
}

/** Keep what was asked for arrow up. What the person has typed since stays in the box. */
function remember(words, typed) {
  if (asked.at(-1) !== words) asked.push(words);
  recalled = 0;
  if (byId("question").value === typed) byId("question").value = "";
}

function recall(step) {
  recalled = Math.min(Math.max(recalled + step, 0), asked.length);
  byId("question").value = recalled ? asked.at(-recalled) : "";
}

/** Say what failed, and whether an answer is under way. */
function say() {
  byId("ask-status").textContent = [fault, pending ? t("asking") : ""].filter(Boolean).join(" · ");
  byId("ask-status").classList.toggle("error", fault !== "");
  byId("ask").setAttribute("aria-busy", String(pending > 0));
}
