// Ringway's client: connects, sends until it is stored, and hands out every message once and in
// order. No DOM; in Node pass a WebSocket (`ws`). How to use it: docs/client.md.

import { backoffMs, Connection, realClock, toldMs } from './connection.js';
import { Outbox, OutboxFull } from './outbox.js';
import { Sync } from './sync.js';
import { Timeline } from './timeline.js';

export { OutboxFull };

/** @typedef {typeof LIMITS} Limits */
export const LIMITS = {
  holeMs: 500, // a hole in seq_id that has not closed by then means sync
  backoffFirstMs: 500,
  backoffMaxMs: 30_000,
  handshakeMs: 10_000, // from the socket to `connected`
  stableMs: 5_000, // online this long, and the next back-off starts small again
  silenceMs: 20_000, // nothing heard: ping
  pongMs: 10_000, // nothing heard after that: another socket
  ackMs: 15_000, // no answer to a message: send it again
  syncMs: 10_000,
  syncLimit: 100, // messages per conversation and page
  typingMs: 2_000, // at most one `typing` per conversation and this
  readsAgainMs: 60_000, // read marks this young are repeated after reconnecting
  flyingMax: 32, // messages on their way without an answer
  outboxMax: 500,
  outboxChars: 5_000,
  conversationsMax: 1_000,
  heldMax: 100, // messages held of a conversation
  heldInFocusMax: 2_000,
  aheadMax: 1_000,
};

export class Client {
  /** @type {Map<string, Set<(detail: any) => void>>} */
  #listeners = new Map();
  /** In order of last use, the oldest first. @type {Map<string, Timeline>} */
  #timelines = new Map();
  /** @type {Map<string, any>} */
  #holeTimers = new Map();
  /** @type {Map<string, {seqId: number, at: number, sent: boolean}>} */
  #reads = new Map();
  /** @type {Map<string, number>} */
  #typedAt = new Map();
  #focus = '';
  #made = 0;
  #outboxTimer = null;
  #resyncTimer = null;
  #heldUntil = 0;

  /**
   * @param {object} options
   * @param {string} options.url of the socket, such as ws://127.0.0.1:8080/ws
   * @param {string} options.userId
   * @param {import('./connection.js').TokenSource | string} options.token
   * @param {any} [options.WebSocket]
   * @param {import('./outbox.js').Store | null} [options.storage] keeps what is unsent over a reload
   * @param {import('./connection.js').Clock} [options.clock]
   * @param {Partial<Limits>} [options.limits]
   */
  constructor({ url, userId, token, WebSocket = globalThis.WebSocket, storage = null, clock = realClock, limits = {} }) {
    this.userId = userId;
    this.clock = clock;
    this.limits = { ...LIMITS, ...limits };
    this.outbox = new Outbox(storage, `ringway.outbox.${userId}.`, this.limits.outboxMax);
    this.sync = new Sync({
      clock,
      limits: this.limits,
      send: (data, trace) => this.connection.send('sync', data, trace),
      from: id => this.#timelines.get(id)?.top ?? null,
      onPart: (part, after) => this.#onPart(part, after),
    });
    this.connection = new Connection({
      url,
      token: typeof token === 'string' ? () => token : token,
      WebSocket,
      clock,
      limits: this.limits,
      onStatus: status => this.#onStatus(status),
      onEvent: event => this.#onEvent(event),
    });
  }

  get status() {
    return this.connection.status;
  }

  start() {
    this.connection.start();
  }

  stop() {
    this.connection.stop('stopped');
  }

  /** Tries again now instead of after the back-off. */
  hurry() {
    this.connection.hurry();
  }

  /**
   * `status`, `messages`, `outbox`, `conversation`, `denied`, `read`, `typing`, `trouble`: see docs/client.md.
   * @param {string} type @param {(detail: any) => void} listener @returns {() => void} ends it
   */
  on(type, listener) {
    const listeners = this.#listeners.get(type) ?? new Set();
    this.#listeners.set(type, listeners.add(listener));
    return () => void listeners.delete(listener);
  }

