// The administration: times in the reader's own zone, and from a problem to its place in the document.
"use strict";

const when = new Intl.DateTimeFormat(document.documentElement.lang, { dateStyle: "medium", timeStyle: "short" });
for (const each of document.querySelectorAll("time[data-when]")) {
  each.textContent = when.format(new Date(each.dateTime));
}

document.querySelector(".tabs [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

const text = document.getElementById("text");
for (const link of document.querySelectorAll("a[data-line]")) {
  link.addEventListener("click", (event) => {
    event.preventDefault();
    const lines = text.value.split("\n");
    const line = Math.min(Number(link.dataset.line), lines.length) - 1;
    const start = lines.slice(0, line).reduce((sum, each) => sum + each.length + 1, 0);
    text.focus();
    text.setSelectionRange(start + Number(link.dataset.column) - 1, start + lines[line].length);
    text.scrollTop = Math.max(0, line - 6) * parseFloat(getComputedStyle(text).lineHeight);
  });
}

for (const each of document.querySelectorAll(".secret input")) {
  each.addEventListener("focus", () => each.select());
}
