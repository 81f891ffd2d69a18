// Where the picture lies on the screen: its zoom and its shift, and the way between pixels of the image and of the screen.

const SMALLEST = 0.05; // screen pixels of a pixel of the image
const LARGEST = 40;
const LEAST_SEEN = 40; // screen pixels of the picture that no panning takes away

export class Viewport {
  scale = 1; // screen pixels of a pixel of the image, in the direction in which these are smaller
  x = 0; // of the picture's left upper corner, in screen pixels of the stage
  y = 0;
  image = { width: 1, height: 1, stretch: [1, 1] };
  stage = { width: 1, height: 1 };
  isFitted = true; // until somebody zooms or pans, the picture fits the stage

  /** Take an image; pixels that are longer in one direction of the patient are so on the screen. */
  setImage({ width, height, spacing_mm: spacing, spacing_areas: areas }) {
    const ratio = spacing && !areas.length ? spacing[1] / spacing[0] : 1;
    this.image = { width, height, stretch: ratio >= 1 ? [1, ratio] : [1 / ratio, 1] };
    if (this.isFitted) this.fit();
  }

  setStage(width, height) {
    this.x += (width - this.stage.width) / 2;
    this.y += (height - this.stage.height) / 2;
    this.stage = { width, height };
    if (this.isFitted) this.fit();
  }

  /** Screen pixels of a pixel of the image, across and down. */
  get scales() {
    return this.image.stretch.map((stretch) => stretch * this.scale);
  }

  fit() {
    const [across, down] = this.image.stretch;
    const { width, height } = this.stage;
    this.scale = Math.min(width / (this.image.width * across), height / (this.image.height * down));
    this.x = (width - this.image.width * across * this.scale) / 2;
    this.y = (height - this.image.height * down * this.scale) / 2;
    this.isFitted = true;
  }

  /** Zoom so that the point of the image at x, y of the stage stays there. */
  zoom(factor, x = this.stage.width / 2, y = this.stage.height / 2) {
    const scale = Math.min(LARGEST, Math.max(SMALLEST, this.scale * factor));
    this.x = x - ((x - this.x) * scale) / this.scale;
    this.y = y - ((y - this.y) * scale) / this.scale;
    this.scale = scale;
    this.pan(0, 0);
  }

  pan(dx, dy) {
    const [across, down] = this.scales;
    this.x = bounded(this.x + dx, LEAST_SEEN - this.image.width * across, this.stage.width - LEAST_SEEN);
    this.y = bounded(this.y + dy, LEAST_SEEN - this.image.height * down, this.stage.height - LEAST_SEEN);
    this.isFitted = false;
  }

  /** Pixels of the image -> screen pixels of the stage. */
  toStage([x, y]) {
    const [across, down] = this.scales;
    return [this.x + x * across, this.y + y * down];
  }

  /** Screen pixels of the stage -> pixels of the image, at most its border. */
  toImage([x, y]) {
    const [across, down] = this.scales;
    return [bounded((x - this.x) / across, 0, this.image.width), bounded((y - this.y) / down, 0, this.image.height)];
  }

  /** The box of the image that is in sight. */
  get inSight() {
    return [...this.toImage([0, 0]), ...this.toImage([this.stage.width, this.stage.height])];
  }
}

function bounded(value, least, most) {
  return Math.min(Math.max(value, least), Math.max(least, most));
}
