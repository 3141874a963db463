// A click on a column's head sorts its table by that column, a second click turns the order round.
for (const head of document.querySelectorAll("thead th")) {
  head.onclick = () => {
    const body = head.closest("table").tBodies[0];
    const text = row => row.cells[head.cellIndex].textContent;
    const value = row => parseFloat(text(row).replaceAll(",", ""));
    const compare = (a, b) => {
      const [x, y] = [value(a), value(b)];
      if (isNaN(x) || isNaN(y)) return isNaN(y) - isNaN(x) || text(a).localeCompare(text(b));
      return x - y;
    };
    const down = head.ariaSort !== "descending";
    for (const other of head.parentNode.cells) other.ariaSort = null;
    head.ariaSort = down ? "descending" : "ascending";
    body.append(...[...body.rows].sort((a, b) => down ? compare(b, a) : compare(a, b)));
  };
}
