// Files and folders that a person drops or chooses go to the server one after the other. An error is that of one file.

import { sendImage } from "/viewer/api.js";
import { byId, element, icon } from "/viewer/dom.js";
import { addImage } from "/viewer/library.js";
import { state } from "/viewer/state.js";
import { sentence, t } from "/viewer/texts.js";

const waiting = [];
let sent = 0; // files of this run
let hasShown = false; // whether one of them is on the screen
let isSending = false;

/** Listen for files anywhere on the page, and at both buttons. */
export function acceptFiles() {
  for (const [button, input] of [
    ["open-files", "files"],
    ["open-folder", "folder"],
  ]) {
    byId(button).addEventListener("click", () => byId(input).click());
    byId(input).addEventListener("change", ({ target }) => {
      send([...target.files]);
      target.value = ""; // so that the same file can be chosen again
    });
  }
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    byId("drop").hidden = !event.dataTransfer.types.includes("Files");
  });
  document.addEventListener(
    "dragleave",
    ({ relatedTarget }) => (byId("drop").hidden = relatedTarget === null || byId("drop").hidden),
  );
  document.addEventListener("drop", async (event) => {
    event.preventDefault();
    byId("drop").hidden = true;
    send(await filesOf(event.dataTransfer));
  });
}

/** Return all files of a drop, those in folders too. */
async function filesOf({ items, files }) {
  const entries = [...items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean); // before any wait, or they are gone
  if (!entries.length) return [...files];
  return (await Promise.all(entries.map(filesBelow))).flat();
}

async function filesBelow(entry) {
  if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
  const reader = entry.createReader();
  const found = [];
  for (let some; (some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject))).length;) {
    found.push(...some); // a reader gives a hundred at a time
  }
  return (await Promise.all(found.map(filesBelow))).flat();
}

async function send(files) {
  waiting.push(...files.filter(({ name }) => !name.startsWith("."))); // hidden files of a folder are not images
  if (isSending) return;
  [isSending, hasShown] = [true, false];
  byId("upload").hidden = false;
  for (sent = 0; waiting.length; sent++) await sendOne(waiting.shift());
  for (const pane of state.panes) pane.settle();
  byId("upload").hidden = true;
  isSending = false;
}

async function sendOne(file) {
  const total = sent + waiting.length + 1;
  byId("upload-text").textContent = t("upload_count", { number: sent + 1, count: total });
  const progress = (share) => (byId("upload-progress").value = (sent + share) / total);
  progress(0);
  const limit = state.info.max_upload_bytes;
  if (file.size > limit) return showError(file, { message: t("too_large", { limit: Math.floor(limit / 2 ** 20) }) });
  try {
    const stack = addImage(await sendImage(file, progress), file.name);
    if (!hasShown && state.active.stack !== stack) state.active.show(stack);
    hasShown = true;
  } catch (error) {
    showError(file, error);
  }
}

/** Show the error of a file beside its name, until the person has read it. */
export function showError({ name }, error) {
  const row = element("li", { "data-testid": "upload-error" });
  const dismiss = element(
    "button",
    { type: "button", "aria-label": t("dismiss"), onclick: () => row.remove() },
    icon("close"),
  );
  row.append(element("p", {}, element("strong", {}, name), ` ${sentence(error)}`), dismiss);
  byId("upload-errors").prepend(row);
}
