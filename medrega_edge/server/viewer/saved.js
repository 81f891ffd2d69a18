// Answers of a file that `medrega view` was started with: what was asked, as far as the file says, and the request for it.

import { t } from "/viewer/texts.js";

/** Return a saved answer as the list takes it. Where the file has no question its task and names stand for one. */
export function savedAnswer({ question, answer, image }) {
  const wish = question ? { question } : wishOf(answer);
  const title = question ?? titleOf(answer, wish);
  const words = question ?? (wish?.names ? title : null);
  const view = image && viewOf(answer, image);
  const request = view && wish && { image: view, ...wish, language: answer.language };
  return { question: title, words, request, view, image, answer };
}

/** The task of an answer, as a request names it; null where the answer does not tell what it needs. */
function wishOf({ task, regions, not_found: missing, intent }) {
  const names = [...new Set([...regions.map(({ label }) => label), ...missing])];
  const isOutlined = intent === "segment" || regions.some(({ mask }) => mask);
  if (task === "detect" && names.length) return { task: isOutlined ? "segment" : "locate", names };
  if (task === "identify" && regions.length) return { task, box: regions[0].box };
  return ["report", "grounded_report"].includes(task) ? { task } : null;
}

function titleOf({ task }, wish) {
  if (wish?.names) return t(`words_${wish.task}`, { names: wish.names.join(t("comma")) });
  return t(wish?.box ? "box_identify" : `task_${task}`);
}

/** The view that was asked about; null where the image has no such picture, or the answer does not tell it. */
function viewOf({ image: { frame, slice, sides, window } }, image) {
  const isVolume = image.planes.length > 0;
  const plane = isVolume ? planeOf(sides) : null;
  if (isVolume && (!plane || frame > 0)) return null; // the viewer shows the first of several volumes
  const count = image.counts[plane] ?? image.count;
  const place = count === 1 ? 0 : ((isVolume ? slice : frame) ?? count); // one that is not told is out of reach
  if (place >= count) return null;
  const isOwnWindow = image.has_windows && window && String(window) !== String(image.window);
  const index = isVolume || count > 1 ? place : null;
  return { id: image.id, index, window: isOwnWindow ? String(window) : null, plane };
}

/** The plane of a volume by the patient's directions at the left and the top of its pictures. */
function planeOf(sides) {
  return { "R,A": "axial", "R,H": "coronal", "A,H": "sagittal" }[String(sides?.slice(0, 2))] ?? null;
}
