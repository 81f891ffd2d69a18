// What the person draws on a picture: rulers that stay with their slice, and a box to ask about.

import { svg } from "/viewer/dom.js";
import { measured, written } from "/viewer/measure.js";
import { t } from "/viewer/texts.js";

/** Draw rulers with their lengths, and the box that is being drawn, where the viewport has them. */
export function drawn({ rulers, box, chosen, facts, viewport }) {
  const shapes = rulers.map((line) => rulerShape(line, facts, viewport, line === chosen));
  return box ? [...shapes, boxShape(box, viewport)] : shapes;
}

/** Order the corners of a box, whichever way it was drawn. */
export function upright([x1, y1, x2, y2]) {
  return [Math.min(x1, x2), Math.min(y1, y2), Math.max(x1, x2), Math.max(y1, y2)];
}

function rulerShape(line, facts, viewport, isChosen) {
  const length = measured(line, facts);
  const [x1, y1] = viewport.toStage(line.slice(0, 2));
  const [x2, y2] = viewport.toStage(line.slice(2));
  const text = length.reason ? `${written(length)} (${t(length.reason)})` : written(length);
  const bar = barOf(x2 - x1, y2 - y1);
  const path = `M${x1} ${y1}L${x2} ${y2}` + [[x1, y1], [x2, y2]].map(([x, y]) => `M${x - bar[0]} ${y - bar[1]}L${x + bar[0]} ${y + bar[1]}`).join("");
  const isLeft = Math.max(x1, x2) < viewport.stage.width - 160; // else the text would leave the stage
  const place = { x: isLeft ? Math.max(x1, x2) + 8 : Math.min(x1, x2) - 8, y: (y1 + y2) / 2 + 4, "text-anchor": isLeft ? "start" : "end" };
  return svg(
    "g",
    { class: `ruler${isChosen ? " chosen" : ""}`, "data-testid": "ruler", "data-line": line.join(","), "data-length": length.length, "data-unit": length.unit },
    svg("path", { d: path, class: "halo" }),
    svg("path", { d: path, class: "line" }),
    svg("text", place, text),
  );
}

function boxShape(box, viewport) {
  const [x1, y1, x2, y2] = upright(box);
  const [left, top] = viewport.toStage([x1, y1]);
  const [right, bottom] = viewport.toStage([x2, y2]);
  const rectangle = { x: left, y: top, width: right - left, height: bottom - top };
  return svg("g", { class: "asked-box", "data-testid": "asked-box" }, svg("rect", { ...rectangle, class: "halo" }), svg("rect", { ...rectangle, class: "line" }));
}

/** Half of the bar at a ruler's end, across the line. */
function barOf(dx, dy) {
  const length = Math.hypot(dx, dy) || 1;
  return [(-6 * dy) / length, (6 * dx) / length];
}
