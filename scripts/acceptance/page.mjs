// Walks through the chat page as people would, in headless Chromium against a server of its own.
import { check, comes, equal, Person, run } from './browser.mjs';

const WIDE = { width: 1280, height: 800 };
const PHONE = { width: 390, height: 844 };
const SINGLE = 'single_1_2';

async function walk(browser, server) {
  const one = await new Person(browser, server, 1).arrive(WIDE);
  const two = await new Person(browser, server, 2).arrive(WIDE, 'dark');
  const three = await new Person(browser, server, 3).arrive(PHONE);
  for (const person of [one, two, three]) await comes(`user ${person.user} is signed in and connected`, () => person.online(), 'online');
  await comes('the line under the list names gateway and shard', async () => /^Connected · .+ · shard \d+$/.test(await one.text('#link-text')));

  await talk(one, two);
  await group(one, two, three);
  await history(one, two);
  await crash(server, one, two);
  await keyboard(one);
  await phone(three, one);
  await text(one, two);
  await refused(one);
  await pasted(browser, server);
  await ends(one);
  for (const person of [one, two, three]) equal(`no faults in the page of user ${person.user}`, person.faults, []);
}

async function talk(one, two) {
  await one.page.click('#new');
  await one.page.fill('#begin-user', '2');
  await one.shot('begin');
  await one.page.press('#begin-user', 'Enter');
  await comes('a single conversation opens by user number', () => one.text('#open-title'), 'User 2');
  await one.say('Good morning!');
  await comes('a message becomes persisted', () => one.states(), ['persisted']);
  await comes('the other one sees the conversation, with one unread', () => two.unread(SINGLE), '1');
  await comes('and its last message', () => two.text(`${two.row(SINGLE)} .last`), 'Good morning!');
  await one.say('Is the room free at ten?');
  await comes('the count rises', () => two.unread(SINGLE), '2');
  await comes('the title of the page says so', () => two.page.title(), '(2) Ringway');
  await two.open(SINGLE);
  await comes('opening shows both', () => two.texts(), ['Good morning!', 'Is the room free at ten?']);
  await comes('and they count as read', () => two.unread(SINGLE), '');
  await comes('the sender sees that they are read', () => one.states(), ['read', 'read']);

  await two.page.type('#text', 'Yes, ');
  await comes('typing shows', () => one.text('#open-sub'), 'typing…');
  await comes('and goes after 3 s', () => one.text('#open-sub'), '', 5_000);
  await two.say('Yes, until noon.');
  await comes('the answer comes', async () => (await one.texts()).at(-1), 'Yes, until noon.');

  await one.page.fill('#text', 'two');
  await one.page.press('#text', 'Shift+Enter');
  await one.page.type('#text', 'lines');
  await one.page.press('#text', 'Enter');
  await comes('Shift+Enter makes a new line, Enter sends', async () => (await two.texts()).at(-1), 'two\nlines');
}

async function group(one, two, three) {
  await one.page.click('#new');
  await one.page.check('input[value=group]', { force: true });
  await one.page.fill('#begin-name', 'Lunch');
  await one.page.fill('#begin-members', '2');
  await one.page.click('#begin [type=submit]');
  await comes('a group is made and open', () => one.text('#open-title'), 'Lunch');
  const id = new URL(one.page.url()).hash.slice(1);
  await one.say('Noodles or soup?');
  await comes('its member sees it by name', () => two.text(`${two.row(id)} .name`), 'Lunch');
  await comes('with one unread', () => two.unread(id), '1');
  await one.page.click('#people');
  await one.page.fill('#members-add', '3');
  await one.page.press('#members-add', 'Enter');
  await comes('a person is added', () => one.page.$$eval('#members-list .name', all => all.length), 3);
  await one.shot('members');
  await one.page.keyboard.press('Escape');
  await comes('the added one has the group in the list', () => three.text(`${three.row(id)} .name`), 'Lunch');
  await one.say('Welcome, three.');
  await three.open(id);
  await comes('and sees what is said from then on', () => three.texts(), ['Welcome, three.']);
  await two.open(id);
  await two.say('Soup.');
  await comes('all of them see the answer', async () => (await one.texts()).at(-1) === 'Soup.' && (await three.texts()).at(-1) === 'Soup.');

  await one.say('Then let’s meet at the corner at a quarter past twelve. I’ll bring the big umbrella, it looks like rain.');
  await two.say('Good.');
  await comes('and so on', async () => (await one.texts()).at(-1), 'Good.');
  await three.page.fill('#text', 'I can');
  await one.shot('group-1280');
  await two.shot('group-1280-dark');
  await three.shot('group-390');

  await three.page.click('#people');
  await three.page.click('#leave');
  await three.page.click('#confirm-yes');
  await comes('who leaves has it in the list no more', () => three.page.$$eval('#list li', all => all.map(one => one.dataset.id)), ['world']);
  await one.say('Soup it is.');
  await comes('the others go on', async () => (await two.texts()).at(-1), 'Soup it is.');

  await one.open('world');
  await one.say('Hello, world');
  await comes('world reaches the others', () => two.text(`${two.row('world')} .last`), 'User 1: Hello, world');
}

