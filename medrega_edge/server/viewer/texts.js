// Texts of the page in English and Chinese, from texts.json. An element names its text in a data attribute.

let texts = { en: {}, zh: {} };
let current = "en";

/** Fetch all texts; they are a static file, which needs no token. */
export async function loadTexts() {
  texts = await (await fetch("/viewer/texts.json")).json();
}

/** The language of the page: "en" or "zh". */
export function language() {
  return current;
}

/** Write the page in a language. */
export function setLanguage(wanted) {
  current = wanted;
  document.documentElement.lang = wanted === "zh" ? "zh-CN" : "en";
  document.title = `medrega - ${t("notice")}`;
  translate(document);
}

/** Return a text with its values filled in: "{count} files". */
export function t(key, values = {}) {
  return (texts[current][key] ?? key).replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

/** Return the sentence of an error or a warning in the page's language. */
export function sentence({ message, message_zh: chinese }) {
  return current === "zh" && chinese ? chinese : message;
}

/** What stands in a box beside an element that is pointed at, with its key. */
function hint(one) {
  const key = one.getAttribute("aria-keyshortcuts");
  return key ? `${t(one.dataset.hint)} (${key})` : t(one.dataset.hint);
}

/** Fill in the texts below an element. */
export function translate(root) {
  for (const one of root.querySelectorAll("[data-text]")) one.textContent = t(one.dataset.text);
  for (const one of root.querySelectorAll("[data-aria]")) one.setAttribute("aria-label", t(one.dataset.aria));
  for (const one of root.querySelectorAll("[data-hint]")) one.title = hint(one);
  for (const one of root.querySelectorAll("[data-placeholder]")) one.placeholder = t(one.dataset.placeholder);
}
