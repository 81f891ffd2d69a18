// Lengths of lines on a picture, in millimetres where the file states the size of a pixel and the line lies where it holds.

/** Measure a line x1, y1, x2, y2 in pixels of an image. Return its length, its unit and, for pixels, why: a key of the texts. */
export function measured([x1, y1, x2, y2], { spacing_mm: spacing, spacing_areas: areas, modality }) {
  const [dx, dy] = [x2 - x1, y2 - y1];
  if (!spacing) return { length: Math.hypot(dx, dy), unit: "px", reason: whyUnknown(modality) };
  const holds = ([left, top, right, bottom]) =>
    [x1, x2].every((x) => left <= x && x <= right) && [y1, y2].every((y) => top <= y && y <= bottom);
  if (areas.length && !areas.some(holds)) return { length: Math.hypot(dx, dy), unit: "px", reason: "ruler_outside" };
  return { length: Math.hypot(dx * spacing[0], dy * spacing[1]), unit: "mm", reason: null };
}

/** Write a length as a person reads it. */
export function written({ length, unit }) {
  return `${length.toFixed(unit === "mm" ? 1 : 0)} ${unit}`;
}

function whyUnknown(modality) {
  return ["xray", "mammography"].includes(modality) ? "ruler_projection" : "ruler_no_spacing";
}