const MANY = 130;

async function history(one, two) {
  await one.open(SINGLE);
  const before = (await one.texts()).length;
  for (let i = 1; i <= MANY; i++) await one.say(`note ${i}`);
  const all = await one.texts();
  await comes('many messages are all persisted', async () => new Set((await one.states()).slice(-MANY)).size === 1 && (await one.states()).at(-1) !== 'sending', true, 30_000);
  await comes('they are counted for the other one', () => two.unread(SINGLE), String(MANY));
  await two.page.reload();
  await comes('a reload stays signed in', () => two.online(), 'online');
  await comes('the count is there after the reload', () => two.unread(SINGLE), String(MANY));
  await two.open(SINGLE);
  await comes('the newest are there after a reload', async () => (await two.texts()).at(-1), `note ${MANY}`);
  await comes('and stay at the end of the view', () => two.page.$eval('#log', log => log.scrollHeight - log.scrollTop - log.clientHeight < 3));
  const first = await two.page.$eval('#log li', li => li.item.seq);
  check('not all of the history is loaded at once', first > 1, `first seq ${first}`);

  // At a place of the scroll, a marked message stays where it is while older ones come in above it.
  const moved = await two.page.evaluate(async () => {
    const log = document.querySelector('#log');
    const count = log.children.length;
    const mark = log.children[3];
    log.scrollTop = 120;
    const at = mark.getBoundingClientRect().top;
    for (let i = 0; i < 100 && log.children.length === count; i++) await new Promise(resolve => setTimeout(resolve, 50));
    return { more: log.children.length > count, by: Math.floor(Math.abs(mark.getBoundingClientRect().top - at)) };
  });
  equal('scrolling up loads older ones, and the view stays put', moved, { more: true, by: 0 });
  await comes('to the very first one', async () => {
    await two.page.$eval('#log', log => (log.scrollTop = 0));
    return (await two.texts()).length;
  }, before + MANY);
  equal('in order, nothing missing or double', await two.texts(), all);
  equal('a line shows where the new ones began', await two.page.$$eval('.line.new', lines => lines.map(line => line.parentNode.querySelector('.text').textContent)), ['note 1']);
  await one.say('while you read above');
  await comes('what comes in meanwhile is offered below', () => two.text('#newer'), '1 new ↓');
  await two.page.click('#newer');
  await comes('and one click shows it', () => two.page.isHidden('#newer'));
  await one.shot('talk-1280');
  await two.shot('talk-1280-dark');
}

const BURST = 40;

async function crash(server, one, two) {
  const before = (await two.texts()).length;
  const expected = [];
  const say = async i => {
    expected.push(`burst ${i}`);
    await one.say(`burst ${i}`);
  };
  for (let i = 0; i < BURST / 2; i++) await say(i);
  await server.end('SIGKILL');
  await comes('a killed server shows as reconnecting', () => one.text('#link-text').then(text => /^Reconnecting/.test(text)));
  for (let i = BURST / 2; i < BURST; i++) await say(i);
  check('what is written meanwhile waits', (await one.states()).at(-1) === 'sending', await one.states());
  await one.shot('reconnecting');
  await one.page.goto('about:blank');
  await server.start();
  await one.page.goto(`${server.url}#${SINGLE}`);
  await comes('after the restart both are connected', async () => (await one.online()) === 'online' && (await two.online()) === 'online', true, 60_000);
  await comes('the other one has everything, in order, once', async () => (await two.texts()).slice(before), expected, 30_000);
  await comes('nothing waits any more', async () => (await one.states()).every(state => state === 'persisted' || state === 'read'), true, 30_000);
  await comes('and so has the sender, who reloaded in the middle', async () => (await one.texts()).slice(-BURST), expected);
  equal('nothing is left in storage', await one.page.evaluate(() => localStorage.length), 0);
}

