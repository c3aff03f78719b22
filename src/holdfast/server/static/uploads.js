// Uploads by tus 1.0: in pieces, several at once, taken up again after a lost connection, a restart or a reload.
(() => {
  "use strict";
  const { one, all, say } = window.holdfast;
  const PIECE = 16 * 2 ** 20, SMALL = 2 ** 20, OCTETS = "application/offset+octet-stream", AT_ONCE = 3, SHOWN = 12, MOST = 2000, STORE = "holdfast-upload:";
  const WAITS = [1, 2, 4, 8, 15, 30];
  const uploads = [], SAME = document.currentScript.dataset.same;
  let place, picker, wanted;

  // Marks that turn a text round or are not seen, as the server shows them.
  const plain = (name) => name.replace(/[\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g, (mark) => "[U+" + mark.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0") + "]");
  const make = (tag, attributes = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) name in node ? (node[name] = value) : node.setAttribute(name, value);
    node.append(...children);
    return node;
  };
  const size = (bytes) => {
    let unit = 0;
    while (bytes >= 1023.5 && unit < 5) (bytes /= 1024), unit++;
    return bytes.toFixed(unit && bytes < 99.95 ? 1 : 0) + "\u00a0" + ["B", "KiB", "MiB", "GiB", "TiB", "PiB"][unit];
  };
  const span = (s) => (s < 60 ? Math.max(1, Math.round(s)) + "\u00a0s" : s < 3600 ? Math.round(s / 60) + "\u00a0min" : (s / 3600).toFixed(1) + "\u00a0h");
  const base64 = (text) => btoa(String.fromCharCode(...new TextEncoder().encode(text)));
  // What makes a file look like one that was begun before; whether it is that one, only its bytes say.
  const mark = (file) => [file.name, file.size, file.lastModified].join(":");
  const remember = ({ url, mark, name, size, sent }) => { try { localStorage.setItem(STORE + url, JSON.stringify({ url, mark, name, size, sent })); } catch {} };
  const forget = (upload) => { try { localStorage.removeItem(STORE + upload.url); } catch {} };
  // Pages of one browser tell each other what they have in hand: only whoever has the file may go on with it.
  const pages = new BroadcastChannel("holdfast-uploads");
  const afar = (upload) => upload.state === "asleep" || upload.state === "elsewhere";
  pages.onmessage = ({ data: { mine, gone } }) => {
    if (!mine && !gone) return pages.postMessage({ mine: Object.fromEntries(uploads.filter((one) => one.url && one.state !== "done" && !afar(one)).map((one) => [one.url, one.sent])) });
    for (const upload of uploads.filter(afar)) {
      if (upload.url === gone) uploads.splice(uploads.indexOf(upload), 1), draw();
      else if (mine && upload.url in mine) Object.assign(upload, { state: "elsewhere", sent: mine[upload.url], heard: Date.now(), why: "" }), fill(upload);
    }
  };
  function listen() {
    if (!uploads.some(afar)) return;
    pages.postMessage({});
    for (const upload of uploads) if (upload.state === "elsewhere" && Date.now() - upload.heard > 5000) look(upload);
  }
  // Nobody has it in hand: it waits for its file, unless it has ended meanwhile.
  async function look(upload) {
    upload.state = "asleep";
    draw();
    const xhr = await ask(upload, "HEAD", upload.url).catch(() => null);
    if (!xhr || upload.state !== "asleep") return;
    if ([404, 410].includes(xhr.status)) forget(upload), uploads.splice(uploads.indexOf(upload), 1);
    else if (xhr.status < 300) upload.sent = Number(xhr.getResponseHeader("Upload-Offset"));
    draw();
  }
  const recall = (key) => { try { return JSON.parse(localStorage.getItem(key)); } catch { return null; } };

  // One request. Resolves with the XMLHttpRequest whatever its status; rejects when there was no answer.
  const request = (upload, method, url, headers = {}, body = null, onprogress) => new Promise((resolve, reject) => {
    const xhr = (upload.xhr = new XMLHttpRequest());
    xhr.open(method, url);
    xhr.setRequestHeader("Tus-Resumable", "1.0.0");
    xhr.setRequestHeader("X-CSRF-Token", one("meta[name=csrf-token]").content);
    for (const [name, value] of Object.entries(headers)) xhr.setRequestHeader(name, value);
    let heard = Date.now();
    const watch = setInterval(() => Date.now() - heard > 60000 && xhr.abort(), 5000);
    xhr.upload.onprogress = (event) => { heard = Date.now(); onprogress?.(event.loaded); };
    xhr.onload = () => resolve(xhr);
    xhr.onerror = xhr.onabort = () => reject(new Error("lost"));
    xhr.onloadend = () => clearInterval(watch);
    xhr.send(body);
  });
  // Who signed out and in again elsewhere has another session: then the page's token is renewed, and the request repeated.
  const ask = async (...what) => {
    const xhr = await request(...what);
    return xhr.status === 403 && (await renewed()) ? request(...what) : xhr;
  };
  const who = (page) => one(".who details:last-child summary", page)?.title;
  const token = (page) => one("meta[name=csrf-token]", page)?.content;
  async function renewed() {
    const page = await fetch("/account", { headers: { Accept: "text/html" } }).then((found) => found.text()).then(parse, () => null);
    if (!page || !token(page) || token(page) === token()) return false;
    if (who(page) !== who()) throw new Refused("Somebody else is signed in here now. Load the page again.");
    take(page);
    return true;
  }
  const parse = (text) => new DOMParser().parseFromString(text, "text/html");
  function take(page) {
    one("meta[name=csrf-token]").content = token(page);
    for (const field of all("input[name=csrf_token]")) field.value = token(page);
    one("#out")?.remove();
  }
  // what the server says to programs, as a sentence for people: a capital, and sizes instead of bytes
  const inWords = (detail) => detail[0].toUpperCase() + detail.slice(1).replace(/\b(\d{4,19}) bytes\b/g, (_, count) => size(Number(count)));
  const answer = (xhr) => {
    try { return inWords(JSON.parse(xhr.responseText).detail); } catch { return ""; }
  };
  class Refused extends Error {}
  class Another extends Error {}
  const must = (xhr, ...statuses) => {
    if (statuses.includes(xhr.status)) return xhr;
    if (xhr.status === 401) throw new Refused("You are signed out. Sign in in another tab, then try again: nothing that arrived is lost.");
    if ([408, 409, 423, 425, 429].includes(xhr.status) || (xhr.status >= 500 && xhr.status !== 507)) throw Object.assign(new Error("again"), { status: xhr.status, why: answer(xhr) });
    throw new Refused(answer(xhr) || "The server refused it (" + xhr.status + ").");
  };

  async function begin(upload) {
    if (upload.url) {
      const xhr = await ask(upload, "GET", upload.url); // as HEAD, and a refusal says why
      if (xhr.status === 200 || xhr.status === 204) {
        await prove(upload, Number(xhr.getResponseHeader("Upload-Offset")));
        upload.done = xhr;
        return (upload.sent = upload.sure);
      }
      if (![404, 410].includes(xhr.status)) must(xhr);
      forget(upload);
      upload.sent = upload.sure = 0;
    }
    // a small file comes along with its announcement: one request in all
    const small = upload.size <= SMALL, pool = upload.pool ? ",pool " + base64(upload.pool) : "";
    const xhr = must(await ask(upload, "POST", "/api/uploads", {
      "Upload-Length": String(upload.size),
      "Upload-Metadata": "filename " + base64(upload.name) + pool,
      ...(small && { "Content-Type": OCTETS }),
    }, small ? upload.file : null), 201);
    upload.sent = upload.sure = Number(xhr.getResponseHeader("Upload-Offset"));
    upload.url = new URL(xhr.getResponseHeader("Location"), location.href).href;
    upload.done = xhr;
    remember(upload);
  }

  // What has arrived and was not sent from here, or not acknowledged, may be another file's: nothing is added to it
  // before all of it is known to be this file's.
  async function prove(upload, arrived) {
    const { turn } = upload, from = upload.sure ?? 0;
    if (arrived <= from) return (upload.sure = arrived);
    upload.compared = 0;
    draw();
    if (!window.holdfast.same) await new Promise((onload, onerror) => document.head.append(make("script", { src: SAME, onload, onerror })));
    const same = await window.holdfast.same(upload.file, from, arrived, async (blocks) => {
      if (upload.turn !== turn) throw new Error("lost");
      const xhr = await ask(upload, "POST", upload.url + "/same", { "Content-Type": "application/json" }, JSON.stringify({ blocks }));
      upload.gone = xhr.status === 410;
      return !upload.gone && JSON.parse(must(xhr, 200).responseText).same;
    }, (at) => ((upload.compared = (at - from) / (arrived - from)), fill(upload)));
    delete upload.compared;
    if (!same) throw new Another();
    upload.sure = arrived;
  }

  async function send(upload) {
    await begin(upload);
    upload.pace = [[performance.now(), upload.sent]];
    while (upload.sent < upload.size) {
      const from = upload.sent;
      const piece = upload.file.slice(from, from + PIECE);
      const xhr = await ask(upload, "PATCH", upload.url, { "Upload-Offset": String(from), "Content-Type": OCTETS }, piece, (loaded) => {
        upload.sent = from + Math.min(loaded, piece.size);
        tick(upload);
      });
      if (xhr.status === 409) { await begin(upload); continue; }
      upload.done = must(xhr, 204, 200);
      upload.sent = upload.sure = Number(xhr.getResponseHeader("Upload-Offset"));
      if (upload.tries) Object.assign(upload, { tries: 0, why: "" });
      remember(upload);
      tick(upload);
    }
  }

  async function run(upload) {
    const turn = (upload.turn = (upload.turn ?? 0) + 1);
    upload.state = "sending";
    draw();
    try {
      await send(upload);
      forget(upload);
      pages.postMessage({ gone: upload.url });
      upload.state = "done";
      upload.dataset = upload.done?.getResponseHeader("Holdfast-Dataset");
      stored++;
      tell(upload.name + " is stored");
      refresh();
    } catch (error) {
      delete upload.compared;
      if (upload.turn !== turn || upload.state !== "sending") return draw();
      if (error instanceof Another) anew(upload);
      else if (error instanceof Refused || (error.status === 500 && upload.tries > 2) || !(await readable(upload))) {
        upload.state = "failed";
        upload.why = error instanceof Refused ? error.message : error.status === 500 ? error.why : "The file can no longer be read here. Was it moved or changed? Choose it again.";
        tell(upload.name + ": " + upload.why);
      } else {
        upload.state = "waiting";
        upload.again = Date.now() + 1000 * WAITS[Math.min(upload.tries++, WAITS.length - 1)];
        upload.why = error.why || (error.status ? "The server does not answer." : "The connection is lost.");
        if (upload.tries === 1) say(upload.name + ": " + upload.why + " Trying again.");
      }
    }
    draw();
    pump();
  }
  // Of a few each is told; at the end of many, how many were stored and how many were not.
  let stored = 0, begun = 0;
  function tell(text) {
    const refused = uploads.filter((upload) => upload.state === "failed").length;
    if (active() || stored + refused < 2) return begun < 4 && say(text);
    if (refused) say(stored + " of " + (stored + refused) + " uploads are stored, " + refused + (refused === 1 ? " is" : " are") + " not. " + text);
    else say(begun < 4 ? text : "All " + stored + " uploads are stored");
  }
  // The file only looks like the one that was begun: that one stays as it is, for whoever finds its file again.
  function anew(upload) {
    const { file, pool } = upload;
    const why = upload.gone ? "" : "This is another file than the one that was interrupted, so it begins anew.";
    if (upload.gone) forget(upload), uploads.splice(uploads.indexOf(upload), 1);
    Object.assign(upload, { state: "asleep", file: null, sure: 0 });
    uploads.push({ mark: upload.mark, name: file.name, size: file.size, sent: 0, file, pool, state: "queued", tries: 0, why });
    say(file.name + ": " + why);
  }
  const readable = async (upload) => {
    try { await upload.file.slice(0, 1).arrayBuffer(); return true; } catch { return false; }
  };

  function pump() {
    let free = AT_ONCE - uploads.filter((upload) => upload.state === "sending").length;
    for (const upload of uploads) {
      if (free > 0 && (upload.state === "queued" || (upload.state === "waiting" && Date.now() >= upload.again))) free--, run(upload);
    }
  }

  function add(files) {
    const before = uploads.length;
    if (!active()) stored = begun = 0;
    begun += files.length;
    for (const file of files) {
      const key = mark(file), known = uploads.find((upload) => upload.mark === key && ["asleep", "failed"].includes(upload.state));
      const upload = known ?? { mark: key, name: file.name, size: file.size, sent: 0 };
      Object.assign(upload, { file, state: "queued", tries: 0, why: "", sure: 0, pool: one("#to")?.value });
      if (!known) uploads.push(upload);
    }
    if (uploads.length > before) say(uploads.length - before === 1 ? uploads.at(-1).name + ": the upload begins" : uploads.length - before + " uploads begin");
    draw();
    pump();
  }

  // What was given up frees its room on the server. If that cannot be said now, it expires there by itself; if
  // somebody else is adding to it, it is not given up.
  async function giveUp(upload, url, going) {
    for (const wait of [0, ...WAITS]) {
      await new Promise((resolve) => setTimeout(resolve, 1000 * wait));
      const status = await ask(upload, "DELETE", url).then((xhr) => xhr.status, () => 0);
      if (status === 423 && !(going && wait < 4)) {
        const why = "Not cancelled: another page or program is adding to it now. Cancel it there.";
        uploads.push(Object.assign(upload, { state: "asleep", file: null, sure: 0, url, why }));
        remember(upload);
        say(upload.name + ": " + why);
        return draw();
      }
      if (status && ![408, 409, 423, 429].includes(status) && status < 500) return;
    }
  }

  function drop(upload) {
    const { url } = upload, stored = upload.state === "done";
    uploads.splice(uploads.indexOf(upload), 1);
    forget(upload);
    upload.turn++;
    const going = upload.state === "sending";
    upload.state = "dropped";
    if (going) upload.xhr?.abort();
    if (url && !stored) pages.postMessage({ gone: url }), giveUp(upload, url, going);
    draw();
    pump();
  }

  // ---- what is seen: a row for each, in the list's own frame, with a fixed place for every number
  const rate = (upload) => {
    const pace = upload.pace ?? [], [[t0, b0], [t1, b1]] = pace.length > 1 ? [pace[0], pace.at(-1)] : [[0, 0], [0, 0]];
    return t1 > t0 ? (b1 - b0) / ((t1 - t0) / 1000) : 0;
  };
  function tick(upload) {
    const now = performance.now();
    upload.pace.push([now, upload.sent]);
    while (upload.pace.length > 2 && now - upload.pace[0][0] > 5000) upload.pace.shift();
    if (now - (upload.drawn ?? 0) > 200) (upload.drawn = now), fill(upload);
  }
  function fill(upload) {
    const { row, size: total, sent, state } = upload;
    if (!row?.isConnected) return;
    const part = upload.compared ?? (total ? sent / total : state === "done" ? 1 : 0), speed = rate(upload);
    const texts = {
      comparing: ["", "comparing"], sending: [speed ? size(speed) + "/s" : "", speed ? span((total - sent) / speed) + " left" : "\u2026"],
      queued: [size(total), "in the queue"], paused: [size(sent), "paused"], failed: ["", "not uploaded"], done: [size(total), "stored"],
      waiting: [size(sent), "again in " + Math.max(1, Math.ceil((upload.again - Date.now()) / 1000)) + "\u00a0s"], asleep: [size(sent), "interrupted"], elsewhere: [size(sent), "in another tab"],
    }[upload.compared === undefined ? state : "comparing"];
    row.className = "up" + (state === "failed" ? " bad" : ["paused", "waiting", "asleep", "elsewhere", "queued"].includes(state) ? " halt" : "");
    one("progress", row).value = part;
    const [percent, left, right] = all(".t", row);
    percent.textContent = Math.floor(part * 100) + "%";
    left.textContent = texts[0] || "\u00a0";
    right.textContent = texts[1];
    one(".why", row).textContent = upload.why || { asleep: "Choose the same file again to go on where it stopped.", elsewhere: "Another tab or window of this browser has it in hand; pause or cancel it there." }[state] || "";
    one(".why", row).hidden = !one(".why", row).textContent;
    const [first, second] = all("button", row), sending = state === "sending" || state === "queued" || state === "waiting";
    first.hidden = state === "done" || state === "elsewhere";
    second.hidden = state === "elsewhere";
    first.title = sending ? "Pause" : state === "asleep" ? "Choose the file" : "Go on";
    first.setAttribute("aria-label", first.title + ": " + plain(upload.name));
    first.firstChild.firstChild.setAttribute("d", sending ? "M9 6v12M15 6v12" : state === "asleep" ? "M12 16V4m0 0L7 9m5-5 5 5M4 20h16" : "M8 5v14l11-7z");
    second.title = state === "done" ? "Close" : "Cancel";
    second.setAttribute("aria-label", second.title + ": " + plain(upload.name));
  }
  const icon = (path) => {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg"), line = document.createElementNS(svg.namespaceURI, "path");
    svg.setAttribute("class", "i");
    svg.setAttribute("viewBox", "0 0 24 24");
    svg.setAttribute("aria-hidden", "true");
    line.setAttribute("d", path);
    svg.append(line);
    return svg;
  };
  function rowOf(upload) {
    if (upload.row) return upload.row;
    const name = upload.dataset ? make("a", { href: "/datasets/" + upload.dataset }, plain(upload.name)) : plain(upload.name);
    const press = (then) => make("button", { type: "button", className: "plain icon tiny", onclick: then }, icon("M6 6l12 12M18 6 6 18"));
    return (upload.row = make("div", {},
      make("bdi", { className: "n", title: plain(upload.name) }, name),
      make("progress", { max: 1, "aria-label": plain(upload.name) }),
      make("span", { className: "t" }), make("span", { className: "t s" }), make("span", { className: "t" }),
      make("span", { className: "b" }, press(() => toggle(upload)), press(() => drop(upload))),
      make("span", { className: "why" })));
  }
  function toggle(upload) {
    if (upload.state === "asleep") return (wanted = upload), picker.click();
    if (["sending", "queued", "waiting"].includes(upload.state)) {
      const sending = upload.state === "sending";
      upload.turn++;
      upload.state = "paused";
      if (sending) upload.xhr?.abort();
    } else Object.assign(upload, { state: "queued", tries: 0, why: "" });
    draw();
    pump();
  }
  function draw() {
    const here = one("#uploads-here"), tray = one("#tray");
    place = here ?? tray;
    if (here) tray.hidden = true;
    const shown = uploads.slice(0, SHOWN), more = uploads.length - shown.length;
    place.className = uploads.length ? (here ? "frame uploads" : "tray frame") : here ? "" : "tray frame";
    place.hidden = !uploads.length;
    const rows = shown.map(rowOf);
    if (more > 0) rows.push(make("p", { className: "sumup muted" }, "and " + more + " more"));
    place.replaceChildren(...(here ? [] : [make("h2", {}, "Uploads")]), ...rows);
    shown.forEach(fill);
  }

  // ---- the list below: shows what has arrived; then the upload's own row goes, in the same moment
  let asked = false;
  function refresh() {
    if (asked) return;
    asked = true;
    setTimeout(() => {
      asked = false;
      const list = one("#list");
      if (!list || !one("#drop:not(.tall)")) return one("#drop") && go(location.href);
      for (const upload of uploads) upload.listed ||= upload.state === "done" && !location.search;
      window.htmx?.trigger(list, "refresh");
    }, 150);
  }
  document.addEventListener("htmx:after:swap", () => {
    const gone = uploads.filter((upload) => upload.state === "done" && (upload.listed || one("#d" + upload.dataset)));
    for (const upload of gone) uploads.splice(uploads.indexOf(upload), 1);
    if (gone.length || one("#uploads-here") !== place) draw();
  });

  // ---- other pages while something is on its way: only their content is exchanged, so that uploads go on
  let shown = location.pathname + location.search;
  const active = () => uploads.some((upload) => ["sending", "queued", "waiting"].includes(upload.state));
  async function go(url, options) {
    let text, response;
    try {
      response = await fetch(url, { headers: { Accept: "text/html" }, ...options });
      if (!/^text\/html/.test(response.headers.get("Content-Type") ?? "")) throw new Error("not a page");
      text = await response.text();
    } catch {
      return (location.href = url);
    }
    const page = parse(text);
    if (!one("#main", page) || !one(".top", page)) return (location.href = response.url);
    document.title = page.title;
    for (const part of [".top", "#main"]) one(part).replaceWith(document.adoptNode(one(part, page)));
    if (token(page)) take(page);
    document.documentElement.dataset.theme = page.documentElement.dataset.theme ?? "";
    history.replaceState({ ...history.state, soft: true }, "");
    if (response.url !== location.href) history.pushState({ soft: true }, "", response.url);
    shown = location.pathname + location.search;
    window.htmx?.process(one("#main"));
    wire();
    draw();
    one("#main").focus({ preventScroll: true });
    scrollTo(0, 0);
  }
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href]");
    if (!active() || !link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.defaultPrevented) return;
    if (link.origin !== location.origin || link.download || link.hasAttribute("download") || link.target || link.pathname.startsWith("/api") || link.getAttribute("href").startsWith("#")) return;
    event.preventDefault();
    go(link.href);
  });
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!active() || event.defaultPrevented || form.id === "drop" || form.hasAttribute("hx-get")) return;
    event.preventDefault();
    const fields = new URLSearchParams(new FormData(form, event.submitter));
    form.method === "get" ? go(form.action + "?" + fields) : go(form.action, { method: "POST", body: fields });
  });
  addEventListener("popstate", (event) => {
    if (event.state?.soft && location.pathname + location.search !== shown) active() ? go(location.href) : location.reload();
  });
  addEventListener("beforeunload", (event) => active() && event.preventDefault());
  addEventListener("online", () => { for (const upload of uploads) upload.again = 0; pump(); });
  setInterval(() => { uploads.forEach((upload) => upload.state === "waiting" && fill(upload)); listen(); pump(); }, 1000);

  // ---- dropping and choosing
  const carries = (event) => one("#drop") && [...(event.dataTransfer?.types ?? [])].includes("Files");
  let depth = 0;
  const over = (yes) => document.body.classList.toggle("over", yes);
  addEventListener("dragenter", (event) => carries(event) && (depth++, over(true)));
  addEventListener("dragleave", (event) => carries(event) && --depth <= 0 && ((depth = 0), over(false)));
  addEventListener("dragover", (event) => carries(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    depth = 0;
    over(false);
    const items = [...event.dataTransfer.items].filter((item) => item.kind === "file");
    gather(items.map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile()).filter(Boolean));
  });
  // The files of dropped folders, however deep: each becomes a dataset of its own, called as it is.
  async function gather(found) {
    const files = [], unread = [];
    for (let entry; (entry = found.shift()) && files.length < MOST; ) {
      if (entry instanceof File) files.push(entry);
      else try {
        if (entry.isFile) files.push(await new Promise((...then) => entry.file(...then)));
        else for (let reader = entry.createReader(), some; (some = await new Promise((...then) => reader.readEntries(...then))).length; ) found.push(...some);
      } catch { unread.push(entry.name); }
    }
    add(files);
    const left = found.length ? "Only the first " + MOST + " files are taken at once. Drop the others when they are stored." : unread.length ? "Could not be read: " + unread.slice(0, 5).map(plain).join(", ") : files.length ? "" : "There is no file in what was dropped.";
    if (left) window.holdfast.toast([left], "dropped", true), setTimeout(() => one("#dropped")?.remove(), 15000);
  }
  function wire() {
    one("#choose")?.addEventListener("click", () => ((wanted = null), picker.click()));
  }
  picker = make("input", { type: "file", multiple: true, hidden: true, id: "picker" });
  picker.addEventListener("change", () => {
    if (wanted && ![...picker.files].some((file) => mark(file) === wanted.mark)) say("This is another file, so it begins anew.");
    add(picker.files);
    picker.value = "";
  });
  document.body.append(picker);
  for (const key of Object.keys(localStorage)) {
    const left = key.startsWith(STORE) && recall(key);
    if (!left?.url) continue;
    const upload = { ...left, state: "asleep", tries: 0 };
    uploads.push(upload);
    look(upload);
  }
  wire();
  draw();
  listen();
})();