  /**
   * Sends, now or once connected, until it is persisted or refused.
   * @param {string} conversationId @param {string} content @returns {import('./outbox.js').Entry}
   */
  send(conversationId, content, messageType = 'text') {
    const length = [...content].length;
    if (length < 1 || length > this.limits.outboxChars) {
      throw new RangeError(`content length must be between 1 and ${this.limits.outboxChars} characters, it is ${length}`);
    }
    const now = this.clock.now();
    const entry = this.outbox.add({ id: this.#newId(now), conversationId, content, messageType, now });
    this.#timeline(conversationId);
    this.#typedAt.delete(conversationId);
    this.#emit('outbox', { entry });
    this.#pump();
    return entry;
  }

  /** Sends a failed one again, as the newest. @param {string} id */
  retry(id) {
    const entry = this.outbox.entries.find(entry => entry.id === id && entry.state === 'failed');
    if (!entry) return null;
    const now = this.clock.now();
    const again = this.outbox.renew(entry, entry.reason?.code === 'ID_REUSED' ? this.#newId(now) : id, now);
    this.#emit('outbox', { entry: again, was: id });
    this.#pump();
    return again;
  }

  /** Gives a failed one up. @param {string} id */
  discard(id) {
    const entry = this.outbox.entries.find(entry => entry.id === id && entry.state === 'failed');
    if (entry) this.outbox.drop(entry);
  }

  /** Gives everything up that is not persisted: when signing out. */
  abandon() {
    for (const entry of this.outbox.entries) this.outbox.drop(entry);
  }

  /** What is not persisted yet. @param {string} [conversationId] @returns {import('./outbox.js').Entry[]} */
  pending(conversationId) {
    return this.outbox.entries.filter(entry => conversationId === undefined || entry.conversationId === conversationId);
  }

  /**
   * Follows a conversation: what is newer than `lastSeq` comes as `messages`; without `lastSeq` the newest do, too.
   * @param {string} conversationId @param {number} [lastSeq]
   */
  follow(conversationId, lastSeq) {
    const timeline = this.#timeline(conversationId);
    if (timeline.top !== null) return;
    if (lastSeq !== undefined) this.#deliver(conversationId, timeline.start(lastSeq), 'sync');
    this.sync.want([conversationId]);
  }

  /** @param {string} conversationId */
  forget(conversationId) {
    this.clock.clearTimeout(this.#holeTimers.get(conversationId));
    for (const map of [this.#timelines, this.#holeTimers, this.#reads, this.#typedAt]) map.delete(conversationId);
    this.sync.forget(conversationId);
  }

  /** Of this one more is held, for the screen; of the one before less again. @param {string} conversationId */
  focus(conversationId) {
    if (conversationId === this.#focus) return;
    this.#timelines.get(this.#focus)?.keep(this.limits.heldMax);
    this.#focus = conversationId;
    this.#timelines.get(conversationId)?.keep(this.limits.heldInFocusMax);
  }

  /** What is held of a conversation; read it, don't change it. @param {string} conversationId */
  timeline(conversationId) {
    return this.#timelines.get(conversationId);
  }

  /** Ever forward, and again after reconnecting. @param {string} conversationId @param {number} seqId */
  markRead(conversationId, seqId) {
    if (seqId <= (this.#reads.get(conversationId)?.seqId ?? 0)) return;
    this.#reads.delete(conversationId);
    const sent = this.connection.send('mark-read', { conversationId, seqId });
    this.#reads.set(conversationId, { seqId, at: this.clock.now(), sent });
    if (this.#reads.size > this.limits.conversationsMax) this.#reads.delete(this.#reads.keys().next().value ?? '');
  }

  /** Call it at every key; it is sent once in a while. @param {string} conversationId */
  typing(conversationId) {
    const now = this.clock.now();
    if (now - (this.#typedAt.get(conversationId) ?? -Infinity) < this.limits.typingMs) return;
    if (!this.connection.send('typing', { conversationId })) return;
    this.#typedAt.delete(conversationId);
    this.#typedAt.set(conversationId, now);
    if (this.#typedAt.size > 100) this.#typedAt.delete(this.#typedAt.keys().next().value ?? '');
  }

  /** @param {number} now */
  #newId(now) {
    const chance = () => Math.floor(this.clock.random() * 2 ** 32).toString(36);
    return `${now.toString(36)}-${(++this.#made).toString(36)}-${chance()}${chance()}`;
  }

  /** @param {string} conversationId */
  #timeline(conversationId) {
    const known = this.#timelines.get(conversationId);
    const held = conversationId === this.#focus ? this.limits.heldInFocusMax : this.limits.heldMax;
    const timeline = known ?? new Timeline(held, this.limits.aheadMax);
    this.#timelines.delete(conversationId);
    this.#timelines.set(conversationId, timeline);
    if (this.#timelines.size > this.limits.conversationsMax) {
      const oldest = [...this.#timelines.keys()].find(id => id !== this.#focus);
      if (oldest !== undefined) this.forget(oldest);
    }
    return timeline;
  }

  /** @param {import('./connection.js').Status} status */
  #onStatus(status) {
    if (status.state === 'online') {
      if (status.session?.userId !== this.userId) {
        this.connection.stop(`the token is for user ${status.session?.userId}, not ${this.userId}`);
        return;
      }
      this.sync.want(this.#timelines.keys());
      this.#pump();
      const young = this.clock.now() - this.limits.readsAgainMs;
      for (const [conversationId, read] of this.#reads) {
        if (!read.sent || read.at > young) read.sent = this.connection.send('mark-read', { conversationId, seqId: read.seqId });
      }
    } else {
      this.clock.clearTimeout(this.#resyncTimer);
      this.clock.clearTimeout(this.#outboxTimer);
      this.#resyncTimer = null;
      this.outbox.grounded();
      this.sync.reset();
    }
    this.#emit('status', status);
  }

  /** @param {{type: string, data: any, trace_id?: string}} event */
  #onEvent({ type, data, trace_id }) {
    switch (type) {
      case 'new-message': return this.#take(data.conversation_id, [data], 'live');
      case 'message-ack': return this.#onAck(data);
      case 'sync-result': return this.sync.onResult(data, trace_id);
      case 'conversation-update': return this.#onMembership(data);
      case 'resync': return this.#onResync(data.withinMs ?? 0);
      case 'error': return this.#onError(data, trace_id);
      case 'read': case 'typing': return this.#emit(type, data);
    }
  }

  /** Messages one by one, in whatever order. @param {string} conversationId @param {import('./timeline.js').Message[]} messages @param {string} source */
  #take(conversationId, messages, source) {
    const isNew = !this.#timelines.has(conversationId);
    const timeline = this.#timeline(conversationId);
    if (isNew) this.#emit('conversation', { conversationId, change: 'new' });
    const ready = messages.flatMap(message => timeline.offer(message));
    this.#deliver(conversationId, ready, source);
    if (timeline.top === null) this.sync.want([conversationId]);
    else this.#watchHole(conversationId, timeline);
  }

  /** @param {string} conversationId @param {Timeline} timeline */
  #watchHole(conversationId, timeline) {
    if (!timeline.hole || this.#holeTimers.has(conversationId)) return;
    this.#holeTimers.set(conversationId, this.clock.setTimeout(() => {
      this.#holeTimers.delete(conversationId);
      if (timeline.hole) this.sync.want([conversationId]);
    }, this.limits.holeMs));
  }

  /** @param {any} part @param {number | null} after @returns {boolean} */
  #onPart(part, after) {
    const { conversationId, code } = part;
    const timeline = this.#timelines.get(conversationId);
    if (!timeline) return true;
    if (code === 'CONVERSATION_NOT_FOUND') this.#deliver(conversationId, timeline.start(0), 'sync');
    if (code === 'NOT_A_MEMBER') this.#emit('denied', { conversationId });
    if (code) return !['BUSY', 'RATE_LIMITED', 'INTERNAL'].includes(code);
    const last = part.messages.at(-1)?.seq_id;
    if (part.hasMore && last === undefined) return false;
    const cameLive = new Set(timeline.ahead.keys());
    const ready = timeline.cover(after, part.messages, part.hasMore ? last : part.lastSeq);
    // Those that came as they were written and had to wait for this page are still news.
    const split = ready.findIndex(message => cameLive.has(message.seq_id));
    this.#deliver(conversationId, split < 0 ? ready : ready.slice(0, split), 'sync');
    if (split >= 0) this.#deliver(conversationId, ready.slice(split), 'live');
    if (!part.hasMore) this.#watchHole(conversationId, timeline);
    return true;
  }

  /** @param {string} conversationId @param {import('./timeline.js').Message[]} messages @param {string} source */
  #deliver(conversationId, messages, source) {
    for (const message of messages) {
      if (message.sender_id === this.userId) this.#settle(message.client_msg_id, conversationId, message.seq_id);
    }
    if (messages.length) this.#emit('messages', { conversationId, messages, source });
  }

  /** @param {any} ack */
  #onAck({ tempMessageId, conversationId, status, messageId, seqId, createdAt }) {
    const entry = this.outbox.find(tempMessageId, conversationId);
    if (!entry) return;
    if (status === 'accepted' && entry.state === 'sending') {
      this.outbox.set(entry, 'accepted');
      this.#emit('outbox', { entry });
    } else if (status === 'persisted') {
      this.#settle(tempMessageId, conversationId, seqId);
      this.#take(conversationId, [{
        message_id: messageId, client_msg_id: tempMessageId, conversation_id: conversationId, sender_id: this.userId,
        content: entry.content, message_type: entry.messageType, seq_id: seqId, created_at: createdAt,
      }], 'own');
    }
    this.#pump();
  }

  /** @param {string} id @param {string} conversationId @param {number} seqId */
  #settle(id, conversationId, seqId) {
    const entry = this.outbox.find(id, conversationId);
    if (!entry) return;
    this.outbox.set(entry, 'persisted');
    this.#emit('outbox', { entry, seqId });
  }

  /** @param {any} error @param {string} [trace] */
  #onError({ code, message, tempMessageId, retryable }, trace) {
    const told = code === 'RATE_LIMITED' ? toldMs(message) : null;
    if (told !== null) this.#hold(this.clock.now() + told);
    const entry = tempMessageId && this.outbox.entries.find(entry => entry.id === tempMessageId && entry.state !== 'failed');
    if (entry && (retryable || code === 'AUTH_EXPIRED')) {
      const { backoffFirstMs, backoffMaxMs } = this.limits;
      entry.flying = false;
      entry.notBefore = this.clock.now() + backoffMs(entry.tries++, backoffFirstMs, backoffMaxMs, this.clock.random());
      this.#pump();
    } else if (entry) {
      this.outbox.set(entry, 'failed', { code, message });
      this.#emit('outbox', { entry });
      this.#pump();
    } else if (this.sync.asked && (trace === this.sync.asked.trace || (trace === undefined && !tempMessageId && retryable))) {
      this.sync.onRefused();
    } else if (!tempMessageId) {
      this.#emit('trouble', { code, message });
    }
  }

  /** @param {{conversationId: string, change: 'added' | 'removed'}} update */
  #onMembership({ conversationId, change }) {
    // Coming back opens another window: what was held says nothing about it.
    this.forget(conversationId);
    if (change === 'added') {
      this.#timeline(conversationId);
      this.sync.want([conversationId]);
    }
    this.#emit('conversation', { conversationId, change });
  }

