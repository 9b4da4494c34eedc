// A small part of Markdown, as model cards use it: headings, paragraphs, lists, tables, code,
// quotations; emphasis, code and links within a line. What it does not know stays text, HTML too:
// everything becomes elements and text nodes, nothing is ever parsed as markup.

import { h } from "./dom.js";

const FENCE = /^\s*(`{3,}|~{3,})/;
const HEADING = /^(#{1,6})\s+(.*?)\s*#*\s*$/;
const ITEM = /^\s*(?:[-*+]|(\d{1,9})[.)])\s+(.*)$/;
const RULE = /^\s*([-*_])(\s*\1){2,}\s*$/;
const DELIMITER = /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;
const COMMENT = /^\s*<!--.*-->\s*$/;
const INLINE = /`([^`]+)`|\*\*(\S(?:.*?\S)?)\*\*|\*([^\s*](?:[^*]*[^\s*])?)\*|\[([^\]]*)\]\(([^()\s]*)\)/;
const HEADING_MAX = 6;
/** Emphasis within emphasis: no deeper. */
const DEPTH_MAX = 4;

/** Elements of a text. Its headings are put `below` levels down. */
export function markdown(text, below = 0) {
  const lines = text.split(/\r?\n/);
  const blocks = [];
  let at = 0;
  const take = (fits) => {
    const from = at;
    while (at < lines.length && fits(lines[at], at - from)) at += 1;
    return lines.slice(from, at);
  };
  while (at < lines.length) {
    const line = lines[at];
    const fence = FENCE.exec(line)?.[1];
    const heading = HEADING.exec(line);
    if (line.trim() === "" || COMMENT.test(line) || RULE.test(line)) at += 1;
    else if (fence) {
      at += 1;
      const code = take((other) => !other.trim().startsWith(fence));
      at += 1;
      blocks.push(scrolling("Code", h("pre", {}, h("code", {}, code.join("\n")))));
    } else if (heading) {
      at += 1;
      const level = Math.min(heading[1].length + below, HEADING_MAX);
      blocks.push(h(`h${level}`, {}, inline(heading[2])));
    } else if (line.includes("|") && DELIMITER.test(lines[at + 1] ?? "")) {
      blocks.push(table(take((other) => other.includes("|"))));
    } else if (ITEM.test(line)) {
      blocks.push(list(take((other, index) => index === 0 || continues(other) || ITEM.test(other))));
    } else if (line.trimStart().startsWith(">")) {
      const quoted = take((other) => other.trimStart().startsWith(">"));
      blocks.push(h("blockquote", {}, inline(joined(quoted.map((l) => l.replace(/^\s*>\s?/, ""))))));
    } else {
      blocks.push(h("p", {}, inline(joined(take((other, index) => index === 0 || continues(other))))));
    }
  }
  return blocks;
}

/** Whether a line belongs to the paragraph or item above it. */
function continues(line) {
  return line.trim() !== "" && ![FENCE, HEADING, ITEM, COMMENT].some((other) => other.test(line));
}

function joined(lines) {
  return lines.map((line) => line.trim()).join(" ");
}

/** A flat list: items within items are items. */
function list(lines) {
  const items = [];
  for (const line of lines) {
    const item = ITEM.exec(line);
    if (item) items.push([item[2]]);
    else items.at(-1).push(line);
  }
  const ordered = ITEM.exec(lines[0])[1] !== undefined;
  return h(ordered ? "ol" : "ul", {}, items.map((item) => h("li", {}, inline(joined(item)))));
}

function table(lines) {
  const cells = (line) => line.trim().replace(/^\||\|$/g, "").split("|").map((cell) => inline(cell.trim()));
  const [head, , ...rows] = lines;
  return scrolling("Table", h("table", {},
    h("thead", {}, h("tr", {}, cells(head).map((cell) => h("th", { scope: "col" }, cell)))),
    h("tbody", {}, rows.map((row) => h("tr", {}, cells(row).map((cell) => h("td", {}, cell)))))));
}

/** What is wider than the page can be scrolled to, with the keyboard too. */
function scrolling(name, ...children) {
  return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `${name} in the card` }, children);
}

/** The parts of a line. */
function inline(text, depth = 0) {
  const parts = [];
  let rest = text;
  while (rest !== "") {
    const found = depth < DEPTH_MAX ? INLINE.exec(rest) : null;
    if (!found) break;
    const [whole, code, strong, emphasis, label, address] = found;
    if (found.index > 0) parts.push(rest.slice(0, found.index));
    if (code !== undefined) parts.push(h("code", {}, code));
    else if (strong !== undefined) parts.push(h("strong", {}, inline(strong, depth + 1)));
    else if (emphasis !== undefined) parts.push(h("em", {}, inline(emphasis, depth + 1)));
    else parts.push(link(label, address));
    rest = rest.slice(found.index + whole.length);
  }
  return [...parts, rest];
}

/** Only to pages of the web; what else an address may be is shown as it is written. */
function link(label, address) {
  let url = null;
  try {
    url = new URL(address);
  } catch {
    // Relative: it would lead into the dashboard.
  }
  if (!["http:", "https:"].includes(url?.protocol)) return address === label ? label : `${label} (${address})`;
  return h("a", { href: url.href, rel: "noopener noreferrer", target: "_blank" }, label || address);
}
