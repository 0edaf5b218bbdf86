// Asks for what was missed: one request at a time, a page after the other, until nothing is left.

import { backoffMs } from './connection.js';

const CONVERSATIONS_MAX = 100;

export class Sync {
  /**
   * @param {object} options
   * @param {import('./connection.js').Clock} options.clock
   * @param {import('./client.js').Limits} options.limits
   * @param {(data: object, trace: string) => boolean} options.send
   * @param {(conversationId: string) => number | null} options.from the last seq held; null: the newest will do
   * @param {(part: any, after: number | null) => boolean} options.onPart whether it brought anything on
   */
  constructor(options) {
    this.options = options;
    /** @type {Set<string>} */
    this.wanted = new Set();
    /** @type {{trace: string, after: Map<string, number | null>} | null} */
    this.asked = null;
    this.count = 0;
    this.idle = 0;
    this.notBefore = 0;
    /** @type {any} */
    this.timer = null;
  }

  /** @param {Iterable<string>} conversationIds */
  want(conversationIds) {
    for (const id of conversationIds) this.wanted.add(id);
    this.#pump();
  }

  /** @param {string} conversationId */
  forget(conversationId) {
    this.wanted.delete(conversationId);
  }

  /** Asks nothing before that time. @param {number} at */
  hold(at) {
    this.notBefore = Math.max(this.notBefore, at);
  }

  /** The connection is gone; the next one begins with a sync of everything. */
  reset() {
    this.notBefore = 0;
    this.options.clock.clearTimeout(this.timer);
    this.timer = this.asked = null;
    this.wanted.clear();
    this.idle = 0;
  }

  /** @param {any} data of a `sync-result` @param {string} [trace] */
  onResult(data, trace) {
    const { asked } = this;
    if (!asked || (trace !== undefined && trace !== asked.trace)) return;
    this.#answered();
    let moved = false;
    for (const part of data.conversations) {
      const after = asked.after.get(part.conversationId);
      if (after === undefined) continue;
      asked.after.delete(part.conversationId);
      moved = this.options.onPart(part, after) || moved;
      if (part.hasMore || RETRYABLE.has(part.code)) this.wanted.add(part.conversationId);
    }
    for (const id of asked.after.keys()) this.wanted.add(id);
    this.#next(moved);
  }

  /** The server refused the request as a whole, or never answered. */
  onRefused() {
    if (!this.asked) return;
    for (const id of this.asked.after.keys()) this.wanted.add(id);
    this.#answered();
    this.#next(false);
  }

  #answered() {
    this.options.clock.clearTimeout(this.timer);
    this.timer = this.asked = null;
  }

  /** @param {boolean} moved */
  #next(moved) {
    const { clock, limits } = this.options;
    this.idle = moved ? 0 : this.idle + 1;
    if (moved || this.wanted.size === 0) return this.#pump();
    const ms = backoffMs(this.idle - 1, limits.backoffFirstMs, limits.backoffMaxMs, clock.random());
    this.timer = clock.setTimeout(() => {
      this.timer = null;
      this.#pump();
    }, ms);
  }

  #pump() {
    const { clock, limits, send, from } = this.options;
    if (this.asked || this.timer !== null || this.wanted.size === 0) return;
    const held = this.notBefore - clock.now();
    if (held > 0) {
      this.timer = clock.setTimeout(() => {
        this.timer = null;
        this.#pump();
      }, held);
      return;
    }
    const after = new Map([...this.wanted].slice(0, CONVERSATIONS_MAX).map(id => [id, from(id)]));
    const trace = `sync-${++this.count}`;
    const conversations = [...after].map(([conversationId, afterSeq]) =>
      afterSeq === null ? { conversationId } : { conversationId, afterSeq });
    if (!send({ conversations, limit: limits.syncLimit }, trace)) return;
    for (const id of after.keys()) this.wanted.delete(id);
    this.asked = { trace, after };
    this.timer = clock.setTimeout(() => this.onRefused(), limits.syncMs);
  }
}

const RETRYABLE = new Set(['BUSY', 'RATE_LIMITED', 'INTERNAL']);
