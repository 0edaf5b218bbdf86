// What this user has sent and the store has not: in order, bounded, and kept over a reload.

/**
 * @typedef {'sending' | 'accepted' | 'persisted' | 'failed'} State
 *
 * @typedef {object} Entry
 * @property {string} id the client_msg_id
 * @property {string} conversationId
 * @property {string} content
 * @property {string} messageType
 * @property {number} at when it was written, Unix ms; rises from entry to entry
 * @property {State} state
 * @property {{code: string, message: string}} [reason] why it failed
 *
 * @typedef {Entry & {flying: boolean, sentAt: number, notBefore: number, tries: number}} Waiting
 *
 * What localStorage offers, as far as it is used here.
 * @typedef {Pick<Storage, 'getItem' | 'setItem' | 'removeItem' | 'key' | 'length'>} Store
 */

export class OutboxFull extends Error {}

export class Outbox {
  /**
   * @param {Store | null} storage each entry has a key of its own, so that tabs don't overwrite each other
   * @param {string} prefix of the keys
   * @param {number} max entries
   */
  constructor(storage, prefix, max) {
    this.storage = storage;
    this.prefix = prefix;
    this.max = max;
    /** @type {Waiting[]} */
    this.entries = this.#load();
  }

  /**
   * @param {{id: string, conversationId: string, content: string, messageType: string, now: number}} message
   * @returns {Entry}
   */
  add({ id, conversationId, content, messageType, now }) {
    if (this.entries.length >= this.max) {
      throw new OutboxFull(`${this.max} messages wait to be delivered already; one more needs room`);
    }
    const at = Math.max(now, (this.entries.at(-1)?.at ?? 0) + 1);
    const entry = waiting({ id, conversationId, content, messageType, at, state: 'sending' });
    this.entries.push(entry);
    this.#save(entry);
    return entry;
  }

  /** @param {string} id @param {string} conversationId */
  find(id, conversationId) {
    return this.entries.find(entry => entry.id === id && entry.conversationId === conversationId);
  }

  /** @param {Waiting} entry @param {State} state @param {Entry['reason']} [reason] */
  set(entry, state, reason) {
    entry.state = state;
    entry.reason = reason;
    if (state === 'persisted') this.drop(entry);
    else this.#save(entry);
  }

  /** @param {Waiting} entry */
  drop(entry) {
    this.entries = this.entries.filter(other => other !== entry);
    this.storage?.removeItem(this.prefix + entry.id);
  }

  /** Moves a failed entry to the end, to be sent again. @param {Waiting} entry @param {string} id @param {number} now */
  renew(entry, id, now) {
    this.drop(entry);
    return this.add({ ...entry, id, now });
  }

  /** The connection is gone: whatever was on its way may not have arrived. */
  grounded() {
    for (const entry of this.entries) entry.flying = false;
  }

  /**
   * What to send now, in order; while one waits for its next try, its conversation waits behind it.
   * @param {number} now
   * @param {number} flyingMax
   * @param {number} ackMs after this long without an answer it is sent again
   * @returns {{send: Waiting[], wakeAt: number}} `wakeAt`: when to ask again at the latest
   */
  due(now, flyingMax, ackMs) {
    /** @type {Waiting[]} */
    const send = [];
    const held = new Set();
    let flying = 0, wakeAt = Infinity;
    for (const entry of this.entries) {
      if (entry.state === 'failed') continue;
      if (entry.flying && entry.state === 'sending') {
        const again = entry.sentAt + ackMs * 2 ** Math.min(entry.tries, 4);
        if (again <= now) {
          entry.flying = false;
          entry.tries += 1;
        } else {
          wakeAt = Math.min(wakeAt, again);
          flying += 1;
        }
      }
      if (entry.flying || held.has(entry.conversationId)) continue;
      if (entry.notBefore > now) {
        held.add(entry.conversationId);
        wakeAt = Math.min(wakeAt, entry.notBefore);
      } else if (flying + send.length < flyingMax) {
        send.push(entry);
      } else {
        break;
      }
    }
    return { send, wakeAt };
  }

  /** @param {Waiting} entry */
  #save({ id, conversationId, content, messageType, at, state, reason }) {
    try {
      this.storage?.setItem(this.prefix + id, JSON.stringify({ id, conversationId, content, messageType, at, state, reason }));
    } catch {
      // Storage full or forbidden: it still goes out, only a reload would lose it.
    }
  }

  #load() {
    const entries = [];
    for (let i = 0; i < (this.storage?.length ?? 0); i++) {
      const key = this.storage?.key(i);
      if (!key?.startsWith(this.prefix)) continue;
      try {
        const entry = JSON.parse(this.storage?.getItem(key) ?? '');
        // Accepted or not: only `persisted` means that it need not be sent again.
        entries.push(waiting({ ...entry, state: entry.state === 'failed' ? 'failed' : 'sending' }));
      } catch {
        // Not ours, or cut short.
      }
    }
    return entries.sort((a, b) => a.at - b.at).slice(0, this.max);
  }
}

/** @param {Entry} entry @returns {Waiting} */
function waiting(entry) {
  return { ...entry, flying: false, sentAt: 0, notBefore: 0, tries: 0 };
}
