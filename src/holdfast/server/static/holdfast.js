// Small comforts for pages that work without them: copying, local times, menus, calm polling.
(() => {
  "use strict";
  const one = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const hf = (window.holdfast = { one, all });

  // Tell people who listen instead of looking.
  hf.say = (text) => {
    const live = one("#live");
    live.textContent = "";
    setTimeout(() => (live.textContent = text), 50);
  };

  const toast = hf.toast = (html, id, stay) => {
    one("#" + id)?.remove();
    const box = document.createElement("div");
    box.id = id;
    box.className = "toast";
    box.setAttribute("role", "status");
    box.append(...html);
    document.body.append(box);
    if (!stay) setTimeout(() => box.remove(), 2500);
  };

  // Plain http has no clipboard: then what is to be copied is selected and copied the old way.
  const copy = async (node) => {
    try {
      await navigator.clipboard.writeText(node.textContent);
    } catch {
      getSelection().selectAllChildren(node);
      if (!document.execCommand("copy")) return "Press Ctrl+C to copy";
    }
    return "Copied";
  };

  document.addEventListener("click", async (event) => {
    const copier = event.target.closest("[data-copy]");
    if (copier) toast([await copy(one(copier.dataset.copy))], "copied");
    const adder = event.target.closest("[data-add]");
    if (adder) {
      event.preventDefault();
      const rows = all(adder.dataset.add), last = rows.at(-1), row = last.cloneNode(true), word = "input" + (rows.length + 1);
      const field = one("input", row);
      one("code", row).textContent = word;
      field.value = "";
      field.setAttribute("aria-label", "Dataset for " + word);
      last.after(row);
      window.htmx?.process(row);
      field.focus();
    }
    for (const menu of all("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const menu of all("details.menu[open]")) {
      menu.open = false;
      one("summary", menu).focus();
    }
  });

  // The exact time in the reader's own zone, when asked for.
  document.addEventListener("mouseover", (event) => {
    const time = event.target.closest?.("time");
    if (time) time.title = new Date(time.dateTime).toLocaleString(undefined, { dateStyle: "full", timeStyle: "long" });
  });

  // Polling: only while somebody looks, never under the reader's hands, and nothing is sent that is shown already.
  const tags = {};
  const polled = (event) => event.detail.ctx.sourceEvent?.type === "every";
  const busy = (node) => node.contains(document.activeElement) && document.activeElement.matches("select, input:not([type=checkbox]), textarea");
  document.addEventListener("htmx:config:request", (event) => {
    const ctx = event.detail.ctx, node = ctx.sourceElement;
    if (polled(event) && (document.hidden || busy(node))) return event.preventDefault();
    // no answer is nothing that happens in this page: it is said in words, and is no error for the console
    if (polled(event)) ctx.fetch = (...what) => fetch(...what).catch((error) => {
      if (!(error instanceof TypeError)) throw error;
      lost(true);
      throw new DOMException("no answer", "AbortError");
    });
    if (tags[node.id] && ctx.target === node) ctx.request.headers["HX-PTag"] = tags[node.id];
  });
  const lost = (yes) => {
    if (!yes) return one("#lost")?.remove();
    if (!one("#lost")) toast(["The connection to Holdfast is lost. Trying again\u2026"], "lost", true);
  };
  document.addEventListener("htmx:before:response", (event) => {
    const { status } = event.detail.ctx.response;
    lost(status >= 502 && status <= 504);
    if (status !== 401) return one("#out")?.remove();
    const link = document.createElement("a");
    link.href = "/sign-in?next=" + encodeURIComponent(location.pathname + location.search);
    link.textContent = "Sign in again";
    toast(["You are signed out. ", link], "out", true);
  });
  document.addEventListener("htmx:error", (event) => lost(polled(event)));

  // A text that grows at its end stays at its end, unless somebody has scrolled up in it.
  let following = [];
  document.addEventListener("htmx:before:swap", () => {
    following = all("[data-tail]").filter((pre) => pre.scrollTop + pre.clientHeight >= pre.scrollHeight - 8).map((pre) => pre.id);
  });
  document.addEventListener("htmx:after:swap", (event) => {
    const ctx = event.detail.ctx, tag = ctx?.response?.headers?.get("HX-PTag");
    if (tag && ctx.target?.id) tags[ctx.target.id] = tag;
    for (const id of following) {
      const pre = document.getElementById(id);
      if (pre) pre.scrollTop = pre.scrollHeight;
    }
  });
  for (const pre of all("[data-tail]")) pre.scrollTop = pre.scrollHeight;

  // On a narrow screen the main menu is wider than it: show where one is.
  const here = one(".top [aria-current]"), menu = one(".top nav");
  if (here && menu.scrollWidth > menu.clientWidth) menu.scrollLeft = here.offsetLeft - menu.clientWidth / 2 + here.clientWidth / 2;
})();
