// The public REST API, as any client may call it. Addresses are relative to the page, so that it
// works behind a proxy's prefix too.

/** The server answered with an error; `problem` is its body (RFC 9457), if it had one. */
export class ApiError extends Error {
  constructor(status, problem) {
    super(problem?.detail ?? problem?.error ?? `The server answered with status ${status}.`);
    this.status = status;
    this.problem = problem;
  }
}

/** The server did not answer. */
export class Unreachable extends Error {
  constructor() {
    super("The server does not answer.");
  }
}

export async function get(path, signal) {
  return (await call("GET", path, undefined, signal)).body;
}

export async function send(method, path, body) {
  return call(method, path, body);
}

/** As `get`, but null for what this server does not have, or not now. */
export async function optional(path, signal) {
  try {
    return await get(path, signal);
  } catch (error) {
    if (error instanceof ApiError && [404, 405, 501, 503].includes(error.status)) return null;
    throw error;
  }
}

/** A path out of segments that may hold anything. */
export function path(...segments) {
  return segments.map(encodeURIComponent).join("/");
}

async function call(method, where, body, signal) {
  const options = { method, signal, cache: "no-store", headers: { accept: "application/json" } };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers["content-type"] = "application/json";
  }
  let response;
  try {
    response = await fetch(new URL(where, location.origin + location.pathname), options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Unreachable();
  }
  const text = await response.text();
  let parsed = null;
  try {
    parsed = text === "" ? null : JSON.parse(text);
  } catch {
    if (response.ok) throw new ApiError(response.status, { detail: "The answer is not JSON." });
  }
  if (!response.ok) throw new ApiError(response.status, parsed);
  return { body: parsed, text, requestId: response.headers.get("x-request-id") };
}
