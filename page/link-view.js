// How the connection is: a line under the list, and a banner over the conversation when it is not there.

import { byId } from './dom.js';

export class LinkView {
  /** @param {import('./client.js').Client} client */
  constructor(client) {
    this.client = client;
    this.timer = 0;
    byId('link-now').onclick = () => (client.status.state === 'stopped' ? client.start() : client.hurry());
    this.render();
  }

  end() {
    clearTimeout(this.timer);
  }

  render() {
    clearTimeout(this.timer);
    const { state, session, retryAt = 0 } = this.client.status;
    const seconds = Math.max(0, Math.ceil((retryAt - Date.now()) / 1000));
    const text = {
      online: 'Connected', connecting: 'Connecting…', waiting: seconds ? `Reconnecting in ${seconds} s` : 'Reconnecting…', stopped: `Disconnected: ${this.client.status.reason ?? ''}`,
    }[state];
    byId('link').dataset.state = state;
    // A screen reader hears the state once, not every second.
    put('link-text', state === 'online' ? `Connected · ${session?.gatewayId} · shard ${session?.shard}` : text);
    byId('link-text').title = session ? `session ${session.sessionId}` : '';
    byId('link').setAttribute('aria-live', state === 'waiting' ? 'off' : 'polite');
    byId('link-now').hidden = state === 'online' || state === 'connecting';
    byId('link-now').textContent = state === 'stopped' ? 'Connect here' : 'Now';
    const banner = byId('banner');
    banner.hidden = state === 'online';
    put('banner', state === 'stopped' ? text : `${text} What you write is kept and sent then.`.replace(/ s What/, ' s. What'));
    if (state === 'waiting') this.timer = window.setTimeout(() => this.render(), 250);
  }
}

/** @param {string} id @param {string} text */
function put(id, text) {
  const element = byId(id);
  if (element.textContent !== text) element.textContent = text;
}
