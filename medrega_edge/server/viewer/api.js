// Requests to the server that sent this page. The token lives in this module, and in the memory of this tab only, so that
// a reload finds it.

const TRIES = 3; // of a request that the server is too busy for
const LONGEST_WAIT = 20; // seconds
const UNAUTHORISED = 401;
const KEPT = "medrega-token"; // in the session storage, which ends with the tab

let token = null;

/** What the server, or the way to it, says about a request that failed; both sentences are for a person. */
export class ApiError extends Error {
  constructor(status, { message, message_zh: chinese, code }) {
    super(message);
    Object.assign(this, { status, message_zh: chinese, code });
  }

  /** Whether the server wants another token. */
  get isUnauthorised() {
    return this.status === UNAUTHORISED;
  }
}

/**
 * Take the token, or the code that is good for it once, out of the address, so that neither is in a history, a bookmark or
 * a picture of the screen. Without them, or with a code that was used before, the token of this tab goes on.
 */
export async function takeToken() {
  const fragment = new URLSearchParams(location.hash.slice(1));
  if (location.hash) history.replaceState(null, "", location.pathname + location.search);
  const [given, code] = [fragment.get("token"), fragment.get("code")];
  const found = given ?? (code && (await tokenFor(code)));
  if (found) setToken(found);
  else token = stored((storage) => storage.getItem(KEPT));
}

/** Use a token from now on. */
export function setToken(wanted) {
  token = wanted;
  stored((storage) => storage.setItem(KEPT, wanted));
}

export const getInfo = () => json("/v1/info");
export const getOpened = () => json("/v1/opened");
export const getRegions = (body) => json("/v1/regions", posted(body));
export const getMarkedPicture = (body) => blob("/v1/picture", posted(body));
export const getObject = (body, kind) => blob("/v1/objects", posted({ ...body, kind }));
export const removeImage = (id) => request(`/v1/images/${id}`, { method: "DELETE" });

/** Describe one view of an image. */
export function getView(id, view) {
  return json(`/v1/images/${id}?${query(view)}`);
}

/** Return the picture of one view, decoded. Colours stay as the file has them: a screen profile must not change a window. */
export async function getPicture(id, view) {
  const png = await blob(`/v1/images/${id}/picture.png?${query(view)}`);
  return createImageBitmap(png, { colorSpaceConversion: "none" });
}

/** Send the bytes of a file, never its name. `onProgress` gets the share that has gone: fetch cannot tell it. */
export function sendImage(file, onProgress) {
  return new Promise((resolve, reject) => {
    const call = new XMLHttpRequest();
    call.open("POST", "/v1/images");
    call.setRequestHeader("Content-Type", "application/octet-stream");
    if (token) call.setRequestHeader("Authorization", `Bearer ${token}`);
    call.upload.onprogress = (event) => onProgress(event.loaded / (event.total || 1));
    call.onerror = () => reject(unreachable());
    call.onload = () =>
      call.status < 300 ? resolve(JSON.parse(call.responseText)) : reject(failure(call.status, call.responseText));
    call.send(file);
  });
}

/** Return the token for a code; null for one that is wrong or used, or without an answer: the next request tells why. */
async function tokenFor(code) {
  const response = await fetch("/v1/token", { method: "POST", body: code }).catch(() => null);
  return response?.ok ? (await response.json()).token : null;
}

/** Use the storage of this tab where the browser allows it; else the token holds until the page is left. */
function stored(use) {
  try {
    return use(sessionStorage);
  } catch {
    return null;
  }
}

/** Return the values of a view as a query; what is null is left to the file. */
function query(view) {
  return new URLSearchParams(Object.entries(view).filter(([, value]) => value !== null));
}

function posted(body) {
  return { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" } };
}

async function json(path, options) {
  return (await request(path, options)).json();
}

async function blob(path, options) {
  return (await request(path, options)).blob();
}

/** Send a request, and send it again where the server asks to wait. */
async function request(path, options = {}) {
  const headers = { ...options.headers, ...(token && { Authorization: `Bearer ${token}` }) };
  for (let tries = 1; ; tries++) {
    const response = await fetch(path, { ...options, headers }).catch(() => null);
    if (!response) throw unreachable();
    if (response.ok) return response;
    const wait = Number(response.headers.get("Retry-After"));
    if (!wait || wait > LONGEST_WAIT || tries === TRIES) throw failure(response.status, await response.text());
    await new Promise((resolve) => setTimeout(resolve, wait * 1000));
  }
}

function failure(status, body) {
  if (status === UNAUTHORISED) stored((storage) => storage.removeItem(KEPT));
  try {
    return new ApiError(status, JSON.parse(body).error);
  } catch {
    return new ApiError(status, {
      message: `The server answered with status ${status}.`,
      message_zh: `服务器返回状态 ${status}。`,
    });
  }
}

function unreachable() {
  return new ApiError(0, {
    message: "The server cannot be reached: is it still running?",
    message_zh: "无法连接服务器：它还在运行吗？",
  });
}
