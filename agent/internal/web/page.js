"use strict";
// The page works without this script. The script has the page refresh by itself, and keeps
// the reader's place: scroll, focus, open rows and filters. Names of others come as text of
// the answer, and stay text: the browser parses the answer as a document without scripts.
(() => {
  const seconds = Number(document.documentElement.dataset.refresh);
  const auto = document.getElementById("auto");
  if (!seconds || !auto) return;

  const rowsAtMost = 200; // of one answer
  const slowest = 60; // seconds between two tries while the agent does not answer
  const byID = (id) => document.getElementById(id);
  let wait = seconds;
  let timer = 0;

  // alike reports whether an element can become the other by a change of its attributes and children.
  const alike = (a, b) => a.nodeType === b.nodeType && a.nodeName === b.nodeName && a.id === b.id;

  // morph has an element become the other, and keeps each part of the element that stays.
  function morph(old, now) {
    if (old.dataset && "keep" in old.dataset) return;
    for (const { name } of [...old.attributes]) {
      if (name !== "open" && !now.hasAttribute(name)) old.removeAttribute(name);
    }
    for (const { name, value } of now.attributes) {
      if (name !== "open" && old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    const keyed = old.dataset && "keyed" in old.dataset;
    morphChildren(old, keyed ? [...old.children] : [...old.childNodes], keyed ? now.children : now.childNodes);
  }

  // morphChildren never moves a part that stays: a moved element would lose focus and scroll.
  function morphChildren(parent, old, now) {
    const next = new Map([...now].filter((n) => n.id).map((n) => [n.id, n]));
    const staying = old.filter((n) => !n.id || next.has(n.id) || (n.remove(), false));
    let i = 0;
    for (const node of now) {
      const at = staying[i];
      if (!at || !alike(at, node)) {
        parent.insertBefore(document.importNode(node, true), at || null);
        continue;
      }
      i++;
      if (at.nodeType === Node.ELEMENT_NODE) morph(at, node);
      else if (at.nodeValue !== node.nodeValue) at.nodeValue = node.nodeValue;
    }
    for (const node of staying.slice(i)) node.remove();
  }

  // place returns the part of the page at the top of the window, null at the very top.
  function place() {
    if (window.scrollY === 0) return null;
    const seen = (list) => [...list].find((e) => e.getBoundingClientRect().bottom > 0);
    const part = seen(byID("main").children);
    const rows = byID("rows");
    if (part && rows && part.contains(rows) && rows.getBoundingClientRect().top < 0) return seen(rows.children) || part;
    return part;
  }

  // update shows what has come, and returns how many events are new.
  function update(doc) {
    const before = new Set(rowIDs(document));
    const anchor = place();
    const top = anchor && anchor.getBoundingClientRect().top;
    const focused = document.activeElement;
    for (const id of ["state", "asof", "main"]) morph(byID(id), doc.getElementById(id));
    if (anchor && anchor.isConnected) window.scrollBy(0, anchor.getBoundingClientRect().top - top);
    if (focused && !focused.isConnected) byID("events").focus({ preventScroll: true });
    return rowIDs(document).filter((id) => !before.has(id)).length;
  }

  const rowIDs = (doc) => [...doc.querySelectorAll(".event")].map((row) => row.id);

  // reads reports whether the reader is at work in the rows, so that none of the rows may go.
  const reads = () => window.scrollY > 0 || document.querySelector("#rows details[open]") || document.querySelector("#rows :focus");

  // ask gets the page as a document, with a number of rows if that is given.
  function ask(limit) {
    const url = new URL(window.location.href);
    if (limit) url.searchParams.set("limit", limit);
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      request.open("GET", url);
      request.responseType = "document";
      request.timeout = 30000;
      request.onload = () => {
        const ok = request.status === 200 && request.response && request.response.getElementById("main");
        if (ok) resolve(request.response);
        else reject(new Error("the agent answers with status " + request.status));
      };
      request.onerror = request.ontimeout = () => reject(new Error("the agent does not answer"));
      request.send();
    });
  }

  async function refresh() {
    let doc = await ask(reads() ? Math.min(rowsAtMost, rowIDs(document).length) : 0);
    const shown = new Set(rowIDs(document));
    const fresh = rowIDs(doc).filter((id) => !shown.has(id)).length;
    if (fresh > 0 && reads()) doc = await ask(Math.min(rowsAtMost, shown.size + fresh)); // rows that were shown stay
    if (!auto.checked) return;
    const count = update(doc);
    if (count > 0) byID("news").textContent = count === 1 ? "1 new OOM event" : count + " new OOM events";
  }

  function say(text) {
    const trouble = byID("trouble");
    if (trouble.textContent !== text) trouble.textContent = text;
    trouble.hidden = text === "";
  }

  async function turn() {
    timer = 0;
    try {
      await refresh();
      wait = seconds;
      say("");
    } catch (error) {
      wait = Math.min(slowest, wait * 2);
      say("This page is not up to date: " + error.message + ". It was last refreshed at " + byID("asof").textContent.replace("as of ", "") + ".");
    }
    plan(wait);
  }

  function plan(after) {
    if (timer || !auto.checked || document.hidden) return;
    timer = window.setTimeout(turn, after * 1000);
  }

  auto.addEventListener("change", () => {
    window.clearTimeout(timer);
    timer = 0;
    plan(0);
  });
  document.addEventListener("visibilitychange", () => plan(0));
  auto.parentElement.hidden = false;
  plan(seconds);
})();
