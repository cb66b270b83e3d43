// What every page of the desk does: times in the reader's zone, keys, the countdown of decisions that can be taken back, ticks.
const zoned = new Intl.DateTimeFormat(document.documentElement.lang, { dateStyle: "medium", timeStyle: "short" });
const nearly = new Intl.RelativeTimeFormat(document.documentElement.lang, { numeric: "always", style: "short" });

function ago(at) {
  const hours = (Date.now() - at) / 3.6e6;
  const [value, unit] = hours < 1 ? [hours * 60, "minute"] : hours < 72 ? [hours, "hour"] : [hours / 24, "day"];
  return nearly.format(-Math.round(value), unit);
}

function times(root) {
  for (const one of root.querySelectorAll("time[datetime]")) {
    const at = new Date(one.dateTime);
    one.textContent = "ago" in one.dataset ? ago(at) : zoned.format(at);
    one.title = zoned.format(at);
  }
}

function writing(target) {
  return target.isContentEditable || target.matches("textarea, select, input:not([type=checkbox]):not([type=radio])");
}

function act(element) {
  if (element.matches("textarea")) element.focus();
  else element.click();
}

function keys(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  const open = document.querySelector("dialog[open]");
  if (open) {
    const radios = open.querySelectorAll("input[type=radio]");
    if (/^[1-9]$/.test(event.key) && radios[event.key - 1] && !writing(event.target)) {
      radios[event.key - 1].checked = true;
      radios[event.key - 1].focus();
      event.preventDefault();
    }
    return;
  }
  if (writing(event.target)) return;
  const found = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
  if (found && !found.disabled) {
    event.preventDefault();
    act(found);
  }
}

function countdown() {
  for (const form of document.querySelectorAll(".waiting")) {
    const left = (new Date(form.dataset.due) - Date.now()) / 1000;
    if (left <= 0) form.remove();
    else form.querySelector(".left").textContent = Math.ceil(left);
  }
}

// To the clipboard; where the browser has none for pages without HTTPS, the text is at least marked, for Ctrl-C.
async function copy(source, button) {
  source.closest("details").open = true;
  getSelection().selectAllChildren(source);
  try {
    await navigator.clipboard.writeText(source.textContent);
    button.textContent = "✓";
  } catch {
    source.focus();
  }
}

const opened = performance.now();
document.addEventListener("keydown", keys);
document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-open]");
  if (opener) document.getElementById(opener.dataset.open)?.showModal();
  if (event.target.closest("[data-close]")) event.target.closest("dialog").close();
  const copies = event.target.closest("[data-copy]");
  if (copies) copy(document.getElementById(copies.dataset.copy), copies);
});
document.addEventListener("submit", (event) => {
  const took = event.target.querySelector(".took");
  if (took) took.value = ((performance.now() - opened) / 1000).toFixed(1);
});

const all = document.getElementById("all");
function ticked() {
  const count = document.querySelectorAll("#rows input:checked").length;
  const shown = document.getElementById("ticked");
  if (shown) shown.textContent = count ? String(count) : "";
}
all?.addEventListener("change", () => {
  for (const box of document.querySelectorAll("#rows input[name=take]")) box.checked = all.checked;
  ticked();
});
document.addEventListener("change", (event) => {
  if (event.target.closest(".filters") && event.target.matches("select")) event.target.form.requestSubmit();
  ticked();
});

// Rows that refresh themselves keep their ticks, and the place that the keyboard is at.
let kept = new Set(), place = null;
document.addEventListener("htmx:beforeSwap", () => {
  kept = new Set([...document.querySelectorAll("#rows input[name=take]:checked")].map((box) => box.value));
  place = document.activeElement?.closest("#rows a")?.getAttribute("href") ?? document.activeElement?.closest("#rows input")?.value;
});
document.addEventListener("htmx:afterSettle", () => {
  times(document);
  for (const box of document.querySelectorAll("#rows input[name=take]")) if (kept.has(box.value)) box.checked = true;
  if (place && document.activeElement === document.body) {
    document.querySelector(`#rows a[href="${CSS.escape(place)}"], #rows input[value="${CSS.escape(place)}"]`)?.focus();
  }
  ticked();
});

document.addEventListener("htmx:configRequest", (event) => {
  if (event.detail.path.startsWith("/queue/live")) event.detail.parameters.shown = Math.min(200, Math.max(1, document.querySelectorAll("#rows tr[data-job]").length));
});

for (const one of document.querySelectorAll("[data-end]")) one.scrollLeft = one.scrollWidth; // what it is about stands at the end
times(document);
countdown();
setInterval(countdown, 250);
setInterval(() => times(document), 30_000);
