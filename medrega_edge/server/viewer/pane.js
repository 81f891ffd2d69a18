// A pane: one picture with its overlays, through which one scrolls, zooms, pans and windows.

import { byId } from "/viewer/dom.js";
import { drawn, upright } from "/viewer/drawing.js";
import { Overlay } from "/viewer/overlay.js";
import { pictureOf } from "/viewer/pictures.js";
import { placeKey } from "/viewer/stack.js";
import { changed, state } from "/viewer/state.js";
import { language, sentence, t, translate } from "/viewer/texts.js";
import { Viewport } from "/viewer/viewport.js";

const SMOOTH_BELOW = 4; // from this zoom on the pixels of the file show as they are
const SMALLEST_BOX = 3; // pixels of the image

export class Pane {
  stack = null;
  plane = null; // of a volume
  window = null; // "centre,width" or a preset's name; null as in the file
  number = 0; // of the place in the stack
  facts = null; // Image of the view on the screen
  shown = null; // key of the place on the screen, which lags behind the wanted one while its picture is under way
  answer = null; // the one whose regions are drawn
  box = null; // drawn by the person, to ask about
  chosen = null; // the ruler that keys move
  viewport = new Viewport();

  constructor() {
    this.node = byId("pane-template").content.firstElementChild.cloneNode(true);
    const part = (selector) => this.node.querySelector(selector);
    this.stage = part(".stage");
    this.canvas = part(".picture");
    this.overlay = new Overlay(part(".overlay"));
    this.drawing = part(".overlay").appendChild(document.createElementNS("http://www.w3.org/2000/svg", "g"));
    this.slider = part(".slider");
    this.menu = part(".box-menu");
    this.sides = ["left", "top", "right", "bottom"].map((side) => part(`.side.${side}`));
    this.corners = Object.fromEntries(["nw", "ne", "sw"].map((corner) => [corner, part(`.corner.${corner}`)]));
    this.slider.addEventListener("input", () => this.go(Number(this.slider.value)));
    this.node.addEventListener("pointerdown", () => this.activate(), true);
    this.node.addEventListener("focusin", () => this.activate());
    this.resizing = new ResizeObserver(() => this.resize());
    this.resizing.observe(this.stage);
    translate(this.node);
    this.update();
  }

  activate() {
    if (state.active === this) return;
    state.active = this;
    changed("panes");
  }

