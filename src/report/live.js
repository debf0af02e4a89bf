"use strict";
// The page is told anew, part by part, as the server sends what has changed. Without this it is loaded
// again every ten seconds.
(() => {
  const live = document.getElementById("live");
  const events = new URL(live.dataset.events, location.href);
  events.search = location.search;
  // A stream that says nothing for so long is no stream: something between buffers it, or it is cut.
  const SILENCE_MS = 25000;
  const POLL_MS = 10000;
  let stream = null;
  let heard = Date.now();
  let polling = null;

  const lost = document.createElement("p");
  lost.id = "lost";
  lost.setAttribute("role", "status");
  lost.hidden = true;
  live.append(lost);
  const tellLost = (why) => {
    if (lost.textContent !== why) lost.textContent = why;
    lost.hidden = why === "";
    live.classList.toggle("lost", why !== "");
  };

  // What whoever reads it has opened, and where the focus is, stay.
  const FOCUSABLE = "a[href], button, input, summary, [tabindex='0']";
  const renew = (id, html) => {
    const before = document.getElementById(id);
    const template = document.createElement("template");
    template.innerHTML = html;
    const after = template.content.firstElementChild;
    if (!before || !after) return location.reload();
    const marked = getSelection();
    if (marked && !marked.isCollapsed && before.contains(marked.anchorNode)) return keep(id, html);
    const opened = [...before.querySelectorAll("details")].map((details) => details.open);
    const stops = [...before.querySelectorAll(FOCUSABLE)];
    const focus = stops.indexOf(document.activeElement);
    const caret = focus >= 0 && stops[focus].tagName === "INPUT"
      ? [stops[focus].selectionStart, stops[focus].selectionEnd, stops[focus].value] : null;
    before.replaceWith(after);
    [...after.querySelectorAll("details")].forEach((details, at) => { details.open = opened[at]; });
    after.dispatchEvent(new CustomEvent("renewed", { bubbles: true }));
    const stop = focus >= 0 ? after.querySelectorAll(FOCUSABLE)[focus] : null;
    if (!stop) return;
    stop.focus({ preventScroll: true });
    if (caret && stop.tagName === "INPUT") {
      stop.value = caret[2];
      stop.setSelectionRange(caret[0], caret[1]);
    }
  };

  // A part in which text is marked, to be copied, waits until it is not.
  const waiting = new Map();
  const keep = (id, html) => { waiting.set(id, html); };
  document.addEventListener("selectionchange", () => {
    if (!getSelection().isCollapsed) return;
    const parts = [...waiting];
    waiting.clear();
    parts.forEach(([id, html]) => renew(id, html));
  });

  const take = (told) => {
    heard = Date.now();
    tellLost("");
    document.title = told.title;
    for (const { id, html } of told.parts) {
      waiting.delete(id);
      renew(id, html);
    }
  };

  const gone = () => tellLost(
    "windlass serve does not answer: it was ended, or the network is away. " +
    "What stands below is how it was; it is asked again and again.");

  const listen = () => {
    stream?.close();
    stream = new EventSource(events);
    stream.addEventListener("look", (event) => {
      clearInterval(polling);
      polling = null;
      take(JSON.parse(event.data));
    });
    stream.addEventListener("beat", () => { heard = Date.now(); });
    stream.addEventListener("error", () => {
      // A cut is mended by the browser itself; a refusal is not.
      if (stream.readyState === EventSource.CLOSED) {
        fetchAgain();
        setTimeout(listen, 30000);
      } else if (Date.now() - heard > 5000) gone();
    });
  };

  // Where no events come through, the page is fetched, and its parts taken from it.
  const poll = async () => {
    try {
      const answer = await fetch(location.href, { cache: "no-store" });
      if (!answer.ok) throw new Error(answer.status);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const parts = [...page.querySelectorAll("#notice, #clock, #top, #main > [id]")];
      take({
        title: page.title,
        parts: parts.map((part) => ({ id: part.id, html: part.outerHTML })),
      });
    } catch {
      gone();
    }
  };

  const fetchAgain = () => {
    if (polling !== null) return;
    poll();
    polling = setInterval(poll, POLL_MS);
  };

  setInterval(() => { if (Date.now() - heard > SILENCE_MS) fetchAgain(); }, 1000);
  listen();
})();
