"use strict";
const search = document.getElementById("search");
const rows = [...document.querySelectorAll("tbody tr")];
const none = document.getElementById("none");
search.addEventListener("input", () => {
  const wanted = search.value.trim().toLowerCase();
  let shown = 0;
  for (const row of rows) {
    row.hidden = !row.dataset.name.toLowerCase().includes(wanted);
    shown += row.hidden ? 0 : 1;
  }
  none.hidden = shown > 0;
});
