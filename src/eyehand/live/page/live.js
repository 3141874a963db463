/* The live page: draws what the server sends, and sends the visitor's commands.

The state is on the server. The page keeps only the latest frame and the keys that are held, so it
can connect again after a lost connection. */

/* Colours of the curves, in turn, as in the films: distinct on black for any colour vision. */
const COLOURS = ["#e8743b", "#19a979", "#5899da", "#c9a227"];
const TEXT = "#f2f2f0", FAINT = "#8b9098", PLANNED = "#ffc640";
const HISTORY = 100; // executed steps that a frame carries
const LONGEST_PAUSE = 20; // seconds between two attempts to connect
const NOTE_SECONDS = 6;

const byId = (id) => document.getElementById(id);
const element = (tag, properties) => Object.assign(document.createElement(tag), properties);
const held = new Set(); // the keys with which the visitor leads the hand now
let socket = null;
let attempts = 0;
let hello = null; // null while there is no connection
let frame = null;
let lookOn = false;
let lookWord = null;
const shown = {}; // what the page shows, by name, so that it is updated only after a change

// --- connection ---

function connect() {
  const address = new URL("/socket", location.href);
  address.protocol = address.protocol.replace("http", "ws");
  socket = new WebSocket(address);
  socket.binaryType = "arraybuffer";
  socket.onclose = lost;
  socket.onmessage = ({ data }) => safely("The server sent what this page cannot read",
    () => receive(data));
}

function lost() {
  const pause = Math.min(LONGEST_PAUSE, 0.5 * 2 ** attempts);
  attempts += 1;
  hello = null;
  release();
  setText("connection", `No connection to the server. Trying again in ${pause} s.`);
  setTimeout(connect, 1000 * pause);
  showControls();
}

function receive(data) {
  if (data instanceof ArrayBuffer) {
    const picture = pictures[new Uint8Array(data)[0]];
    if (!picture) throw new Error("a picture of an unknown kind");
    return showPicture(picture, new Blob([new Uint8Array(data, 1)], { type: "image/jpeg" }));
  }
  const message = JSON.parse(data);
  if (message.kind === "hello") greet(message);
  else if (message.kind === "frame") showFrame(message);
  else if (message.kind === "note") note(message.text, message.error);
  else throw new Error(`unknown kind of message: ${message.kind}`);
}

function send(message) {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
}

/* Only the driver can command; the shortcuts of other visitors show the reason. */
function command(message) {
  const reason = whyNot();
  if (reason) note(`Not done: ${reason}.`);
  else send(message);
}

function whyNot() {
  if (!hello) return "no connection";
  if (!frame) return "waiting for the first picture";
  if (frame.driver === null) return "nobody drives; press Drive first";
  if (frame.driver !== hello.you) return `visitor ${frame.driver} drives`;
  return "";
}

function whyNoLook() {
  return hello && !hello.policy.looks ? "this policy cannot tell where it looks" : "";
}

function safely(trouble, action) {
  try {
    action();
  } catch (error) {
    note(`${trouble}: ${error.message}`, true);
  }
}

// --- page ---

function setText(id, text) {
  const place = byId(id);
  if (place.textContent !== text) place.textContent = text; // else it is read aloud again
}

function changed(name, value) {
  const key = JSON.stringify(value);
  if (shown[name] === key) return false;
  shown[name] = key;
  return true;
}

function note(text, error = false) {
  const notes = byId("notes");
  if ([...notes.children].some((box) => box.firstChild.textContent === text)) return;
  const box = element("p", { className: error ? "error" : "" });
  box.append(element("span", { textContent: text }));
  if (error) {
    const dismiss = () => box.remove();
    box.append(element("button", { type: "button", textContent: "Dismiss", onclick: dismiss }));
  } else {
    setTimeout(() => box.remove(), 1000 * NOTE_SECONDS);
  }
  notes.append(box);
  while (notes.children.length > 4) notes.firstChild.remove();
}

