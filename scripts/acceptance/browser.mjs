// What a walk through the page needs: a server of its own, a person at a browser, and a tally.
// RINGWAY names the binary, CHROMIUM the browser; screenshots go to .cache/shots/.
import { spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '../..');
const BINARY = process.env.RINGWAY ?? join(ROOT, 'target/release/ringway');
const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';
const SHOTS = join(ROOT, '.cache/shots');
const WAIT_MS = 10_000;
const { chromium } = createRequire(join(ROOT, '.cache/node/package.json'))('playwright-core');

let passed = 0, failed = 0;
export function check(name, good, detail = '') {
  console.log(`${good ? 'ok  ' : 'FAIL'} ${name}${good ? '' : `: ${detail}`}`);
  if (good) passed += 1;
  else failed += 1;
}
export const equal = (name, got, expected) =>
  check(name, JSON.stringify(got) === JSON.stringify(expected), `expected ${JSON.stringify(expected)}, got ${JSON.stringify(got)}`);

/** Whether `question` gives `expected` before the wait is over. */
export async function comes(name, question, expected = true, waitMs = WAIT_MS) {
  let got;
  for (const end = Date.now() + waitMs; Date.now() < end; await sleep(40)) {
    got = await question().catch(error => String(error).split('\n')[0]);
    if (JSON.stringify(got) === JSON.stringify(expected)) break;
  }
  equal(name, got, expected);
}
export const sleep = ms => new Promise(resolve => setTimeout(resolve, ms));

function freePort() {
  return new Promise(resolve => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** A `ringway dev` with a data directory of its own, ended by pid. */
export class Server {
  data = mkdtempSync(join(tmpdir(), 'ringway-page-'));
  async prepare() {
    [this.listen, this.http, this.admin] = await Promise.all([freePort(), freePort(), freePort()]);
    this.url = `http://127.0.0.1:${this.http}/`;
    return this;
  }
  async start() {
    const at = port => `127.0.0.1:${port}`;
    const log = openSync(join(this.data, 'log'), 'a');
    this.process = spawn(BINARY, ['dev', '--data', this.data, '--listen', at(this.listen), '--http', at(this.http), '--admin', at(this.admin)],
      { stdio: ['ignore', 'pipe', log] });
    closeSync(log);
    this.exit = new Promise(resolve => this.process.once('exit', resolve));
    const up = new Promise(resolve => {
      let text = '';
      this.process.stdout.on('data', part => (text += part).includes('Ctrl-C') && resolve(true));
    });
    if (!(await Promise.race([up, this.exit.then(() => false), sleep(30_000).then(() => false)]))) {
      throw new Error(`the server did not start: ${readFileSync(join(this.data, 'log'), 'utf8').slice(-2000)}`);
    }
  }
  async end(signal) {
    if (this.process?.exitCode === null && this.process.signalCode === null) this.process.kill(signal);
    await this.exit;
  }
}

/** One person at a browser. */
export class Person {
  constructor(browser, server, user) {
    Object.assign(this, { browser, server, user, faults: [] });
  }
  async arrive(size, colorScheme = 'light', dev = true) {
    this.context = await this.browser.newContext({ viewport: size, colorScheme, reducedMotion: 'reduce' });
    this.page = await this.context.newPage();
    this.page.setDefaultTimeout(WAIT_MS);
    this.page.on('pageerror', error => this.faults.push(String(error)));
    this.page.on('console', line => line.type() === 'error' && /Content Security|Uncaught|TypeError/.test(line.text()) && this.faults.push(line.text()));
    if (!dev) {
      await this.page.route('**/api/config', async route => {
        const answer = await route.fetch();
        await route.fulfill({ json: { ...(await answer.json()), dev: false } });
      });
    }
    await this.page.goto(this.server.url);
    if (!dev) return this;
    await this.page.fill('#user-number', String(this.user));
    await this.page.press('#user-number', 'Enter');
    return this;
  }
  text(selector) {
    return this.page.textContent(selector);
  }
  texts() {
    return this.page.$$eval('#log .text', all => all.map(one => one.textContent));
  }
  row(id) {
    return `#list li[data-id="${id}"]`;
  }
  unread(id) {
    return this.text(`${this.row(id)} .unread`);
  }
  open(id) {
    return this.page.click(`${this.row(id)} button`);
  }
  async say(text) {
    await this.page.fill('#text', text);
    await this.page.press('#text', 'Enter');
  }
  states() {
    return this.page.$$eval('#log .own', all => all.map(one => one.dataset.state));
  }
  online() {
    return this.page.getAttribute('#link', 'data-state');
  }
  async shot(name) {
    await this.page.screenshot({ path: join(SHOTS, `${name}.png`) });
  }
}

/** A server and a browser, for as long as `walk` takes; ends the process with the tally. @param {(browser: any, server: Server) => Promise<void>} walk */
export async function run(walk) {
  mkdirSync(SHOTS, { recursive: true });
  if (!existsSync(CHROMIUM)) {
    console.log(`FAIL expected a Chromium at ${CHROMIUM}: apt-get install -y chromium, or set CHROMIUM`);
    process.exit(1);
  }
  const server = await new Server().prepare();
  let browser;
  try {
    await server.start();
    browser = await chromium.launch({
      executablePath: CHROMIUM,
      args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
        '--disable-component-update', '--disable-sync'],
    });
    await walk(browser, server);
  } catch (error) {
    check('the walk comes to its end', false, error.stack);
  } finally {
    await browser?.close();
    await server.end('SIGTERM');
    rmSync(server.data, { recursive: true, force: true });
  }
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(failed || !passed ? 1 : 0);
}