  /** Show a stack, from the place that it names or another one. */
  show(stack, number = null, plane = stack?.first.plane ?? null, window = null) {
    Object.assign(this, { stack, plane, window, answer: null, box: null, chosen: null });
    this.viewport.isFitted = true;
    this.number = stack ? (number ?? stack.firstPlace(plane)) : 0;
    this.load();
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

  /** Go to a place of the stack; another pane goes along where both are linked. */
  go(number, isLeading = true) {
    const wanted = Math.min(Math.max(number, 0), this.places.length - 1);
    const step = wanted - this.number;
    if (!this.stack || !step) return;
    Object.assign(this, { number: wanted, box: null, chosen: null });
    this.load();
    if (!isLeading || !state.linked) return;
    for (const other of state.panes) if (other !== this) other.go(other.number + step, false);
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
    this.load();
  }

  /** Fetch what is wanted. While one picture is under way only the last wish of those that follow counts. */
  async load() {
    this.update();
    if (this.isLoading) return;
    this.isLoading = true;
    while (this.place && this.loaded !== this.wanted) await this.fetch(this.wanted);
    this.isLoading = false;
    this.node.toggleAttribute("data-loading", false);
    Object.assign(this.node.dataset, { shown: this.shown ?? "", window: this.facts?.window ?? "" });
    this.fetchNeighbours();
  }

  get wanted() {
    return JSON.stringify([this.key, this.window]);
  }

  async fetch(wanted) {
    this.node.toggleAttribute("data-loading", true);
    const { image, index } = this.place;
    const failed = this.node.querySelector(".failed");
    try {
      const { facts, bitmap } = await pictureOf(image, { index, window: this.window, plane: this.plane });
      failed.textContent = "";
      this.shown = JSON.parse(wanted)[0];
      this.paint(bitmap, facts);
    } catch (error) {
      this.facts = this.shown = null; // the picture of another slice must not pass for this one
      failed.textContent = sentence(error);
      this.update();
    }
    this.loaded = wanted;
    if (wanted === this.wanted) this.dragged = null;
  }

  /** The slices beside this one come next. */
  fetchNeighbours() {
    for (const step of [1, -1]) {
      const next = this.places[this.number + step];
      if (next) pictureOf(next.image, { index: next.index, window: this.window, plane: this.plane }).catch(() => {}); // it is shown when asked for
    }
  }

  paint(bitmap, facts) {
    Object.assign(this.canvas, { width: bitmap.width, height: bitmap.height });
    this.canvas.getContext("2d").drawImage(bitmap, 0, 0);
    this.facts = facts;
    this.viewport.setImage(facts);
    this.update();
    changed("panes");
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.stage;
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

  /** Draw the regions of an answer from now on, wherever its slice is in sight. */
  setAnswer(answer) {
    this.answer = answer;
    this.update();
  }

  /** Bring the page in line with this pane. */
  update() {
    const isEmpty = !this.stack;
    this.node.classList.toggle("is-empty", isEmpty);
    this.node.classList.toggle("active", state.panes.length > 1 && state.active === this);
    this.placePicture();
    this.writeCorners();
    this.updateSlider();
    this.drawRegions();
    this.drawOwn();
  }

  placePicture() {
    const { image, scales, x, y } = this.viewport;
    const style = this.canvas.style;
    style.width = `${image.width * scales[0]}px`;
    style.height = `${image.height * scales[1]}px`;
    style.transform = `translate(${x}px, ${y}px)`;
    style.imageRendering = this.viewport.scale >= SMOOTH_BELOW ? "pixelated" : "auto";
    this.canvas.hidden = !this.facts || !this.stack;
  }

  writeCorners() {
    const facts = this.stack && this.facts;
    const { nw, ne, sw } = this.corners;
    const kind = facts?.modality_name?.[language()] ?? "";
    nw.textContent = facts ? [kind, this.plane && t(`plane_${this.plane}`), this.sliceText()].filter(Boolean).join("\n") : "";
    ne.textContent = facts?.window ? `${t("level")} ${short(facts.window[0])}\n${t("width")} ${short(facts.window[1])}${facts.window_unit ? ` ${facts.window_unit}` : ""}` : "";
    sw.textContent = facts ? `${Math.round(this.viewport.scale * 100)} %\n${facts.width} × ${facts.height}` : "";
    this.sides.forEach((side, number) => (side.textContent = facts?.sides?.[number] ?? ""));
    this.stage.setAttribute("aria-label", facts ? [t("picture"), kind, this.sliceText()].filter(Boolean).join(", ") : t("picture_none"));
  }

  sliceText() {
    const count = this.places.length;
    return count > 1 ? t("slice_of", { number: this.number + 1, count }) : "";
  }

  updateSlider() {
    const count = this.places.length;
    this.node.querySelector(".slices").hidden = count < 2;
    Object.assign(this.slider, { max: Math.max(0, count - 1), value: this.number });
    this.slider.setAttribute("aria-label", t("slice"));
    this.slider.setAttribute("aria-valuetext", this.sliceText());
    this.node.querySelector(".slice-number").textContent = `${this.number + 1} / ${count}`;
  }

  /** Regions are made anew only when they change, so that one that has the focus keeps it while the picture moves. */
  drawRegions() {
    const isHere = state.overlays && this.answer && this.answer.key === this.shown;
    const { hidden = new Set(), highlighted = null, focused = null } = this.answer ?? {};
    const looks = JSON.stringify([isHere && this.answer.id, [...hidden], highlighted && [...highlighted], focused]);
    if (looks !== this.looks) this.overlay.setRegions(isHere ? this.answer.answer.regions : [], { hidden, highlighted, focused });
    this.looks = looks;
    this.overlay.place(this.viewport);
  }

  /** Draw rulers and the box of the person, and the questions that one can ask about the box. */
  drawOwn() {
    const rulers = (this.facts && state.overlays && state.rulers.get(this.shown)) || [];
    const { box, chosen, facts, viewport } = this;
    this.drawing.replaceChildren(...drawn({ rulers, box, chosen, facts, viewport }));
    this.menu.hidden = !this.hasBox || this.isDrawing;
    if (this.menu.hidden) return;
    const [x1, , , y2] = upright(box);
    const [left, bottom] = viewport.toStage([x1, y2]);
    const { width, height } = viewport.stage;
    this.menu.style.left = `${Math.max(4, Math.min(left, width - this.menu.offsetWidth - 4))}px`;
    this.menu.style.top = `${Math.max(4, Math.min(bottom + 6, height - this.menu.offsetHeight - 4))}px`;
  }

  get hasBox() {
    if (!this.box) return false;
    const [x1, y1, x2, y2] = upright(this.box);
    return x2 - x1 >= SMALLEST_BOX && y2 - y1 >= SMALLEST_BOX;
  }

  /** Begin a ruler or a box, by hand or with keys. */
  begin(tool, line) {
    if (tool === "box") this.box = line;
    if (tool !== "ruler") return this.update();
    this.chosen = line;
    state.rulers.set(this.shown, [...(state.rulers.get(this.shown) ?? []), line]);
    this.update();
  }

  /** The ruler or the box that is being drawn, four numbers to be changed in place. */
  get current() {
    return state.tool === "box" ? this.box : state.tool === "ruler" ? this.chosen : null;
  }

  /** Remove the chosen ruler, or the box. */
  removeCurrent() {
    const rulers = state.rulers.get(this.shown) ?? [];
    state.rulers.set(this.shown, rulers.filter((line) => line !== this.chosen));
    Object.assign(this, { box: null, chosen: null });
    this.update();
  }

  close() {
    this.resizing.disconnect();
    this.node.remove();
  }
}

function short(value) {
  return Math.abs(value) >= 100 ? String(Math.round(value)) : String(Number(value.toPrecision(3)));
}
