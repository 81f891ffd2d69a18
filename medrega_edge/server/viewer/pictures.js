// Pictures and facts of views, fetched once and then remembered while there is room.

import { getPicture, getView } from "/viewer/api.js";

const MOST_PIXELS = 64e6; // of all remembered pictures: a quarter of a gigabyte

const remembered = new Map(); // view -> promise of its facts and its picture; the least recently used comes first

/** Return `{facts, bitmap}` of a view `{index, window, plane}` of an image. */
export function pictureOf(image, view) {
  const key = JSON.stringify([image.id, view]);
  const found = remembered.get(key) ?? fetched(image, view);
  remembered.delete(key);
  remembered.set(key, found);
  found.then(forgetOldest, () => remembered.delete(key));
  return found;
}

/** Forget the pictures of an image that has left. */
export function forget(id) {
  for (const key of [...remembered.keys()].filter((key) => JSON.parse(key)[0] === id)) remembered.delete(key);
}

async function fetched(image, view) {
  const isAsDescribed = view.index === null && view.window === null; // when it came, the server described this view
  const [facts, bitmap] = await Promise.all([isAsDescribed ? image : getView(image.id, view), getPicture(image.id, view)]);
  return { facts, bitmap, pixels: bitmap.width * bitmap.height };
}

/** A picture on the screen stays alive: whoever drew it holds its bitmap, so none is closed here. */
async function forgetOldest() {
  const all = await Promise.allSettled(remembered.values());
  let pixels = all.reduce((sum, { value }) => sum + (value?.pixels ?? 0), 0);
  for (const key of [...remembered.keys()].slice(0, -1)) {
    if (pixels <= MOST_PIXELS) return;
    pixels -= (await remembered.get(key)?.catch(() => null))?.pixels ?? 0;
    remembered.delete(key);
  }
}
