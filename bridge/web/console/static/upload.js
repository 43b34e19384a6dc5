// The page of an upload link: previews, progress, and another attempt when the connection was lost. Without it the form still works.
(() => {
  "use strict";
  const $ = (id) => document.getElementById(id);
  const form = $("form");
  const words = JSON.parse(form.dataset.words);
  const limit = { size: +form.dataset.max, together: +form.dataset.together, files: +form.dataset.files };
  const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
  const make = (tag, text, kind) => {
    const element = document.createElement(tag);
    if (text) element.textContent = text;
    if (kind) element.className = kind;
    return element;
  };
  const STALLED = 45; // seconds without progress
  let chosen = []; // {file, url, row}
  let running = null; // the request under way
  let timer = 0; // until the next attempt
  let failures = 0;

  form.classList.add("js");
  $("send").disabled = true;

  function why(item, at) {
    const kind = item.file.type;
    if (kind && !/^(image|video|audio)\/|^application\/pdf$|^text\/(x-)?vcard$/.test(kind)) return words.type;
    if (item.file.size > limit.size) return words.too_large;
    return at >= limit.files ? words.too_many : "";
  }

  function size(bytes) {
    const large = bytes >= 1e6;
    const style = { style: "unit", unit: large ? "megabyte" : "kilobyte", maximumFractionDigits: large ? 1 : 0 };
    return Math.max(bytes / (large ? 1e6 : 1e3), 1).toLocaleString(document.documentElement.lang, style);
  }

  function preview(file, url) {
    const kind = make("span", (file.name.split(".").pop() || "?").slice(0, 5).toUpperCase(), "kind");
    const tag = /^image\//.test(file.type) ? "img" : /^video\//.test(file.type) ? "video" : "";
    if (!tag) return kind;
    const shown = make(tag);
    if (tag === "img") { shown.alt = ""; shown.decoding = "async"; } else { shown.muted = true; shown.playsInline = true; shown.preload = "metadata"; }
    shown.addEventListener("error", () => shown.replaceWith(kind)); // a kind the browser cannot show
    shown.src = url;
    return shown;
  }

  function add(files) {
    for (const file of files) {
      const item = { file, url: URL.createObjectURL(file), row: make("li") };
      const about = make("div");
      const remove = make("button", "✕");
      remove.type = "button";
      remove.setAttribute("aria-label", fill(words.remove, { name: file.name }));
      remove.addEventListener("click", () => {
        URL.revokeObjectURL(item.url);
        chosen = chosen.filter((other) => other !== item);
        item.row.remove();
        check();
        $("choose").focus();
      });
      about.append(make("span", file.name, "name"), make("small"));
      item.row.append(preview(file, item.url), about, remove);
      chosen.push(item);
      $("chosen").append(item.row);
    }
    check();
  }

  function check() {
    let wrong = false;
    let total = 0;
    chosen.forEach((item, at) => {
      total += item.file.size;
      const reason = why(item, at) || (total > limit.together ? words.too_large : "");
      item.row.className = reason ? "wrong" : "";
      item.row.querySelector("small").textContent = size(item.file.size) + (reason ? ` – ${reason}` : "");
      wrong = wrong || Boolean(reason);
    });
    $("send").disabled = wrong || !chosen.length;
  }

  for (const id of ["camera", "choose"]) {
    $(id).addEventListener("change", () => {
      add($(id).files);
      $(id).value = "";
      tell("");
    });
  }

  // Whoever comes back to the page with the browser's own button finds it empty, like the fields.
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
  const stay = (event) => { event.preventDefault(); };

  function busy(on) {
    $("going").hidden = !on;
    $("send").hidden = on;
    for (const field of form.querySelectorAll(".pick input, #chosen button")) field.disabled = on;
    (on ? addEventListener : removeEventListener)("beforeunload", stay);
  }

  function tell(message, refused = [], good = false) {
    const told = $("told");
    told.replaceChildren();
    if (message) told.append(make("p", message, good ? "good" : "bad"));
    if (!refused.length) return;
    if (good) told.append(make("p", form.dataset.refused));
    const list = make("ul", "", "refused");
    for (const file of refused) {
      const line = make("li");
      line.append(make("b", file.name || "?"), ` – ${file.reason}`);
      list.append(line);
    }
    told.append(list);
    if (good) told.append(make("p", form.dataset.other));
  }

  function over(title, message, refused, good) {
    busy(false);
    form.remove();
    if (title) $("title").textContent = title;
    tell(message, refused, good);
    $("title").focus();
  }

  function stop(message, refused) {
    clearInterval(timer);
    running = null;
    failures = 0;
    busy(false);
    tell(message, refused);
    check();
  }

  function later(seconds) {
    let left = seconds;
    const count = () => {
      $("state").textContent = fill(words.lost, { seconds: left });
      if (left-- <= 0) send();
    };
    $("again").hidden = false;
    timer = setInterval(count, 1000);
    count();
  }

  function lost(request, wait) {
    if (running !== request) return;
    running = null;
    failures += 1;
    later(Math.max(wait || 0, Math.min(30, 2 ** failures)));
  }

  function answered(request) {
    if (running !== request) return;
    let answer = null;
    try { answer = JSON.parse(request.responseText); } catch { /* a proxy in between */ }
    if (request.status === 200 && answer) over(form.dataset.done, answer.message, answer.refused, true);
    // After a lost connection "used" means that the attempt before went through.
    else if (answer && answer.problem === "used" && failures) over(form.dataset.done, answer.message, [], true);
    else if (request.status >= 500 && request.status !== 500) lost(request, +request.getResponseHeader("Retry-After") || 5);
    else if (answer && answer.problem) over("", answer.message, [], false);
    else stop(answer ? answer.message : words.failed, answer ? answer.refused : []);
  }

  function send() {
    clearInterval(timer);
    $("again").hidden = true;
    tell("");
    busy(true);
    const body = new FormData();
    for (const item of chosen) body.append("files", item.file, item.file.name);
    const request = running = new XMLHttpRequest();
    let heard = Date.now();
    const watch = setInterval(() => { if (Date.now() - heard > STALLED * 1000) request.abort(); }, 1000);
    request.upload.onprogress = (event) => {
      heard = Date.now();
      if (!event.lengthComputable) return;
      $("progress").value = event.loaded / event.total;
      $("state").textContent = fill(words.sending, { percent: Math.floor(100 * event.loaded / event.total) });
    };
    request.upload.onload = () => {
      heard = Infinity; // the server looks at the files now, for as long as it takes
      $("progress").removeAttribute("value");
      $("state").textContent = words.checking;
    };
    request.onload = () => answered(request);
    request.onerror = request.onabort = () => lost(request);
    request.onloadend = () => clearInterval(watch);
    $("progress").value = 0;
    $("state").textContent = fill(words.sending, { percent: 0 });
    request.open("POST", location.href);
    request.setRequestHeader("Accept", "application/json");
    request.send(body);
  }

  $("again").addEventListener("click", send);
  addEventListener("online", () => { if (!$("again").hidden) send(); });
  $("cancel").addEventListener("click", () => {
    const request = running;
    stop("");
    if (request) request.abort();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (chosen.length) send();
    else tell(words.nothing);
  });
})();
