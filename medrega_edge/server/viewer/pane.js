// A pane: one picture with its overlays, through which one scrolls, zooms, pans and windows. Its screen draws it.

import { byId } from "/viewer/dom.js";
import { upright } from "/viewer/drawing.js";
import { pictureOf } from "/viewer/pictures.js";
import { sliceText } from "/viewer/places.js";
import { Screen } from "/viewer/screen.js";
import { axesOf, placeKey } from "/viewer/stack.js";
import { changed, setOverlays, state } from "/viewer/state.js";
import { sentence } from "/viewer/texts.js";
import { Viewport } from "/viewer/viewport.js";

const SMALLEST_BOX = 3; // pixels of the image

export class Pane {
  stack = null;
  plane = null; // of a volume
  window = null; // "centre,width" or a preset's name; null as in the file
  number = 0; // of the place in the stack
  unbounded = 0; // number that a linked pane would be at if its stack had no ends
  axes = null; // of the patient, across and down the picture
  isChosen = false; // whether somebody has chosen the place, or done something there
  facts = null; // Image of the view on the screen
  shown = null; // key of the place on the screen, which lags behind the wanted one while its picture is under way
  answer = null; // the one whose regions are drawn
  box = null; // drawn by the person, to ask about
  chosen = null; // the ruler that keys move
  isDrawing = false; // while the pointer is down for one of both
  loading = null; // promise of the picture under way
  dragged = null; // centre and width that a window under way will have
  viewport = new Viewport();

  constructor() {
    this.screen = new Screen(byId("pane-template").content.firstElementChild.cloneNode(true));
    const { node, stage, slider } = this.screen;
    slider.addEventListener("input", () => this.go(Number(slider.value)));
    node.addEventListener("pointerdown", () => this.activate(), true);
    node.addEventListener("focusin", () => this.activate());
    this.resizing = new ResizeObserver(() => this.resize());
    this.resizing.observe(stage);
    this.update();
  }

  activate() {
    if (state.active === this) return;
    state.active = this;
    changed("panes");
  }

  /** Show a stack, from the place that it names or another one. */
  show(stack, number = null, plane = stack?.first.plane ?? null, window = null) {
    Object.assign(this, { stack, plane, window, box: null, chosen: null });
    this.viewport.isFitted = true;
    this.number = this.unbounded = stack ? (number ?? stack.firstPlace(plane)) : 0;
    this.isChosen = number !== null;
    if (!stack) Object.assign(this, { facts: null, shown: null, answer: null });
    if (!stack) this.screen.setError("");
    this.loadAgain();
  }

  /** A stack that has grown shows its middle, unless somebody is at work in it. */
  settle() {
    if (!this.stack || this.isChosen) return;
    this.moveTo(this.stack.firstPlace(this.plane));
    this.isChosen = false;
  }

  get places() {
    return this.stack?.places(this.plane) ?? [];
  }

  get place() {
    return this.places[this.number] ?? null;
  }

  get key() {
    return this.place && placeKey(this.place.image.id, this.place.index, this.plane);
  }

  /** The image and the view as requests name them. */
  get request() {
    const { image, index } = this.place;
    return { id: image.id, index, window: this.window, plane: this.plane };
  }

  /** Go to a place of the stack; linked panes of the same plane go along. What is being drawn belongs to its slice. */
  go(number) {
    const wanted = this.within(number);
    if (!this.stack || this.isDrawing || wanted === this.number) return;
    const step = wanted - this.unbounded;
    this.moveTo(wanted);
    if (!state.linked) return;
    for (const other of state.panes) if (other !== this && other.axes === this.axes) other.follow(step);
  }

  /** Go along with another pane. At an end of the stack it waits, so that their distance is the same on the way back. */
  follow(step) {
    if (!this.stack) return;
    const wanted = this.unbounded + step;
    this.moveTo(this.within(wanted));
    this.unbounded = wanted;
  }

  moveTo(number) {
    this.isChosen = true;
    this.unbounded = number;
    if (number === this.number) return;
    Object.assign(this, { number, box: null, chosen: null });
    this.load();
  }

  within(number) {
    return Math.min(Math.max(number, 0), this.places.length - 1);
  }

  setPlane(plane) {
    this.show(this.stack, null, plane, this.window);
  }

  setWindow(window) {
    this.window = window;
    this.load();
  }

  /** Shift the window: `centre` by a share of its width, `width` by a factor. */
  shiftWindow(centre, width) {
    const now = this.dragged ?? this.facts?.window;
    if (!now || !this.facts.has_windows) return;
    const least = 1e-6 * Math.max(1, Math.abs(now[1]));
    this.dragged = [now[0] + centre * now[1], Math.max(now[1] * width, least)];
    this.setWindow(this.dragged.map((value) => Number(value.toPrecision(5))).join(","));
  }

  reset() {
    Object.assign(this, { window: null, dragged: null, box: null });
    this.viewport.fit();
    this.loadAgain();
  }

  /** Load, and once more what could not be loaded before. */
  loadAgain() {
    if (!this.facts) this.loaded = null;
    this.load();
  }

  /** Fetch what is wanted. While one picture is under way only the last wish of those that follow counts. */
  load() {
    this.update();
    this.loading ??= this.fetchWanted();
  }

