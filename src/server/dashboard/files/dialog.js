// Asks before something is changed, and says what would be.

import { h } from "./dom.js";

/** Resolves to whether it was confirmed. `facts` are lines that name what will happen. */
export function confirm({ title, facts, action }) {
  return new Promise((resolve) => {
    const dialog = h("dialog", { "aria-labelledby": "dialog-title", "aria-describedby": "dialog-facts" },
      h("h2", { id: "dialog-title" }, title),
      h("ul", { id: "dialog-facts" }, facts.map((fact) => h("li", {}, fact))),
      h("div", { class: "actions" },
        // First, so that it has the focus: Enter does no harm.
        h("button", { type: "button", onclick: () => dialog.close("no") }, "Cancel"),
        h("button", { type: "button", class: "primary", onclick: () => dialog.close("yes") }, action),
      ),
    );
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
