/* Days and times in the reader's own words and zone; the CRM's page opened by itself where that is wanted. */
"use strict";

(() => {
  const day = new Intl.DateTimeFormat(document.documentElement.lang || undefined, { dateStyle: "medium" });
  const moment = new Intl.DateTimeFormat(document.documentElement.lang || undefined, { dateStyle: "medium", timeStyle: "short" });

  function tell(root) {
    for (const element of root.querySelectorAll("time[data-day]")) {
      const at = new Date(Number(element.dataset.day) * 1000);
      element.textContent = ("time" in element.dataset ? moment : day).format(at);
    }
  }

  function pop(root) {
    const card = root.matches?.("[data-pop]") ? root : root.querySelector?.("[data-pop]");
    if (!card) return;
    const seen = `pop ${card.dataset.popSession} ${card.dataset.pop}`;
    if (sessionStorage.getItem(seen)) return;
    sessionStorage.setItem(seen, "1");
    // A browser that blocks it leaves the button on the card.
    window.open(card.dataset.pop, "_blank", "noopener,noreferrer");
  }

  document.addEventListener("htmx:load", (event) => { tell(event.detail.elt); pop(event.detail.elt); });
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", () => tell(document));
  else tell(document);
})();
