// A stack: pictures that one scrolls through. The slices of a DICOM series, the frames of a file, or a volume's planes.

const AXES = { R: "x", L: "x", A: "y", P: "y", H: "z", F: "z" }; // of the patient, by the directions at a picture's sides

export class Stack {
  /** `name` is a file's, for the person at the screen only; `number` stands for a name that is not known. */
  constructor(image, name, number) {
    this.key = stackKey(image);
    this.name = name;
    this.number = number;
    this.images = [image];
  }

  get first() {
    return this.images[0];
  }

  /** Add a slice of the same series at its place along the patient; the same slice twice is one. */
  add(image) {
    if (this.images.some(({ id }) => id === image.id)) return;
    this.images.push(image);
    this.images.sort((a, b) => order(a.position, b.position) || order(a.number, b.number));
  }

  /** List the places of the stack: an image, and an index into it where it has several pictures. */
  places(plane) {
    return this.images.flatMap((image) => {
      const count = image.counts[plane] ?? image.count;
      const indices = count > 1 || image.planes.length ? [...Array(count).keys()] : [null];
      return indices.map((index) => ({ image, index }));
    });
  }

  /** The place shown first: what the file says, else the middle of the series. */
  firstPlace(plane) {
    if (this.images.length > 1) return Math.floor((this.images.length - 1) / 2);
    const { count, index, counts } = this.first;
    return plane === this.first.plane ? Math.min(index, count - 1) : Math.floor(counts[plane] / 2);
  }
}

/** Images with the same key belong to one stack. A file with several pictures is a stack of its own. */
export function stackKey(image) {
  return image.series && image.count === 1 ? `series ${image.series}` : image.id;
}

/** Name the plane of a picture by the axes of the patient that run across and down it; null where these are unknown. */
export function axesOf(sides) {
  const axes = sides?.slice(0, 2).map((side) => AXES[side[0]]);
  return axes ? axes.sort().join("") : null;
}

/** Name a place, so that answers and rulers find their way back. */
export function placeKey(id, index, plane) {
  return `${id}:${index ?? ""}:${plane ?? ""}`;
}

/** Compare two numbers; an unknown one comes last. */
function order(a, b) {
  return (a ?? Infinity) - (b ?? Infinity) || 0;
}
