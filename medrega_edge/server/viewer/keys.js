// The keyboard. What stands here is also what the help lists, so that no key is missing there.

import { askAboutBox } from "/viewer/ask.js";
import { byId, element } from "/viewer/dom.js";
import { state } from "/viewer/state.js";
import { t } from "/viewer/texts.js";

const PAN = 40; // screen pixels
const ZOOM = 1.2;
const SHIFT = 0.05; // of the window's width
const PRESETS = 6; // windows of CT that have a key
const DIRECTIONS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

const pane = () => state.active;

/** Keys of one character, what they are for and what they do: a person can switch them off, as speech input types characters. */
function singleKeys(actions) {
  return [
    ["v", "tool_pan_hint", () => actions.setTool("pan")],
    ["w", "tool_window_hint", () => actions.setTool("window")],
    ["m", "tool_ruler_hint", () => actions.setTool("ruler")],
    ["b", "tool_box_hint", () => actions.setTool("box")],
    ["o", "overlays_hint", actions.toggleOverlays],
    ["r", "reset_hint", () => pane().reset()],
    ["+", "key_zoom_in", () => pane().zoom(ZOOM)],
    ["-", "key_zoom_out", () => pane().zoom(1 / ZOOM)],
    ["[", "key_darker", () => pane().shiftWindow(SHIFT, 1)],
    ["]", "key_brighter", () => pane().shiftWindow(-SHIFT, 1)],
    ["{", "key_less_contrast", () => pane().shiftWindow(0, 1 + SHIFT * 2)],
    ["}", "key_more_contrast", () => pane().shiftWindow(0, 1 / (1 + SHIFT * 2))],
    ["0", "key_file_window", () => actions.setPreset(null)],
    ...Array.from({ length: PRESETS }, (_, number) => [
      String(number + 1),
      null,
      () => actions.setPreset(state.info.windows[number]),
    ]),
    ["c", "compare_hint", actions.toggleCompare],
    ["l", "link_hint", actions.toggleLink],
    ["x", "key_other_pane", actions.otherPane],
    ["/", "key_question", () => byId("question").focus()],
    ["?", "help", actions.showHelp],
  ];
}

/** Keys on the picture, which `onStage` reads, and those that need one line for several. */
const MORE_KEYS = [
  [`1-${PRESETS}`, "key_presets"],
  ["↑ ↓ ← →", "key_slices"],
  ["Page ↑ ↓", "key_ten_slices"],
  ["Home, End", "key_ends"],
  ["Shift + ↑ ↓ ← →", "key_pan"],
  ["Space", "key_space"],
  ["Enter", "key_draw"],
  ["Delete, Esc", "key_delete"],
];

/** Listen for keys. */
export function acceptKeys(actions) {
  const keys = new Map(singleKeys(actions).map(([key, , action]) => [key, action]));
  document.addEventListener("keydown", (event) => {
    if (isTyping(event.target) || event.ctrlKey || event.metaKey || event.altKey) return;
    const isOnPicture = event.target === document.body || event.target.closest?.(".stage");
    const isOnButton = event.target.closest?.("button");
    const isDone =
      (isOnPicture && !isOnButton && onStage(event)) || (byId("single-keys").checked && onSingleKey(event, keys));
    if (isDone) event.preventDefault();
  });
  document.addEventListener("keyup", ({ key }) => {
    if (key === " ") state.isSpaceDown = false;
  });
  window.addEventListener("blur", () => (state.isSpaceDown = false)); // its keyup goes elsewhere
}

/** List all keys in the help. */
export function listKeys(list) {
  const rows = [...singleKeys({}).filter(([, text]) => text), ...MORE_KEYS];
  list.replaceChildren(
    ...rows.map(([key, text]) => element("div", {}, element("dt", {}, element("kbd", {}, key)), element("dd", {}, t(text)))),
  );
}

function onSingleKey({ key }, keys) {
  const action = keys.get(key === "=" ? "+" : key.toLowerCase());
  action?.();
  return action !== undefined;
}

/** Keys of a picture; return whether this is one. */
function onStage(event) {
  const { key, shiftKey } = event;
  const now = pane();
  if (DIRECTIONS[key]) return onArrow(now, DIRECTIONS[key], shiftKey) ?? true;
  if (key === " ") return (state.isSpaceDown = true);
  if (key === "Delete" || key === "Escape") return now.removeCurrent() ?? true;
  if (key === "Enter") return onEnter(now);
  const target = { PageUp: now.number - 10, PageDown: now.number + 10, Home: 0, End: now.places.length - 1 }[key];
  if (target === undefined) return false;
  return now.go(target) ?? true;
}

/** Arrows move what is being drawn, and with shift its second end; else they scroll, and with shift pan. */
function onArrow(now, [dx, dy], shiftKey) {
  const line = now.current;
  if (!line && shiftKey) return now.pan(-dx * PAN, -dy * PAN);
  if (!line) return now.go(now.number + dx + dy);
  const { width, height } = now.facts;
  for (let at = shiftKey ? 2 : 0; at < 4; at += 2) {
    line[at] = Math.min(Math.max(line[at] + dx, 0), width);
    line[at + 1] = Math.min(Math.max(line[at + 1] + dy, 0), height);
  }
  now.update();
}

/** Enter begins a ruler or a box in the middle of what is in sight; at a box it asks what is in it. */
function onEnter(now) {
  if (!now.facts || now.isBehind || !["ruler", "box"].includes(state.tool)) return false;
  if (state.tool === "box" && now.hasBox) return askAboutBox("identify") && true;
  const [x1, y1, x2, y2] = now.viewport.inSight;
  const [dx, dy] = [(x2 - x1) / 4, state.tool === "box" ? (y2 - y1) / 4 : 0];
  const [x, y] = [(x1 + x2) / 2, (y1 + y2) / 2];
  now.begin(state.tool, [x - dx / 2, y - dy / 2, x + dx / 2, y + dy / 2].map(Math.round));
  return true;
}

/** A slider and a list of choices keep their own keys, but take no text. */
function isTyping(target) {
  return target.matches?.("input:not([type=range]), textarea") || document.querySelector("dialog[open]") !== null;
}