function greet(message) {
  const { policy, tasks } = message;
  const groups = Map.groupBy(tasks, (task) => task.group);
  byId("task").replaceChildren(...[...groups].map(([name, members]) => {
    const group = element("optgroup", { label: name });
    group.append(...members.map((task) => new Option(task.name)));
    return group;
  }));
  const { name, image_size: size, horizon, executed, camera } = policy;
  setText("policy", `${name}, plans ${horizon} steps and does ${executed}`);
  byId("curves").setAttribute("aria-label",
    `Curves of the actions ${message.actions.join(", ")}: executed and planned`);
  setText("eye-size", `${size} × ${size} pixels, camera ${camera}`);
  for (const name of Object.keys(shown)) delete shown[name]; // it may be another server
  hello = message;
  frame = null;
  attempts = 0;
  setText("connection", "");
  showControls();
}

const PARTS = [
  showControls, showSentence, showEpisode, showLatency, drawPaths, drawHeat, drawCurves,
];

function showFrame(message) {
  const wasDriving = hello && frame?.driver === hello.you;
  frame = message;
  if (!hello) return;
  // Another driver may have changed the overlay: a new driver begins with what it shows.
  if (frame.driver !== hello.you || !wasDriving) {
    lookOn = frame.look !== null;
    lookWord = frame.look?.word ?? null;
  }
  if (!frame.human || frame.driver !== hello.you) release();
  for (const part of PARTS) safely("The page could not show what the server sent", part);
}

function allow(control, reason) {
  control.disabled = reason !== "";
  control.title = reason && `Not now: ${reason}`;
}

function showControls() {
  const reason = whyNot();
  const driving = reason === "";
  for (const control of document.querySelectorAll("[data-driver]")) allow(control, reason);
  allow(byId("look"), reason || whyNoLook());
  allow(byId("drive"), driving || frame?.driver === null ? "" : reason);
  setText("look-text", whyNoLook() ? `Not possible: ${whyNoLook()}.`
    : !lookOn ? "" : "Dark counts little, yellow counts much."
    + (driving ? " Point at a word to choose it." : ""));
  byId("look").setAttribute("aria-pressed", lookOn);
  document.body.classList.toggle("offline", !hello);
  setText("drive-label", driving ? "Leave" : "Drive");
  if (!hello || !frame) {
    setText("driver", reason);
    return;
  }
  setText("visitors", `${frame.visitors === 1 ? "1 visitor" : `${frame.visitors} visitors`}, `
    + `you are number ${hello.you}`);
  setText("driver", driving ? "you drive" : frame.driver === null ? "nobody drives"
    : `visitor ${frame.driver} drives: watching`);
  setText("run-label", frame.running ? "Pause" : "Run");
  const over = frame.over ? "the episode is over; reset it or start another" : "";
  for (const id of ["run", "step"]) allow(byId(id), reason || over);
  for (const button of byId("speeds").children) {
    button.setAttribute("aria-pressed", Number(button.value) === frame.speed);
  }
  setText("human-label", frame.human ? "Give back" : "Take over");
  byId("human").setAttribute("aria-pressed", frame.human);
  byId("screen").classList.toggle("human", frame.human);
  setText("holder", !frame.human ? "" : !driving ? "a person leads the hand"
    : `you lead the hand${frame.running ? "" : "; paused, P runs"}`);
  byId("pad").hidden = !(frame.human && driving);
}

function showSentence() {
  const planned = frame.words.length > 0;
  const words = planned ? frame.words : [frame.sentence];
  if (changed("words", words)) {
    byId("words").replaceChildren(...[...words, "whole sentence"].map((word, index) => {
      const button = element("button", { type: "button", textContent: word });
      button.word = index < words.length ? index : null;
      button.onpointerenter = button.onfocus = () => chooseWord(button.word);
      button.onclick = () => { if (!lookOn) toggleLook(button.word); };
      return button;
    }));
    byId("words").lastChild.className = "whole";
    chooseWord(null); // word numbers are those of one sentence
  }
  for (const button of byId("words").children) {
    button.disabled = whyNot() !== "" || !hello.policy.looks || !planned;
    button.setAttribute("aria-pressed", lookOn && button.word === lookWord);
  }
  byId("words").lastChild.hidden = !lookOn;
  const waiting = planned && frame.sentence !== frame.planned_for;
  setText("coming", waiting ? `From the next plan on: “${frame.sentence}”` : "");
  const task = hello.tasks.find((candidate) => candidate.name === frame.task);
  if (changed("sentences", task)) {
    const sentences = task?.sentences ?? [];
    byId("sentences").replaceChildren(...sentences.map((sentence) => new Option("", sentence)));
    byId("sentence").placeholder = sentences[1] ?? sentences[0] ?? "";
  }
}

