// Who one is: the form, the token in sessionStorage, and getting another when it has run out.

import { ApiError, call, devToken } from './http-api.js';
import { byId } from './dom.js';
import { userNumber, userOfToken } from './ids.js';

/** @typedef {{userId: string, token: string}} Session */

const KEY = 'ringway.session';

/** @returns {Session | null} */
export function storedSession() {
  try {
    const session = JSON.parse(sessionStorage.getItem(KEY) ?? 'null');
    return session?.userId && session?.token ? session : null;
  } catch {
    return null;
  }
}

/** @param {Session | null} session */
export function storeSession(session) {
  if (session) sessionStorage.setItem(KEY, JSON.stringify(session));
  else sessionStorage.removeItem(KEY);
}

/** Shows the form until somebody is signed in. @param {boolean} dev @param {string} note @returns {Promise<Session>} */
export function signIn(dev, note) {
  byId('app').hidden = true;
  const screen = byId('sign-in');
  screen.hidden = false;
  byId('sign-in-note').textContent = note;
  byId('by-number').hidden = !dev;
  byId('by-token').hidden = dev;
  const form = screen.querySelector('form');
  const fault = screen.querySelector('.fault');
  const submit = form.querySelector('[type=submit]');
  fault.textContent = '';
  form.token.value = '';
  (dev ? form.user : form.token).focus();
  return new Promise(resolve => {
    form.onsubmit = async (/** @type {Event} */ event) => {
      event.preventDefault();
      submit.disabled = true;
      fault.textContent = '';
      try {
        const session = dev ? await byNumber(form.user.value) : await byToken(form.token.value.trim());
        form.token.value = '';
        screen.hidden = true;
        resolve(session);
      } catch (error) {
        fault.textContent = error instanceof Error ? error.message : String(error);
      }
      submit.disabled = false;
    };
  });
}

/** @param {string} text @returns {Promise<Session>} */
async function byNumber(text) {
  const userId = userNumber(text);
  if (userId === null) throw new Error('A user number is needed, such as 1.');
  return { userId, token: (await devToken(userId)).token };
}

/** @param {string} token @returns {Promise<Session>} */
async function byToken(token) {
  const userId = userOfToken(token);
  if (userId === null) throw new Error('That is not a token with a user in it.');
  if (!(await isGood(token))) throw new Error('The server refuses this token.');
  return { userId, token };
}

/** @param {string} token */
async function isGood(token) {
  try {
    await call('GET', '/api/conversations?limit=1', undefined, token);
    return true;
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) return false;
    throw error;
  }
}

/**
 * A token for the session: the one at hand while it is good, else a new one; null: sign in again.
 * @param {Session} session @param {boolean} dev @param {'first' | 'expired' | 'refused'} why
 */
export async function renew(session, dev, why) {
  if (why === 'first' || (why === 'refused' && (await isGood(session.token)))) return session.token;
  if (!dev) return null;
  session.token = (await devToken(session.userId)).token;
  storeSession(session);
  return session.token;
}