  async fetchWanted() {
    await null; // whoever began this has its promise before it ends
    while (this.place && this.loaded !== this.wanted) await this.fetch(this.wanted);
    this.loading = null;
    this.screen.setLoading(false);
    Object.assign(this.screen.node.dataset, { shown: this.shown ?? "", window: this.facts?.window ?? "" });
    if (this.neighboursOf !== this.key) this.fetchNeighbours();
  }

  get wanted() {
    return JSON.stringify([this.key, this.window]);
  }

  async fetch(wanted) {
    this.screen.setLoading(true);
    const { image, index } = this.place;
    try {
      const { facts, bitmap } = await pictureOf(image, { index, window: this.window, plane: this.plane });
      if (!this.place) return; // the image was removed meanwhile
      this.screen.setError("");
      this.shown = JSON.parse(wanted)[0];
      this.findAnswer();
      this.paint(bitmap, facts);
    } catch (error) {
      if (!this.place) return;
      this.facts = this.shown = null; // the picture of another slice must not pass for this one
      this.screen.setError(sentence(error));
      this.update();
      changed("panes");
    }
    this.loaded = wanted;
    if (wanted === this.wanted) this.dragged = null;
  }

  /** The slices beside this one come next. */
  fetchNeighbours() {
    this.neighboursOf = this.key;
    for (const step of [1, -1]) {
      const next = this.places[this.number + step];
      const view = next && { index: next.index, window: this.window, plane: this.plane };
      if (next) pictureOf(next.image, view).catch(() => {}); // an error shows when somebody scrolls there
    }
  }

  paint(bitmap, facts) {
    this.screen.paint(bitmap);
    this.facts = facts;
    this.axes = axesOf(facts.sides);
    this.viewport.setImage(facts);
    this.update();
    changed("panes");
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.screen.stage;
    if (!width || !height) return;
    this.viewport.setStage(width, height);
    this.update();
  }

  zoom(factor, x, y) {
    this.viewport.zoom(factor, x, y);
    this.update();
  }

  pan(dx, dy) {
    this.viewport.pan(dx, dy);
    this.update();
  }

  /** A slice that was asked about shows the chosen answer about it, else the latest. */
  findAnswer() {
    const found = [state.selected, this.answer, ...state.answers].find((answer) => answer?.key === this.shown);
    if (!found) return;
    this.answer = found;
    if (state.active === this) state.selected = found;
    changed("answers");
  }

  /** Draw the regions of an answer from now on, wherever its slice is in sight. */
  setAnswer(answer) {
    this.answer = answer;
    this.update();
  }

  /** Bring the screen in line with this pane. */
  update() {
    this.screen.show(this);
  }

  /** Where in the stack the picture on the screen is, and how long the stack is, in words; empty for a single picture. */
  get sliceText() {
    return this.stack ? sliceText(this.stack, this.plane, this.shown) : "";
  }

  /** Whether the picture on the screen is not yet the one that was wished for: nothing is drawn on it. */
  get isBehind() {
    return this.shown !== this.key;
  }

  /** Whether the windows of CT may fit: where nothing states the kind, DICOM does not take them, NIfTI does. */
  get hasPresets() {
    const { modality, has_windows: hasWindows, is_dicom: isDicom } = this.facts ?? {};
    return Boolean(hasWindows) && (modality === "ct" || (modality === null && !isDicom));
  }

  /** The answer whose regions belong on the screen now, null for none. */
  get drawnAnswer() {
    return state.overlays && this.answer?.key === this.shown ? this.answer : null;
  }

  /** The rulers that belong on the screen now. */
  get rulers() {
    return (this.facts && state.overlays && state.rulers.get(this.shown)) || [];
  }

  get hasBox() {
    if (!this.box) return false;
    const [x1, y1, x2, y2] = upright(this.box);
    return x2 - x1 >= SMALLEST_BOX && y2 - y1 >= SMALLEST_BOX;
  }

  /** Begin a ruler or a box, by hand or with keys. */
  begin(tool, line) {
    this.isChosen = true;
    if (tool === "box") this.box = line;
    if (tool !== "ruler") return this.update();
    this.chosen = line;
    setOverlays(true);
    state.rulers.set(this.shown, [...(state.rulers.get(this.shown) ?? []), line]);
    this.update();
  }

  /** Choose a ruler by its number, to move or to remove it. */
  chooseRuler(number) {
    this.chosen = state.rulers.get(this.shown)[number];
    this.update();
  }

  /** The ruler or the box that is being drawn, four numbers to be changed in place. */
  get current() {
    return state.tool === "box" ? this.box : state.tool === "ruler" ? this.chosen : null;
  }

  /** Remove the box, or without one the chosen ruler. */
  removeCurrent() {
    const rulers = state.rulers.get(this.shown) ?? [];
    if (!this.box)
      state.rulers.set(
        this.shown,
        rulers.filter((line) => line !== this.chosen),
      );
    Object.assign(this, this.box ? { box: null } : { chosen: null });
    this.update();
  }

  close() {
    this.resizing.disconnect();
    this.screen.node.remove();
  }
}