function showEpisode() {
  setText("clock", `${frame.seconds.toFixed(2)} s`);
  setText("steps", `step ${frame.step} of ${frame.max_steps}`);
  Object.assign(byId("progress"), { max: frame.max_steps, value: frame.step });
  setText("outcome", frame.success ? "✓ Success" : frame.over ? "✕ Over without success" : "");
  byId("outcome").className = frame.success ? "success" : "failure";
  setText("measured", `${Math.round(frame.measured)} pictures/s`);
  const [low, high] = frame.interval ?? [0, 1];
  const percent = (share) => `${Math.round(100 * share)}%`;
  setText("successes", `${frame.successes} of ${frame.episodes}`);
  setText("interval", frame.interval
    ? `successes; 95% interval: ${percent(low)} to ${percent(high)}` : "successes");
  const [range, mark] = byId("rate").children;
  range.hidden = mark.hidden = !frame.interval;
  Object.assign(range.style, { left: percent(low), right: percent(1 - high) });
  mark.style.left = percent(frame.successes / Math.max(1, frame.episodes));
  if (changed("task", frame.task)) byId("task").value = frame.task;
  if (changed("seed", frame.seed)) byId("seed").value = frame.seed;
  const downloads = [
    ["film", "/film.mp4", frame.recorded],
    ["episode", "/episode.zip", frame.recorded],
    ["correction", "/correction.zip", frame.corrected],
  ];
  for (const [id, address, steps] of downloads) {
    // A link without an address can neither be followed nor reached with the keyboard.
    if (steps > 0) byId(id).href = address;
    else byId(id).removeAttribute("href");
    byId(id).setAttribute("aria-disabled", steps === 0);
  }
  setText("recorded", frame.recorded > 0 ? `${frame.recorded} steps` : "nothing recorded yet");
}

function showLatency() {
  const stages = ["perceive", "fuse", "act"];
  const times = stages.map((stage) => frame.latency?.[stage] ?? 0);
  const milliseconds = (time) => frame.latency ? `${time.toFixed(time < 10 ? 1 : 0)} ms` : "–";
  setText("latency-sum", milliseconds(times[0] + times[1] + times[2]));
  stages.forEach((stage, index) => {
    setText(stage, milliseconds(times[index]));
    byId("latency").children[index].style.flexGrow = times[index];
  });
}

// --- pictures ---

const pictures = [byId("eye"), byId("view")].map((canvas) => ({ canvas, waiting: null }));

/* While one is decoded only the newest waits: a slow machine skips pictures. */
async function showPicture(picture, blob) {
  picture.waiting = blob;
  if (picture.busy) return;
  picture.busy = true;
  while (picture.waiting) {
    const next = picture.waiting;
    picture.waiting = null;
    try {
      const bitmap = await createImageBitmap(next);
      const { canvas } = picture;
      resize(canvas, bitmap.width, bitmap.height);
      canvas.getContext("2d").drawImage(bitmap, 0, 0);
      bitmap.close();
    } catch (error) {
      note(`A picture could not be read: ${error.message}`, true);
    }
  }
  picture.busy = false;
}

/* Only if the size changes: setting it empties the canvas, which would flicker. */
function resize(canvas, width, height) {
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
}

/* Clear a canvas to the resolution of the screen; lengths are in CSS pixels. */
function blank(canvas) {
  const [width, height, sharpness] = [canvas.clientWidth, canvas.clientHeight, devicePixelRatio];
  resize(canvas, Math.round(width * sharpness), Math.round(height * sharpness));
  const pen = canvas.getContext("2d");
  pen.setTransform(sharpness, 0, 0, sharpness, 0, 0);
  pen.clearRect(0, 0, width, height);
  return { pen, width, height };
}

