/* The engineer's phone: keys and texts go up one websocket, what is heard and received comes down. */
"use strict";
(() => {
  const one = (selector) => document.querySelector(selector);
  const mine = one("#mine");
  const called = one("#called");
  const bench = one(".bench");
  const WORDS = JSON.parse(one("#phone-words").textContent);
  const word = (key, values = {}) => WORDS[key].replace(/%\((\w+)\)s/g, (_whole, name) => values[name] ?? "");

  function dialled() {
    const digits = called.value.replace(/[^+\d]/g, "");
    return digits && !digits.startsWith("+") ? `+${digits}` : digits; // whole numbers only, as on a mobile phone
  }

  /* --- the line ---------------------------------------------------------------------------------------------------- */

  let socket = null;
  let tries = 0;

  function connect() {
    socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/phone/ws`);
    socket.addEventListener("open", () => {
      tries = 0;
      one("#connection").hidden = true;
      plugIn();
      showThread();
    });
    socket.addEventListener("message", (event) => take(JSON.parse(event.data)));
    socket.addEventListener("close", () => {
      one("#connection").hidden = false;
      if (call || incoming) hears({ what: "ended", by: "network", cause: "connection lost" });
      setTimeout(connect, Math.min(8000, 400 * 2 ** tries++));
    });
  }

  function send(message) {
    if (socket.readyState !== WebSocket.OPEN) return say(word("unreachable"));
    socket.send(JSON.stringify(message));
  }

  function take(message) {
    if (message.kind === "hears") hears(message);
    else if (message.kind === "rings") rings(message.sender);
    else if (message.kind === "text") bubble(message);
    else say(message.words);
  }

  /* --- sound ------------------------------------------------------------------------------------------------------- */

  let tones = null; // made at the first click: a page may not sound before
  let ringback = 0;
  const player = new Audio();
  const music = new Audio();
  music.loop = true;
  music.volume = 0.5;
  let playlist = [];

  function play(audio) {
    playlist = [...audio];
    next();
  }

  function next() {
    const path = playlist.shift();
    if (!path) return;
    player.src = path;
    player.play().catch(() => {}); // cut by the next prompt before it began
  }
  player.addEventListener("ended", next);
  player.addEventListener("error", next);

  function hush() {
    playlist = [];
    player.pause();
    music.pause();
    clearInterval(ringback);
  }

  function sound(frequencies, seconds, loudness = 0.06) {
    tones ??= new AudioContext();
    const gain = new GainNode(tones, { gain: loudness });
    gain.gain.setTargetAtTime(0, tones.currentTime + seconds, 0.01);
    gain.connect(tones.destination);
    for (const frequency of frequencies) {
      const oscillator = new OscillatorNode(tones, { frequency });
      oscillator.connect(gain);
      oscillator.start();
      oscillator.stop(tones.currentTime + seconds + 0.1);
    }
  }

  const ROWS = [697, 770, 852, 941];
  const COLUMNS = [1209, 1336, 1477];

  function dtmf(digit) { // ITU-T Q.23
    const place = "123456789*0#".indexOf(digit);
    sound([ROWS[Math.floor(place / 3)], COLUMNS[place % 3]], 0.12);
  }

  /* --- the call ---------------------------------------------------------------------------------------------------- */

  let incoming = false; // a call of ours rings here

  function plugIn() {
    if (socket?.readyState === WebSocket.OPEN && mine.checkValidity()) send({ do: "plug_in", number: mine.value });
  }

  function rings(sender) {
    incoming = true;
    one("#heard").replaceChildren();
    called.value = sender;
    status(word("rings").replace("%(number)s", sender));
    if (navigator.userActivation?.hasBeenActive) {
      const once = () => sound([420, 620], 0.9, 0.05);
      once();
      ringback = setInterval(once, 3000);
    }
    hook();
    showThread();
  }

  let call = null; // {since: ms, or null while it rings}

  function hears(message) {
    hush();
    switch (message.what) {
      case "ringing":
        status(word("calling"));
        if (navigator.userActivation?.hasBeenActive) {
          const once = () => sound([440, 480], 1.6, 0.03);
          once();
          ringback = setInterval(once, 4000);
        }
        return;
      case "playing":
        status(word("on_the_call"));
        answered();
        caption(message.words || word("a_recording"));
        play(message.audio);
        return;
      case "music":
        status(word("music"));
        answered();
        music.src = message.audio[0];
        music.currentTime = message.offset;
        music.play().catch(() => {});
        return;
      case "silence":
        status(word("on_the_call"));
        answered();
        return;
      case "connected":
        status(word("talking", { agent: message.agent }));
        answered();
        caption(word("now_talking", { agent: message.agent }), "event");
        play(message.audio);
        return;
      case "ended":
        call = null;
        incoming = false;
        hook();
        status(word("ended"));
        caption(endWords(message), "event");
    }
  }

  function endWords({ by, cause }) {
    if (by === "caller") return word("you_hung_up");
    if (cause === "404") return word("no_calls");
    if (cause === "503") return word("not_now");
    if (cause === "bye") return word(by === "agent" ? "agent_hung_up" : "other_hung_up");
    return word("ended_because", { cause });
  }

  function answered() {
    if (call && call.since === null) call.since = Date.now();
  }

  function status(words) {
    if (one("#status").textContent !== words) one("#status").textContent = words;
  }

  function caption(words, kind = "said") {
    const heard = one("#heard");
    const item = document.createElement("li");
    item.className = kind;
    item.textContent = words;
    heard.append(item);
    heard.scrollTop = heard.scrollHeight;
  }

  function hook() {
    const button = one("#hook");
    button.className = call ? "hang-up" : "call";
    button.setAttribute("aria-label", word(call ? "hang_up" : incoming ? "answer" : "call"));
    one("#refuse").hidden = !incoming;
    button.querySelector("use").setAttribute("href", `/static/icons.svg#${call ? "call-end" : "call"}`);
    const busy = Boolean(call) || incoming;
    called.readOnly = busy;
    one("#erase").hidden = busy;
    mine.disabled = one("#withhold").disabled = busy;
    if (!call) one("#timer").textContent = "";
  }

  function toggleHook() {
    if (call) return send({ do: "hang_up" });
    if (incoming) {
      incoming = false;
      call = { since: Date.now() };
      hush();
      hook();
      return send({ do: "answer" });
    }
    const number = dialled();
    if (!number) return called.focus();
    call = { since: null };
    one("#keys").textContent = "";
    one("#heard").replaceChildren();
    hook();
    showThread();
    send({ do: "dial", caller: one("#withhold").checked ? null : mine.value, called: number });
  }

  function press(digit) {
    dtmf(digit);
    const key = one(`[data-digit="${digit}"]`);
    key.classList.add("down");
    setTimeout(() => key.classList.remove("down"), 130);
    if (!call) {
      called.value += digit;
      showThread();
      return;
    }
    one("#keys").textContent += digit;
    send({ do: "press", digit });
  }

  for (const key of document.querySelectorAll("[data-digit]")) key.addEventListener("click", () => press(key.dataset.digit));
  one("#hook").addEventListener("click", toggleHook);
  one("#refuse").addEventListener("click", () => send({ do: "hang_up" }));
  one("#erase").addEventListener("click", () => { called.value = called.value.slice(0, -1); showThread(); });

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const writing = event.target.matches("input, textarea") && !event.target.readOnly;
    if (event.target.id === "called" && event.key === "Enter") { event.preventDefault(); return toggleHook(); }
    if (writing) return;
    if ("0123456789*#".includes(event.key)) press(event.key);
    else if (event.key === "Backspace" && !call) one("#erase").click();
    else if (event.key === "Escape" && call) toggleHook();
    else if (event.key === "Enter" && !event.target.matches("button, a")) toggleHook();
    else return;
    event.preventDefault();
  });

  setInterval(() => {
    if (!call || call.since === null) return;
    const s = Math.floor((Date.now() - call.since) / 1000);
    one("#timer").textContent = `${Math.floor(s / 60)}:${String(s % 60).padStart(2, "0")}`;
  }, 500);

  /* --- the texts --------------------------------------------------------------------------------------------------- */

  const clock = new Intl.DateTimeFormat(document.documentElement.lang, { hour: "2-digit", minute: "2-digit" });
  let shown = null; // the pair of numbers whose thread is on the page
  let unread = 0;

  function showThread() {
    one("#texts-with").textContent = dialled() || word("nobody");
    for (const other of document.querySelectorAll("[data-number]")) {
      other.setAttribute("aria-pressed", String(other.dataset.number === dialled()));
    }
    if (shown === mine.value || document.body.dataset.sms === "no" || socket?.readyState !== WebSocket.OPEN) return;
    shown = mine.value;
    one("#thread").replaceChildren();
    opened = Date.now() / 1000;
    send({ do: "thread", number: mine.value });
  }

  let opened = 0;

  function bubble(message) {
    const item = document.createElement("li");
    item.className = message.direction === "written" ? "out" : "in";
    for (const address of message.pictures) {
      const image = document.createElement("img");
      image.src = address;
      image.alt = word("picture");
      item.append(link(address, image));
    }
    message.files.forEach((address, n) => {
      const file = document.createElement("p");
      file.append(link(address, message.files.length > 1 ? word("file_n", { n: n + 1 }) : word("file")));
      item.append(file);
    });
    const words = document.createElement("p");
    words.append(...withLinks(message.body));
    if (words.textContent) item.append(words);
    const meta = document.createElement("small");
    meta.textContent = message.direction === "written"
      ? `${word("to", { number: message.other })} · ${clock.format(message.at * 1000)}`
      : `${message.other} · ${clock.format(message.at * 1000)}`;
    item.append(meta);
    one("#thread").append(item);
    one("#thread").scrollTop = one("#thread").scrollHeight;
    if (message.direction === "received" && message.at > opened) {
      if (navigator.userActivation?.hasBeenActive) sound([880, 1320], 0.09, 0.03);
      if (bench.dataset.shows === "call") count(unread + 1);
    }
  }

  const ADDRESS = /(https?:\/\/[^\s<>"]*[^\s<>".,:;!?)\]])/; // the full stop behind an address is the sentence's

  function withLinks(words) {
    return words.split(ADDRESS).map((part, n) => (n % 2 ? link(part, part) : part));
  }

  function link(address, ...content) {
    const anchor = document.createElement("a");
    anchor.href = address;
    anchor.target = "_blank";
    anchor.rel = "noopener";
    anchor.append(...content);
    return anchor;
  }

  function count(n) {
    unread = n;
    one("#unread").hidden = n === 0;
    one("#unread").textContent = n || "";
  }

  function asBase64(file) {
    return new Promise((resolve, reject) => {
      const reader = new FileReader();
      reader.addEventListener("load", () => resolve(reader.result.slice(reader.result.indexOf(",") + 1)));
      reader.addEventListener("error", () => reject(reader.error));
      reader.readAsDataURL(file);
    });
  }

  function attach(file) {
    const image = one("#attached img");
    if (image.src) URL.revokeObjectURL(image.src);
    one("#attached").hidden = !file;
    if (file) image.src = URL.createObjectURL(file);
    else one("#picture").value = "";
  }
  one("#picture").addEventListener("change", () => attach(one("#picture").files[0]));
  one("#attached button").addEventListener("click", () => attach(null));

  one("#write").addEventListener("submit", async (event) => {
    event.preventDefault();
    const words = one("#words");
    const [file] = one("#picture").files;
    const body = words.value.trim();
    if (!body && !file) return words.focus();
    if (!dialled()) return say(word("no_number"));
    const picture = file ? { name: file.name, type: file.type, data: await asBase64(file) } : null;
    if (socket.readyState !== WebSocket.OPEN) return say(word("still_here"));
    send({ do: "text", sender: mine.value, to: dialled(), body, picture });
    words.value = "";
    attach(null);
    words.focus();
  });
  one("#words").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      one("#write").requestSubmit();
    }
  });
  for (const other of document.querySelectorAll("[data-number]")) {
    other.addEventListener("click", () => {
      if (!call) called.value = other.dataset.number;
      showThread();
      one("#words").focus();
    });
  }
  mine.addEventListener("change", () => { plugIn(); showThread(); });
  called.addEventListener("input", showThread);
  one("#numbers").addEventListener("submit", (event) => event.preventDefault());

  /* --- narrow screens: one of the two ------------------------------------------------------------------------------- */

  function show(which) {
    bench.dataset.shows = which;
    one("#tab-call").setAttribute("aria-selected", String(which === "call"));
    one("#tab-texts").setAttribute("aria-selected", String(which === "texts"));
    if (which === "texts") count(0);
    one("#thread").scrollTop = one("#thread").scrollHeight;
  }
  one("#tab-call").addEventListener("click", () => show("call"));
  one("#tab-texts").addEventListener("click", () => show("texts"));

  /* --- words for the engineer ---------------------------------------------------------------------------------------- */

  let fading = 0;

  function say(words) {
    const paragraph = document.createElement("p");
    paragraph.textContent = words;
    one("#message").replaceChildren(paragraph);
    clearTimeout(fading);
    fading = setTimeout(() => one("#message").replaceChildren(), 7000);
  }

  hook();
  connect();
})();
