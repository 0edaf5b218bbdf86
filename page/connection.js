// One WebSocket after another: token, hand-shake, back-off, and noticing that a silent one is dead.

/**
 * Time and chance, so that tests can hold them.
 * @typedef {object} Clock
 * @property {() => number} now Unix ms
 * @property {(run: () => void, ms: number) => any} setTimeout
 * @property {(timer: any) => void} clearTimeout
 * @property {() => number} random 0 ≤ n < 1
 *
 * @typedef {object} Session what `connected` said
 * @property {string} userId
 * @property {string} sessionId
 * @property {string} gatewayId
 * @property {number} shard
 * @property {number} heartbeatSeconds
 *
 * @typedef {object} Status
 * @property {'connecting' | 'online' | 'waiting' | 'stopped'} state
 * @property {number} [retryAt] Unix ms, when waiting
 * @property {number} [code] of the close before it
 * @property {string} [reason]
 * @property {Session} [session] when online
 *
 * Why a token is asked for: at the start, after close 4001, or because hand-shakes keep failing and
 * a browser can't say whether that is a 401. Null ends the connection for good.
 * @typedef {(why: 'first' | 'expired' | 'refused') => string | null | Promise<string | null>} TokenSource
 */

/** @type {Clock} */
export const realClock = {
  now: () => Date.now(),
  setTimeout: (run, ms) => setTimeout(run, ms),
  clearTimeout: timer => clearTimeout(timer),
  random: () => Math.random(),
};

/** Half of it fixed, half of it chance. @param {number} attempt from 0 @param {number} firstMs @param {number} maxMs @param {number} random */
export function backoffMs(attempt, firstMs, maxMs, random) {
  const full = Math.min(maxMs, firstMs * 2 ** Math.min(attempt, 30));
  return Math.round(full / 2 + (full / 2) * random);
}

/** The wait that the server names, in a reason for closing or in an error. @param {string} text @returns {number | null} ms */
export function toldMs(text) {
  const told = /\bretry_ms=(\d+)/.exec(text);
  return told && Math.min(Number(told[1]), RETRY_MS_MAX);
}

const EXPIRED = 4001;
const REPLACED = 4002;
const RETRY_MS_MAX = 120_000;

export class Connection {
  /**
   * @param {object} options
   * @param {string} options.url
   * @param {TokenSource} options.token
   * @param {any} options.WebSocket
   * @param {Clock} options.clock
   * @param {import('./client.js').Limits} options.limits
   * @param {(status: Status) => void} options.onStatus
   * @param {(event: {type: string, data: any, trace_id?: string}) => void} options.onEvent
   */
  constructor(options) {
    this.options = options;
    /** @type {Status} */
    this.status = { state: 'stopped' };
    /** @type {any} */
    this.socket = null;
    /** @type {string | null} */
    this.token = null;
    /** To be asked for before the next try. @type {'first' | 'expired' | 'refused' | null} */
    this.ask = 'first';
    this.attempt = 0;
    this.refusals = 0;
    this.heardAt = 0;
    this.silenceMs = options.limits.silenceMs;
    /** @type {Record<string, any>} */
    this.timers = {};
  }

  get online() {
    return this.status.state === 'online';
  }

  start() {
    if (this.status.state !== 'stopped') return;
    this.attempt = this.refusals = 0;
    this.#open();
  }

  /** @param {string} [reason] */
  stop(reason) {
    this.#leave(1000);
    this.#say({ state: 'stopped', reason });
  }

  /** Doesn't wait for the back-off: the network is back, or the user asks. */
  hurry() {
    if (this.status.state === 'waiting') this.#open();
  }

  /** @param {string} type @param {object} data @param {string} [trace_id] @returns {boolean} whether it left */
  send(type, data, trace_id) {
    if (!this.online) return false;
    this.socket.send(JSON.stringify({ type, data, trace_id }));
    return true;
  }

