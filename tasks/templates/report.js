"use strict";
// Filters, copy buttons and one video at a time. Without it the page shows everything and loses nothing.
const filters = document.querySelectorAll("[data-filter]");
for (const button of filters) {
  button.addEventListener("click", () => {
    for (const other of filters) other.setAttribute("aria-pressed", String(other === button));
    const wanted = button.dataset.filter;
    let shown = 0;
    for (const job of document.querySelectorAll("[data-state]")) {
      job.hidden = wanted !== "all" && job.dataset.state !== wanted;
      if (!job.hidden && job.tagName === "ARTICLE") shown += 1;
    }
    document.getElementById("shown").textContent = `${shown} shown`;
  });
}
for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const text = button.dataset.copy;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const field = document.createElement("textarea");
      field.value = text;
      document.body.append(field);
      field.select();
      document.execCommand("copy");
      field.remove();
      button.focus();
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1600);
  });
}
const videos = document.querySelectorAll("video");
for (const video of videos) {
  video.addEventListener("play", () => { for (const other of videos) if (other !== video) other.pause(); });
}
