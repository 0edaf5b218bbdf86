// The list of conversations: what the API said, brought on by what has come since. No DOM.

import { peerOf } from './ids.js';

/**
 * @typedef {import('./timeline.js').Message} Message
 *
 * @typedef {object} Talk
 * @property {string} id
 * @property {string} title
 * @property {number} lastSeq
 * @property {number} readSeq
 * @property {number} peerReadSeq in a single: how far the other one has read, as far as known
 * @property {number} unread
 * @property {Message | null} lastMessage
 * @property {number} at orders the list, Unix ms
 * @property {boolean} gone no member any more
 * @property {Map<string, number>} typing user → until when, Unix ms
 */

const TYPING_MS = 3_000;

export class Model {
  /** @param {string} me @param {() => void} onChange */
  constructor(me, onChange) {
    this.me = me;
    this.onChange = onChange;
    /** @type {Map<string, Talk>} */
    this.talks = new Map();
  }

  /** @param {string} id */
  get(id) {
    return this.talks.get(id);
  }

  /** The newest first. */
  sorted() {
    return [...this.talks.values()].sort((a, b) => b.at - a.at || (a.id < b.id ? -1 : 1));
  }

  get unreadTotal() {
    return this.sorted().reduce((sum, talk) => sum + talk.unread, 0);
  }

  /** @param {string} id @param {number} [at] */
  ensure(id, at = 0) {
    let talk = this.talks.get(id);
    if (!talk) {
      talk = { id, title: this.#title(id), lastSeq: 0, readSeq: 0, peerReadSeq: 0, unread: 0, lastMessage: null, at, gone: false, typing: new Map() };
      this.talks.set(id, talk);
      this.onChange();
    }
    return talk;
  }

  /**
   * A row of the API. What has come since it was made stays counted.
   * @param {any} row @param {Message[]} held what is held of the conversation
   */
  apply(row, held) {
    const talk = this.ensure(row.conversationId);
    const since = held.filter(message => message.seq_id > row.lastSeq);
    talk.title = this.#title(talk.id, row.name);
    talk.gone = false;
    talk.lastSeq = Math.max(talk.lastSeq, row.lastSeq);
    talk.readSeq = Math.max(talk.readSeq, row.readSeq ?? 0);
    talk.peerReadSeq = Math.max(talk.peerReadSeq, row.peerReadSeq ?? 0);
    const inRow = talk.readSeq > (row.readSeq ?? 0) && talk.readSeq >= row.lastSeq ? 0 : (row.unreadCount ?? 0);
    talk.unread = talk.id === 'world' ? 0 : inRow + since.filter(message => this.#counts(talk, message)).length;
    if (row.lastMessage) this.#last(talk, row.lastMessage);
    this.onChange();
  }

  /** @param {string} id @param {Message[]} messages in order, each once */
  add(id, messages) {
    const talk = this.ensure(id);
    for (const message of messages) {
      if (message.seq_id > talk.lastSeq && this.#counts(talk, message)) talk.unread += 1;
      talk.lastSeq = Math.max(talk.lastSeq, message.seq_id);
      talk.typing.delete(message.sender_id);
      this.#last(talk, message);
    }
    this.onChange();
  }

  /** @param {string} id @param {string} userId @param {number} seq @param {Message[]} held */
  read(id, userId, seq, held) {
    const talk = this.talks.get(id);
    if (!talk) return;
    if (userId === this.me) {
      if (seq <= talk.readSeq) return;
      talk.readSeq = seq;
      const left = held.filter(message => message.seq_id > seq && message.sender_id !== this.me).length;
      talk.unread = seq >= talk.lastSeq ? 0 : Math.min(talk.unread, left || talk.lastSeq - seq);
    } else if (peerOf(id, this.me) === userId) {
      talk.peerReadSeq = Math.max(talk.peerReadSeq, seq);
    }
    this.onChange();
  }

  /** @param {string} id @param {string} userId @param {number} now @returns {number} for how long it shows, ms */
  typing(id, userId, now) {
    const talk = this.talks.get(id);
    if (talk && userId !== this.me && (talk.typing.size < 50 || talk.typing.has(userId))) talk.typing.set(userId, now + TYPING_MS);
    this.onChange();
    return TYPING_MS;
  }

  /** Who types now. @param {Talk} talk @param {number} now */
  typists(talk, now) {
    for (const [user, until] of talk.typing) if (until <= now) talk.typing.delete(user);
    return [...talk.typing.keys()];
  }

  /** @param {string} id */
  remove(id) {
    this.talks.delete(id);
    this.onChange();
  }

  /** @param {Talk} talk @param {Message} message */
  #counts(talk, message) {
    return talk.id !== 'world' && message.sender_id !== this.me && message.seq_id > talk.readSeq;
  }

  /** @param {Talk} talk @param {Message} message */
  #last(talk, message) {
    if (talk.lastMessage && talk.lastMessage.seq_id > message.seq_id) return;
    talk.lastMessage = message;
    talk.at = Math.max(talk.at, Date.parse(message.created_at) || 0);
  }

  /** @param {string} id @param {string} [name] */
  #title(id, name) {
    if (id === 'world') return 'World';
    const peer = peerOf(id, this.me);
    if (peer) return name || `User ${peer}`;
    return name || this.talks.get(id)?.title || `Group ${id.slice(6)}`;
  }
}
