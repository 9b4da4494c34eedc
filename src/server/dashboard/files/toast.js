// A short word about what was just done; read out by screen readers too.

const SHOWN_MS = 6000;
const node = document.getElementById("toast");
let timer = null;

export function say(text) {
  clearTimeout(timer);
  node.textContent = text;
  timer = setTimeout(() => (node.textContent = ""), SHOWN_MS);
}
