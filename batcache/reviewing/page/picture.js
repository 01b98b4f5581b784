// The spectrogram: which part of a clip is in view, its axes, the cursor, the sound of what is in view.
const find = (id) => document.getElementById(id);
const LEVELS_S = [1, 0.2, 0.05, 0.02];
const CALL_S = 0.05;
const [view, picture, readout, trouble] = ["view", "picture", "readout", "trouble"].map(find);
const audio = new Audio();
const state = { clip: null, span: null, from: 0, to: 0, cursor: null, pulse: -1, asked: 0, sound: "" };

const fetchJson = async (address) => {
  const answer = await fetch(address);
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.error);
  return said;
};

const complain = (message) => {
  trouble.textContent = message;
  trouble.hidden = !message;
};

export const show = async (clip) => {
  stop();
  Object.assign(state, { clip, span: null, cursor: null, pulse: -1 });
  picture.removeAttribute("src");
  picture.alt = `Spectrogram of ${clip.path}`;
  for (const id of ["khz", "ms", "pulses"]) find(id).replaceChildren();
  find("measures").tBodies[0].replaceChildren();
  find("across").hidden = find("along").hidden = true;
  readout.textContent = "";
  complain("");
  drawEvidence();
  await openSpan(clip.look_at_s);
};

const openSpan = async (at) => {
  const [clip, asked] = [state.clip, (state.asked += 1)];
  try {
    const span = await fetchJson(`span?clip=${clip.clip}&at=${at}`);
    if (asked !== state.asked) return;
    state.span = { ...span, end_s: span.start_s + span.seconds };
    drawMeasures();
    drawKhz();
    look(span.start_s, span.start_s + span.seconds);
  } catch (error) {
    if (asked === state.asked) complain(`No picture: ${error.message}`);
  }
};

const look = (from, to) => {
  const { span, clip } = state;
  if (!span) return;
  stop();
  const length = Math.min(to - from, span.seconds);
  state.from = Math.min(Math.max(from, span.start_s), span.end_s - length);
  state.to = state.from + length;
  const at = (state.from + state.to) / 2;
  picture.classList.toggle("sharp", length <= 0.25);
  picture.src = `picture?clip=${clip.clip}&at=${at}&from=${state.from}&to=${state.to}`;
  drawMs();
  drawPulses();
  drawEvidence();
  if (state.cursor) point(state.cursor.time, state.cursor.share);
};

const isWhole = () => !state.span || state.to - state.from >= state.span.seconds - 1e-6;

export const zoom = (closer) => {
  if (!state.span) return;
  const length = state.to - state.from;
  const levels = [state.span.seconds, ...LEVELS_S.filter((level) => level < state.span.seconds)];
  const now = levels.findIndex((level) => level <= length + 1e-9);
  const next = levels[Math.min(Math.max((now < 0 ? levels.length - 1 : now) + (closer ? 1 : -1), 0), levels.length - 1)];
  const inView = state.cursor && state.cursor.time >= state.from && state.cursor.time <= state.to;
  const wanted = isWhole() ? state.clip.look_at_s : (state.from + state.to) / 2;
  const middle = inView ? state.cursor.time : wanted;
  look(middle - next / 2, middle + next / 2);
};

export const showWhole = () => state.span && look(state.span.start_s, state.span.end_s);

export const pan = (forward) => {
  if (!state.span) return;
  const { clip, span } = state;
  if (isWhole()) {
    const at = forward ? span.end_s + 0.001 : span.start_s - 0.001;
    if (at > clip.start_s && at < clip.start_s + clip.seconds) openSpan(at);
    return;
  }
  const step = ((state.to - state.from) / 2) * (forward ? 1 : -1);
  look(state.from + step, state.to + step);
};

export const nextCall = () => {
  const pulses = state.span?.pulses ?? [];
  if (!pulses.length) {
    readout.textContent = "no pulse stands out here";
    return;
  }
  state.pulse = (state.pulse + 1) % pulses.length;
  const pulse = pulses[state.pulse];
  state.cursor = { time: pulse.at_s, share: shareOf(pulse.peak_khz) };
  look(pulse.at_s - CALL_S / 2, pulse.at_s + CALL_S / 2);
};

// kHz to the share of the height, from above, and back: bands are equally high, their centres are known.
const shareOf = (khz) => {
  const centres = state.span.axis.centres_khz;
  let band = centres.findIndex((centre) => centre >= khz);
  if (band < 0) band = centres.length - 1;
  const below = Math.max(band - 1, 0);
  const within = band === below ? 0 : (khz - centres[below]) / (centres[band] - centres[below]);
  return 1 - (below + within + 0.5) / centres.length;
};
const khzOf = (share) => {
  const centres = state.span.axis.centres_khz;
  const band = Math.min(Math.max((1 - share) * centres.length - 0.5, 0), centres.length - 1);
  const below = Math.floor(band);
  const above = Math.min(below + 1, centres.length - 1);
  return centres[below] + (band - below) * (centres[above] - centres[below]);
};

const tick = (text, side, share) => {
  const label = document.createElement("span");
  label.textContent = text;
  label.style[side] = `${100 * share}%`;
  return label;
};

const drawKhz = () => {
  find("khz").replaceChildren(...state.span.axis.ticks_khz.map((khz) => tick(String(khz), "top", shareOf(khz))));
};

