/* The agent's desk: what HTML alone cannot do. The server renders everything; this file keeps time, drafts and focus. */
"use strict";
(() => {
  const one = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => root.querySelectorAll(selector);
  const clockOffset = Number(document.body.dataset.now) - Date.now() / 1000;
  const now = () => Date.now() / 1000 + clockOffset;
  const agent = document.body.dataset.agent;
  const spoken = navigator.language.startsWith(document.documentElement.lang) ? navigator.language : document.documentElement.lang;
  const WORDS = JSON.parse(one("#words").textContent);
  const word = (key, values = {}) => WORDS[key].replace(/%\((\w+)\)s/g, (_whole, name) => values[name] ?? "");
  const GAP = /\{[a-z_]{1,30}\}/;

  /* --- time ------------------------------------------------------------------------------------------------------- */

  const clock = new Intl.DateTimeFormat(spoken, { hour: "2-digit", minute: "2-digit" });
  const dayAndTime = new Intl.DateTimeFormat(spoken, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });
  const day = new Intl.DateTimeFormat(spoken, { dateStyle: "medium" });
  const whole = new Intl.DateTimeFormat(spoken, { dateStyle: "medium", timeStyle: "medium" });

  function span(seconds) {
    const s = Math.max(0, Math.floor(seconds));
    const two = (n) => String(n).padStart(2, "0");
    if (s >= 86400) return word("days", { n: Math.floor(s / 86400) });
    if (s >= 3600) return `${Math.floor(s / 3600)}:${two(Math.floor((s % 3600) / 60))}:${two(s % 60)}`;
    return `${Math.floor(s / 60)}:${two(s % 60)}`;
  }

  function put(element, text) {
    if (element.textContent !== text) element.textContent = text;
  }

  /* How long a customer may wait for an answer by text before the desk says so, and before it says so loudly. */
  const SLOW = Number(document.body.dataset.slow);
  const LATE = Number(document.body.dataset.late);
  const firstLeft = new Map(); // offer to the seconds it had when this page first saw it

  function tickTock() {
    for (const element of all("[data-since]")) put(element, span(now() - Number(element.dataset.since)));
    for (const element of all("[data-due]")) {
      const waited = now() - Number(element.dataset.due);
      put(element, span(waited));
      const shown = element.closest(".due");
      shown.classList.toggle("slow", waited >= SLOW && waited < LATE);
      shown.classList.toggle("late", waited >= LATE);
    }
    for (const element of all(".banner [data-until]")) {
      put(element, `${Math.max(0, Math.ceil(Number(element.dataset.until) - now()))} s`);
    }
    for (const element of all("[data-expires]")) {
      element.classList.toggle("is-expired", now() >= Number(element.dataset.expires));
    }
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
      put(element, day.format(at) === day.format(now() * 1000) ? clock.format(at) : dayAndTime.format(at));
      element.title = whole.format(at);
    }
    for (const element of all("time[data-day]", root)) {
      const at = new Date(Number(element.dataset.day) * 1000);
      put(element, day.format(at));
      element.title = whole.format(at);
    }
  }

  /* --- what is typed is never lost -------------------------------------------------------------------------------- */

  const draftKey = (element) => `sidetone draft ${agent} ${element.dataset.draft}`;

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

  /* Where the agent was writing, to go on there after signing in again or loading the page anew. */
  window.addEventListener("pagehide", () => {
    const field = document.activeElement;
    if (field?.dataset.draft) {
      const place = { draft: draftKey(field), at: [field.selectionStart, field.selectionEnd] };
      sessionStorage.setItem("sidetone focus", JSON.stringify(place));
    }
  });

  function restoreFocus() {
    const place = JSON.parse(sessionStorage.getItem("sidetone focus") || "null");
    const field = place && [...all("[data-draft]")].find((element) => draftKey(element) === place.draft);
    if (!field || document.activeElement !== document.body) return;
    sessionStorage.removeItem("sidetone focus");
    field.focus();
    field.setSelectionRange(...place.at);
  }

  document.addEventListener("input", (event) => {
    if (!(event.target instanceof HTMLElement) || !event.target.dataset.draft) return;
    keepDraft(event.target);
    const preset = event.target.form?.elements.preset;
    if (event.target.name === "body" && preset && event.target.value !== preset.dataset.text) preset.value = "";
  });

  /* --- offers: which one is accepted or declined; the form sends it ------------------------------------------------ */

  document.addEventListener("click", (event) => {
    const button = event.target.closest(".offer button[form]");
    if (button) button.form.elements.offer.value = button.value;
  });

  /* --- the composer ----------------------------------------------------------------------------------------------- */

  let submitted = "";
  let submittedFiles = [];

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
    if (event.detail.elt.id !== "composer") return;
    const files = attached();
    if (files.some((file) => !file.digest)) {
      event.preventDefault();
      say(word(files.some((file) => file.problem) ? "remove_the_file" : "file_on_its_way"));
      return;
    }
    event.detail.parameters.media = files.map((file) => file.digest).join(",");
    event.detail.parameters.once = nameOf(`${event.detail.parameters.media} ${one("#body").value}`);
  });

  document.addEventListener("keydown", (event) => {
    if (event.target.id === "body" && event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      if (selectGap(event.target)) say(word("fill_first"));
      else if (event.target.value.trim() || attached().length) event.target.form.requestSubmit();
    }
  });

  /* What a ready-made text leaves open is selected, so that the next words take its place. */
  function selectGap(field) {
    const gap = GAP.exec(field.value);
    if (gap) field.setSelectionRange(gap.index, gap.index + gap[0].length);
    return Boolean(gap);
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-preset]");
    if (!button) return;
    const form = button.closest("form");
    const body = form.elements.body;
    const preset = form.elements.preset;
    body.value = body.value.trim() ? `${body.value.trimEnd()} ${button.dataset.text}` : button.dataset.text;
    preset.value = body.value === button.dataset.text ? button.dataset.preset : "";
    preset.dataset.text = button.dataset.text;
    body.dispatchEvent(new Event("input", { bubbles: true }));
    body.focus();
    selectGap(body);
    const search = one("#preset-search");
    if (search?.value) { search.value = ""; findPresets(search); }
  });

  /* Presets are found by title and words; Enter takes the first that is left. */
  function findPresets(search) {
    const wanted = search.value.toLowerCase().split(/\s+/);
    for (const button of all("#composer [data-preset]")) {
      const words = `${button.textContent} ${button.dataset.text}`.toLowerCase();
      button.hidden = !wanted.every((word) => words.includes(word));
    }
  }
  document.addEventListener("input", (event) => { if (event.target.id === "preset-search") findPresets(event.target); });
  document.addEventListener("keydown", (event) => {
    if (event.target.id !== "preset-search") return;
    if (event.key === "Enter") {
      event.preventDefault();
      one("#composer [data-preset]:not([hidden])")?.click();
    } else if (event.key === "Escape") {
      event.target.value = "";
      findPresets(event.target);
      one("#body").focus();
    }
  });

  /* --- files: sent to the server as soon as they are chosen, dropped or pasted; the text carries their names ----------- */

  const CSRF = JSON.parse(document.body.getAttribute("hx-headers"))["X-CSRF-Token"];
  const MOST_FILES = 10;
  const files = new Map(); // session to its files, in order

  function attached() {
    const session = one("#session").dataset.session;
    return files.get(session) || [];
  }

  const megabytes = new Intl.NumberFormat(spoken, { minimumFractionDigits: 1, maximumFractionDigits: 1 });

  function sizeOf(bytes) {
    return bytes >= 1e6 ? word("mb", { n: megabytes.format(bytes / 1e6) }) : word("kb", { n: Math.max(1, Math.round(bytes / 1000)) });
  }

  function drawFiles() {
    const list = one("#attached");
    if (!list) return;
    list.hidden = attached().length === 0;
    list.replaceChildren(...attached().map((file) => {
      const item = document.createElement("li");
      item.classList.toggle("bad", Boolean(file.problem));
      item.classList.toggle("busy", !file.digest && !file.problem);
      const picture = file.type.startsWith("image/") && !file.problem ? document.createElement("img") : one("#icon-of-file").content.cloneNode(true);
      if (picture.tagName === "IMG") Object.assign(picture, { src: file.preview, alt: "" });
      const words = document.createElement("span");
      words.textContent = file.problem ? `${file.name}: ${file.problem}` : `${file.name} · ${sizeOf(file.size)}${file.digest ? "" : ` · ${word("on_its_way")}`}`;
      const remove = document.createElement("button");
      remove.type = "button";
      remove.className = "quiet";
      remove.textContent = "×";
      remove.setAttribute("aria-label", word("remove", { name: file.name }));
      remove.addEventListener("click", () => drop([file]));
      item.append(picture, words, remove);
      return item;
    }));
    followEnd();
  }

  function drop(gone) {
    for (const [session, list] of files) files.set(session, list.filter((file) => !gone.includes(file)));
    for (const file of gone) URL.revokeObjectURL(file.preview);
    drawFiles();
  }

  function attach(chosen) {
    const session = one("#session").dataset.session;
    const fields = one("#composer fieldset");
    if (!session || !fields || fields.disabled) return;
    const room = MOST_FILES - attached().length;
    if (chosen.length > room) say(word("most_files", { n: MOST_FILES }));
    for (const file of [...chosen].slice(0, room)) {
      const kept = { name: file.name || word("picture"), type: file.type, size: file.size, preview: URL.createObjectURL(file) };
      files.set(session, [...(files.get(session) || []), kept]);
      upload(file, kept);
    }
    drawFiles();
  }

  async function upload(file, kept) {
    try {
      const answer = await fetch("/desk/media", { method: "POST", body: file, headers: { "X-CSRF-Token": CSRF, "Content-Type": "application/octet-stream" } });
      const said = answer.headers.get("Content-Type")?.startsWith("application/json") ? await answer.json() : {};
      if (said.digest) Object.assign(kept, { digest: said.digest, size: said.size });
      else kept.problem = said.problem || word("not_taken");
    } catch {
      kept.problem = word("not_reached");
    }
    drawFiles();
  }

  document.addEventListener("change", (event) => {
    if (event.target.id !== "files") return;
    attach(event.target.files);
    event.target.value = "";
    one("#body").focus();
  });
  document.addEventListener("paste", (event) => {
    if (!event.clipboardData?.files.length || !event.target.closest("#session")) return;
    event.preventDefault();
    attach(event.clipboardData.files);
  });
  for (const kind of ["dragover", "drop"]) {
    document.addEventListener(kind, (event) => {
      if (![...event.dataTransfer.types].includes("Files")) return;
      event.preventDefault(); // the browser would show the file instead of the desk
      if (kind === "drop" && event.target.closest("#session")) attach(event.dataTransfer.files);
    });
  }

  document.addEventListener("htmx:beforeRequest", (event) => {
    if (event.detail.elt.id !== "composer") return;
    submitted = one("#body").value;
    submittedFiles = attached();
  });

  document.addEventListener("text-kept", () => {
    sessionStorage.removeItem("once");
    drop(submittedFiles);
    const body = one("#body");
    if (!body) return;
    // Words typed while the text was on its way to the server stay.
    body.value = body.value.startsWith(submitted) ? body.value.slice(submitted.length) : body.value;
    one("#composer [name=preset]").value = "";
    body.dispatchEvent(new Event("input", { bubbles: true }));
    body.focus();
  });

  /* --- the panel: handing over, a new conversation, a look at another one ----------------------------------------------- */

  const panel = one("#panel");

  // Not before it has settled: what is typed earlier would be heard by nobody.
  document.addEventListener("htmx:afterSettle", (event) => {
    if (event.detail.target?.id !== "panel-body") return;
    if (!panel.open) panel.showModal();
    one("[autofocus]", panel)?.focus();
    settle();
  });
  document.addEventListener("panel-done", () => {
    sessionStorage.removeItem(`sidetone draft ${agent} text new`);
    for (const field of all("[data-draft]", panel)) sessionStorage.removeItem(draftKey(field));
    panel.close();
  });
  panel.addEventListener("close", () => one("#panel-body").replaceChildren());
  panel.addEventListener("click", (event) => {
    if (event.target === panel || event.target.closest("[data-close-panel]")) panel.close();
  });
  panel.addEventListener("change", (event) => {
    if (event.target.dataset.recheck !== undefined) htmx.trigger("#opening", "recheck");
  });

  /* Texts of the agent's own: the form takes the one that is to be changed, or the words that stand in the composer. */
  document.addEventListener("click", (event) => {
    const edit = event.target.closest("[data-edit-text]");
    if (!edit) return;
    const { editText, title, language, words } = edit.dataset;
    const form = one("#own-text");
    form.elements.id.value = editText;
    form.elements.title.value = title;
    form.elements.language.value = language;
    form.elements.text.value = words;
    form.elements.title.focus();
  });
  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.detail.target.id === "panel-body" && one("#own-text") && event.detail.requestConfig?.elt.dataset.texts !== undefined) {
      one("#own-words").value = one("#body")?.value.trim() || "";
    }
  });

  /* Asking before what cannot be undone, in the page's own words and looks. */
  const sure = one("#sure");
  let asked = null;
  document.addEventListener("htmx:confirm", (event) => {
    if (!event.detail.question) return;
    event.preventDefault();
    asked = event.detail;
    put(one("#sure-question"), asked.question);
    sure.returnValue = "";
    sure.showModal();
  });
  sure?.addEventListener("close", () => {
    if (!sure.open && sure.returnValue === "yes") asked.issueRequest(true);  // open: told late of the question before this one
  });

  /* --- the list: what it shows, and what is looked for ---------------------------------------------------------------- */

  const lists = one(".lists");

  function showList(name) {
    lists.dataset.shows = name;
    for (const button of all(".filters [data-shows]")) button.setAttribute("aria-pressed", String(button.dataset.shows === name));
    sessionStorage.setItem("sidetone list", name);
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest(".filters [data-shows]");
    if (button) showList(button.dataset.shows);
  });
  document.addEventListener("keydown", (event) => {
    if (event.target.id !== "find" || event.key !== "Escape" || !event.target.value) return;
    event.preventDefault();
    event.target.value = "";
    one("#found").replaceChildren();
  });
  document.addEventListener("input", (event) => {
    if (event.target.id === "find" && !event.target.value) one("#found").replaceChildren();
  });
  if (one(`.filters [data-shows="${sessionStorage.getItem("sidetone list")}"]`)) showList(sessionStorage.getItem("sidetone list"));

  function countLists() {
    for (const button of all(".filters [data-shows]")) {
      const list = one(`#${button.dataset.shows}`);
      button.hidden = button.dataset.shows === "callbacks" && list.dataset.count === "0";
      if (button.hidden && lists.dataset.shows === "callbacks") showList("work");
      put(one(".count", button), list ? list.dataset.count : "");
    }
  }

  /* What an agent has opened or closed at the side stays so in every conversation. */
  document.addEventListener("toggle", (event) => {
    const key = event.target.dataset?.keep;
    const open = event.target.open ? "yes" : "no";
    if (!key || !event.target.dataset.shown || event.target.dataset.shown === open) return; // not by the agent
    event.target.dataset.shown = open;
    localStorage.setItem(`sidetone open ${key}`, open);
  }, true);

  function restoreDetails() {
    for (const details of all("details[data-keep]")) {
      if (details.dataset.shown) continue;
      const kept = localStorage.getItem(`sidetone open ${details.dataset.keep}`);
      details.open = kept ? kept === "yes" : window.innerWidth > 1120;
      details.dataset.shown = details.open ? "yes" : "no";
    }
  }

  /* --- the timeline stays at its end unless the agent has scrolled away --------------------------------------------- */

  let pinned = true;
  let lastTop = 0;
  let openSession = null;

  const atEnd = (timeline) => timeline.scrollHeight - timeline.scrollTop - timeline.clientHeight < 60;

  /* Earlier conversations come in above what is being read, and that must not move. */
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.target.id !== "before") return;
    const timeline = one("#timeline");
    const fromEnd = timeline.scrollHeight - timeline.scrollTop;
    document.addEventListener("htmx:afterSettle", () => {
      timeline.scrollTop = timeline.scrollHeight - fromEnd;
      lastTop = timeline.scrollTop;
    }, { once: true });
  });

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

  const alerted = new Set();
  let drawnFor = null;

  function settle() {
    const session = one("#session").dataset.session || null;
    if (session !== openSession) {
      openSession = session;
      pinned = true;
      lastTop = 0;
    }
    for (const row of all("a[data-row]")) {
      if (row.dataset.row === session || (session && one(`[data-row="${session}"]`, row))) row.setAttribute("aria-current", "page");
      else row.removeAttribute("aria-current");
    }
    const state = one("#composer-state");
    const fields = one("#composer fieldset");
    if (state && fields) fields.disabled = state.dataset.open !== "yes";
    if (session && !one("#note")) sessionStorage.removeItem(`sidetone draft ${agent} note ${session}`); // it has been saved
    localTimes(document);
    tickTock();
    restoreDrafts();
    restoreFocus();
    restoreDetails();
    countLists();
    if (session !== drawnFor) {
      drawnFor = session;
      drawFiles();
    }
    for (const row of all("[data-alert]")) {
      const key = `${row.dataset.row} ${row.dataset.alert}`;
      if (alerted.has(key)) continue;
      alerted.add(key);
      chime();
    }
    followEnd();
    fade();
    ring();
  }

  function announce(added) {
    if (added.some((node) => node.matches && node.matches("li[data-ring]"))) chime();
    const texts = added.filter((node) => node.matches && node.matches("li.line.in"));
    if (texts.length === 0) return;
    if (openSession === drawnFor) texted(one("#session-head h1")?.textContent || "");
    const words = texts.map((node) => one(".words", node)?.textContent || word("a_picture"));
    put(one("#announce"), word("new_text", { words: words.join("; ") }));
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
  document.addEventListener("htmx:sendError", () => say(word("unreachable")));
  document.addEventListener("htmx:responseError", () => say(word("did_not_work")));

  /* --- words for the agent ------------------------------------------------------------------------------------------- */


  function say(words) {
    const problem = panel.open && one("#panel-problem");
    if (problem) {
      put(problem, words);
      return;
    }
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

  const viewer = one("#viewer");
  let pictures = [];
  let shownPicture = 0;

  function showPicture(at) {
    shownPicture = (at + pictures.length) % pictures.length;
    const link = pictures[shownPicture];
    const shown = document.createElement(link.dataset.picture === "video" ? "video" : "img");
    shown.src = link.href;
    if (shown.tagName === "VIDEO") shown.controls = true;
    else shown.alt = one("img", link)?.alt || link.textContent.trim();
    one(".shown", viewer).replaceChildren(shown);
    one("a[download]", viewer).href = link.href;
    put(one("#viewer-count"), word("of", { n: shownPicture + 1, all: pictures.length }));
    for (const button of all("[data-view]", viewer)) button.hidden = pictures.length < 2;
    zoom(false);
  }

  function zoom(on) {
    viewer.classList.toggle("whole", on);
    one("[data-zoom]", viewer).setAttribute("aria-pressed", String(on));
  }

  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-picture]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    pictures = [...all("a[data-picture]", link.closest("#timeline, #panel") || document)];
    showPicture(pictures.indexOf(link));
    viewer.showModal();
  });
  viewer.addEventListener("click", (event) => {
    const step = event.target.closest("[data-view]");
    if (step) showPicture(shownPicture + Number(step.dataset.view));
    else if (event.target.closest("[data-zoom]") || event.target.tagName === "IMG") zoom(!viewer.classList.contains("whole"));
    else if (event.target === viewer) viewer.close();
  });
  viewer.addEventListener("keydown", (event) => {
    if (event.key === "ArrowRight" && pictures.length > 1) showPicture(shownPicture + 1);
    else if (event.key === "ArrowLeft" && pictures.length > 1) showPicture(shownPicture - 1);
    else if (event.key === "+" || event.key === "-") zoom(event.key === "+");
    else return;
    event.preventDefault();
  });
  viewer.addEventListener("close", () => one(".shown", viewer).replaceChildren());

  /* --- keys ---------------------------------------------------------------------------------------------------------- */

  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey && event.key.toLowerCase() === "k") {
      event.preventDefault();
      if (!panel.open) one("#new")?.click();
      return;
    }
    const writing = event.target.matches("input, textarea, select") && event.target.value !== "";
    if (event.key === "/" && !event.ctrlKey && !event.metaKey && !event.altKey && !panel.open && !writing && one("#preset-search")) {
      event.preventDefault();
      one("#preset-search").focus();
      return;
    }
    if (event.key === "?" && !event.ctrlKey && !event.metaKey && !event.altKey && !document.querySelector("dialog[open]")
      && !event.target.matches("textarea, select, input:not([type=checkbox], [type=radio])")) {
      event.preventDefault();
      one("#key-sheet").showModal();
      return;
    }
    if (!event.altKey || event.ctrlKey || event.metaKey) return;
    const rows = [...all("a[data-row]")].filter((row) => row.checkVisibility());
    const here = rows.findIndex((row) => row.hasAttribute("aria-current"));
    const unread = [...rows.slice(here + 1), ...rows.slice(0, here + 1)].find((row) => row.dataset.unread !== "0");
    switch (event.code) {
      case "KeyA": one("[data-accept]")?.click(); break;
      case "KeyD": one(".offer [form=declining]")?.click(); break;
      case "KeyU": unread?.click(); break;
      case "KeyC": one("#body")?.focus(); break;
      case "KeyT": one("#session-head :is([hx-get$='/call-transfer'], [hx-get$='/transfer'])")?.click(); break;
      case "KeyS": one("#session-head [hx-post$='/set-aside']")?.click(); break;
      case "KeyE": one("#session-head [hx-post$='/end-chat']")?.click(); break;
      case "KeyN": one("#note")?.focus(); break;
      case "KeyP": one("#side")?.focus(); break;
      case "KeyR": (one("#presence [hx-post]:is(button)") || one("#presence select"))?.focus(); break;
      case "KeyF": one("#find").focus(); break;
      case "ArrowDown": rows[Math.min(here + 1, rows.length - 1)]?.click(); break;
      case "ArrowUp": rows[Math.max(here - 1, 0)]?.click(); break;
      default: return;
    }
    event.preventDefault();
  });

  /* --- ringing: two soft tones while work is offered ------------------------------------------------------------------ */

  one("#show-keys").addEventListener("click", () => one("#key-sheet").showModal());

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

  const wanted = new Set(document.body.dataset.sounds.split(" ")); // as chosen on the page of the account

  function play(kind, ...notes) {
    if (!wanted.has(kind) || !audio || sound.getAttribute("aria-pressed") !== "true") return;
    notes.forEach((frequency, n) => tone(frequency, audio.currentTime + 0.22 * n));
  }

  /* Each kind sounds its own: what came back falls, a call rises in two notes, a chat in three soft ones, a text is one. */
  const chime = () => play("chat", 523, 392);
  const SOUNDS = { voice: ["call", 660, 880], sms: ["chat", 523, 587, 659] };

  /* --- notifications: only where the agent has asked for them, and only while this page is not in front -------------- */

  const notify = one("#notify");
  notify.hidden = !("Notification" in window);

  function notifies() {
    return !notify.hidden && Notification.permission === "granted" && localStorage.getItem("sidetone notify") === "yes";
  }

  notify.setAttribute("aria-pressed", String(notifies()));
  notify.addEventListener("click", async () => {
    const on = notify.getAttribute("aria-pressed") !== "true";
    if (on && Notification.permission !== "granted" && (await Notification.requestPermission()) !== "granted") {
      say(word("notify_denied"));
      return;
    }
    localStorage.setItem("sidetone notify", on ? "yes" : "no");
    notify.setAttribute("aria-pressed", String(notifies()));
  });

  /* The same thing is told once: *key* names it. */
  function tell(words, key, body = "") {
    if (!notifies() || document.visibilityState === "visible") return;
    const shown = new Notification(words, { body, tag: key, icon: "/static/icon.svg" });
    shown.addEventListener("click", () => { window.focus(); shown.close(); });
  }

  function texted(who) {
    play("message", 784);
    tell(word("text_from", { who }), `text ${openSession}`);
  }

  const title = document.title;
  const rung = new Set();
  const unreadBefore = new Map();

  function ring() {
    const offers = [...all(".offer")];
    const rows = [...all("a[data-row]")];
    for (const row of rows) {
      const unread = Number(row.dataset.unread);
      const more = unread > (unreadBefore.get(row.dataset.row) ?? unread);
      unreadBefore.set(row.dataset.row, unread);
      if (!more || row.hasAttribute("aria-current")) continue;
      play("message", 784);
      tell(word("text_from", { who: one(".customer", row).textContent }), `text ${row.dataset.row}`, one(".row-last", row).textContent);
    }
    const waiting = offers.length + rows.filter((row) => row.dataset.unread !== "0" && !row.hasAttribute("aria-current")).length;
    document.title = waiting ? `(${waiting}) ${title}` : title;
    for (const offer of offers) {
      if (rung.has(offer.dataset.offer)) continue;
      rung.add(offer.dataset.offer);
      const rings = word(offer.dataset.channel === "voice" ? "call_rings" : "chat_rings", { who: one(".customer", offer).textContent });
      put(one("#announce"), rings);
      tell(rings, offer.dataset.offer, one(".muted", offer).textContent);
    }
    if (!offers.length) {
      clearInterval(ringing);
      ringing = 0;
    } else if (!ringing) {
      const once = () => play(...SOUNDS[one(".offer")?.dataset.channel || "voice"]);
      once();
      ringing = setInterval(once, 2500);
    }
  }

  setInterval(tickTock, 1000);
  settle();
})();
