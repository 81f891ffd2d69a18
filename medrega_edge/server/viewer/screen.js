// The part of the page that belongs to a pane: the picture, what is written and drawn over it, and the slider below it.

import { drawn, inSight, upright } from "/viewer/drawing.js";
import { svg } from "/viewer/dom.js";
import { Overlay } from "/viewer/overlay.js";
import { windowTexts } from "/viewer/places.js";
import { state } from "/viewer/state.js";
import { language, t, translate } from "/viewer/texts.js";

const SMOOTH_BELOW = 4; // from this zoom on the pixels of the file show as they are

export class Screen {
  /** Use the elements of the template in index.html. */
  constructor(node) {
    const part = (selector) => node.querySelector(selector);
    this.node = node;
    this.stage = part(".stage");
    this.canvas = part(".picture");
    this.overlay = new Overlay(part(".overlay"));
    this.drawing = part(".overlay").appendChild(svg("g"));
    this.slider = part(".slider");
    this.menu = part(".box-menu");
    this.remove = part(".ruler-remove");
    this.sides = ["left", "top", "right", "bottom"].map((side) => part(`.side.${side}`));
    this.corners = { nw: part(".corner.nw"), ne: part(".corner.ne"), sw: part(".corner.sw") };
    translate(node);
  }

  paint(bitmap) {
    Object.assign(this.canvas, { width: bitmap.width, height: bitmap.height });
    this.canvas.getContext("2d").drawImage(bitmap, 0, 0);
  }

  setLoading(isLoading) {
    this.node.toggleAttribute("data-loading", isLoading);
  }

  /** Write why there is no picture. */
  setError(text) {
    this.node.querySelector(".failed").textContent = text;
  }

  /** Show a pane as it is now. */
  show(pane) {
    this.node.classList.toggle("is-empty", !pane.stack);
    this.node.classList.toggle("active", state.panes.length > 1 && state.active === pane);
    this.placePicture(pane);
    this.writeCorners(pane);
    this.updateSlider(pane);
    this.drawRegions(pane);
    this.drawOwn(pane);
  }

  placePicture({ facts, stack, viewport }) {
    const { image, scales, scale, x, y } = viewport;
    const style = this.canvas.style;
    style.width = `${image.width * scales[0]}px`;
    style.height = `${image.height * scales[1]}px`;
    style.transform = `translate(${x}px, ${y}px)`;
    style.imageRendering = scale >= SMOOTH_BELOW ? "pixelated" : "auto";
    this.canvas.hidden = !facts || !stack;
  }

  writeCorners({ stack, facts, plane, viewport, sliceText }) {
    const { nw, ne, sw } = this.corners;
    const kind = facts?.modality_name[language()] ?? "";
    nw.textContent = facts ? lines(kind, plane && t(`plane_${plane}`), sliceText) : "";
    ne.textContent = lines(...windowTexts(facts?.window, facts?.window_unit));
    sw.textContent = facts ? lines(`${Math.round(viewport.scale * 100)} %`, `${facts.width} × ${facts.height}`) : "";
    this.sides.forEach((side, number) => (side.textContent = facts?.sides?.[number] ?? ""));
    const name = [t("picture"), kind, sliceText].filter(Boolean).join(", ");
    this.stage.setAttribute("aria-label", stack ? name : t("picture_none"));
  }

  updateSlider({ places, number, sliceText }) {
    const count = places.length;
    this.node.querySelector(".slices").hidden = count < 2;
    Object.assign(this.slider, { max: Math.max(0, count - 1), value: number });
    this.slider.setAttribute("aria-label", t("slice"));
    this.slider.setAttribute("aria-valuetext", sliceText);
    this.node.querySelector(".slice-number").textContent = `${number + 1} / ${count}`;
  }

  /** Regions are made anew only when they change, so that one that has the focus keeps it while the picture moves. */
  drawRegions({ drawnAnswer: answer, viewport }) {
    const looks = answer && JSON.stringify([answer.id, [...answer.hidden], language()]);
    if (looks !== this.looks) this.overlay.setRegions(answer?.answer.regions ?? [], answer?.hidden);
    this.looks = looks;
    if (answer) this.overlay.emphasise(answer.highlighted, answer.focused);
    this.overlay.place(viewport);
  }

  /** Draw rulers and the box of the person, and the buttons of both. */
  drawOwn({ rulers, box, hasBox, chosen, facts, viewport, isDrawing }) {
    this.drawing.replaceChildren(...drawn({ rulers, box, chosen, facts, viewport }));
    this.menu.hidden = !hasBox || isDrawing;
    const line = rulers.includes(chosen) && !isDrawing ? inSight(chosen, viewport) : null;
    this.remove.hidden = line === null;
    if (!this.menu.hidden) putBelow(this.menu, viewport.stage, viewport.toStage([upright(box)[0], upright(box)[3]]));
    if (line) putBelow(this.remove, viewport.stage, line.slice(2));
  }
}

/** Put buttons a little below a point, within the stage. */
function putBelow(node, { width, height }, [x, y]) {
  node.style.left = `${Math.max(4, Math.min(x, width - node.offsetWidth - 4))}px`;
  node.style.top = `${Math.max(4, Math.min(y + 6, height - node.offsetHeight - 4))}px`;
}

function lines(...texts) {
  return texts.filter(Boolean).join("\n");
}
