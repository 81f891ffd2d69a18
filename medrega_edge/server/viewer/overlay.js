// Regions as SVG over the picture: sharp at each zoom, and readable for a screen reader. They look as in the program's own
// pictures (medrega_edge/output/overlay.py): colour, number and dashes tell them apart, a question mark marks a best guess.

import { svg } from "/viewer/dom.js";
import { contour } from "/viewer/masks.js";
import { t } from "/viewer/texts.js";

export const COLOURS = ["#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7"]; // Okabe-Ito
const DASHES = ["", "12 5", "5 5", "18 5", "9 9"];
const MOST_NAMED = 8; // regions of one label: of more, the first has the name and their count, the others no name
const NAME_HEIGHT = 20; // screen pixels
const FONT = "13px system-ui, sans-serif"; // as in viewer.css

const ruler = document.createElement("canvas").getContext("2d"); // measures the width of names

export class Overlay {
  /** Draw into an SVG element that covers the stage. */
  constructor(root) {
    this.shapes = svg("g");
    this.names = svg("g", { class: "names" });
    root.append(this.shapes, this.names);
    this.drawn = [];
  }

  /** Take the regions of an answer; `hidden` is a set of their numbers. */
  setRegions(regions, hidden) {
    const names = namesOf(regions);
    this.drawn = regions
      .map((region, number) => ({ region, number, name: names[number] }))
      .filter(({ number }) => !hidden.has(number));
    this.groups = this.drawn.map(shape);
    this.shapes.replaceChildren(...this.groups);
    this.labels = this.drawn.map(({ name, number }) =>
      name === null ? null : nameplate(`${number + 1} ${name}`.trim(), number),
    );
    this.names.replaceChildren(...this.labels.filter(Boolean).map(({ node }) => node));
  }

  /** Emphasise the `highlighted` ones, a set of numbers or null, over the others, and show the interval of the `focused` one. */
  emphasise(highlighted, focused) {
    this.drawn.forEach(({ number }, at) => {
      const { classList } = this.groups[at];
      classList.toggle("highlighted", highlighted?.has(number) ?? false);
      classList.toggle("dimmed", highlighted !== null && !highlighted.has(number));
      classList.toggle("focused", number === focused);
    });
  }

  /** Put everything where the viewport has it. */
  place(viewport) {
    const [across, down] = viewport.scales;
    this.shapes.setAttribute("transform", `matrix(${across} 0 0 ${down} ${viewport.x} ${viewport.y})`);
    const occupied = [];
    this.drawn.forEach(({ region }, number) => {
      const label = this.labels[number];
      if (label) occupied.push(placeName(label, region.box, viewport, occupied));
    });
  }
}

/** A region's name for a list or a screen reader: with its confidence, and a question mark after a best guess. */
export function nameOf({ label, confidence, best_guess: isGuess }) {
  return `${label}${confidence === null ? "" : ` ${confidence.toFixed(2)}`}${isGuess ? " ?" : ""}`;
}

/** Both diameters of a mask in words, null without a mask. */
export function diametersOf({ mask }) {
  if (!mask?.longest_diameter) return null;
  const lengths = [mask.longest_diameter, mask.perpendicular_diameter].map(({ length }) =>
    (Math.round(length * 10) / 10).toFixed(1),
  );
  return `${lengths.join(" × ")} ${mask.length_unit}`;
}

/** The names that stand in the picture; null for a region of many of one label that needs none. */
function namesOf(regions) {
  const counts = {};
  for (const { label } of regions) counts[label] = (counts[label] ?? 0) + 1;
  const named = new Set();
  return regions.map((region) => {
    if (counts[region.label] <= MOST_NAMED) return [nameOf(region), diametersOf(region)].filter(Boolean).join("  ");
    if (named.has(region.label)) return region.best_guess ? "?" : null;
    named.add(region.label);
    return `${nameOf(region)} ×${counts[region.label]}`;
  });
}

