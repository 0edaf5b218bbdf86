// The HTTP API, as far as the page uses it.

export class ApiError extends Error {
  /** @param {number} status @param {string} code @param {string} detail */
  constructor(status, code, detail) {
    super(detail);
    this.status = status;
    this.code = code;
  }
}

const TIMEOUT_MS = 15_000;

/** @param {string} method @param {string} path @param {object} [body] @param {string | null} [token] */
export async function call(method, path, body, token) {
  /** @type {Record<string, string>} */
  const headers = { Accept: 'application/json' };
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body) headers['Content-Type'] = 'application/json';
  let answer;
  try {
    answer = await fetch(path, { method, headers, body: body && JSON.stringify(body), signal: AbortSignal.timeout(TIMEOUT_MS) });
  } catch {
    throw new ApiError(0, 'UNREACHABLE', 'the server can’t be reached');
  }
  const text = await answer.text();
  let value = null;
  try {
    value = text && JSON.parse(text);
  } catch {
    // Not JSON: the status says enough.
  }
  if (!answer.ok) throw new ApiError(answer.status, value?.code ?? 'INTERNAL', value?.detail ?? value?.title ?? `the server answered ${answer.status}`);
  return value;
}

export const config = () => call('GET', '/api/config');
/** @param {string} userId @returns {Promise<{token: string}>} */
export const devToken = userId => call('POST', '/api/dev/token', { userId });

export class Api {
  /** @param {() => string | null} token @param {() => Promise<string | null>} renew asked for once when the token is refused */
  constructor(token, renew) {
    this.token = token;
    this.renew = renew;
  }

  /** @param {string} method @param {string} path @param {object} [body] */
  async #call(method, path, body) {
    try {
      return await call(method, path, body, this.token());
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 401) throw error;
      const token = await this.renew();
      if (token === null) throw error;
      return call(method, path, body, token);
    }
  }

  /** @param {number} limit @param {string} [cursor] */
  conversations(limit, cursor) {
    return this.#call('GET', `/api/conversations?limit=${limit}${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''}`);
  }

  /** @param {string} conversationId @param {number} beforeSeq @param {number} limit */
  before(conversationId, beforeSeq, limit) {
    return this.#call('GET', `/api/conversations/${encodeURIComponent(conversationId)}/messages?before_seq=${beforeSeq}&limit=${limit}`);
  }

  /** @param {string} name @param {string[]} members @returns {Promise<{groupId: string, conversationId: string}>} */
  newGroup(name, members) {
    return this.#call('POST', '/api/groups', { name, members });
  }

  /** @param {string} groupId @param {string} [after] */
  members(groupId, after) {
    return this.#call('GET', `/api/groups/${groupId}/members?limit=200${after ? `&after=${after}` : ''}`);
  }

  /** @param {string} groupId @param {string[]} userIds */
  addMembers(groupId, userIds) {
    return this.#call('POST', `/api/groups/${groupId}/members`, { userIds });
  }

  /** @param {string} groupId @param {string} userId */
  removeMember(groupId, userId) {
    return this.#call('DELETE', `/api/groups/${groupId}/members/${userId}`);
  }
}
