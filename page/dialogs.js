// The dialogs: a new conversation, a group's people, and a question before what can't be undone.

import { byId, h, hueOf } from './dom.js';
import { groupOf, singleId, userNumber, userNumbers } from './ids.js';

/** @param {unknown} error */
const textOf = error => (error instanceof Error ? error.message : String(error));

/** Opens one, with its fault text and its close button; `onSubmit` may refuse by throwing. @param {any} dialog @param {(form: HTMLFormElement) => Promise<boolean>} onSubmit whether to close */
function open(dialog, onSubmit) {
  const form = dialog.querySelector('form');
  const fault = dialog.querySelector('.fault');
  const submit = form.querySelector('[type=submit]');
  fault.textContent = '';
  form.onsubmit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    fault.textContent = '';
    submit.disabled = true;
    try {
      if (await onSubmit(form)) dialog.close();
    } catch (error) {
      fault.textContent = textOf(error);
    }
    submit.disabled = false;
  };
  dialog.querySelector('[data-close]').onclick = () => dialog.close();
  dialog.showModal();
}

/** @param {{me: string, api: import('./http-api.js').Api, onOpen: (id: string, name?: string) => void}} context */
export function beginDialog({ me, api, onOpen }) {
  const dialog = byId('begin');
  const form = dialog.querySelector('form');
  form.reset();
  const kind = () => form.elements.kind.value;
  const choose = () => {
    for (const part of dialog.querySelectorAll('[data-kind]')) part.hidden = part.dataset.kind !== kind();
    form.querySelector('[type=submit]').textContent = kind() === 'group' ? 'Create' : 'Open';
  };
  for (const radio of form.elements.kind) radio.onchange = choose;
  choose();
  open(dialog, async () => {
    if (kind() === 'single') {
      const user = userNumber(byId('begin-user').value);
      if (user === null) throw new Error('A user number is needed, such as 2.');
      if (user === me) throw new Error('That is your own number.');
      onOpen(singleId(me, user));
      return true;
    }
    const name = byId('begin-name').value.trim();
    if (!name) throw new Error('A group needs a name.');
    const { conversationId } = await api.newGroup(name, userNumbers(byId('begin-members').value).filter(user => user !== me));
    onOpen(conversationId, name);
    return true;
  });
  byId('begin-user').focus();
}

/** @param {{me: string, api: import('./http-api.js').Api, conversationId: string, title: string, onLeft: (id: string) => void}} context */
export function membersDialog({ me, api, conversationId, title, onLeft }) {
  const dialog = byId('members');
  const group = groupOf(conversationId) ?? '';
  const list = byId('members-list');
  const fault = dialog.querySelector('.fault');
  byId('members-title').textContent = title;
  byId('members-add').value = '';
  list.replaceChildren(h('li', { class: 'hint', text: 'Loading…' }));

  const remove = async (/** @type {string} */ user) => {
    try {
      await api.removeMember(group, user);
      await load();
    } catch (error) {
      fault.textContent = textOf(error);
    }
  };
  const row = (/** @type {any} */ member, /** @type {boolean} */ manages) => h('li', {},
    h('span', { class: 'avatar', 'data-hue': hueOf(member.userId), 'aria-hidden': 'true', text: member.userId.slice(-2) }),
    h('span', { class: 'name', text: member.userId === me ? `User ${member.userId} (you)` : `User ${member.userId}` }),
    member.role !== 'member' && h('span', { class: 'role', text: member.role }),
    manages && member.userId !== me && member.role !== 'owner'
      && h('button', { type: 'button', class: 'plain', text: 'Remove', 'aria-label': `Remove user ${member.userId}`, onclick: () => remove(member.userId) }));
  /** @type {any[]} */
  let members = [];
  const load = async (/** @type {string} */ after = '') => {
    const page = await api.members(group, after);
    members = after ? [...members, ...page.members] : page.members;
    const role = members.find(member => member.userId === me)?.role;
    const manages = role === 'owner' || role === 'admin';
    byId('members-add-row').hidden = !manages;
    list.replaceChildren(...members.map(member => row(member, manages)));
    if (page.hasMore) {
      list.append(h('li', {}, h('button', { type: 'button', class: 'plain', text: 'More', onclick: () => load(members.at(-1).userId).catch(failed) })));
    }
  };
  const failed = (/** @type {unknown} */ error) => {
    fault.textContent = textOf(error);
  };

  open(dialog, async () => {
    const users = userNumbers(byId('members-add').value);
    if (!users.length) throw new Error('A user number is needed, such as 5.');
    await api.addMembers(group, users);
    byId('members-add').value = '';
    await load();
    return false;
  });
  byId('leave').onclick = async () => {
    if (!(await confirmDialog(`Leave “${title}”? You can come back only if somebody adds you.`, 'Leave'))) return;
    try {
      await api.removeMember(group, me);
      dialog.close();
      onLeft(conversationId);
    } catch (error) {
      failed(error);
    }
  };
  load().catch(error => {
    list.replaceChildren();
    failed(error);
  });
}

/** @param {string} question @param {string} yes @returns {Promise<boolean>} */
export function confirmDialog(question, yes) {
  const dialog = byId('confirm');
  byId('confirm-text').textContent = question;
  byId('confirm-yes').textContent = yes;
  dialog.returnValue = '';
  dialog.showModal();
  return new Promise(resolve => {
    dialog.onclose = () => resolve(dialog.returnValue === 'yes');
  });
}
