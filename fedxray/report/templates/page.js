// Tables sort by a click or the Enter key on a head, and a link into a folded part unfolds it. Nothing here is needed to read.
const value = (row, place) => row.cells[place].textContent.trim();
const sort = (head) => {
  const table = head.closest("table"), place = head.cellIndex, up = head.getAttribute("aria-sort") !== "ascending";
  const number = (row) => parseFloat(value(row, place).replace("<", ""));
  const rows = [...table.tBodies[0].rows].sort((a, b) => {
    const [x, y] = [number(a), number(b)];
    if (isNaN(x) || isNaN(y)) return isNaN(x) - isNaN(y) || value(a, place).localeCompare(value(b, place));
    return x - y;
  });
  for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  table.tBodies[0].append(...(up ? rows : rows.reverse()));
};
for (const head of document.querySelectorAll("table.sort thead th")) {
  head.tabIndex = 0;
  head.title = "sort by this column";
  head.addEventListener("click", () => sort(head));
  head.addEventListener("keydown", (event) => event.key === "Enter" && sort(head));
}
const unfold = () => {
  const place = location.hash && document.getElementById(location.hash.slice(1));
  for (let part = place; part; part = part.parentElement) if (part.tagName === "DETAILS") part.open = true;
  if (place) place.scrollIntoView();
};
addEventListener("hashchange", unfold);
unfold();
