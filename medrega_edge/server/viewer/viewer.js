// The page of `medrega serve`: opens its parts, and does what its buttons and keys say.

import { getInfo, getOpened, setToken, takeToken } from "/viewer/api.js";
import { addAnswer, goTo, showAnswers } from "/viewer/answers.js";
import { acceptQuestions, askAboutBox } from "/viewer/ask.js";
import { byId, element } from "/viewer/dom.js";
import { acceptKeys, listKeys } from "/viewer/keys.js";
import { addImage, showLibrary, stackOf } from "/viewer/library.js";
import { Pane } from "/viewer/pane.js";
import { telling } from "/viewer/places.js";
import { handlePointers } from "/viewer/pointer.js";
import { savedAnswer } from "/viewer/saved.js";
import { changed, on, setOverlays, state } from "/viewer/state.js";
import { language, loadTexts, sentence, setLanguage, t } from "/viewer/texts.js";
import { acceptFiles, showError } from "/viewer/upload.js";

const actions = { setTool, setPreset, toggleOverlays, toggleCompare, toggleLink, otherPane, showHelp };

/** What tests may read: a copy, so that nothing outside changes the page. */
window.medrega = Object.freeze({
  get state() {
    return structuredClone({
      ...{ language: language(), tool: state.tool, overlays: state.overlays, linked: state.linked },
      active: state.panes.indexOf(state.active),
      selected: state.selected?.id ?? null,
      stacks: state.stacks.map(({ key, images }) => ({ key, images })),
      panes: state.panes.map(({ key, shown, number, plane, window, facts, viewport }) => ({
        ...{ key, shown, number, plane, window, facts },
        ...{ scale: viewport.scale, x: viewport.x, y: viewport.y },
      })),
      answers: state.answers.map(({ id, question, key, answer, request }) => ({ id, question, key, answer, request })),
    });
  },
});

await start();

async function start() {
  await takeToken();
  await loadTexts();
  setTheme(remembered("theme") ?? "dark");
  addPane();
  setLanguage(remembered("language") ?? (navigator.language.startsWith("zh") ? "zh" : "en"));
  showLibrary();
  showAnswers();
  on("panes", updateControls);
  on("tool", updateControls);
  on("overlays", updateOverlays);
  on("language", updateLanguage);
  changed("language");
  state.info = await withToken(getInfo);
  acceptFiles();
  acceptQuestions();
  acceptKeys(actions);
  acceptButtons();
  changed("language");
  await showOpened();
  document.documentElement.dataset.ready = "";
}

/** Ask the server for the first thing; where it wants a token that the address lacks, ask the person. */
async function withToken(get) {
  for (;;) {
    try {
      return await get();
    } catch (error) {
      if (!error.isUnauthorised) {
        byId("status").textContent = sentence(error);
        throw error;
      }
      setToken(await askForToken(error));
    }
  }
}

function askForToken(error) {
  const dialog = byId("token-dialog");
  byId("token-error").textContent = sentence(error);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(byId("token").value.trim()), { once: true });
  });
}

/** Show what the server was started with. */
async function showOpened() {
  const { images, answers, errors } = await getOpened();
  for (const error of errors) showError({ name: "" }, error);
  const count = answers.filter(({ image }) => !image).length;
  if (count) showError({ name: "" }, { message: t("opened_without_image", { count }) });
  for (const image of images) addImage(image, null);
  if (images.length) state.active.show(stackOf(images[0].id));
  for (const { image } of answers) if (image && !stackOf(image.id)) addImage(image, null);
  const listed = answers.reverse().map((saved) => addAnswer(savedAnswer(saved)));
  if (listed.length) goTo(listed.at(-1));
}

function addPane() {
  const pane = new Pane();
  state.panes.push(pane);
  byId("panes").append(pane.screen.node);
  handlePointers(pane);
  for (const button of pane.screen.menu.querySelectorAll("button"))
    button.addEventListener("click", () => onBoxMenu(pane, button.dataset.boxTask));
  pane.screen.remove.addEventListener("click", () => onBoxMenu(pane, "cancel"));
  pane.activate();
}

function onBoxMenu(pane, task) {
  pane.screen.stage.focus();
  if (task === "cancel") pane.removeCurrent();
  else askAboutBox(task);
}

