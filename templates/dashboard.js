// Repeats the page while it is visible, and adds keys. Without it every page works by reloading.
"use strict";

const EVERY_MS = 3000;
const main = document.querySelector("main");
const live = document.getElementById("live");
const repeats = "live" in document.body.dataset;
const isPaused = () => sessionStorage.getItem("paused") === "yes";
const isBusy = () => document.querySelector("main form:hover, main form:focus-within, main form details[open]");

function say(text) {
  const state = (repeats ? text : "") + (live.dataset.role ? " · " + live.dataset.role : "");
  if (live.textContent !== state) live.textContent = state;
}

// Changes what differs and keeps the rest, with the focus and what a person has typed.
function morph(from, to) {
  if (from.nodeName !== to.nodeName) return from.replaceWith(to.cloneNode(true));
  if (from.nodeType !== Node.ELEMENT_NODE) {
    if (from.data !== to.data) from.data = to.data;
    return;
  }
  for (const { name, value } of to.attributes) {
    if (from.getAttribute(name) !== value) from.setAttribute(name, value);
  }
  for (const { name } of [...from.attributes]) {
    if (!to.hasAttribute(name) && name !== "open") from.removeAttribute(name);
  }
  const wanted = [...to.childNodes];
  wanted.forEach((node, index) => {
    const there = from.childNodes[index];
    if (there) morph(there, node);
    else from.append(node.cloneNode(true));
  });
  while (from.childNodes.length > wanted.length) from.lastChild.remove();
}

// The number of the rendering that is shown.
let shown = "none";

// A page that repeats itself by the clock may get a rendering that another viewer got a moment before.
async function refresh(byClock) {
  try {
    const headers = byClock ? { accept: "text/html", "outboxd-repeat": shown } : { accept: "text/html" };
    const answer = await fetch(location.href, { headers });
    if (answer.status === 204) return say("live");
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (isPaused() || isBusy()) return;
    morph(main, page.querySelector("main"));
    shown = answer.headers.get("outboxd-rendering") ?? "none";
    say("live");
  } catch {
    say("not reachable, trying again");
  }
}

const pause = (ms) => new Promise((wake) => setTimeout(wake, ms));

// Follows the stream of events that the page names, as long as the page is visible; each change refreshes the page.
async function follow(stream) {
  const end = new AbortController();
  const hide = () => document.hidden && end.abort();
  document.addEventListener("visibilitychange", hide);
  try {
    const answer = await fetch(stream, { headers: { accept: "text/event-stream" }, signal: end.signal });
    if (!answer.ok) return;
    const text = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let part = await text.read(); !part.done; part = await text.read()) {
      if (!part.value.includes("data:")) continue;
      while ((isPaused() || isBusy()) && !end.signal.aborted) await pause(EVERY_MS / 3);
      await pause(EVERY_MS / 10);
      await refresh(false);
    }
  } catch {
    // It is hidden, or the daemon stops: the clock tries again.
  } finally {
    document.removeEventListener("visibilitychange", hide);
  }
}

// What asks for a refresh: the stream of events, or the clock.
async function repeat() {
  const stream = main.querySelector("[data-stream]");
  if (isBusy() && !isPaused()) say("waits for the form");
  else if (!document.hidden && !isPaused()) {
    await refresh(!stream);
    if (stream) await follow(stream.dataset.stream);
  }
  setTimeout(repeat, EVERY_MS);
}

function step(by) {
  const links = [...document.querySelectorAll("main tbody tr td:first-child a, main article h2 a")];
  const next = links[Math.max(0, Math.min(links.length - 1, links.indexOf(document.activeElement) + by))];
  if (next) next.focus();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, textarea, select")) return;
  if (event.key === "/") document.getElementById("search").focus();
  else if (event.key === "j") step(1);
  else if (event.key === "k") step(-1);
  else if (event.key === "p") {
    sessionStorage.setItem("paused", isPaused() ? "no" : "yes");
    say(isPaused() ? "refresh paused (p)" : "live");
  } else return;
  event.preventDefault();
});

live.dataset.role = live.textContent;
say(isPaused() ? "refresh paused (p)" : "live");
if (repeats) setTimeout(repeat, EVERY_MS);
