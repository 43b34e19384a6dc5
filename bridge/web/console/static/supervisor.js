/* The supervisor's pages: rows that come over a websocket, times that go by, panels, and the sound of alerts. */
"use strict";
(() => {
  const one = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => root.querySelectorAll(selector);
  const clockOffset = Number(document.body.dataset.now) - Date.now() / 1000;
  const now = () => Date.now() / 1000 + clockOffset;
  const board = one(".board");

  /* --- time ------------------------------------------------------------------------------------------------------- */

  const clock = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit" });
  const dayAndTime = new Intl.DateTimeFormat([], { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });
  const day = new Intl.DateTimeFormat([], { dateStyle: "medium" });

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

  function tick(root = document) {
    for (const element of all("[data-since]", root)) {
      const passed = now() - Number(element.dataset.since);
      put(element, span(passed));
      if (element.dataset.slow) {
        element.classList.toggle("slow", passed >= Number(element.dataset.slow) && passed < Number(element.dataset.late));
        element.classList.toggle("late", passed >= Number(element.dataset.late));
      }
    }
  }

  function localTimes(root) {
    for (const element of all("time[data-at]", root)) {
      const at = new Date(Number(element.dataset.at) * 1000);
      put(element, day.format(at) === day.format(now() * 1000) ? clock.format(at) : dayAndTime.format(at));
    }
  }

  /* --- rows ------------------------------------------------------------------------------------------------------- */

  const rows = new Map(); // key to its <tr>
  const body = one("#rows");
  const words = one("#words");

  function made(html) {
    const holder = document.createElement("template");
    holder.innerHTML = html;
    return holder.content.firstElementChild;
  }

  /* A row in which somebody is about to press something is not replaced under their finger or cursor: its cells are. */
  function replace(key, row) {
    const old = rows.get(key);
    if (old && old.parentNode) {
      const focused = old.contains(document.activeElement) ? document.activeElement : null;
      const place = focused ? Array.from(old.querySelectorAll("a, button")).indexOf(focused) : -1;
      old.replaceWith(row);
      if (place >= 0) row.querySelectorAll("a, button")[place]?.focus();
    }
    rows.set(key, row);
  }

  function arrange(order) {
    const wanted = new Set(order);
    for (const [key, row] of rows) {
      if (wanted.has(key)) continue;
      row.remove();
      rows.delete(key);
    }
    let next = body.firstElementChild;
    for (const key of order) {
      const row = rows.get(key);
      if (!row) continue;
      if (row === next) next = next.nextElementSibling;
      else body.insertBefore(row, next);
    }
  }

  let shown = 0;
  function take(news) {
    if (news.fresh && board.dataset.phase !== "previous") {
      rows.clear();
      body?.replaceChildren();
    }
    for (const [key, html] of Object.entries(news.rows || {})) {
      const row = made(html);
      tick(row);
      localTimes(row);
      window.htmx?.process(row);
      replace(key, row);
    }
    if (news.order && body) {
      arrange(news.order);
      shown = news.order.length;
      one("#nothing").hidden = shown > 0;
    }
    if (news.total !== undefined && words) {
      const text = news.total > shown ? words.dataset.shown : words.dataset.total;
      if (one("#total")) put(one("#total"), text.replace("{shown}", shown).replace("{total}", news.total));
    }
    if (news.top !== undefined) {
      one("#top").innerHTML = news.top;
      tick(one("#top"));
      ring();
    }
  }

  /* --- the websocket ---------------------------------------------------------------------------------------------- */

  let socket = null;
  let pause = 500;

  function wish() {
    const asked = { board: board.dataset.board, phase: board.dataset.phase };
    for (const [name, value] of new FormData(one("#filter") || undefined)) asked[name] = value;
    const sorted = one("th[aria-sort]");
    if (sorted) {
      asked.sort = one("[data-sort]", sorted).dataset.sort;
      asked.down = sorted.getAttribute("aria-sort") === "descending" ? "1" : "";
    }
    return asked;
  }

  /* Sessions that are over do not change: of their page only the strip on top is live. */
  function view() {
    return board.dataset.phase === "previous" ? { board: "top" } : wish();
  }

  function connect() {
    const address = new URL("/supervisor/ws", location.href);
    address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    address.search = new URLSearchParams(view());
    socket = new WebSocket(address);
    socket.onmessage = (event) => {
      one("#connection").hidden = true;
      pause = 500;
      take(JSON.parse(event.data));
    };
    socket.onclose = (event) => {
      if (event.code === 4401) {
        location.href = `/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`;
        return;
      }
      one("#connection").hidden = false;
      setTimeout(connect, pause);
      pause = Math.min(pause * 2, 10000);
    };
  }

  function look() {
    if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(view()));
  }

  /* What is looked at stands in the address, so that it can be kept and sent to a colleague. */
  function remember() {
    const asked = Object.entries(wish()).filter(([name, value]) => value && !(name === "board" && value === "agents"));
    history.replaceState(null, "", `/supervisor${asked.length ? `?${new URLSearchParams(asked)}` : ""}`);
  }

  if (board) {
    let typing = 0;
    one("#filter")?.addEventListener("submit", (event) => event.preventDefault());
    one("#filter")?.addEventListener("input", () => {
      clearTimeout(typing);
      typing = setTimeout(() => { remember(); look(); }, 200);
    });
    document.addEventListener("click", (event) => {
      const button = event.target.closest("[data-sort]");
      if (!button) return;
      const head = button.closest("th");
      const was = head.getAttribute("aria-sort");
      for (const other of all("th[aria-sort]")) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", was === "ascending" ? "descending" : "ascending");
      remember();
      look();
    });
    connect();
  }

  /* --- alerts ----------------------------------------------------------------------------------------------------- */

  const known = new Set();
  const sound = one("#sound");
  let audio = null;

  function ring() {
    const fresh = Array.from(all("#top .alerts .new")).filter((item) => !known.has(item.dataset.alert));
    for (const item of fresh) known.add(item.dataset.alert);
    if (!fresh.length) return;
    const said = one("#announce");
    if (said) put(said, fresh.map((item) => one("p", item).textContent.trim()).join(". "));
    if (audio && sound.getAttribute("aria-pressed") === "true") {
      for (const [after, pitch] of [[0, 660], [0.18, 880], [0.36, 660]]) {
        const tone = audio.createOscillator();
        const loudness = audio.createGain();
        tone.frequency.value = pitch;
        loudness.gain.setValueAtTime(0.15, audio.currentTime + after);
        loudness.gain.exponentialRampToValueAtTime(0.001, audio.currentTime + after + 0.16);
        tone.connect(loudness).connect(audio.destination);
        tone.start(audio.currentTime + after);
        tone.stop(audio.currentTime + after + 0.17);
      }
    }
  }

  if (sound) {
    const show = (on) => sound.setAttribute("aria-pressed", on ? "true" : "false");
    show(localStorage.getItem("sidetone alerts") === "on");
    const begin = () => { audio ??= new AudioContext(); };
    sound.addEventListener("click", () => {
      const on = sound.getAttribute("aria-pressed") !== "true";
      localStorage.setItem("sidetone alerts", on ? "on" : "off");
      show(on);
      if (on) begin();
    });
    document.addEventListener("pointerdown", () => { if (sound.getAttribute("aria-pressed") === "true") begin(); }, { once: true });
  }

  /* --- panels ----------------------------------------------------------------------------------------------------- */

  const panel = one("#panel");

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-acknowledge]");
    if (button) {
      window.htmx.ajax("POST", "/supervisor/alerts/acknowledge", { values: { alert: button.dataset.acknowledge }, swap: "none" });
    }
  });
  document.addEventListener("htmx:afterSwap", (event) => {
    tick(event.target);
    localTimes(event.target);
  });
  // Not before it has settled: what is pressed or typed earlier would be heard by nobody.
  document.addEventListener("htmx:afterSettle", (event) => {
    if (event.detail.target?.id === "panel-body" && panel && !panel.open) panel.showModal();
  });
  document.addEventListener("panel-done", () => panel?.close());
  panel?.addEventListener("click", (event) => {
    if (event.target === panel) panel.close();
  });
  one("#message")?.addEventListener("click", () => one("#message").replaceChildren());

  tick();
  localTimes(document);
  setInterval(tick, 1000);
})();
