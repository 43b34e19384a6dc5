/* Calls at the desk: a key for hold, and a choice that is made by writing into it. */
"use strict";
document.addEventListener("input", (event) => {
  const choice = event.target.dataset?.chooses;
  if (choice) document.getElementById(choice).checked = true;
});
document.addEventListener("keydown", (event) => {
  if (!event.altKey || event.ctrlKey || event.metaKey || event.code !== "KeyH") return;
  const button = document.querySelector("#session-head [data-hold]");
  if (!button) return;
  event.preventDefault();
  button.click();
});
