// User numbers and conversation ids.

const U64_MAX = 2n ** 64n - 1n;

/** @param {string} text @returns {string | null} */
export function userNumber(text) {
  const number = text.trim();
  return /^[1-9]\d{0,19}$/.test(number) && BigInt(number) <= U64_MAX ? number : null;
}

/** Numbers with commas or spaces between. @param {string} text */
export function userNumbers(text) {
  const parts = text.split(/[\s,;]+/).filter(Boolean);
  const bad = parts.find(part => userNumber(part) === null);
  if (bad !== undefined) throw new Error(`“${bad.slice(0, 30)}” is not a user number`);
  return [...new Set(parts)];
}

/** @param {string} a @param {string} b */
export function singleId(a, b) {
  const [low, high] = BigInt(a) < BigInt(b) ? [a, b] : [b, a];
  return `single_${low}_${high}`;
}

/** The other one of a single conversation. @param {string} conversationId @param {string} me */
export function peerOf(conversationId, me) {
  const [kind, a, b] = conversationId.split('_');
  return kind === 'single' ? (a === me ? b : a) : null;
}

/** @param {string} conversationId */
export const groupOf = conversationId => (conversationId.startsWith('group_') ? conversationId.slice(6) : null);

/** @param {string} conversationId @param {string} me */
export function isConversation(conversationId, me) {
  const single = /^single_(\d{1,20})_(\d{1,20})$/.exec(conversationId);
  if (single) return single[1] !== single[2] && single.slice(1).includes(me) && singleId(single[1], single[2]) === conversationId;
  return /^group_\d{1,20}$/.test(conversationId) || conversationId === 'world';
}

/** Whose token this is; it is not checked here. @param {string} token */
export function userOfToken(token) {
  try {
    const claims = JSON.parse(atob(token.split('.')[1].replaceAll('-', '+').replaceAll('_', '/')));
    const user = claims.user_id ?? claims.sub;
    return user === undefined ? null : userNumber(String(user));
  } catch {
    return null;
  }
}
