// What the person draws on a picture: rulers that stay with their slice, and a box to ask about.

import { svg } from "/viewer/dom.js";
import { measured, written } from "/viewer/measure.js";
import { t } from "/viewer/texts.js";

const TEXT_WIDTH = 160; // screen pixels that a length and its reason take

/** Draw rulers with their lengths, and the box that is being drawn, where the viewport has them. */
export function drawn({ rulers, box, chosen, facts, viewport }) {
  const shapes = rulers.map((line, number) => rulerShape(line, number, facts, viewport, line === chosen));
  return box ? [...shapes, boxShape(box, viewport)] : shapes;
}

/** Order the corners of a box, whichever way it was drawn. */
export function upright([x1, y1, x2, y2]) {
  return [Math.min(x1, x2), Math.min(y1, y2), Math.max(x1, x2), Math.max(y1, y2)];
}

function rulerShape(line, number, facts, viewport, isChosen) {
  const length = measured(line, facts);
  const [x1, y1] = viewport.toStage(line.slice(0, 2));
  const [x2, y2] = viewport.toStage(line.slice(2));
  const text = length.reason ? `${written(length)} (${t(length.reason)})` : written(length);
  const across = acrossOf(x2 - x1, y2 - y1);
  const bar = ([x, y]) => `M${x - across[0]} ${y - across[1]}L${x + across[0]} ${y + across[1]}`;
  const path = `M${x1} ${y1}L${x2} ${y2}${bar([x1, y1])}${bar([x2, y2])}`;
  const hasRoom = Math.max(x1, x2) < viewport.stage.width - TEXT_WIDTH; // at the right; else the text stands at the left
  const place = hasRoom
    ? { x: Math.max(x1, x2) + 10, "text-anchor": "start" }
    : { x: Math.min(x1, x2) - 10, "text-anchor": "end" };
  const facing = {
    "data-testid": "ruler",
    "data-number": number,
    "data-line": line.join(","),
    "data-length": length.length,
    "data-unit": length.unit,
  };
  return svg(
    "g",
    { class: `ruler${isChosen ? " chosen" : ""}`, ...facing },
    svg("path", { d: path, class: "halo" }),
    svg("path", { d: path, class: "line" }),
    svg("text", { ...place, y: (y1 + y2) / 2 + 4 }, text),
  );
}

function boxShape(box, viewport) {
  const [x1, y1, x2, y2] = upright(box);
  const [left, top] = viewport.toStage([x1, y1]);
  const [right, bottom] = viewport.toStage([x2, y2]);
  const rectangle = { x: left, y: top, width: right - left, height: bottom - top };
  const lines = ["halo", "line"].map((kind) => svg("rect", { ...rectangle, class: kind }));
  return svg("g", { class: "asked-box", "data-testid": "asked-box" }, ...lines);
}

/** Half of the bar at a ruler's end, across the line. */
function acrossOf(dx, dy) {
  const length = Math.hypot(dx, dy) || 1;
  return [(-6 * dy) / length, (6 * dx) / length];
}
