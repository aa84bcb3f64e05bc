// Keeps a page up to date: fetches it again and takes over the parts marked `data-live` that
// changed, then tells other scripts. Tables marked `sortable` sort by their headers, and stay so.
const every = Number(document.querySelector("script[data-every]").dataset.every);
let tag = null;

async function update() {
  if (document.hidden) return;
  let response;
  try {
    response = await fetch(location.href, { cache: "no-cache", headers: { accept: "text/html" } });
  } catch {
    return; // the service is away; the page stays as it is
  }
  const fresh = response.headers.get("etag");
  if (!response.ok || (fresh && fresh === tag)) return;
  tag = fresh;
  const next = new DOMParser().parseFromString(await response.text(), "text/html");
  let changed = false;
  for (const part of document.querySelectorAll("[data-live]")) {
    const other = next.getElementById(part.id);
    if (!other || part.dataset.source === other.innerHTML) continue;
    const source = other.innerHTML;
    if (part.dataset.source !== undefined || part.innerHTML !== source) {
      const focused = part.contains(document.activeElement) ? keyOf(document.activeElement) : null;
      const sorted = [...part.querySelectorAll("table.sortable")].map(sortOf);
      const open = [...part.querySelectorAll("details")].map((each) => each.open);
      part.innerHTML = source;
      part.querySelectorAll("table.sortable").forEach((table, place) => sorted[place] && sort(table, ...sorted[place]));
      part.querySelectorAll("details").forEach((each, place) => { each.open = open[place] ?? each.open; });
      if (focused) [...part.querySelectorAll("a, button, input, summary")].find((each) => keyOf(each) === focused)?.focus();
      changed = true;
    }
    part.dataset.source = source;
    if (other.dataset.status !== undefined) part.dataset.status = other.dataset.status;
  }
  if (changed) document.dispatchEvent(new Event("live"));
}

const keyOf = (each) => `${each.tagName} ${each.getAttribute("value") ?? ""} ${each.textContent.trim()}`;

function sortOf(table) {
  const headers = [...table.tHead.rows[0].cells];
  const column = headers.findIndex((each) => ["ascending", "descending"].includes(each.getAttribute("aria-sort")));
  return column < 0 ? null : [column, headers[column].getAttribute("aria-sort")];
}

function sort(table, column, direction) {
  const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
  const sign = direction === "ascending" ? 1 : -1;
  const order = (one, other) => {
    const [first, second] = [value(one), value(other)];
    if (first === "" || second === "") return (first === "") - (second === ""); // unknown ones last
    const [left, right] = [Number(first), Number(second)];
    if (!Number.isNaN(left) && !Number.isNaN(right)) return sign * (left - right);
    return sign * first.localeCompare(second, "en", { numeric: true });
  };
  const body = table.tBodies[0];
  body.append(...[...body.rows].sort(order));
  [...table.tHead.rows[0].cells].forEach((each, place) => {
    if (each.hasAttribute("aria-sort")) each.setAttribute("aria-sort", place === column ? direction : "none");
  });
}

document.addEventListener("click", (event) => {
  const header = event.target.closest?.("table.sortable thead th");
  if (!header?.hasAttribute("aria-sort") || !event.target.closest("button")) return;
  const first = header.classList.contains("number") ? "descending" : "ascending";
  const other = first === "ascending" ? "descending" : "ascending";
  const direction = header.getAttribute("aria-sort") === first ? other : first;
  sort(header.closest("table"), header.cellIndex, direction);
});

// A run that has ended gets its report a little later, and changes rarely then.
const finished = () => {
  const status = document.querySelector("[data-status]")?.dataset.status;
  return status !== undefined && status !== "running";
};
async function go() {
  await update();
  setTimeout(go, finished() ? 4 * every : every);
}
setTimeout(go, every);
