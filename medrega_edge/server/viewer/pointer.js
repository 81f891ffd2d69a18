// Mouse, pen and fingers on a stage. The first button does what the chosen tool says, the second windows, the middle one
// pans; one finger is the first button, two fingers pan and zoom.

import { changed, state } from "/viewer/state.js";

const WHEEL_STEP = 40; // of a wheel's travel: less, as a touchpad sends it, adds up to a slice
const ZOOM_OF_WHEEL = 0.0015;
const WINDOW_STEP = 1 / 300; // of a screen pixel
const CLICK = 4; // screen pixels: what is shorter was no drag
const LEFT = 0;
const MIDDLE = 1;
const RIGHT = 2;

/** Let a person handle the picture of a pane. */
export function handlePointers(pane) {
  const { stage } = pane.screen;
  const pointers = new Map(); // id -> place on the stage
  let action = null;
  let travelled = 0;

  const placeOf = (event) => {
    const { left, top } = stage.getBoundingClientRect();
    return [event.clientX - left, event.clientY - top];
  };

  stage.addEventListener("pointerdown", (event) => {
    if (event.target.closest("button") || !pane.facts) return;
    const ruler = event.target.closest(".ruler");
    if (ruler && event.button === LEFT) return pane.chooseRuler(Number(ruler.dataset.number));
    if (event.button === MIDDLE) event.preventDefault(); // or the browser scrolls by itself
    stage.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, placeOf(event));
    if (pointers.size === 2) endDrawing(pane, true);
    action = pointers.size > 1 ? "pinch" : actionOf(event);
    if ((action === "ruler" || action === "box") && !pane.isBehind) beginDrawing(pane, action, placeOf(event));
  });

  stage.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const now = placeOf(event);
    const [dx, dy] = [now[0] - before[0], now[1] - before[1]];
    if (action === "pinch") pinch(pane, [...pointers.entries()], event.pointerId, now);
    else if (action === "pan") pane.pan(dx, dy);
    else if (action === "window") pane.shiftWindow(dy * WINDOW_STEP, Math.exp(dx * WINDOW_STEP * 2));
    else draw(pane, now);
    pointers.set(event.pointerId, now);
  });

  const leave = (event) => {
    if (!pointers.delete(event.pointerId)) return;
    if (action === "ruler" || action === "box") endDrawing(pane, event.type === "pointercancel");
    action = null; // the finger that stays does not go on with another action
  };
  stage.addEventListener("pointerup", leave);
  stage.addEventListener("pointercancel", leave);
  stage.addEventListener("contextmenu", (event) => event.preventDefault()); // its button windows

  stage.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      if (event.ctrlKey) return pane.zoom(Math.exp(-event.deltaY * ZOOM_OF_WHEEL), ...placeOf(event));
      travelled += event.deltaY * (event.deltaMode ? WHEEL_STEP : 1); // some browsers count lines
      const steps = Math.trunc(travelled / WHEEL_STEP);
      travelled -= steps * WHEEL_STEP;
      if (steps) pane.go(pane.number + Math.sign(steps)); // one notch, one slice: a fast wheel sends many
    },
    { passive: false },
  );
}

function actionOf({ button }) {
  if (button === MIDDLE || state.isSpaceDown) return "pan";
  if (button === RIGHT) return "window";
  return button === LEFT ? state.tool : null;
}

/** Two fingers: the middle between them pans, their distance zooms. */
function pinch(pane, pointers, id, now) {
  const other = pointers.find(([one]) => one !== id)?.[1];
  const before = pointers.find(([one]) => one === id)[1];
  if (!other) return;
  const distance = ([x, y]) => Math.max(1, Math.hypot(x - other[0], y - other[1]));
  pane.pan((now[0] - before[0]) / 2, (now[1] - before[1]) / 2);
  pane.zoom(distance(now) / distance(before), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
}

function beginDrawing(pane, tool, place) {
  pane.isDrawing = true;
  pane.begin(tool, [...pane.viewport.toImage(place), ...pane.viewport.toImage(place)]);
}

function draw(pane, place) {
  if (!pane.isDrawing || !pane.current) return;
  pane.current.splice(2, 2, ...pane.viewport.toImage(place));
  pane.update();
}

/** End a ruler or a box; one that is hardly longer than a point was a click. */
function endDrawing(pane, isCancelled) {
  if (!pane.isDrawing) return;
  pane.isDrawing = false;
  if (!pane.current) return pane.update(); // a key has taken it away, or the tool
  const [x1, y1, x2, y2] = pane.current;
  const length = Math.hypot(x2 - x1, y2 - y1) * pane.viewport.scale;
  if (isCancelled || length < CLICK) pane.removeCurrent();
  pane.update();
  changed("drawing");
}
