// The desk's HTTP interface: JSON there and back, and what went wrong as one `Failure`.

const BASE = "/desk/api/";
const TIMEOUT_MS = 20_000;

/** A request that was not done. `status` is HTTP's, 0 where no answer came. */
export class Failure extends Error {
  constructor(status, message) {
    super(message);
    this.name = "Failure";
    this.status = status;
  }
}

const session = { csrf: null, agent: null };
let signIn = null;
let signingIn = null;

/** `ask()` gets the reader to sign in again; resolves once that is done. */
export function onSignedOut(ask) {
  signIn = ask;
}

/** Wait for a sign-in over the page; several callers wait for the same one. */
export function signedInAgain() {
  if (!signIn) return Promise.reject(new Failure(401, ""));
  signingIn ??= Promise.resolve(signIn()).finally(() => (signingIn = null));
  return signingIn;
}

/** Take the session that the server told of. */
export function keep({ csrf, agent }) {
  session.csrf = csrf;
  session.agent = agent?.name ?? null;
}

export const get = (path) => request("GET", path);
export const post = (path, body = {}) => request("POST", path, body);
export const put = (path, body = {}) => request("PUT", path, body);
export const patch = (path, body = {}) => request("PATCH", path, body);
export const remove = (path) => request("DELETE", path);

async function request(method, path, body) {
  try {
    return await send(method, path, body);
  } catch (failure) {
    // Signing in and out are answered for themselves.
    if (path === "session" || path === "setup") throw failure;
    if (failure.status === 401) await signedInAgain();
    else if (failure.status !== 403 || method === "GET" || !(await hasNewToken())) throw failure;
    return send(method, path, body);
  }
}

/** Another tab may have signed in anew: its token is ours then too. */
async function hasNewToken() {
  const before = session.csrf;
  const found = await send("GET", "session");
  if (!found.agent || found.agent.name !== session.agent || found.csrf === before) return false;
  keep(found);
  return true;
}

async function send(method, path, body) {
  const headers = { accept: "application/json" };
  if (session.csrf) headers["X-CSRF-Token"] = session.csrf;
  if (body !== undefined) headers["content-type"] = "application/json";
  let response;
  try {
    response = await fetch(BASE + path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
  } catch {
    throw new Failure(0, "");
  }
  const answer = await response.json().catch(() => null);
  if (!response.ok) throw new Failure(response.status, answer?.msg ?? response.statusText);
  return answer?.data;
}
