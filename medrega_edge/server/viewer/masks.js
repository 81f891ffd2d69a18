// The mask of a region: COCO's compressed run lengths -> pixels -> a contour. See medrega_edge/masks.py for the format.

/** Return the run lengths of their compressed form. */
export function runLengths(counts) {
  const lengths = [];
  let value = 0;
  let shift = 0;
  for (const character of counts) {
    const digit = character.charCodeAt(0) - 48;
    value |= (digit & 31) << shift;
    shift += 5;
    if (digit & 32) continue;
    if (digit & 16) value -= 2 ** shift;
    lengths.push(lengths.length > 2 ? value + lengths.at(-2) : value);
    value = shift = 0;
  }
  return lengths;
}

/** Return a function that tells whether pixel x, y is inside a mask; outside of the image nothing is. */
export function pixelsOf({ size: [height, width], counts }) {
  const inside = new Uint8Array(height * width); // down the columns, as COCO counts
  let at = 0;
  runLengths(counts).forEach((length, number) => {
    if (number % 2) inside.fill(1, at, at + length);
    at += length;
  });
  return (x, y) => x >= 0 && y >= 0 && x < width && y < height && inside[x * height + y] === 1;
}

/** Return the outline of a mask as the path of an SVG, in pixels of the image. */
export function contour(mask) {
  return loops(edges(mask)).map(smoothed).join("");
}

/** Return the edges between inside and outside, as a map from where they begin to where they end, inside on the right. */
function edges(mask) {
  const inside = pixelsOf(mask);
  const stride = mask.size[1] + 1; // a corner x, y is the number y * stride + x
  const ends = new Map();
  const add = (x1, y1, x2, y2) => {
    const from = y1 * stride + x1;
    ends.set(from, [...(ends.get(from) ?? []), y2 * stride + x2]);
  };
  const [left, top, right, bottom] = mask.box.map(Math.round);
  for (let y = top; y < bottom; y++) {
    for (let x = left; x < right; x++) {
      if (!inside(x, y)) continue;
      if (!inside(x, y - 1)) add(x, y, x + 1, y);
      if (!inside(x + 1, y)) add(x + 1, y, x + 1, y + 1);
      if (!inside(x, y + 1)) add(x + 1, y + 1, x, y + 1);
      if (!inside(x - 1, y)) add(x, y + 1, x, y);
    }
  }
  return { ends, stride };
}

/** Join edges to closed loops of corners. */
function loops({ ends, stride }) {
  const found = [];
  for (const begin of ends.keys()) {
    const loop = [];
    for (let at = begin, next; (next = ends.get(at)?.pop()) !== undefined; at = next) {
      loop.push([at % stride, Math.floor(at / stride)]);
    }
    if (loop.length) found.push(loop);
  }
  return found;
}

/** Return a loop through the middles of its edges: it cuts the corners of pixels, so that no stairs distract the eye. */
function smoothed(loop) {
  const middles = loop.map(([x, y], number) => {
    const [nextX, nextY] = loop[(number + 1) % loop.length];
    return `${(x + nextX) / 2} ${(y + nextY) / 2}`;
  });
  return `M${middles.join("L")}Z`;
}
