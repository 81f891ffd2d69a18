// Where a picture is and how it is shown, in words: the corner of a pane and the card of an answer say it alike.

import { placeKey } from "/viewer/stack.js";
import { t } from "/viewer/texts.js";

const COUNTED_FROM_0 = ["image.slice_of_volume", "dicom.slice_of_series"]; // the corner counts the same slices from 1

/** The name of a stack: its file's, else the number that it got when it came. */
export function nameOfStack({ name, number }) {
  return name ?? t("image_number", { number });
}

/** Where in its stack a picture is, and how long the stack is; empty for a single picture. */
export function sliceText(stack, plane, key) {
  const keys = stack.places(plane).map(({ image, index }) => placeKey(image.id, index, plane));
  const text = stack.first.index_name === "frame" ? "frame_of" : "slice_of";
  return keys.length > 1 ? t(text, { number: keys.indexOf(key) + 1, count: keys.length }) : "";
}

/** Centre and width of a window, as radiologists call them; empty without one. */
export function windowTexts(window, unit) {
  if (!window) return [];
  const [centre, width] = window.map(short);
  return [`${t("level")} ${centre}`, `${t("width")} ${width}${unit ? ` ${unit}` : ""}`];
}

/** The warnings that say more than the corner does, and nothing against it. */
export function telling(warnings) {
  return warnings.filter(({ code }) => !COUNTED_FROM_0.includes(code));
}

function short(value) {
  return Math.abs(value) >= 100 ? String(Math.round(value)) : String(Number(value.toPrecision(3)));
}
