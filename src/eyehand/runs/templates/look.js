// Films of an episode play together; landmarks and the line in the curves follow them.
const COLORS = ["#e8743b", "#19a979", "#5899da", "#e0c341", "#c86dd7", "#ff6d8a"];
const NAMES = {{ landmarks | tojson }};

for (const episode of document.querySelectorAll(".episode")) {
  const films = [...episode.querySelectorAll("video")];
  const [leader, ...others] = films;
  const frames = Number(episode.dataset.frames);
  const stride = Number(episode.dataset.stride);
  const fps = Number(episode.dataset.fps);
  const held = episode.querySelector(".places");
  const places = held ? JSON.parse(held.textContent) : [];
  const screen = episode.querySelector(".points");
  const lines = episode.querySelectorAll(".now");

  const show = (frame) => {
    const right = (300 * Math.min(frame, frames - 1)) / Math.max(1, frames - 1);
    for (const line of lines) {
      line.setAttribute("x1", right);
      line.setAttribute("x2", right);
    }
    if (screen) {
      draw(screen, places[Math.min(Math.floor(frame / stride), places.length - 1)]);
    }
  };
  const follow = () => {
    show(leader.currentTime * fps * stride);
    if (!leader.paused) requestAnimationFrame(follow);
  };
  show(0);
  if (!leader) continue;

  leader.addEventListener("seeked", follow);
  for (const button of episode.querySelectorAll(".play")) {
    button.hidden = false;
    button.addEventListener("click", () => (leader.paused ? leader.play() : leader.pause()));
  }
  for (const film of films) film.controls = false;
  leader.addEventListener("play", () => {
    episode.classList.add("playing");
    for (const film of others) {
      film.currentTime = leader.currentTime;
      film.play();
    }
    follow();
  });
  leader.addEventListener("pause", () => {
    episode.classList.remove("playing");
    for (const film of others) film.pause();
  });
  for (const curve of episode.querySelectorAll(".curve")) {
    curve.addEventListener("click", (event) => {
      const box = curve.getBoundingClientRect();
      const frame = ((event.clientX - box.left) / box.width) * (frames - 1);
      for (const film of films) {
        film.preload = "auto";
        film.currentTime = frame / stride / fps;
      }
      show(frame);
    });
  }
}

function draw(screen, points) {
  screen.replaceChildren();
  const names = new Map(); // by place: several landmarks can be one thing
  points.forEach((place, number) => {
    names.set(`${place}`, [...(names.get(`${place}`) ?? []), NAMES[number]]);
  });
  points.forEach(([x, y], number) => {
    const own = names.get(`${[x, y]}`);
    if (Math.abs(x) > 1 || Math.abs(y) > 1 || own[0] !== NAMES[number]) return;
    const circle = document.createElementNS("http://www.w3.org/2000/svg", "circle");
    const text = document.createElementNS("http://www.w3.org/2000/svg", "text");
    for (const [name, value] of Object.entries({ cx: x, cy: y, r: 0.03 })) {
      circle.setAttribute(name, value);
    }
    circle.setAttribute("fill", COLORS[number % COLORS.length]);
    text.setAttribute("x", x > 0 ? x - 0.05 : x + 0.05);
    text.setAttribute("y", y + 0.03);
    text.setAttribute("text-anchor", x > 0 ? "end" : "start");
    text.textContent = own.join(", ");
    screen.append(circle, text);
  });
}

const filter = document.getElementById("filter");
filter.addEventListener("input", () => {
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  let some = false;
  for (const task of document.querySelectorAll(".task")) {
    task.hidden = !words.every((word) => task.dataset.words.includes(word));
    some ||= !task.hidden;
  }
  document.getElementById("none").hidden = some;
});

const landmarks = document.getElementById("landmarks");
landmarks?.addEventListener("change", () => {
  document.body.classList.toggle("plain", !landmarks.checked);
});
