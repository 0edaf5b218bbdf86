// The list of conversations, by keyboard too: arrows move, Home and End jump, Enter opens.

import { byId, h, hueOf, whenOf } from './dom.js';
import { groupOf, peerOf } from './ids.js';

export class ListView {
  /** @param {import('./model.js').Model} model @param {(id: string) => void} onOpen */
  constructor(model, onOpen) {
    this.model = model;
    this.onOpen = onOpen;
    this.open = '';
    this.list = byId('list');
    /** @type {Map<string, HTMLLIElement>} */
    this.rows = new Map();
    this.list.replaceChildren();
    this.list.onkeydown = (/** @type {KeyboardEvent} */ event) => this.#onKey(event);
    this.list.onfocusin = (/** @type {FocusEvent} */ event) => this.#roam(/** @type {HTMLElement} */ (event.target));
  }

  render() {
    const talks = this.model.sorted();
    const ids = new Set(talks.map(talk => talk.id));
    for (const [id, row] of this.rows) {
      if (ids.has(id)) continue;
      row.remove();
      this.rows.delete(id);
    }
    const focused = document.activeElement;
    talks.forEach((talk, place) => {
      let row = this.rows.get(talk.id);
      if (!row) {
        row = this.#row(talk.id);
        this.rows.set(talk.id, row);
      }
      this.#fill(row, talk);
      if (this.list.children[place] !== row) this.list.insertBefore(row, this.list.children[place] ?? null);
    });
    // Moving a row takes the focus from it.
    if (focused instanceof HTMLElement && focused !== document.activeElement && this.list.contains(focused)) focused.focus();
    if (!this.list.querySelector('button[tabindex="0"]')) this.list.querySelector('button')?.setAttribute('tabindex', '0');
  }

  /** Focus to the open conversation's row, or the first. @param {string} [id] */
  focus(id = this.open) {
    (this.rows.get(id)?.querySelector('button') ?? this.list.querySelector('button'))?.focus();
  }

  /** @param {string} id */
  #row(id) {
    const avatar = h('span', { class: 'avatar', 'data-hue': hueOf(peerOf(id, this.model.me) ?? id), 'aria-hidden': 'true', text: initials(id, this.model.me) });
    const button = h('button', { type: 'button', tabindex: '-1', onclick: () => this.onOpen(id) }, avatar,
      h('span', { class: 'name' }), h('time', { class: 'when' }), h('span', { class: 'last' }), h('span', { class: 'unread' }));
    return /** @type {HTMLLIElement} */ (h('li', { 'data-id': id }, button));
  }

  /** @param {HTMLLIElement} row @param {import('./model.js').Talk} talk */
  #fill(row, talk) {
    const part = (/** @type {string} */ name) => /** @type {any} */ (row.querySelector(name));
    const typists = this.model.typists(talk, Date.now());
    const last = talk.lastMessage;
    const who = last && (last.sender_id === this.model.me ? 'You: ' : talk.id.startsWith('single_') ? '' : `User ${last.sender_id}: `);
    put(part('.name'), talk.title);
    put(part('.when'), last ? whenOf(last.created_at) : '');
    put(part('.last'), typists.length ? 'typing…' : last ? who + (last.message_type === 'text' ? last.content.slice(0, 200) : `[${last.message_type}]`) : hint(talk.id));
    put(part('.unread'), talk.unread ? (talk.unread >= 1000 ? '999+' : String(talk.unread)) : '');
    part('.unread').setAttribute('aria-label', talk.unread ? `${talk.unread} unread` : '');
    row.classList.toggle('fresh', talk.unread > 0);
    row.classList.toggle('writing', typists.length > 0);
    const button = part('button');
    if (talk.id === this.open) button.setAttribute('aria-current', 'true');
    else button.removeAttribute('aria-current');
  }

  /** Only one row is in the order of Tab. @param {HTMLElement} target */
  #roam(target) {
    const button = target.closest('button');
    for (const other of this.list.querySelectorAll('button[tabindex="0"]')) other.setAttribute('tabindex', '-1');
    button?.setAttribute('tabindex', '0');
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    const buttons = [...this.list.querySelectorAll('button')];
    const at = buttons.indexOf(/** @type {any} */ (document.activeElement));
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: buttons.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    buttons[Math.max(0, Math.min(to, buttons.length - 1))]?.focus();
  }
}

/** @param {Element} element @param {string} text */
function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** @param {string} id @param {string} me */
export function initials(id, me) {
  return id === 'world' ? '◎' : groupOf(id) ? '#' : (peerOf(id, me) ?? '').slice(-2);
}

/** @param {string} id */
function hint(id) {
  return id === 'world' ? 'Everybody on this server' : 'No messages yet';
}
