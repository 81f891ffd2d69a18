// The list of images at the left: each stack with a small picture, its file's name and what it is.

import { removeImage } from "/viewer/api.js";
import { byId, element, icon } from "/viewer/dom.js";
import { forget, pictureOf } from "/viewer/pictures.js";
import { nameOfStack } from "/viewer/places.js";
import { Stack, stackKey } from "/viewer/stack.js";
import { changed, on, state } from "/viewer/state.js";
import { language, t } from "/viewer/texts.js";

const THUMBNAIL = 112; // pixels of its canvas, for a screen of two pixels to a point

const rows = new Map(); // stack -> its row; rows stay, so that one with the focus keeps it
const unpainted = new WeakSet(); // stacks whose small picture could not be fetched
let painting = Promise.resolve(); // small pictures are fetched one after the other
let nextNumber = 1; // of a stack: it stays when another one leaves

/** List an image in its stack; return the stack. Panes that show it stay at their slice. */
export function addImage(image, name) {
  const known = state.stacks.find(({ key }) => key === stackKey(image));
  const stack = known ?? new Stack(image, name, nextNumber++);
  if (known) keepPlaces(known, () => known.add(image));
  else state.stacks.push(stack);
  changed("stacks");
  return stack;
}

/** The stack that holds an image. */
export function stackOf(id) {
  return state.stacks.find(({ images }) => images.some((image) => image.id === id)) ?? null;
}

/** Take a stack off the list, and its images out of the server's memory. */
export async function removeStack(stack) {
  state.stacks = state.stacks.filter((one) => one !== stack);
  for (const pane of state.panes) if (pane.stack === stack) pane.show(state.stacks[0] ?? null);
  changed("stacks");
  for (const { id } of stack.images) {
    forget(id);
    await removeImage(id).catch(() => {}); // the server has forgotten it by itself
  }
}

/** Keep the list in line with the state. */
export function showLibrary() {
  for (const event of ["stacks", "panes", "language"]) on(event, update);
}

function keepPlaces(stack, change) {
  const before = state.panes.filter((pane) => pane.stack === stack).map((pane) => [pane, pane.place]);
  change();
  for (const [pane, { image, index }] of before) {
    pane.number = pane.unbounded = pane.places.findIndex((place) => place.image === image && place.index === index);
    pane.update();
  }
}

function update() {
  const list = byId("stacks");
  for (const stack of state.stacks) if (!rows.has(stack)) rows.set(stack, rowOf(stack));
  for (const [stack, row] of rows) {
    if (state.stacks.includes(stack)) describe(stack, row);
    else {
      row.node.remove();
      rows.delete(stack);
    }
  }
  for (const { node } of rows.values()) if (!node.isConnected) list.append(node);
}

function rowOf(stack) {
  const thumbnail = element("canvas", { width: THUMBNAIL, height: THUMBNAIL, "aria-hidden": "true" });
  const name = element("span", { class: "name" });
  const details = element("span", { class: "details" });
  const show = element("button", {
    type: "button",
    class: "show",
    "data-testid": "stack",
    onclick: () => {
      state.active.show(stack);
      if (unpainted.has(stack)) painting = painting.then(() => paint(stack, thumbnail));
    },
  });
  show.append(thumbnail, element("span", { class: "words" }, name, details));
  const remove = element("button", { type: "button", class: "remove", onclick: () => removeStack(stack) }, icon("close"));
  painting = painting.then(() => paint(stack, thumbnail));
  return { node: element("li", {}, show, remove), show, remove, name, details };
}

function describe(stack, { show, remove, name, details }) {
  const { first } = stack;
  const count = stack.images.length > 1 ? stack.images.length : first.count;
  name.textContent = nameOfStack(stack);
  name.title = name.textContent;
  const kind = first.modality_name?.[language()] ?? "";
  details.textContent = [kind, count > 1 ? t(first.index_name === "frame" ? "frames" : "slices", { count }) : ""]
    .filter(Boolean)
    .join(" · ");
  show.setAttribute("aria-current", String(state.panes.some((pane) => pane.stack === stack)));
  remove.setAttribute("aria-label", t("remove", { name: name.textContent }));
  remove.title = t("remove_hint");
}

async function paint(stack, canvas) {
  const { image, index } = stack.places(stack.first.plane)[stack.firstPlace(stack.first.plane)];
  const view = { index, window: null, plane: stack.first.plane };
  const { bitmap } = await pictureOf(image, view).catch(() => ({ bitmap: null })); // the pane says why there is no picture
  if (!bitmap) return unpainted.add(stack);
  unpainted.delete(stack);
  const scale = THUMBNAIL / Math.max(bitmap.width, bitmap.height);
  const [width, height] = [bitmap.width * scale, bitmap.height * scale];
  canvas.getContext("2d").drawImage(bitmap, (THUMBNAIL - width) / 2, (THUMBNAIL - height) / 2, width, height);
}
