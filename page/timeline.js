// One conversation as one user sees it: in order of seq, each message once. No I/O, no clock.

/**
 * A message as the server sends it.
 * @typedef {object} Message
 * @property {string} message_id
 * @property {string} client_msg_id
 * @property {string} conversation_id
 * @property {string} sender_id
 * @property {string} content
 * @property {string} message_type
 * @property {number} seq_id
 * @property {string} created_at
 * @property {string} [trace_id]
 */

const bySeq = (/** @type {Message} */ a, /** @type {Message} */ b) => a.seq_id - b.seq_id;

export class Timeline {
  /**
   * @param {number} heldMax messages kept; beyond it the oldest go
   * @param {number} aheadMax messages kept that came before their predecessor
   */
  constructor(heldMax, aheadMax) {
    this.heldMax = heldMax;
    this.aheadMax = aheadMax;
    /** Everything in (floor, top] that this user may read is in `messages`. @type {number | null} */
    this.floor = null;
    /** @type {number | null} */
    this.top = null;
    /** @type {Message[]} */
    this.messages = [];
    /** @type {Map<number, Message>} */
    this.ahead = new Map();
    /** Nothing older can be read. */
    this.complete = false;
  }

  /** A predecessor of something that came is missing. */
  get hole() {
    return this.ahead.size > 0;
  }

  /**
   * From here on: what is newer than `seq` is followed, what is older is history.
   * @param {number} seq
   * @returns {Message[]} what came ahead and is now in order
   */
  start(seq) {
    if (this.top === null) {
      this.floor = this.top = seq;
      this.complete = seq === 0;
    }
    return this.#drain([]);
  }

  /**
   * Takes a message from anywhere.
   * @param {Message} message
   * @returns {Message[]} what is now in order: empty for a repeat or before a hole
   */
  offer(message) {
    const seq = message.seq_id;
    if (this.top === null && seq === 1) this.start(0);
    if (this.top !== null && seq <= this.top) return [];
    if (this.top !== null && seq === this.top + 1) return this.#drain([message]);
    // Too far behind to hold it all: a sync from `top` brings these again.
    if (this.ahead.size >= this.aheadMax) this.ahead.clear();
    this.ahead.set(seq, message);
    return [];
  }

  /**
   * Takes what the server says is everything readable after `after` and up to `upTo`. Numbers that
   * are not among it lie outside the membership and are no hole.
   * @param {number | null} after null: these are the newest
   * @param {Message[]} messages
   * @param {number} upTo
   * @returns {Message[]} what is new, in order
   */
  cover(after, messages, upTo) {
    const sorted = [...messages].sort(bySeq);
    if (after === null && this.top === null) this.start(sorted.length ? sorted[0].seq_id - 1 : upTo);
    const top = this.top ?? 0;
    if (after !== null && after > top) return sorted.flatMap(message => this.offer(message));
    if (after === null && sorted.length && sorted[0].seq_id > top + 1) return sorted.flatMap(message => this.offer(message));
    const fresh = sorted.filter(message => message.seq_id > top);
    return this.#drain(fresh, upTo);
  }

  /**
   * Takes history from before `floor`; as much as there is room for.
   * @param {number} before what was asked for: all of `messages` are older
   * @param {Message[]} messages
   * @param {boolean} hasMore
   * @returns {Message[]} what was added at the front
   */
  prepend(before, messages, hasMore) {
    if (this.floor === null || before !== this.floor + 1) return [];
    const room = this.heldMax - this.messages.length;
    const older = messages.filter(message => message.seq_id < before).sort(bySeq);
    const cut = older.splice(0, Math.max(0, older.length - room));
    this.messages.unshift(...older);
    if (older.length) this.floor = older[0].seq_id - 1;
    this.complete = (!hasMore && !cut.length) || this.floor === 0;
    return older;
  }

  /** No room for more history. */
  get full() {
    return this.messages.length >= this.heldMax;
  }

  /** @param {number} heldMax */
  keep(heldMax) {
    this.heldMax = heldMax;
    this.#trim();
  }

  /**
   * @param {Message[]} ready in order, all newer than `top`
   * @param {number} [upTo]
   */
  #drain(ready, upTo = 0) {
    if (this.top === null) return [];
    this.top = Math.max(this.top, upTo, ready.at(-1)?.seq_id ?? 0);
    for (const seq of this.ahead.keys()) if (seq <= this.top) this.ahead.delete(seq);
    for (let next; (next = this.ahead.get(this.top + 1)); ) {
      this.ahead.delete(++this.top);
      ready.push(next);
    }
    this.messages.push(...ready);
    this.#trim();
    return ready;
  }

  #trim() {
    const over = this.messages.length - this.heldMax;
    if (over <= 0) return;
    const gone = this.messages.splice(0, over);
    this.floor = gone[gone.length - 1].seq_id;
    this.complete = false;
  }
}
