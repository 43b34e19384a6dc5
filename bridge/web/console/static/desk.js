/* The agent's desk: what HTML alone cannot do. The server renders everything; this file keeps time, drafts and focus. */
"use strict";
(() => {
  const one = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => root.querySelectorAll(selector);
  const clockOffset = Number(document.body.dataset.now) - Date.now() / 1000;
  const now = () => Date.now() / 1000 + clockOffset;

  /* --- time ------------------------------------------------------------------------------------------------------- */

  const clock = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit" });
  const whole = new Intl.DateTimeFormat([], { dateStyle: "medium", timeStyle: "medium" });

  function span(seconds) {
    const s = Math.max(0, Math.floor(seconds));
    const two = (n) => String(n).padStart(2, "0");
    if (s >= 86400) return `${Math.floor(s / 86400)} d`;
    if (s >= 3600) return `${Math.floor(s / 3600)}:${two(Math.floor((s % 3600) / 60))}:${two(s % 60)}`;
    return `${Math.floor(s / 60)}:${two(s % 60)}`;
  }

  function put(element, text) {
    if (element.textContent !== text) element.textContent = text;
  }

  const firstLeft = new Map(); // offer to the seconds it had when this page first saw it

  function tickTock() {
    for (const element of all("[data-since]")) put(element, span(now() - Number(element.dataset.since)));
    for (const offer of all(".offer")) {
      const key = offer.dataset.offer;
      const left = Number(one("progress", offer).dataset.until) - now();
      if (!firstLeft.has(key)) firstLeft.set(key, Math.max(left, 1));
      one("progress", offer).value = Math.max(0, left) / firstLeft.get(key);
      put(one(".countdown", offer), `${Math.max(0, Math.ceil(left))} s`);
    }
  }

  function localTimes(root) {
    for (const element of all("time[data-at]", root)) {
      const at = new Date(Number(element.dataset.at) * 1000);
      put(element, clock.format(at));
      element.title = whole.format(at);
    }
  }

  /* --- what is typed is never lost -------------------------------------------------------------------------------- */

  const draftKey = (element) => `sidetone draft ${element.dataset.draft}`;

  function keepDraft(element) {
    if (element.value) sessionStorage.setItem(draftKey(element), element.value);
    else sessionStorage.removeItem(draftKey(element));
  }

  function restoreDrafts() {
    for (const element of all("[data-draft]")) {
      if (element.dataset.restored) continue;
      element.dataset.restored = "yes";
      const draft = sessionStorage.getItem(draftKey(element));
      if (draft && !element.value) {
        element.value = draft;
        element.dispatchEvent(new Event("input", { bubbles: true }));
      }
    }
  }

  document.addEventListener("input", (event) => {
    if (!(event.target instanceof HTMLElement) || !event.target.dataset.draft) return;
    keepDraft(event.target);
    const preset = one("#composer [name=preset]");
    if (event.target.id === "body" && preset && event.target.value !== preset.dataset.text) preset.value = "";
  });

  /* --- offers: which one is accepted or declined; the form sends it ------------------------------------------------ */

  document.addEventListener("click", (event) => {
    const button = event.target.closest(".offer button[form]");
    if (button) button.form.elements.offer.value = button.value;
  });

  /* --- the composer ----------------------------------------------------------------------------------------------- */

  let submitted = "";

  /* A text is sent under a name of its own, kept with the draft: when the answer is lost and the agent sends the same
     words again, also after a restart, the server knows them and the customer gets them once. */
  function nameOf(words) {
    const kept = JSON.parse(sessionStorage.getItem("once") || "{}");
    if (kept.words === words && kept.path === location.pathname) return kept.name;
    const name = Array.from(crypto.getRandomValues(new Uint32Array(4)), (n) => n.toString(36)).join("");
    sessionStorage.setItem("once", JSON.stringify({ words, path: location.pathname, name }));
    return name;
  }

  document.addEventListener("htmx:configRequest", (event) => {
    if (event.detail.elt.id === "composer") event.detail.parameters.once = nameOf(one("#body").value);
  });

  document.addEventListener("keydown", (event) => {
    if (event.target.id === "body" && event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      if (event.target.value.trim()) event.target.form.requestSubmit();
    }
  });

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-preset]");
    if (!button) return;
    const body = one("#body");
    const preset = one("#composer [name=preset]");
    body.value = body.value.trim() ? `${body.value.trimEnd()} ${button.dataset.text}` : button.dataset.text;
    preset.value = body.value === button.dataset.text ? button.dataset.preset : "";
    preset.dataset.text = button.dataset.text;
    body.dispatchEvent(new Event("input", { bubbles: true }));
    body.focus();
  });

  document.addEventListener("htmx:beforeRequest", (event) => {
    if (event.detail.elt.id === "composer") submitted = one("#body").value;
  });

  document.addEventListener("text-kept", () => {
    sessionStorage.removeItem("once");
    const body = one("#body");
    if (!body) return;
    // Words typed while the text was on its way to the server stay.
    body.value = body.value.startsWith(submitted) ? body.value.slice(submitted.length) : body.value;
    one("#composer [name=preset]").value = "";
    body.dispatchEvent(new Event("input", { bubbles: true }));
    body.focus();
  });

  /* --- the timeline stays at its end unless the agent has scrolled away --------------------------------------------- */

  let pinned = true;
  let lastTop = 0;
  let openSession = null;

  const atEnd = (timeline) => timeline.scrollHeight - timeline.scrollTop - timeline.clientHeight < 60;

  document.addEventListener("scroll", (event) => {
    if (event.target.id !== "timeline") return;
    // Lines that arrive between our own scrolling and this event must not look as if the agent had scrolled away:
    // only moving up is the agent's doing.
    if (atEnd(event.target)) pinned = true;
    else if (event.target.scrollTop < lastTop) pinned = false;
    lastTop = event.target.scrollTop;
    if (pinned) one("#newest").hidden = true;
  }, true);
  window.addEventListener("resize", () => followEnd());

  document.addEventListener("click", (event) => {
    if (event.target.closest("#newest")) {
      pinned = true;
      followEnd();
    }
  });

  function followEnd() {
    const timeline = one("#timeline");
    if (timeline && pinned) timeline.scrollTop = timeline.scrollHeight;
    const newest = one("#newest");
    if (newest && pinned) newest.hidden = true;
  }

  /* --- after the server has changed the page ------------------------------------------------------------------------ */

  function settle() {
    const session = one("#session").dataset.session || null;
    if (session !== openSession) {
      openSession = session;
      pinned = true;
      lastTop = 0;
    }
    for (const row of all("[data-row]")) {
      if (row.dataset.row === session) row.setAttribute("aria-current", "page");
      else row.removeAttribute("aria-current");
    }
    const state = one("#composer-state");
    const fields = one("#composer fieldset");
    if (state && fields) fields.disabled = state.dataset.open !== "yes";
    if (session && !one("#note")) sessionStorage.removeItem(`sidetone draft note ${session}`); // it has been saved
    localTimes(document);
    tickTock();
    restoreDrafts();
    followEnd();
    fade();
    ring();
  }

  function announce(added) {
    const texts = added.filter((node) => node.matches && node.matches("li.line.in"));
    if (texts.length === 0) return;
    const words = texts.map((node) => one(".words", node)?.textContent || "a picture");
    put(one("#announce"), `New text: ${words.join("; ")}`);
    if (!pinned) one("#newest").hidden = false;
  }

  let due = false;
  let fading = 0;
  let said = null;
  new MutationObserver((changes) => {
    const lines = one("#lines");
    announce(changes.filter((change) => change.target === lines).flatMap((change) => [...change.addedNodes]));
    if (due) return;
    due = true;
    requestAnimationFrame(() => { due = false; settle(); });
  }).observe(document.body, { childList: true, subtree: true });

  /* --- the connection ------------------------------------------------------------------------------------------------ */

  // Closing a socket that is still being opened makes the browser complain; an agent who walks the list does that often.
  htmx.createWebSocket = (address) => {
    const socket = new WebSocket(address);
    const close = socket.close.bind(socket);
    socket.close = (...reason) => {
      if (socket.readyState === WebSocket.CONNECTING) socket.addEventListener("open", () => close(...reason));
      else close(...reason);
    };
    return socket;
  };

  const SIGNED_OUT = 4401;
  const lost = new Set();

  document.addEventListener("htmx:wsOpen", (event) => {
    lost.delete(event.target);
    one("#connection").hidden = [...lost].every((element) => !element.isConnected);
  });
  document.addEventListener("htmx:wsClose", (event) => {
    if (event.detail.event.code === SIGNED_OUT) {
      location.assign(`/sign-in?next=${encodeURIComponent(location.pathname)}`);
      return;
    }
    if (!event.target.isConnected || event.detail.event.code === 1000) return;
    lost.add(event.target);
    one("#connection").hidden = false;
  });
  document.addEventListener("htmx:sendError", () => say("The server cannot be reached just now. Nothing was changed."));
  document.addEventListener("htmx:responseError", () => say("That did not work. Please try again."));

  /* --- words for the agent ------------------------------------------------------------------------------------------- */


  function say(words) {
    const paragraph = document.createElement("p");
    paragraph.textContent = words;
    one("#message").replaceChildren(paragraph);
  }

  function fade() {
    const shown = one("#message").firstElementChild;
    if (shown === said) return;
    said = shown;
    clearTimeout(fading);
    if (shown) fading = setTimeout(() => one("#message").replaceChildren(), 7000);
  }

  /* --- pictures ------------------------------------------------------------------------------------------------------ */

  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-picture]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const viewer = one("#viewer");
    const shown = document.createElement(link.dataset.picture === "video" ? "video" : "img");
    shown.src = link.href;
    if (shown.tagName === "VIDEO") shown.controls = true;
    else shown.alt = one("img", link).alt;
    one("div", viewer).replaceChildren(shown);
    viewer.showModal();
  });
  one("#viewer").addEventListener("click", (event) => { if (event.target === event.currentTarget) event.currentTarget.close(); });
  one("#viewer").addEventListener("close", () => one("#viewer div").replaceChildren());

  /* --- keys ---------------------------------------------------------------------------------------------------------- */

  document.addEventListener("keydown", (event) => {
    if (!event.altKey || event.ctrlKey || event.metaKey) return;
    const rows = [...all("[data-row]")];
    const here = rows.findIndex((row) => row.hasAttribute("aria-current"));
    switch (event.code) {
      case "KeyA": one("[data-accept]")?.click(); break;
      case "KeyC": one("#body")?.focus(); break;
      case "ArrowDown": rows[Math.min(here + 1, rows.length - 1)]?.click(); break;
      case "ArrowUp": rows[Math.max(here - 1, 0)]?.click(); break;
      default: return;
    }
    event.preventDefault();
  });

  /* --- ringing: two soft tones while work is offered ------------------------------------------------------------------ */

  const sound = one("#sound");
  let audio = null;
  let ringing = 0;

  sound.setAttribute("aria-pressed", localStorage.getItem("sidetone quiet") ? "false" : "true");
  sound.addEventListener("click", () => {
    const on = sound.getAttribute("aria-pressed") !== "true";
    sound.setAttribute("aria-pressed", String(on));
    if (on) localStorage.removeItem("sidetone quiet");
    else localStorage.setItem("sidetone quiet", "yes");
  });
  for (const kind of ["pointerdown", "keydown"]) {
    document.addEventListener(kind, () => { audio ??= new AudioContext(); }, { once: true });
  }

  function tone(frequency, start) {
    const oscillator = new OscillatorNode(audio, { type: "sine", frequency });
    const gain = new GainNode(audio, { gain: 0 });
    gain.gain.setTargetAtTime(0.09, start, 0.02);
    gain.gain.setTargetAtTime(0, start + 0.28, 0.08);
    oscillator.connect(gain).connect(audio.destination);
    oscillator.start(start);
    oscillator.stop(start + 0.9);
  }

  const title = document.title;

  function ring() {
    const offers = all(".offer").length;
    document.title = offers ? `(${offers}) ${title}` : title;
    if (!offers) {
      clearInterval(ringing);
      ringing = 0;
    } else if (!ringing) {
      const once = () => {
        if (!audio || sound.getAttribute("aria-pressed") !== "true") return;
        tone(660, audio.currentTime);
        tone(880, audio.currentTime + 0.22);
      };
      once();
      ringing = setInterval(once, 2500);
    }
  }

  setInterval(tickTock, 1000);
  settle();
})();
