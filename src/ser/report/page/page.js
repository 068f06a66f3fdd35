"use strict";
// Draws the cards of clips, and those of a cell of the confusion matrix when it is chosen. All text goes in as text, never as HTML.
const data = JSON.parse(document.getElementById("data").textContent);

function element(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function card(row) {
  const clip = data.clips[row];
  const right = clip.true === clip.answer;
  const made = element("article", { class: "card" });
  made.append(element("p", {}, element("strong", {}, clip.id), clip.about ? ` (${clip.about})` : ""));
  made.append(element("p", {}, `${data.names[clip.true]} `, right ? "✓ recognised" : `✗ answered as ${data.names[clip.answer]}`));
  if (clip.text) made.append(element("p", { class: "quiet" }, `“${clip.text}”`));
  if (clip.spectrogram) made.append(element("img", { src: clip.spectrogram, alt: `Spectrogram of ${clip.id}`, loading: "lazy" }));
  for (const [label, p] of clip.top) {
    const bar = element("i", {});
    bar.style.setProperty("--p", p);
    made.append(element("div", { class: "meter" }, element("span", {}, data.names[label]), element("span", {}, bar), element("span", {}, p.toFixed(2))));
  }
  if (clip.mp3) made.append(element("audio", { controls: "", preload: "metadata", src: clip.mp3, "aria-label": `Clip ${clip.id}` }));
  return made;
}

for (const list of document.querySelectorAll(".cards[data-rows]")) {
  list.append(...list.dataset.rows.split(",").map(card));
}

const shown = document.getElementById("cell");
const buttons = document.querySelectorAll("[data-cell]");
for (const button of buttons) {
  button.addEventListener("click", () => {
    for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
    const [row, column] = button.dataset.cell.split(",").map(Number);
    const rows = data.cells[button.dataset.cell] || [];
    const title = `${data.names[row]} answered as ${data.names[column]}: ${rows.length} of ${data.counts[row][column]}, the surest first`;
    const cards = element("div", { class: "cards" }, ...rows.map(card));
    shown.replaceChildren(element("h3", {}, title), cards);
  });
}

for (const choice of document.querySelectorAll("[name=cells]")) {
  choice.addEventListener("change", () => {
    for (const button of buttons) button.textContent = button.dataset[choice.value];
  });
}