/* The past path of the hand is a line, the planned one is dots: distinct without colours. */
function drawPaths() {
  const { pen, width, height } = blank(byId("paths"));
  const place = ([x, y]) => [x * width, y * height];
  const line = (path, colour, thickness) => {
    Object.assign(pen, { strokeStyle: colour, lineWidth: thickness, lineJoin: "round" });
    pen.beginPath();
    for (const point of path) pen.lineTo(...place(point));
    pen.stroke();
  };
  const dot = (point, radius, colour) => {
    pen.fillStyle = colour;
    pen.beginPath();
    pen.arc(...place(point), radius, 0, 2 * Math.PI);
    pen.fill();
  };
  line(frame.done_path, "#0008", 5);
  line(frame.done_path, "#fff", 2.5);
  for (const point of frame.planned_path) dot(point, 5, "#000a");
  for (const point of frame.planned_path) dot(point, 3.5, PLANNED);
  const now = frame.done_path.at(-1);
  if (now) {
    dot(now, 6.5, "#000a");
    dot(now, 5, "#fff");
  }
}

/* Dark violet counts little, yellow counts much; where little counts, the picture shows through. */
function drawHeat() {
  const canvas = byId("heat");
  canvas.hidden = !(lookOn && frame.look);
  if (canvas.hidden) return;
  const { rows, columns, data } = frame.look;
  const values = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  if (values.length !== rows * columns) throw new Error(`a look of ${values.length} values`);
  Object.assign(canvas, { width: columns, height: rows });
  const pixels = new ImageData(columns, rows);
  values.forEach((value, index) => {
    const share = value / 255;
    const colour = [60 + 195 * Math.min(1, 1.6 * share), 220 * share ** 1.3, 110 * (1 - share)];
    pixels.data.set([...colour, 70 + 140 * share], 4 * index);
  });
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}

/* A strip for each number of an action, from -1 to 1. The line of "now" keeps its place; the dashed
plan begins at the step at which it was made. */
function drawCurves() {
  const { pen, width, height } = blank(byId("curves"));
  const { executed, chunk, step } = frame;
  pen.font = "12px system-ui, sans-serif";
  const widest = Math.max(...hello.actions.map((name) => pen.measureText(name).width));
  const left = Math.min(16 + widest, width / 3), right = 8, strip = height / hello.actions.length;
  const unit = (width - left - right) / (HISTORY + hello.policy.horizon);
  const across = (at) => left + unit * (at - step + HISTORY);
  if (chunk) {
    const [from, to] = [across(chunk.step), across(chunk.step + hello.policy.executed)];
    pen.fillStyle = "#ffffff18";
    pen.fillRect(from, 0, to - from, height);
  }
  pen.fillStyle = FAINT;
  pen.fillRect(across(step), 0, 1, height);
  pen.textBaseline = "middle";
  hello.actions.forEach((name, action) => {
    const colour = COLOURS[action % COLOURS.length];
    const middle = strip * (action + 0.5);
    const down = (row) => middle - Math.max(-1, Math.min(1, row[action])) * (strip / 2 - 5);
    const line = (rows, first, dashes) => {
      pen.setLineDash(dashes);
      pen.beginPath();
      rows.forEach((row, index) => pen.lineTo(across(first + index), down(row)));
      pen.stroke();
    };
    pen.fillStyle = "#ffffff26";
    pen.fillRect(left, middle, width - left - right, 1);
    pen.fillStyle = colour;
    pen.fillRect(0, middle - strip / 2 + 5, 3, strip - 10);
    pen.fillStyle = TEXT;
    pen.fillText(name, 10, middle);
    Object.assign(pen, { strokeStyle: colour, lineWidth: 2, lineJoin: "round" });
    line(executed, step - executed.length + 1, []);
    if (chunk) line(chunk.actions, chunk.step + 1, [2, 3]);
  });
}

// --- visitor ---

const toggleRun = () => command({ do: frame?.running ? "pause" : "run" });
const toggleHuman = () => command({ do: "human", on: !frame?.human });
const toggleHelp = () => byId("keys").open ? byId("keys").close() : byId("keys").showModal();
const steering = () => Boolean(frame?.human) && whyNot() === "" && !byId("keys").open;

