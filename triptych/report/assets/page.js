// Draws the charts of the report, and says where a table is wider than its card.
const data = JSON.parse(document.getElementById("data").textContent);
for (const element of document.querySelectorAll("[data-lines]")) lines(element, data[element.dataset.lines]);
for (const element of document.querySelectorAll("[data-intervals]")) intervals(element, data[element.dataset.intervals]);
for (const element of document.querySelectorAll("[data-scatter]")) scatter(element, data[element.dataset.scatter]);
for (const element of document.querySelectorAll("[data-confusion]")) confusion(element, data.confusion[element.dataset.confusion]);
for (const element of document.querySelectorAll(".scroll")) {
  const hint = document.createElement("p");
  hint.className = "hint";
  hint.textContent = "Scroll sideways for more columns →";
  element.before(hint);
  const mark = () => (hint.hidden = element.scrollWidth <= element.clientWidth + 1);
  new ResizeObserver(mark).observe(element);
  mark();
}
