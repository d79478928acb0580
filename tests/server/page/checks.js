// What people who listen, who use keys or who see little would stumble over, in the page as it stands.

const CONTROLS = "a[href], button, input, textarea, select, summary";

function seen(one) {
  if (!one.checkVisibility({ visibilityProperty: true, opacityProperty: true })) return false;
  for (let at = one; at; at = at.parentElement) {
    if (getComputedStyle(at).clipPath.startsWith("inset(50%")) return false;
  }
  return true;
}

function named(one) {
  if (one.getAttribute("aria-label")) return one.getAttribute("aria-label");
  const labels = [...(one.labels ?? [])].map((label) => label.textContent).join(" ");
  return (labels || one.textContent).trim();
}

function color(text) {
  const numbers = text.match(/[\d.]+(e-\d+)?/g).map(Number);
  const scale = text.startsWith("color(") ? 255 : 1;
  const [r, g, b, a = 1] = numbers;
  return [r * scale, g * scale, b * scale, a];
}

const over = (top, below) => [0, 1, 2].map((at) => top[at] * top[3] + below[at] * (1 - top[3])).concat(1);

function behind(one) {
  const layers = [];
  for (let at = one; at; at = at.parentElement) {
    layers.push(color(getComputedStyle(at).backgroundColor));
    if (layers.at(-1)[3] === 1) break;
  }
  return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255, 1]);
}

function luminance(rgb) {
  const [r, g, b] = rgb.map((one) => {
    const value = one / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(one, other) {
  const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (light + 0.05) / (dark + 0.05);
}

function* unreadable() {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text = walker.nextNode(); text; text = walker.nextNode()) {
    const one = text.parentElement;
    if (!text.data.trim() || !seen(one) || one.closest("noscript, option")) continue;
    const style = getComputedStyle(one);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    const ground = behind(one);
    const found = contrast(over(color(style.color), ground), ground);
    if (found < (large ? 3 : 4.5)) yield `contrast ${found.toFixed(2)}: ${text.data.trim().slice(0, 40)}`;
  }
}

function* faint() {
  for (const one of document.querySelectorAll("input, textarea, select")) {
    if (!seen(one) || one.type === "checkbox") continue;
    const found = contrast(color(getComputedStyle(one).borderTopColor), behind(one.parentElement));
    if (found < 3) yield `border ${found.toFixed(2)}: ${named(one)}`;
  }
}

function* disordered() {
  let last = 0;
  for (const one of document.querySelectorAll("main :is(h1, h2, h3, h4, h5, h6), dialog :is(h1, h2, h3)")) {
    const level = Number(one.tagName[1]);
    if (level > last + 1) yield `heading ${level} after ${last}: ${one.textContent}`;
    if (!one.textContent.trim()) yield `empty heading ${level}`;
    last = level;
  }
  if (document.querySelectorAll("h1").length !== 1) yield "not one h1";
}

function faults() {
  const found = [...unreadable(), ...faint(), ...disordered()];
  for (const one of document.querySelectorAll(CONTROLS)) {
    if (seen(one) && !named(one)) found.push(`no name: ${one.outerHTML.slice(0, 80)}`);
  }
  const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
  found.push(...ids.filter((one, at) => ids.indexOf(one) !== at).map((one) => `id twice: ${one}`));
  for (const attribute of ["for", "aria-describedby", "aria-labelledby"]) {
    for (const one of document.querySelectorAll(`[${attribute}]`)) {
      if (!document.getElementById(one.getAttribute(attribute))) found.push(`${attribute} names nothing`);
    }
  }
  for (const landmark of ["main", "header", "h1"]) {
    if (!document.querySelector(landmark)) found.push(`no ${landmark}`);
  }
  for (const one of document.querySelectorAll("nav:not([aria-label])")) found.push(`nameless nav: ${one.textContent}`);
  for (const one of document.querySelectorAll("table")) {
    if (!one.caption || !one.querySelector("th[scope=col]")) found.push("a table without caption or heads");
  }
  if (!document.documentElement.lang || !document.title) found.push("no language or title");
  return found;
}
