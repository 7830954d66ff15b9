// While a run goes on, the parts of its page that change are fetched again and put in place of the old ones.
"use strict";

(() => {
  const parts = () => document.querySelectorAll("[data-live]");
  if (!document.querySelector("main[data-refresh]")) return;
  const shown = new Map([...parts()].map((part) => [part.dataset.live, part.outerHTML]));

  function replace(old, fresh) {
    const open = [...old.querySelectorAll("details")].map((details) => details.open);
    const focus = old.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    const logs = [...old.querySelectorAll(".log")].map((log) =>
      log.scrollTop + log.clientHeight >= log.scrollHeight - 4 ? Infinity : log.scrollTop);
    const { scrollLeft, scrollTop } = old;
    old.replaceWith(fresh);
    fresh.querySelectorAll("details").forEach((details, number) => { if (open[number]) details.open = true; });
    fresh.querySelectorAll(".log").forEach((log, number) => { log.scrollTop = Math.min(logs[number] ?? 0, log.scrollHeight); });
    fresh.scrollLeft = scrollLeft;
    fresh.scrollTop = scrollTop;
    if (focus) [...fresh.querySelectorAll("a")].find((a) => a.getAttribute("href") === focus)?.focus({ preventScroll: true });
  }

  async function look() {
    const began = performance.now();
    let again = true;
    try {
      const answer = await fetch(location.href, { cache: "no-store" });
      if (answer.ok) {
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        again = page.querySelector("main[data-refresh]") !== null;
        document.title = page.title;
        for (const old of parts()) {
          const fresh = page.querySelector(`[data-live="${old.dataset.live}"]`);
          if (fresh && shown.get(old.dataset.live) !== fresh.outerHTML) {
            shown.set(old.dataset.live, fresh.outerHTML);
            replace(old, document.importNode(fresh, true));
          }
        }
      }
    } catch {
      // the local cloud is down: it may come back
    }
    if (again) setTimeout(look, Math.max(1000, 10 * (performance.now() - began)));
  }

  setTimeout(look, 1000);
})();
