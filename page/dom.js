// Small helpers over the DOM. Text always goes in as text, never as markup.

/** @param {string} id @returns {any} */
export const byId = id => document.getElementById(id);

/**
 * @param {string} tag @param {Record<string, any>} [props] attributes; `on*` are listeners, `class` and `text` as they read
 * @param {...(Node | string | null | undefined | false)} children
 */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === 'text') element.textContent = value;
    else if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? '' : String(value));
  }
  element.append(...children.filter(child => child !== null && child !== undefined && child !== false));
  return element;
}

/** An icon of strokes. @param {string} path @param {string} [className] */
export function icon(path, className = '') {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('viewBox', '0 0 20 20');
  svg.setAttribute('aria-hidden', 'true');
  svg.setAttribute('class', className);
  const line = document.createElementNS('http://www.w3.org/2000/svg', 'path');
  line.setAttribute('d', path);
  svg.append(line);
  return svg;
}

const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });
const weekday = new Intl.DateTimeFormat(undefined, { weekday: 'long', day: 'numeric', month: 'long' });
const date = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short', year: 'numeric' });
const short = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short' });

/** @param {number | string} time */
export const timeOf = time => clock.format(new Date(time));
/** @param {number | string} time */
export const dayKey = time => new Date(time).toDateString();

/** @param {number | string} time */
export function dayName(time) {
  const day = new Date(time), now = new Date();
  if (dayKey(day.getTime()) === dayKey(now.getTime())) return 'Today';
  if (dayKey(day.getTime()) === dayKey(now.getTime() - 86_400_000)) return 'Yesterday';
  return day.getFullYear() === now.getFullYear() ? weekday.format(day) : date.format(day);
}

/** For a row of the list. @param {number | string} time */
export function whenOf(time) {
  return dayKey(time) === dayKey(Date.now()) ? timeOf(time) : short.format(new Date(time));
}

/** One of eight hues, the same for the same id. @param {string} id */
export function hueOf(id) {
  let sum = 0;
  for (const char of id) sum = (sum * 31 + char.charCodeAt(0)) >>> 0;
  return String(sum % 8);
}

let toastTimer = 0;
/** @param {string} text */
export function toast(text) {
  const box = byId('toast');
  box.textContent = text;
  box.hidden = false;
  clearTimeout(toastTimer);
  toastTimer = window.setTimeout(() => (box.hidden = true), 6_000);
}