function toggleDrive() {
  if (byId("drive").disabled) note(`Not done: ${whyNot()}.`);
  else send({ do: whyNot() === "" ? "leave" : "drive" });
}

function toggleLook(word = null) {
  const reason = whyNot() || whyNoLook();
  if (reason) return note(`Not done: ${reason}.`);
  lookOn = !lookOn;
  lookWord = word;
  send(lookOn ? { do: "look", on: true, word: lookWord } : { do: "look", on: false });
  showFrame(frame);
}

function chooseWord(word) {
  if (!lookOn || word === lookWord || whyNot()) return;
  lookWord = word;
  send({ do: "look", on: true, word });
  showSentence();
}

/* Keys repeat while they are held, so only a change is sent. */
function hold(name, down) {
  if (held.has(name) === down || (down && !steering())) return;
  if (down) held.add(name);
  else held.delete(name);
  sendHand();
}

function release() {
  if (held.size === 0) return;
  held.clear();
  sendHand();
}

function sendHand() {
  send({ do: "hand", keys: [...held] });
  for (const button of byId("pad").children) {
    button.classList.toggle("held", held.has(button.value));
  }
}

const HAND = {
  ArrowUp: "up", ArrowDown: "down", ArrowLeft: "left", ArrowRight: "right",
  PageUp: "rise", w: "rise", PageDown: "sink", s: "sink", " ": "grip",
};
const SHORTCUTS = {
  " ": toggleRun, p: toggleRun, n: () => command({ do: "step" }), r: () => command({ do: "reset" }),
  l: () => toggleLook(), t: toggleHuman, d: toggleDrive, "/": () => byId("sentence").focus(),
  h: toggleHelp, "?": toggleHelp,
};
const keyOf = (event) => event.key.length === 1 ? event.key.toLowerCase() : event.key;
const isField = (element) => element.matches?.("input, select, textarea");

addEventListener("keydown", (event) => {
  const key = keyOf(event);
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (isField(event.target)) {
    if (key === "Escape") event.target.blur();
  } else if (steering() && HAND[key]) {
    event.preventDefault();
    hold(HAND[key], true);
  } else if (byId("keys").open ? SHORTCUTS[key] === toggleHelp
    : SHORTCUTS[key] && !(key === " " && event.target.closest?.("button, a"))) {
    event.preventDefault();
    if (!event.repeat) SHORTCUTS[key]();
  }
});
addEventListener("keyup", (event) => {
  const name = HAND[keyOf(event)];
  if (!held.has(name)) return;
  event.preventDefault(); // otherwise a space for the grip would also press the focused button
  hold(name, false);
});
addEventListener("blur", release);
addEventListener("focusin", (event) => { if (isField(event.target)) release(); });
document.addEventListener("visibilitychange", release);
addEventListener("click", (event) => {
  // A button pressed with the mouse gives the focus back, so that space runs and pauses again.
  if (event.detail > 0) event.target.closest?.("button")?.blur();
});
addEventListener("resize", () => { if (frame) showFrame(frame); });

const BUTTONS = { drive: "d", help: "h", run: "p", step: "n", reset: "r", human: "t", look: "l" };
for (const [id, key] of Object.entries(BUTTONS)) byId(id).onclick = SHORTCUTS[key];
byId("say").onsubmit = (event) => {
  event.preventDefault();
  command({ do: "say", sentence: byId("sentence").value.trim() });
  byId("sentence").value = "";
  byId("sentence").blur();
};
byId("start").onsubmit = (event) => {
  event.preventDefault();
  command({ do: "start", task: byId("task").value, seed: byId("seed").valueAsNumber });
  byId("seed").blur();
};
for (const button of byId("speeds").children) {
  button.onclick = () => command({ do: "speed", value: Number(button.value) });
}
for (const button of byId("pad").children) {
  button.onpointerdown = (event) => {
    button.setPointerCapture(event.pointerId); // a finger that slides off still releases
    hold(button.value, true);
  };
  button.onlostpointercapture = () => hold(button.value, false);
  button.oncontextmenu = (event) => event.preventDefault();
}
showControls();
connect();