function acceptButtons() {
  for (const button of byId("tools").querySelectorAll("button"))
    button.addEventListener("click", () => setTool(button.dataset.tool));
  byId("overlays").addEventListener("click", toggleOverlays);
  byId("reset").addEventListener("click", () => state.active.reset());
  byId("compare").addEventListener("click", toggleCompare);
  byId("link").addEventListener("click", toggleLink);
  byId("preset").addEventListener("change", ({ target }) => setPreset(target.value || null));
  byId("plane").addEventListener("change", ({ target }) => state.active.setPlane(target.value));
  byId("theme").addEventListener("click", () =>
    setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"),
  );
  byId("help-open").addEventListener("click", showHelp);
  for (const wanted of ["en", "zh"]) byId(`language-${wanted}`).addEventListener("click", () => chooseLanguage(wanted));
}

function chooseLanguage(wanted) {
  setLanguage(wanted);
  remember("language", wanted);
  changed("language");
}

function updateLanguage() {
  for (const one of ["en", "zh"]) byId(`language-${one}`).setAttribute("aria-pressed", String(one === language()));
  listKeys(byId("keys"));
  const { model, version } = state.info ?? {};
  byId("about").textContent = model ? `medrega ${version} · ${model.name} ${model.version}` : "";
  for (const pane of state.panes) pane.update();
  updateControls();
}

function updateControls() {
  const { active, panes, tool } = state;
  for (const button of byId("tools").querySelectorAll("button"))
    button.setAttribute("aria-pressed", String(button.dataset.tool === tool));
  byId("panes").dataset.tool = tool;
  byId("overlays").setAttribute("aria-pressed", String(state.overlays));
  byId("compare").setAttribute("aria-pressed", String(panes.length > 1));
  byId("link").setAttribute("aria-pressed", String(state.linked));
  byId("link").hidden = panes.length < 2;
  for (const pane of panes) pane.screen.node.classList.toggle("active", panes.length > 1 && pane === active);
  byId("status").textContent = telling(active.facts?.warnings ?? [])
    .map(sentence)
    .join(" · ");
  byId("status").title = byId("status").textContent;
  updatePresets(active);
  updatePlanes(active);
}

function updatePresets({ facts, window, hasPresets }) {
  const presets = hasPresets ? (state.info?.windows ?? []) : [];
  const options = [["", t("window_file")], ...presets.map((name, number) => [name, `${number + 1} ${t(`window_${name}`)}`])];
  if (window && !presets.includes(window)) options.push([window, t("window_own")]);
  fill(byId("preset"), options, window ?? "");
  byId("preset").disabled = !facts?.has_windows;
}

function updatePlanes({ stack, plane }) {
  const planes = stack?.first.planes ?? [];
  byId("plane-label").hidden = planes.length === 0;
  fill(
    byId("plane"),
    planes.map((name) => [name, t(`plane_${name}`)]),
    plane,
  );
}

function fill(select, options, value) {
  const looks = JSON.stringify(options);
  if (select.dataset.looks !== looks)
    select.replaceChildren(...options.map(([name, text]) => element("option", { value: name }, text)));
  select.dataset.looks = looks; // a list that stays the same stays open
  select.value = value;
}

function setTool(tool) {
  state.tool = tool;
  changed("tool");
}

/** Choose a window of CT by its name, or the file's own. */
function setPreset(preset) {
  const { facts, window, hasPresets } = state.active;
  if (facts?.has_windows && (!preset || hasPresets || preset === window)) state.active.setWindow(preset);
}

function toggleOverlays() {
  setOverlays(!state.overlays);
}

function updateOverlays() {
  for (const pane of state.panes) pane.update();
  updateControls();
}

function toggleCompare() {
  if (state.panes.length > 1) {
    for (const pane of state.panes.splice(1)) pane.close();
    state.active = state.panes[0];
  } else {
    const { stack, number, plane, window } = state.active;
    addPane();
    if (stack) state.active.show(stack, number, plane, window);
  }
  byId("panes").dataset.count = state.panes.length;
  changed("panes");
  for (const pane of state.panes) pane.update();
}

function toggleLink() {
  state.linked = !state.linked;
  for (const pane of state.panes) pane.unbounded = pane.number; // the distance from now on
  updateControls();
}

function otherPane() {
  const other = state.panes.find((pane) => pane !== state.active);
  other?.activate();
  other?.screen.stage.focus();
}

function showHelp() {
  byId("help").showModal();
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  remember("theme", theme);
}

/** Preferences outlive the page where the browser allows it; nothing about an image does. */
function remember(name, value) {
  try {
    localStorage.setItem(`medrega-${name}`, value);
  } catch {
    // a private window: the preference holds until the page is closed
  }
}

function remembered(name) {
  try {
    return localStorage.getItem(`medrega-${name}`);
  } catch {
    return null;
  }
}
