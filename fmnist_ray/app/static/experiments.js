// The table of experiments: finding, and choosing some to compare.
const find = document.getElementById("find");
const compare = document.getElementById("compare");
const told = document.getElementById("chosen");
const chosen = new Set();
const MOST = 12;

function boxes() {
  return [...document.querySelectorAll("#experiments input[name=record]")];
}

function refresh() {
  const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const row of document.querySelectorAll("#experiments tbody tr")) {
    const text = row.textContent.toLowerCase();
    row.hidden = !words.every((word) => text.includes(word));
  }
  for (const box of boxes()) box.checked = chosen.has(box.value);
  const there = boxes().length > 0;
  document.querySelector("#choice .tools").hidden = !there;
  document.getElementById("none")?.toggleAttribute("hidden", there);
  compare.disabled = chosen.size < 2 || chosen.size > MOST;
  told.textContent = chosen.size < 2
    ? "Tick two or more to compare them."
    : chosen.size > MOST ? `At most ${MOST} can be compared.` : `${chosen.size} ticked.`;
}

document.addEventListener("change", (event) => {
  if (event.target.name !== "record") return;
  if (event.target.checked) chosen.add(event.target.value);
  else chosen.delete(event.target.value);
  refresh();
});
find.addEventListener("input", refresh);
find.addEventListener("keydown", (event) => {
  if (event.key === "Enter") event.preventDefault();
});
document.addEventListener("live", refresh);
// A page that comes back from the browser's memory has its boxes ticked already.
addEventListener("pageshow", () => {
  for (const box of boxes()) if (box.checked) chosen.add(box.value);
  refresh();
});
