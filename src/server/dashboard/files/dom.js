// Elements out of code, and updates that leave alone what has not changed: the focus, what is
// open, what somebody types. Text is only ever text: nothing here parses markup.

const SVG = "http://www.w3.org/2000/svg";
const HANDLERS = ["onclick", "oninput", "onchange", "onsubmit"];

/** An element. Attributes that are null or false are left out; `on...` are handlers. */
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** An SVG element. */
export function s(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (HANDLERS.includes(name)) node[name] = value;
    else if (name === "width%") node.style.width = `${value}%`;
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...nodes(children));
  return node;
}

function nodes(children) {
  return children
    .flat(Infinity)
    .filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (child instanceof Node ? child : document.createTextNode(String(child))));
}

/** Makes these the children of `parent`. Nodes of the same kind and `data-key` stay and are brought
 * up to date; a node with `data-live` looks after itself and is put in place as it is. */
export function render(parent, ...children) {
  const wanted = nodes(children);
  wanted.forEach((next, index) => {
    const current = parent.childNodes[index];
    if (current === next) return;
    if (!current) parent.append(next);
    else if (isLive(next) || isLive(current) || !isSame(current, next)) {
      if (isLive(current) && wanted.includes(current)) parent.insertBefore(next, current);
      else parent.replaceChild(next, current);
    } else update(current, next);
  });
  while (parent.childNodes.length > wanted.length) parent.lastChild.remove();
}

function isLive(node) {
  return node.dataset !== undefined && node.dataset.live !== undefined;
}

function isSame(a, b) {
  return a.nodeName === b.nodeName && a.dataset?.key === b.dataset?.key;
}

function update(current, next) {
  if (current.nodeType === Node.TEXT_NODE) {
    if (current.data !== next.data) current.data = next.data;
    return;
  }
  for (const { name } of [...current.attributes]) {
    // What somebody opened stays open.
    if (!next.hasAttribute(name) && name !== "open") current.removeAttribute(name);
  }
  for (const { name, value } of [...next.attributes]) {
    if (name === "style") current.style.cssText = next.style.cssText;
    else if (name !== "open" && current.getAttribute(name) !== value) {
      current.setAttribute(name, value);
    }
  }
  for (const name of HANDLERS) if (current[name] !== next[name]) current[name] = next[name];
  render(current, ...next.childNodes);
}
