"use strict";
(() => {
  const find = (id) => document.getElementById(id);
  const { steps, recordings, counts, chart } = JSON.parse(find("counted").textContent);
  const number = (value) => (value === null ? "–" : value.toFixed(3));
  const grouped = (value) => value.toLocaleString("en");

  // The table: a heading sorts by its column, once more the other way round; what is undefined stays last.
  const table = find("scores");
  const headings = [...table.querySelectorAll("thead th")];
  headings.forEach((heading, column) => {
    heading.firstElementChild.addEventListener("click", () => {
      const isText = column === 0;
      const before = heading.getAttribute("aria-sort");
      const rises = before ? before === "descending" : isText;
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", rises ? "ascending" : "descending");
      const value = (row) => row.cells[column].dataset.value;
      const compare = (a, b) => {
        if (!isText && (a === "" || b === "")) return (a === "") - (b === "");
        const order = isText ? a.localeCompare(b) : Number(a) - Number(b);
        return rises ? order : -order;
      };
      const rows = [...table.tBodies[0].rows].sort((a, b) => compare(value(a), value(b)));
      table.tBodies[0].append(...rows);
    });
  });

  // The threshold: counts of one species, or of all, at one score.
  const [step, which, dot] = [find("step"), find("which"), document.querySelector("#pr .at")];
  const showThreshold = () => {
    const [at, of] = [Number(step.value), counts[Number(which.value)]];
    const [hits, reported, check] = [of.true[at], of.reported[at], of.to_check[at]];
    const precision = reported ? hits / reported : null;
    const recall = of.present ? hits / of.present : null;
    find("at").textContent = (at / steps).toFixed(2);
    find("precision").textContent = number(precision);
    find("recall").textContent = number(recall);
    find("check").textContent = grouped(check);
    find("hits").textContent = `${grouped(hits)} of ${grouped(reported)} reported are there`;
    find("found").textContent = `${grouped(hits)} of ${grouped(of.present)} that are there`;
    find("share").textContent = `of ${grouped(recordings)}`;
    let drawn = false;
    for (const line of document.querySelectorAll(".line")) {
      const isChosen = line.dataset.name === of.name;
      line.classList.toggle("chosen", isChosen);
      if (isChosen) {
        drawn = true;
        line.parentNode.insertBefore(line, line.parentNode.querySelector(".at")); // on top of the others
      }
    }
    find("lineless")?.toggleAttribute("hidden", drawn);
    const isPlaced = drawn && precision !== null && recall !== null;
    dot.toggleAttribute("hidden", !isPlaced);
    dot.style.display = isPlaced ? "" : "none";
    if (isPlaced) {
      dot.setAttribute("cx", chart.left + chart.side * recall);
      dot.setAttribute("cy", chart.top + chart.side * (1 - precision));
    }
  };
  step.addEventListener("input", showThreshold);
  which.addEventListener("change", showThreshold);
  showThreshold();

  // The pictures: less of a window is its middle, drawn wider.
  const zoom = find("zoom");
  zoom.addEventListener("change", () => {
    for (const view of document.querySelectorAll(".window")) {
      const picture = view.parentNode;
      const whole = Number(view.dataset.ms);
      const shown = Math.min(Number(zoom.value), whole);
      const first = (whole - shown) / 2;
      view.setAttribute("viewBox", `${(1000 * first) / whole} 0 ${(1000 * shown) / whole} 170`);
      const ticks = picture.querySelectorAll(".ms text");
      ticks.forEach((tick, i) => {
        tick.textContent = String(Math.round((10 * shown * i) / (ticks.length - 1)) / 10);
      });
      const from = picture.querySelector(".from");
      from.textContent = (Number(from.dataset.start) + first / 1000).toFixed(3);
    }
  });
})();