async function keyboard(one) {
  const { page } = one;
  await page.focus('#text');
  await page.keyboard.press('Escape');
  await comes('Escape goes back to the list', () => page.isVisible('#blank'));
  equal('with the focus on the conversation it came from', await page.evaluate(id => document.activeElement.closest('li')?.dataset.id === id, SINGLE), true);
  await page.keyboard.press('End');
  await page.keyboard.press('Home');
  await page.keyboard.press('ArrowDown');
  const second = await page.evaluate(() => document.activeElement === document.querySelectorAll('#list button')[1]);
  check('arrows move in the list', second);
  equal('the focus can be seen', await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle), 'solid');
  await page.keyboard.press('ArrowUp');
  await page.keyboard.press('Enter');
  await comes('Enter opens, and the composer has the focus', () => page.evaluate(() => document.activeElement.id), 'text');
}

async function phone(three, one) {
  const { page } = three;
  await page.click('#new');
  await page.fill('#begin-user', '1');
  await page.press('#begin-user', 'Enter');
  await comes('on a phone the conversation takes the whole screen', () => page.isHidden('#list'));
  await three.say('On my way, ten minutes');
  await comes('a message goes out from a phone', () => three.states().then(states => ['persisted', 'read'].includes(states[0])));
  await one.open('single_1_3');
  await one.say('Take your time. We have kept the seat next to the window, and there is soup left.');
  await comes('and the answer comes', async () => (await three.texts()).length, 2);
  await three.shot('talk-390');
  equal('nothing is wider than the screen', await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true);
  await page.click('#back');
  await comes('the back button shows the list', () => page.isVisible('#list'));
  await one.say('Or take the tram.');
  await comes('which counts what comes then', () => three.unread('single_1_3'), '1');
  await three.shot('list-390');
}

async function text(one, two) {
  const nasty = '<img src=x onerror="document.title=\'owned\'"><b>bold</b> & “quotes” 🎈 שלום';
  await one.open(SINGLE);
  await one.say(nasty);
  await comes('markup stays text', async () => (await two.texts()).at(-1), nasty);
  equal('and makes no element', await two.page.$$eval('#log img, #log b', all => all.length), 0);
  await one.page.fill('#text', 'x'.repeat(5_001));
  await one.page.press('#text', 'Enter');
  await comes('a text that is too long is refused and kept', async () =>
    (await one.page.isVisible('#toast')) && (await one.page.inputValue('#text')).length === 5_001);
  await one.page.fill('#text', '');
}

async function refused(one) {
  await one.page.evaluate(() => (location.hash = 'group_999999'));
  await one.say('anybody?');
  await comes('a refused message says that it failed, and why', () => one.page.$$eval('#log .state', all => all.map(one => /^failed: .+RetryDiscard$/.test(one.textContent))), [true]);
  await one.shot('failed');
  await one.page.click('#log .state button >> nth=0');
  await comes('it can be tried again', () => one.states(), ['failed']);
  await one.page.click('#log .state button >> nth=1');
  await comes('and given up', () => one.states(), []);
  equal('then nothing waits', await one.page.evaluate(() => localStorage.length), 0);
}

async function pasted(browser, server) {
  const answer = await fetch(`${server.url}api/dev/token`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: '{"userId":"4"}' });
  const { token } = await answer.json();
  const four = new Person(browser, server, 4);
  await four.arrive(PHONE, 'dark', false);
  await four.page.fill('#token', 'nonsense');
  await four.page.click('#sign-in [type=submit]');
  await comes('without dev tokens, what is no token is refused', () => four.text('#sign-in .fault'), 'That is not a token with a user in it.');
  await four.page.fill('#token', token);
  await four.page.click('#sign-in [type=submit]');
  await comes('and a pasted token signs in', () => four.text('#me'), 'User 4');
  await comes('as its user', () => four.online(), 'online');
  equal('without a fault', four.faults, []);
}

async function ends(one) {
  await one.page.click('#sign-out');
  await comes('signing out shows the form', () => one.page.isVisible('#user-number'));
  equal('and leaves no token', await one.page.evaluate(() => sessionStorage.length), 0);
  await one.shot('sign-in');
}

await run(walk);