  async #open() {
    const { url, WebSocket, limits } = this.options;
    this.#leave();
    this.#say({ state: 'connecting' });
    const current = this.status;
    if (this.ask) {
      try {
        const token = await this.options.token(this.ask);
        if (this.status !== current) return;
        if (token === null) return this.stop('no token');
        this.token = token;
      } catch (error) {
        if (this.status !== current) return;
        // Whether it is still good can't be found out now: the one at hand may do.
        if (this.ask !== 'refused') return this.#wait(0, `no token: ${error instanceof Error ? error.message : error}`);
      }
      this.ask = null;
    }
    const socket = new WebSocket(url, ['ringway.v1', `bearer.${this.token}`]);
    this.socket = socket;
    this.#arm('handshake', limits.handshakeMs, () => this.#closed(0, 'no answer'));
    socket.onmessage = (/** @type {any} */ event) => this.#heard(event.data);
    socket.onclose = (/** @type {any} */ event) => this.#closed(event.code, event.reason ?? '');
    socket.onerror = () => {};
  }

  /** @param {unknown} text */
  #heard(text) {
    const { clock, limits, onEvent } = this.options;
    this.heardAt = clock.now();
    let event;
    try {
      event = JSON.parse(String(text));
    } catch {
      return;
    }
    if (event.type === 'connected') {
      clock.clearTimeout(this.timers.handshake);
      this.refusals = 0;
      this.#arm('stable', limits.stableMs, () => (this.attempt = 0));
      if (event.data.heartbeatSeconds) this.silenceMs = Math.min(limits.silenceMs, (event.data.heartbeatSeconds * 2000) / 3);
      this.#watch(this.silenceMs, false);
      this.#say({ state: 'online', session: event.data });
    }
    onEvent(event);
  }

  /** A ping when nothing was heard for a while; when that stays without an answer, another socket. */
  #watch(/** @type {number} */ ms, /** @type {boolean} */ pinged) {
    const { clock, limits } = this.options;
    this.#arm('silence', ms, () => {
      const silent = clock.now() - this.heardAt;
      if (silent < this.silenceMs) return this.#watch(this.silenceMs - silent, false);
      if (pinged && silent >= limits.pongMs) return this.#closed(0, 'nothing heard');
      this.send('ping', {});
      this.#watch(limits.pongMs, true);
    });
  }

  /** @param {number} code 0: ended from here @param {string} reason */
  #closed(code, reason) {
    const wasOnline = this.online;
    this.#leave();
    if (code === REPLACED) return this.#say({ state: 'stopped', code, reason: 'replaced by a newer session' });
    if (code === EXPIRED) this.ask = 'expired';
    else if (!wasOnline) this.refusals += 1;
    // At the 2nd, 4th, 8th … refusal in a row, so that a crowd doesn't ask at every try.
    const { refusals } = this;
    if (!wasOnline && !this.ask && refusals >= 2 && (refusals & (refusals - 1)) === 0) this.ask = 'refused';
    this.#wait(code, reason);
  }

  /** @param {number} code @param {string} reason */
  #wait(code, reason) {
    const { clock, limits } = this.options;
    const ms = toldMs(reason) ?? backoffMs(this.attempt, limits.backoffFirstMs, limits.backoffMaxMs, clock.random());
    this.attempt += 1;
    this.#arm('retry', ms, () => this.#open());
    this.#say({ state: 'waiting', retryAt: clock.now() + ms, code, reason });
  }

  /** Lets go of the socket at once: over a dead network its own close event takes long. @param {number} [code] */
  #leave(code) {
    for (const timer of Object.values(this.timers)) this.options.clock.clearTimeout(timer);
    this.timers = {};
    const socket = this.socket;
    this.socket = null;
    if (!socket) return;
    socket.onmessage = socket.onclose = null;
    try {
      socket.close(code);
    } catch {
      // Not open yet, in some implementations.
    }
  }

  /** @param {string} name @param {number} ms @param {() => void} run */
  #arm(name, ms, run) {
    this.options.clock.clearTimeout(this.timers[name]);
    this.timers[name] = this.options.clock.setTimeout(run, ms);
  }

  /** @param {Status} status */
  #say(status) {
    this.status = status;
    this.options.onStatus(status);
  }
}
