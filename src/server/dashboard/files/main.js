// The page: which view an address means, and what happens between two of them.

import { h, render } from "./dom.js";
import { fleet } from "./fleet.js";
import { model } from "./model.js";

const content = document.getElementById("content");
let shown = null;

/** `#/`, or `#/models/NAME[/VERSION]`. */
function viewOf(hash) {
  let segments;
  try {
    segments = hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
  } catch {
    return nowhere();
  }
  if (segments[0] === "") return fleet();
  if (segments[0] === "models" && segments[1] && segments.length <= 3) {
    return model(segments[1], segments[2] || null);
  }
  return nowhere();
}

function nowhere() {
  const node = h("div", {}, h("h1", { tabindex: -1 }, "There is no such page"),
    h("p", {}, h("a", { href: "#/" }, "To the models")));
  return { title: "Not found", node, stop() {} };
}

function show(isFirst) {
  // The skip link's own address is no view.
  if (location.hash === "#content") return;
  shown?.stop();
  shown = viewOf(location.hash);
  document.title = `${shown.title} – Galen`;
  render(content, h("div", { "data-live": true }, shown.node));
  for (const link of document.querySelectorAll("nav a[href^='#']")) {
    if (location.hash === "" || location.hash === "#/") link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (!isFirst) {
    scrollTo(0, 0);
    // A screen reader goes on at the new page's heading.
    content.querySelector("h1")?.focus();
  }
}

addEventListener("hashchange", () => show(false));
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  content.focus();
});
show(true);
