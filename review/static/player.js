// The player of a take: its curve, waveform and cues under it, jumps to what fails, and another take or the source beside it, in step.
const root = document.getElementById("player");
const video = document.getElementById("video"), other = document.getElementById("other"), still = document.getElementById("still");
const screens = root.querySelector(".screens"), second = root.querySelector(".other"), boxes = root.querySelector(".boxes");
const curve = document.getElementById("curve"), clock = document.getElementById("clock"), compare = document.getElementById("compare");
const WIDE = 960, HIGH = 190, LEFT = 38, RIGHT = 10, TOP = 10, FLOOR = 122, CELLS = 134, WAVE = 162;
let data = { seconds: [], failing: [], cues: [], boxes: [], peaks: [], sources: [], fps: 25, levels: null };
let head = null, wanted = null, ears = "a", drawn = 0;

const length = () => video.duration || data.seconds.length || 1;
const x = (at) => LEFT + ((WIDE - LEFT - RIGHT) * at) / length();

function told(at) {
  const whole = Math.floor(at);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}.${Math.floor((at - whole) * 10)}`;
}

// What breaks it off, a jump or another page, is no fault.
const begin = (film) => film.play().catch((error) => { if (error.name !== "AbortError") throw error; });

function seek(at, play = false) {
  const place = Math.max(0, Math.min(at, length() - 0.01));
  if (video.readyState < 1) wanted = [place, play];
  else {
    video.currentTime = place;
    if (play) begin(video);
  }
}

// A bit before the second, so that what fails is heard coming.
const jump = (at) => seek(Math.max(0, at - 0.3), true);

function runs() {
  return data.failing.filter((at, n) => n === 0 || data.failing[n - 1] !== at - 1);
}

function following(step) {
  const now = video.currentTime + 0.31, starts = runs();
  const found = step > 0 ? starts.find((at) => at > now) : starts.filter((at) => at < now - 0.9).pop();
  if (found !== undefined) jump(found);
}

const shape = (name, given, text) => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(given)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
};

function nice(value) {
  const scale = 10 ** Math.floor(Math.log10(value));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((step) => step * scale).find((step) => step >= value - 1e-9);
}

function draw() {
  const known = data.seconds.map(([, value]) => value).filter((value) => value !== null);
  const lines = data.levels ? [data.levels.passes, data.levels.fails] : [];
  const top = nice(Math.max(...known, ...lines.map((line) => line * 1.15), 0.02)), low = Math.min(0, ...known);
  const y = (value) => TOP + (FLOOR - TOP) * (1 - (value - low) / (top - low));
  const svg = shape("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, "aria-hidden": "true" });
  for (const cue of data.cues) svg.append(shape("rect", { class: "cue", x: x(cue.start), y: WAVE - 14, width: Math.max(1, x(cue.end) - x(cue.start)), height: 28 }));
  for (const at of data.failing) svg.append(shape("rect", { class: "failing", x: x(at), y: TOP, width: Math.max(1.5, x(at + 1) - x(at)), height: CELLS + 6 - TOP }));
  for (const part of [0, 0.5, 1]) {
    const value = low + (top - low) * part;
    svg.append(shape("line", { class: "grid", x1: LEFT, x2: WIDE - RIGHT, y1: y(value), y2: y(value) }), shape("text", { x: LEFT - 5, y: y(value) + 4, "text-anchor": "end" }, value.toFixed(top < 1 ? 2 : 1)));
  }
  data.seconds.forEach(([offset, value], at) => {
    const kind = value === null ? "none" : Math.abs(offset ?? 0) > 1 ? "far" : "near";
    svg.append(shape("rect", { class: kind, x: x(at) + 0.5, y: CELLS - 7, width: Math.max(1, x(at + 1) - x(at) - 1), height: 14, rx: 2 }));
    if (kind === "far" && x(1) - x(0) > 20) svg.append(shape("text", { class: "apart", x: (x(at) + x(at + 1)) / 2, y: CELLS + 4, "text-anchor": "middle" }, (offset > 0 ? "+" : "") + offset));
  });
  let run = [];
  const flush = () => {
    if (run.length === 1) run.push([run[0][0] + 3, run[0][1]]);
    if (run.length) svg.append(shape("polyline", { class: "score", points: run.map((p) => p.map((v) => v.toFixed(1)).join(",")).join(" ") }));
    run = [];
  };
  data.seconds.forEach(([, value], at) => (value === null ? flush() : run.push([x(at + 0.5), y(value)])));
  flush();
  if (data.levels) {
    for (const name of ["passes", "fails"]) {
      const at = y(data.levels[name]);
      svg.append(shape("line", { class: name, x1: LEFT, x2: WIDE - RIGHT, y1: at, y2: at }), shape("text", { class: `${name}-word`, x: WIDE - RIGHT - 2, y: at - 4, "text-anchor": "end" }, data.levels[name].toFixed(2)));
    }
  }
  if (data.peaks.length) {
    const wide = (WIDE - LEFT - RIGHT) / data.peaks.length;
    const path = data.peaks.map((peak, n) => `M${(LEFT + n * wide).toFixed(1)} ${(WAVE - peak * 0.13).toFixed(1)}v${(peak * 0.26 + 0.6).toFixed(1)}h${(wide + 0.2).toFixed(2)}v-${(peak * 0.26 + 0.6).toFixed(1)}z`).join("");
    svg.append(shape("path", { class: "wave", d: path }));
  }
  const step = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200].find((s) => length() / s <= 14) ?? 1800;
  for (let at = 0; at <= length() - step * 0.3; at += step) svg.append(shape("text", { x: x(at), y: HIGH - 3, "text-anchor": "middle" }, told(at).split(".")[0]));
  head = shape("line", { class: "head", y1: 4, y2: HIGH - 16, x1: LEFT, x2: LEFT });
  svg.append(head);
  curve.replaceChildren(svg);
  curve.setAttribute("aria-valuemax", length().toFixed(1));
  drawn = length();
  moved();
}

function moved() {
  const at = video.currentTime;
  clock.textContent = `${told(at)} / ${told(length())}`;
  if (head) {
    head.setAttribute("x1", x(at));
    head.setAttribute("x2", x(at));
  }
  const score = data.seconds[Math.floor(at)];
  curve.setAttribute("aria-valuenow", at.toFixed(1));
  curve.setAttribute("aria-valuetext", score && score[1] !== null ? `${told(at)}, ${score[1].toFixed(2)}, ${score[0]}` : told(at));
  for (const button of document.querySelectorAll("#cues button")) button.classList.toggle("now", at >= +button.dataset.at && at < +button.dataset.end);
  paint(at);
}

function paint(at) {
  const shown = document.getElementById("boxes").getAttribute("aria-pressed") === "true";
  const wide = (boxes.width = boxes.clientWidth), high = (boxes.height = boxes.clientHeight);
  const pen = boxes.getContext("2d");
  pen.clearRect(0, 0, wide, high);
  if (!shown || !video.videoWidth || !data.boxes.length) return;
  const scale = Math.min(wide / video.videoWidth, high / video.videoHeight);
  const dx = (wide - video.videoWidth * scale) / 2, dy = (high - video.videoHeight * scale) / 2;
  const near = new Map();
  for (const [time, track, ...box] of data.boxes) if (time <= at + 0.02 && (data.boxes.length < 3 || at - time < 0.6)) near.set(track, box);
  pen.lineWidth = 2;
  pen.font = "12px system-ui";
  for (const [track, [left, top, right, bottom]] of near) {
    pen.strokeStyle = pen.fillStyle = ["#6ea8ff", "#ffb454", "#7ee0a3", "#ff8fa3"][track % 4];
    pen.strokeRect(dx + left * scale, dy + top * scale, (right - left) * scale, (bottom - top) * scale);
    pen.fillText(String(track + 1), dx + left * scale + 4, dy + top * scale + 14);
  }
}

function tick() {
  moved();
  if (!video.paused) requestAnimationFrame(tick);
}

// The other one follows: its clock is set right whenever it is more than a frame and a half away.
function follow() {
  if (second.hidden || !other.src || other.hidden) return;
  const place = Math.min(video.currentTime, other.duration || video.currentTime);
  if (Math.abs(other.currentTime - place) > 1.5 / data.fps && !other.seeking) other.currentTime = place;
  other.playbackRate = video.playbackRate;
  if (video.paused !== other.paused) video.paused ? other.pause() : begin(other);
}

function chosen() {
  const found = data.sources[compare.selectedIndex - 1];
  second.hidden = !found;
  screens.classList.toggle("two", Boolean(found));
  const film = found?.kind === "video";
  other.hidden = !film;
  still.hidden = !found || film;
  other.src = film ? found.link : "";
  if (!film) other.removeAttribute("src");
  if (found && !film) still.src = found.link;
  document.getElementById("ears").hidden = !film;
  hear("a");
  other.addEventListener("loadedmetadata", follow, { once: true });
}

function hear(which) {
  ears = which;
  video.muted = ears === "b";
  other.muted = ears !== "b";
  document.getElementById("ears").setAttribute("aria-pressed", ears === "b");
}

const does = {
  f: () => jump(data.failing[0] ?? 0),
  n: () => following(1),
  p: () => following(-1),
  " ": () => (video.paused ? begin(video) : video.pause()),
  ArrowLeft: () => seek(video.currentTime - 1),
  ArrowRight: () => seek(video.currentTime + 1),
  ",": () => { video.pause(); seek(video.currentTime - 1 / data.fps); },
  ".": () => { video.pause(); seek(video.currentTime + 1 / data.fps); },
  s: () => { video.playbackRate = video.playbackRate === 1 ? 0.5 : 1; document.getElementById("slow").setAttribute("aria-pressed", video.playbackRate !== 1); },
  o: () => { const button = document.getElementById("boxes"); button.setAttribute("aria-pressed", button.getAttribute("aria-pressed") !== "true"); moved(); },
  b: () => { compare.selectedIndex = (compare.selectedIndex + 1) % compare.options.length; chosen(); },
  x: () => !document.getElementById("ears").hidden && hear(ears === "a" ? "b" : "a"),
};
for (const [id, key] of [["failing", "f"], ["play", " "], ["back", ","], ["forward", "."], ["slow", "s"], ["boxes", "o"], ["ears", "x"]]) document.getElementById(id).addEventListener("click", does[key]);
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || document.querySelector("dialog[open]")) return;
  if (event.target.matches("textarea, select, input:not([type=checkbox]):not([type=radio])")) return;
  if (event.key === " " && event.target.matches("button, a, summary, input")) return;
  if (event.key === "f") return; // the button has this key
  if (does[event.key]) {
    event.preventDefault();
    does[event.key]();
  }
});
const pointed = (event) => {
  const box = curve.getBoundingClientRect();
  return ((((event.clientX - box.left) / box.width) * WIDE - LEFT) / (WIDE - LEFT - RIGHT)) * length();
};
curve.addEventListener("click", (event) => seek(pointed(event), true));
document.addEventListener("click", (event) => {
  const found = event.target.closest("[data-at]");
  if (found) (found.closest("#cues") ? seek(+found.dataset.at, true) : jump(Math.floor(+found.dataset.at)));
});
compare.addEventListener("change", chosen);
for (const name of ["play", "pause", "seeked", "ratechange", "timeupdate"]) video.addEventListener(name, follow);
for (const name of ["seeked", "timeupdate", "loadedmetadata"]) video.addEventListener(name, moved);
// It may still be on its way somewhere when the first one stops, which then tells of nothing more.
other.addEventListener("seeked", () => video.paused && follow());
video.addEventListener("play", tick);
video.addEventListener("loadedmetadata", () => {
  if (Math.abs(drawn - length()) > 0.01) draw();
  if (wanted) {
    const [at, play] = wanted;
    wanted = null;
    seek(at, play);
  }
});
// A link ends after a while; the page then asks for a new one and goes on where it was.
let renewed = 0;
video.addEventListener("error", () => {
  if (data.video && Date.now() - renewed > 60_000) {
    renewed = Date.now();
    wanted = [video.currentTime, !video.paused];
    load();
  }
});

function cueList() {
  document.getElementById("cues").replaceChildren(...data.cues.map((cue) => {
    const line = document.createElement("li"), button = document.createElement("button"), time = document.createElement("span"), words = document.createElement("span");
    Object.assign(button.dataset, { at: cue.start, end: cue.end });
    time.className = "number";
    time.textContent = `${told(cue.start)}–${told(cue.end)}`;
    words.dir = "auto";
    if (cue.speaker) { // apart from the words: the two may run in different directions
      const name = document.createElement("b"), inner = document.createElement("bdi");
      inner.textContent = cue.speaker;
      name.append(inner);
      words.append(name);
    }
    words.append(cue.text);
    button.append(time, words);
    line.append(button);
    return line;
  }));
  const edited = document.getElementById("edit-cues"), heads = document.createElement("div");
  heads.className = "cue-edit heads";
  heads.setAttribute("aria-hidden", "true"); // the fields have names of their own
  heads.append(...["", ...(edited?.dataset.heads.split("|") ?? [])].map((text) => Object.assign(document.createElement("span"), { textContent: text })));
  edited?.replaceChildren(edited.querySelector("legend"), ...(data.cues.some((cue) => cue.slot) ? [heads] : []), ...data.cues.map((cue, n) => {
    const row = document.createElement("div"), label = document.createElement("label"), field = document.createElement("textarea");
    row.className = "cue-edit";
    Object.assign(field, { name: `cue-${cue.place}`, value: cue.text, rows: 1, maxLength: 2000, dir: "auto" });
    label.append(`${n + 1} · ${told(cue.start)}${cue.speaker ? ` · \u2068${cue.speaker}\u2069` : ""}`, field);
    row.append(label);
    for (const [at, name] of cue.slot ? ["from", "to"].entries() : []) {
      const time = document.createElement("input");
      Object.assign(time, { name: `${name}-${cue.place}`, type: "number", min: 0, step: 0.01, value: cue.slot[at].toFixed(2) });
      time.setAttribute("aria-label", edited.dataset[name]);
      row.append(time);
    }
    return row;
  }));
}

// How many windows another take would render: those that changed cues touch, with what lips do before a voice and after it; all, where all changes.
const ABOUT = 0.5;
function cost() {
  const form = document.querySelector("#again form"), line = document.getElementById("cost"), value = (name) => form.elements[name]?.value.trim() ?? "";
  if (!line || !data.windows.length) return;
  const word = value("word").toLowerCase(), touched = [];
  const revoiced = new Set([...form.querySelectorAll("[data-speaker]")].filter((field) => field.value.trim() && field.value.trim() !== field.placeholder).map((field) => field.dataset.speaker.toLowerCase()));
  for (const cue of data.cues) {
    const [from, to] = [value(`from-${cue.place}`), value(`to-${cue.place}`)].map(Number), text = value(`cue-${cue.place}`);
    const moved = cue.slot && (Math.abs(from - cue.slot[0]) > 0.005 || Math.abs(to - cue.slot[1]) > 0.005);
    if (moved || (text && text !== cue.text) || (cue.speaker && revoiced.has(cue.speaker.toLowerCase())) || (word && cue.text.toLowerCase().includes(word))) touched.push([cue.start, cue.end], cue.slot ?? [cue.start, cue.end], ...(moved ? [[from, to]] : []));
  }
  const text = form.elements.text, whole = ["engine", "start", "emphasis", "voice"].some(value) || (text && text.value !== text.defaultValue) || !touched.length || !data.cues.some((cue) => cue.slot);
  const count = data.windows.filter(([first, last]) => touched.some(([start, end]) => start - ABOUT < last && end + ABOUT > first)).length;
  line.textContent = (whole ? line.dataset.all : line.dataset.some).replace("{count}", count).replace("{all}", data.windows.length);
}
document.getElementById("again")?.addEventListener("input", cost);

async function load() {
  const answer = await fetch(`/takes/${root.dataset.take}/data`, { headers: { accept: "application/json" } });
  if (!answer.ok) return;
  data = await answer.json();
  video.src = data.video;
  compare.replaceChildren(compare.options[0], ...data.sources.map((one) => new Option(one.name)));
  cueList();
  if (document.getElementById("again")) cost();
  draw();
  root.dataset.ready = "yes";
}
load();
