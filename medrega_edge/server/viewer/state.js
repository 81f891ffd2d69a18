// What the page shows, and who wants to know when it changes.

export const state = {
  info: null, // of GET /v1/info
  stacks: [], // of images: see stack.js
  panes: [], // one picture, or two side by side
  active: null, // the pane that keys and questions are about
  answers: [], // the newest first: see answers.js
  tool: "pan", // what dragging with the first button does
  overlays: true, // whether regions are drawn at all
  linked: true, // whether two panes scroll together
  rulers: new Map(), // lines of each slice, by its key
};

const listeners = {};

/** Call `listener` whenever `name` ("stacks", "panes", "answers", "tool", "overlays", "language") changes. */
export function on(name, listener) {
  (listeners[name] ??= []).push(listener);
}

/** Show or hide what is drawn over the pictures. */
export function setOverlays(isOn) {
  if (state.overlays === isOn) return;
  state.overlays = isOn;
  changed("overlays");
}

/** Tell all listeners of `name`. */
export function changed(name) {
  for (const listener of listeners[name] ?? []) listener();
}