  /** @param {number} withinMs */
  #onResync(withinMs) {
    if (this.#resyncTimer !== null) return;
    this.#resyncTimer = this.clock.setTimeout(() => {
      this.#resyncTimer = null;
      this.sync.want(this.#timelines.keys());
    }, Math.floor(withinMs * this.clock.random()));
  }

  /** Sends nothing before that time: whoever goes on above their rate is closed. @param {number} at */
  #hold(at) {
    this.#heldUntil = Math.max(this.#heldUntil, at);
    this.sync.hold(at);
  }

  /** Sends what may be sent now. */
  #pump() {
    this.clock.clearTimeout(this.#outboxTimer);
    if (!this.connection.online) return;
    const now = this.clock.now();
    if (now < this.#heldUntil) {
      this.#outboxTimer = this.clock.setTimeout(() => this.#pump(), this.#heldUntil - now);
      return;
    }
    const { send, wakeAt } = this.outbox.due(now, this.limits.flyingMax, this.limits.ackMs);
    let wake = wakeAt;
    for (const entry of send) {
      const { id, conversationId, content, messageType } = entry;
      const data = { tempMessageId: id, conversationId, content, messageType };
      if (!this.connection.send('send-message', data)) return;
      entry.flying = true;
      entry.sentAt = now;
      wake = Math.min(wake, now + this.limits.ackMs * 2 ** Math.min(entry.tries, 4));
    }
    if (wake < Infinity) this.#outboxTimer = this.clock.setTimeout(() => this.#pump(), Math.max(0, wake - now));
  }

  /** @param {string} type @param {any} detail */
  #emit(type, detail) {
    for (const listener of this.#listeners.get(type) ?? []) listener(detail);
  }
}
