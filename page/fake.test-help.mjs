// A clock that moves when told, a server's end of a WebSocket that says what it is told to, and a
// client between them.

import { Client } from './client.js';

export const TALK = 'single_1_2';

export class FakeClock {
  time = 1_000_000;
  chance = 0.5;
  #timers = [];
  #id = 0;
  now = () => this.time;
  random = () => this.chance;
  setTimeout = (run, ms) => {
    this.#timers.push({ id: ++this.#id, at: this.time + ms, run });
    return this.#id;
  };
  clearTimeout = id => {
    this.#timers = this.#timers.filter(timer => timer.id !== id);
  };

  /** Runs what falls due within `ms`, in order; promises in between are let through. */
  async pass(ms) {
    const end = this.time + ms;
    for (;;) {
      await settled();
      const [next] = this.#timers.filter(timer => timer.at <= end).sort((a, b) => a.at - b.at || a.id - b.id);
      if (!next) break;
      this.clearTimeout(next.id);
      this.time = Math.max(this.time, next.at);
      next.run();
    }
    this.time = end;
  }
}

export const settled = () => new Promise(resolve => setImmediate(resolve));

/** A class to pass as WebSocket; `sockets` are those made, the newest last. */
export function fakeSockets(userId = '1') {
  const sockets = [];
  class FakeWebSocket {
    sent = [];
    open = true;
    constructor(url, protocols) {
      Object.assign(this, { url, protocols });
      sockets.push(this);
    }
    send(text) {
      this.sent.push(JSON.parse(text));
    }
    close() {
      this.open = false;
    }
    // What the server does.
    connected(more = {}) {
      this.says('connected', { userId, sessionId: 's', gatewayId: 'g', shard: 0, heartbeatSeconds: 30, ...more });
    }
    says(type, data, trace_id) {
      this.onmessage?.({ data: JSON.stringify({ type, data, trace_id }) });
    }
    drops(code = 1006, reason = '') {
      this.open = false;
      this.onclose?.({ code, reason });
    }
    persists(frame, seqId) {
      const { tempMessageId, conversationId } = frame.data;
      this.says('message-ack', { tempMessageId, conversationId, status: 'persisted', messageId: `m${seqId}`, seqId, createdAt: '2026-01-01T00:00:00.000Z' });
    }
    answers(parts) {
      this.says('sync-result', { conversations: parts }, this.of('sync').at(-1).trace_id);
    }
    of(type) {
      return this.sent.filter(frame => frame.type === type);
    }
    get contents() {
      return this.of('send-message').map(frame => frame.data.content);
    }
  }
  return { sockets, WebSocket: FakeWebSocket };
}

/** localStorage, as far as the client uses it. */
export class FakeStorage {
  map = new Map();
  get length() {
    return this.map.size;
  }
  key = i => [...this.map.keys()][i] ?? null;
  getItem = key => this.map.get(key) ?? null;
  setItem = (key, value) => void this.map.set(key, String(value));
  removeItem = key => void this.map.delete(key);
}

export function message(seq, more = {}) {
  return {
    message_id: `m${seq}`, client_msg_id: `c${seq}`, conversation_id: 'single_1_2', sender_id: '2', content: `text ${seq}`,
    message_type: 'text', seq_id: seq, created_at: '2026-01-01T00:00:00.000Z', trace_id: 't', ...more,
  };
}

/** A client with all around it, and what it handed out. */
export async function setUp({ connect = true, ...options } = {}) {
  const clock = options.clock ?? new FakeClock();
  const { sockets, WebSocket } = fakeSockets();
  const client = new Client({ url: 'ws://here/ws', userId: '1', token: 'token', WebSocket, clock, ...options });
  const seen = { seqs: [], outbox: [], status: [], events: [] };
  client.on('messages', ({ messages }) => seen.seqs.push(...messages.map(message => message.seq_id)));
  client.on('outbox', ({ entry }) => seen.outbox.push([entry.content, entry.state]));
  client.on('status', status => seen.status.push(status));
  for (const type of ['conversation', 'denied', 'read', 'typing', 'trouble']) client.on(type, detail => seen.events.push({ type, ...detail }));
  client.start();
  await clock.pass(0);
  const it = { client, clock, sockets, seen, get socket() { return sockets.at(-1); } };
  if (connect) it.socket.connected();
  return it;
}

/** Follows TALK from `seq`, with nothing missed. */
export function follow(it, seq) {
  it.client.follow(TALK, seq);
  it.socket.answers([{ conversationId: TALK, messages: [], lastSeq: seq, hasMore: false }]);
}