// Round steps, so that there are four to nine of them; on a narrow page half as many.
const drawMs = () => {
  const [begin, length] = [1000 * (state.from - state.clip.start_s), 1000 * (state.to - state.from)];
  const most = window.innerWidth < 576 ? 5 : 9;
  const step = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000].find((size) => length / size <= most) ?? 5000;
  const first = Math.ceil(begin / step - 1e-9) * step;
  const count = Math.floor((begin + length - first) / step + 1e-9) + 1;
  const ticks = Array.from({ length: count }, (_, i) => first + i * step).filter((at) => at - begin < 0.95 * length);
  find("ms").replaceChildren(...ticks.map((at) => tick(String(Math.round(at)), "left", (at - begin) / length)));
};

const drawPulses = () => {
  const marks = state.span.pulses
    .map((pulse) => (pulse.at_s - state.from) / (state.to - state.from))
    .filter((share) => share >= 0 && share <= 1)
    .map((share) => {
      const mark = document.createElement("i");
      mark.style.left = `${100 * share}%`;
      return mark;
    });
  find("pulses").replaceChildren(...marks);
};

const drawMeasures = () => {
  const rows = state.span.pulses.map((pulse) => {
    const row = document.createElement("tr");
    const cells = [pulse.at_s - state.clip.start_s, pulse.peak_khz, pulse.duration_ms].map((value, i) => value.toFixed([3, 1, 0][i]));
    row.append(...cells.map((text) => Object.assign(document.createElement("td"), { textContent: text })));
    return row;
  });
  find("measures").tBodies[0].replaceChildren(...rows);
};

const shape = (name, attributes) => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
};

const drawEvidence = () => {
  const { clip } = state;
  const place = (time) => (1000 * (time - clip.start_s)) / clip.seconds;
  const begins = clip.evidence_begins_s;
  const bars = clip.evidence.map((value, i) => {
    const [x, end] = [place(begins[i]), i + 1 < begins.length ? place(begins[i + 1]) : 1000];
    return shape("rect", { class: "bar", x, y: 40 - 40 * value, width: Math.max(end - x - 1, 1), height: 40 * value });
  });
  const here = state.span
    ? [shape("rect", { class: "here", x: place(state.from), y: 1, width: Math.max(place(state.to) - place(state.from), 3), height: 38 })]
    : [];
  find("evidence").replaceChildren(...bars, ...here);
};

find("evidence").addEventListener("click", async (event) => {
  const { clip } = state;
  const box = find("evidence").getBoundingClientRect();
  const time = clip.start_s + (clip.seconds * (event.clientX - box.left)) / box.width;
  const length = isWhole() ? LEVELS_S[0] : state.to - state.from;
  if (!state.span || time < state.span.start_s || time > state.span.end_s) await openSpan(time);
  look(time - length / 2, time + length / 2);
});

// The cursor: by pointer or by arrow keys.
const point = (time, share) => {
  state.cursor = { time, share };
  const across = (time - state.from) / (state.to - state.from);
  const isSeen = across >= 0 && across <= 1;
  find("across").hidden = find("along").hidden = !isSeen;
  if (!isSeen) return;
  find("across").style.left = `${100 * across}%`;
  find("along").style.top = `${100 * share}%`;
  readout.textContent = `${khzOf(share).toFixed(1)} kHz at ${(1000 * (time - state.clip.start_s)).toFixed(1)} ms`;
};

const pointAt = (event) => {
  if (!state.span) return;
  const box = view.getBoundingClientRect();
  const share = Math.min(Math.max((event.clientY - box.top) / box.height, 0), 1);
  point(state.from + ((event.clientX - box.left) / box.width) * (state.to - state.from), share);
};
view.addEventListener("pointermove", pointAt);
view.addEventListener("pointerdown", pointAt);
view.addEventListener("dblclick", () => zoom(true));
view.addEventListener("keydown", (event) => {
  const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (!steps || !state.span || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  const large = event.shiftKey ? 10 : 1;
  const length = state.to - state.from;
  const inView = state.cursor && state.cursor.time >= state.from && state.cursor.time <= state.to;
  const { time, share } = inView ? state.cursor : { time: state.from + length / 2, share: 0.5 };
  const step = Math.max(length / 200, state.span.frame_ms / 1000);
  const moved = Math.min(Math.max(time + large * steps[0] * step, state.from), state.to);
  point(moved, Math.min(Math.max(share + (large * steps[1]) / state.span.axis.centres_khz.length, 0), 1));
});
window.addEventListener("resize", () => state.span && drawMs());

// The sound of what is in view, with a line that runs along.
const stop = () => {
  audio.pause();
  find("head").hidden = true;
  find("play").firstElementChild.textContent = "Play";
};
const follow = () => {
  if (audio.paused) return stop();
  find("head").style.left = `${(100 * audio.currentTime) / (audio.duration || 1)}%`;
  return requestAnimationFrame(follow);
};
export const play = async () => {
  if (!audio.paused) return stop();
  if (!state.span) return undefined;
  const address = `sound?clip=${state.clip.clip}&from=${state.from}&to=${state.to}&slower=${find("slower").value}`;
  try {
    const answer = await fetch(address);
    if (!answer.ok) throw new Error((await answer.json()).error);
    URL.revokeObjectURL(state.sound);
    state.sound = URL.createObjectURL(await answer.blob());
    audio.src = state.sound;
    await audio.play();
    find("head").hidden = false;
    find("play").firstElementChild.textContent = "Stop";
    follow();
  } catch (error) {
    complain(`No sound: ${error.message}`);
  }
  return undefined;
};
