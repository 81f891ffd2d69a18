// Answers of a file that `medrega view` was started with: what was asked, as far as the file says, and the request for it.

import { t } from "/viewer/texts.js";

/** Return a saved answer as the list takes it. Where the file has no question its task and names stand for one. */
export function savedAnswer({ question, answer, image }) {
  const wish = question ? { question } : wishOf(answer);
  const title = question ?? titleOf(answer, wish);
  const words = question ?? (wish?.names ? title : null);
  const request = image && wish && { image: viewOf(answer, image), ...wish, language: answer.language };
  return { question: title, words, request, image, answer };
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

/** The view that was asked about. */
function viewOf({ image: { frame, slice, window } }, image) {
  const isOneOfSeveral = image.count > 1 || image.planes.length > 0;
  const isOwnWindow = image.has_windows && window && String(window) !== String(image.window);
  return {
    id: image.id,
    index: isOneOfSeveral ? (frame ?? slice ?? image.index) : null,
    window: isOwnWindow ? String(window) : null,
    plane: image.plane,
  };
}
