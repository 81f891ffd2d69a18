// What the person draws on a picture: rulers that stay with their slice, and a box to ask about.

import { svg } from "/viewer/dom.js";
import { measured, written } from "/viewer/measure.js";
import { t } from "/viewer/texts.js";

const FONT = "13px system-ui, sans-serif"; // as in viewer.css
const GAP = 10; // screen pixels between a ruler and its number
const TEXT_HEIGHT = 16;

const paper = document.createElement("canvas").getContext("2d"); // measures the width of numbers

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
  const seen = inSight(line, viewport);
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
    ...(seen ? [svg("text", placeOfText(seen, text, viewport.stage), text)] : []),
  );
}

/** The part of a line that is in sight, in screen pixels of the stage; null where none is. */
export function inSight(line, viewport) {
  const [x1, y1] = viewport.toStage(line.slice(0, 2));
  const [x2, y2] = viewport.toStage(line.slice(2));
  const { width, height } = viewport.stage;
  let [from, to] = [0, 1]; // shares of the line
  for (const [start, length, limit] of [
    [x1, x2 - x1, width],
    [y1, y2 - y1, height],
  ]) {
    if (length === 0 && (start < 0 || start > limit)) return null;
    if (length === 0) continue;
    const ends = [-start / length, (limit - start) / length];
    [from, to] = [Math.max(from, Math.min(...ends)), Math.min(to, Math.max(...ends))];
  }
  const at = (share) => [x1 + share * (x2 - x1), y1 + share * (y2 - y1)];
  return from < to ? [...at(from), ...at(to)] : null;
}

/** Put a text beside the middle of a line: as near as it does not cross it, at the right or above where there is room. */
function placeOfText([x1, y1, x2, y2], text, stage) {
  paper.font = FONT;
  const width = paper.measureText(text).width;
  const length = Math.hypot(x2 - x1, y2 - y1) || 1; // it has just been begun
  const [across, down] = [(y2 - y1) / length, (x1 - x2) / length]; // at right angles to the line
  const side = across > 0.01 || (Math.abs(across) <= 0.01 && down < 0) ? 1 : -1;
  const away = (Math.abs(across) * width + Math.abs(down) * TEXT_HEIGHT) / 2 + GAP;
  const middle = (way) => [(x1 + x2) / 2 + way * across * away, (y1 + y2) / 2 + way * down * away];
  const hasRoom = ([x, y]) =>
    x >= width / 2 && x <= stage.width - width / 2 && y >= TEXT_HEIGHT / 2 && y <= stage.height - TEXT_HEIGHT / 2;
  const [x, y] = [side, -side].map(middle).find(hasRoom) ?? middle(side);
  return { x, y: y + 4, "text-anchor": "middle" };
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
