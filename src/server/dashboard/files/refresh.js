// Asks again and again while somebody looks: not while the tab is hidden or the page is paused.

import { Unreachable } from "./api.js";

const pauseButton = document.getElementById("pause");
const freshness = document.getElementById("freshness");
const alarm = document.getElementById("alarm");
const tasks = new Set();
let paused = false;

/** Runs `task(signal)` at once and then every so often; gives back `{ now, stop }`. */
export function every(milliseconds, task) {
  let timer = null;
  let running = null;
  let stopped = false;
  const run = async () => {
    clearTimeout(timer);
    if (stopped || running) return;
    running = new AbortController();
    try {
      await task(running.signal);
      succeeded();
    } catch (error) {
      if (!stopped && error.name !== "AbortError") failed(error);
    }
    running = null;
    schedule();
  };
  const schedule = () => {
    clearTimeout(timer);
    if (!stopped && !paused && !document.hidden) timer = setTimeout(run, milliseconds);
  };
  const entry = { run, halt: () => clearTimeout(timer) };
  tasks.add(entry);
  run();
  return {
    now: run,
    stop() {
      stopped = true;
      tasks.delete(entry);
      clearTimeout(timer);
      running?.abort();
    },
  };
}

function succeeded() {
  alarm.hidden = true;
  if (!paused) freshness.textContent = `Updated ${new Date().toLocaleTimeString([], { hour12: false })}`;
}

function failed(error) {
  const reason = error instanceof Unreachable
    ? "The server does not answer. What is shown is from before; it is asked again."
    : `The page could not be brought up to date: ${error.message}`;
  if (alarm.hidden || alarm.textContent !== reason) alarm.textContent = reason;
  alarm.hidden = false;
}

function resume() {
  for (const task of tasks) task.run();
}

pauseButton.addEventListener("click", () => {
  paused = !paused;
  pauseButton.setAttribute("aria-pressed", String(paused));
  if (paused) {
    for (const task of tasks) task.halt();
    freshness.textContent = "Paused";
  } else resume();
});

document.addEventListener("visibilitychange", () => {
  if (document.hidden) for (const task of tasks) task.halt();
  else if (!paused) resume();
});