/** Draw a region in pixels of the image: a black line below the coloured one keeps it in sight on bright and on dark. */
function shape({ region, number }) {
  const colour = COLOURS[number % COLOURS.length];
  const [x1, y1, x2, y2] = region.box;
  const box = { x: x1, y: y1, width: x2 - x1, height: y2 - y1 };
  const name = [number + 1, nameOf(region), diametersOf(region)].filter(Boolean).join(" ");
  const group = svg("g", {
    class: "region",
    role: "img",
    tabindex: 0,
    "aria-label": name,
    "data-testid": "region",
    "data-number": number + 1,
    "data-label": region.label,
    "data-confidence": region.confidence,
    "data-guess": region.best_guess,
    "data-box": region.box.join(","),
  });
  group.append(svg("title", {}, [name, intervalText(region)].filter(Boolean).join("\n")));
  if (region.interval) group.append(...intervalOf(region.interval, colour));
  if (region.mask) {
    const path = contour(region.mask);
    group.append(svg("path", { d: path, class: "halo" }), svg("path", { d: path, class: "line mask", stroke: colour }));
    group.append(...diameterLines(region.mask, colour));
    group.append(svg("rect", { ...box, class: "extent", "data-testid": "box" }));
  } else {
    group.append(svg("rect", { ...box, class: "halo" }));
    group.append(
      svg("rect", {
        ...box,
        class: "line",
        stroke: colour,
        "stroke-dasharray": DASHES[number % DASHES.length],
        "data-testid": "box",
      }),
    );
  }
  return group;
}

/** Where the true box lies: around the inner and within the outer of two thin boxes. */
function intervalOf({ outer, inner }, colour) {
  return [outer, inner]
    .filter(Boolean)
    .map(([x1, y1, x2, y2]) =>
      svg("rect", { x: x1, y: y1, width: x2 - x1, height: y2 - y1, class: "interval", stroke: colour }),
    );
}

function diameterLines(mask, colour) {
  if (!mask.longest_diameter) return [];
  return ["halo thin", "line thin"].flatMap((kind) =>
    [mask.longest_diameter, mask.perpendicular_diameter].map(({ line: [x1, y1, x2, y2] }) =>
      svg("line", { x1, y1, x2, y2, class: kind, stroke: kind.startsWith("line") ? colour : null }),
    ),
  );
}

/** Make a name: white on black with a border of the region's colour. */
function nameplate(text, number) {
  ruler.font = FONT;
  const width = Math.ceil(ruler.measureText(text).width) + 12;
  const plate = svg("rect", { width, height: NAME_HEIGHT, rx: 3, stroke: COLOURS[number % COLOURS.length] });
  return {
    width,
    node: svg("g", { class: "name", "data-number": number + 1 }, plate, svg("text", { x: 6, y: 14.5 }, text)),
  };
}

/** Put a name beside its box, off the names that are there; return its rectangle. A box out of sight has no name. */
function placeName({ node, width }, [x1, y1, x2, y2], viewport, occupied) {
  const [left, top] = viewport.toStage([x1, y1]);
  const [right, bottom] = viewport.toStage([x2, y2]);
  const { stage } = viewport;
  const isInSight = right > 0 && bottom > 0 && left < stage.width && top < stage.height;
  node.toggleAttribute("hidden", !isInSight);
  if (!isInSight) return [0, 0, 0, 0];
  const rectangles = spotsBeside([left, top, right, bottom], width).map(([wantedX, wantedY]) => {
    const x = within(wantedX, 0, stage.width - width);
    const y = within(wantedY, 0, stage.height - NAME_HEIGHT);
    return [x, y, x + width, y + NAME_HEIGHT];
  });
  const free = rectangles.find((one) => !occupied.some((other) => overlap(one, other))) ?? rectangles[0];
  node.setAttribute("transform", `translate(${free[0]} ${free[1]})`);
  return free;
}

/** Left upper corners for a name of a box: above and below it, within it, and at last further and further below. */
function spotsBeside([left, top, right, bottom], width) {
  const rows = [top - NAME_HEIGHT - 2, bottom + 2, top + 2, bottom - NAME_HEIGHT - 2];
  const further = Array.from({ length: 10 }, (_, step) => [left, bottom + (step + 1) * NAME_HEIGHT]);
  return [...rows.map((y) => [left, y]), ...rows.map((y) => [right - width, y]), ...further];
}

/** Describe the interval of a region in words, null where it has none. */
export function intervalText({ interval }) {
  if (!interval) return null;
  const unit = interval.width_mm ? "mm" : "px";
  const [width, height] = [interval.width_mm ?? interval.width, interval.height_mm ?? interval.height];
  const span = ([least, most]) => `${least.toFixed(0)}-${most.toFixed(0)}`;
  return t("interval", { level: Math.round(interval.level * 100), width: span(width), height: span(height), unit });
}

function within(value, least, most) {
  return Math.min(Math.max(value, least), Math.max(least, most));
}

function overlap(a, b) {
  return a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];
}
