// One session of the study: consent, trials, a CSV. Nothing leaves the page but the file the observer saves.
// Sides and order are a function of (the study, the session's seed); what is kept is that seed and the answers.
"use strict";

const study = JSON.parse(document.getElementById("study").textContent);
const KEY = `human-study-${study.id}`;
const $ = (id) => document.getElementById(id);
const films = { A: $("film-A"), B: $("film-B") };
const still = matchMedia("(prefers-reduced-motion: reduce)");

let session = null;  // {observer, session, seed, answers: [[choice, rt_ms, answered]], saved}
let trials = [];
let answerable = false;  // both films of the trial on the screen have been seen playing
let started = 0;  // when they began to

// ---- order and sides

// mulberry32, public domain, by Tommy Ettinger: numbers in [0, 1) from a 32-bit seed
function generator(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

function shuffle(items, random) {  // Fisher and Yates, as by Durstenfeld
  const all = [...items];
  for (let i = all.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [all[i], all[j]] = [all[j], all[i]];
  }
  return all;
}

// one question after the other, so that nobody mixes them up; within one, half of the pairs (or nearly) swap sides
function plan(seed) {
  const random = generator(seed);
  return shuffle(Object.keys(study.questions), random).flatMap((question) => {
    const asked = study.trials.filter((trial) => trial.question === question);
    const first = random() < 0.5 ? 0 : 1;  // of an odd number, neither side is favoured
    const swaps = shuffle(asked.map((_, i) => i % 2 === first), random);
    return shuffle(asked.map((trial, i) => {
      const [a, b] = swaps[i] ? [1, 0] : [0, 1], { conditions, films } = trial;
      return { ...trial, A: conditions[a], B: conditions[b], film: { A: films[a], B: films[b] } };
    }), random);
  });
}

// ---- keeping

function keep() {
  try {
    localStorage.setItem(KEY, JSON.stringify(session));
  } catch {
    // a browser that keeps nothing: the study goes on, and closing the page still warns
  }
}

function kept() {
  try {
    const found = JSON.parse(localStorage.getItem(KEY));
    return found && found.answers.length <= study.trials.length ? found : null;
  } catch {
    return null;
  }
}

function forget() {
  try {
    localStorage.removeItem(KEY);
  } catch {
    // nothing was kept
  }
  session = null;
}

// ---- screens

function show(name) {
  for (const section of document.querySelectorAll("main > section")) section.hidden = section.id !== name;
  $(name).querySelector("h1").focus();
  scrollTo(0, 0);
}

function begin(found) {
  session = found;
  trials = plan(session.seed);
  keep();
  next();
}

const urls = new Map();
function url(film) {  // a blob plays where a long data: address does not
  if (!urls.has(film)) {
    const bytes = Uint8Array.from(atob(study.films[film].split(",")[1]), (c) => c.charCodeAt(0));
    urls.set(film, URL.createObjectURL(new Blob([bytes], { type: "video/mp4" })));
  }
  return urls.get(film);
}

function next() {
  const done = session.answers.length;
  if (done === trials.length) return end();
  const trial = trials[done];
  answerable = false;
  enable(false);
  $("pair").classList.add("waiting");
  $("question").textContent = study.questions[trial.question];
  $("progress-text").textContent = `${done + 1} of ${trials.length}`;
  $("progress").value = done;
  $("status").textContent = "The films are loading.";
  show("trial");
  for (const side of ["A", "B"]) films[side].src = url(trial.film[side]);
  Promise.all(["A", "B"].map((side) => loaded(films[side]))).then(() => {
    if (still.matches) return paused("The films wait for you: play them, then answer.");
    play();
  });
  for (const side of ["A", "B"]) if (trials[done + 1]) url(trials[done + 1].film[side]);
}

function loaded(film) {
  return new Promise((resolve) => {
    if (film.readyState >= 4) resolve();
    else film.addEventListener("canplaythrough", resolve, { once: true });
  });
}

async function play() {
  try {
    await Promise.all([films.A.play(), films.B.play()]);
  } catch {
    if (!films.A.error && !films.B.error) paused("This browser waits for you: play the films, then answer.");
    return;
  }
  $("pair").classList.remove("waiting");
  $("pause").textContent = "Pause the films";
  $("pause").disabled = false;
  $("status").textContent = "";
  if (!answerable) {
    answerable = true;
    started = performance.now();
    enable(true);
  }
}

function paused(text) {
  films.A.pause();
  films.B.pause();
  $("pair").classList.remove("waiting");
  $("pause").textContent = "Play the films";
  $("pause").disabled = false;
  $("status").textContent = text;
}

function enable(on) {
  for (const button of document.querySelectorAll(".choose")) button.disabled = !on;
  if (!on) $("pause").disabled = true;
}

function choose(choice) {
  if (!answerable) return;
  answerable = false;
  const now = new Date().toISOString().replace(/\.\d+/, "");
  session.answers.push([choice, Math.round(performance.now() - started), now]);
  keep();
  enable(false);
  $("pair").classList.add("waiting");
  setTimeout(next, 250);  // a moment of nothing, so that a new pair is seen to be one
}

function csv() {
  // a name that a spreadsheet would run as a formula gets a ' before it, which the counting of votes takes off again
  const safe = (value) => (/^[=+\-@\t\r]/.test(value) && !/^[-+]?[\d.]+(e[-+]?\d+)?$/.test(value) ? `'${value}` : `${value}`);
  const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const rows = trials.map((trial, i) => {
    const [choice, rt_ms, answered] = session.answers[i];
    const row = {
      observer: session.observer, session: session.session, study: study.id, scene: trial.scene,
      question: trial.question, condition_A: trial.A, condition_B: trial.B, film_A: study.hashes[trial.film.A],
      film_B: study.hashes[trial.film.B], choice, side_seed: session.seed, rt_ms, answered, is_catch: trial.is_catch,
    };
    return study.columns.map((name) => quoted(safe(row[name])));
  });
  return [study.columns, ...rows].map((row) => row.join(",") + "\r\n").join("");
}

function end() {
  films.A.removeAttribute("src");
  films.B.removeAttribute("src");
  const text = csv();
  $("end-count").textContent = `All ${trials.length} answers are given.`;
  $("download").href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  $("download").download = `human_study_${session.observer}_${session.session}.csv`;
  $("csv").value = text;
  $("end-status").textContent = session.saved ? "They were saved before." : "";
  show("end");
}

// ---- what the observer does

function random32() {
  return crypto.getRandomValues(new Uint32Array(1))[0];
}

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const hex = random32().toString(16).padStart(8, "0");
  const observer = $("observer").value.trim() || `p-${hex}`;
  const wrong = !/^[A-Za-z0-9][A-Za-z0-9_-]*$/.test(observer) ? "The code may hold only letters, digits, - and _."
    : observer.toUpperCase().startsWith(study.mark) ? `A code may not start with ${study.mark}.` : "";
  $("form-error").textContent = wrong;
  $("observer").toggleAttribute("aria-invalid", Boolean(wrong));
  if (wrong) return $("observer").focus();
  const given = new URLSearchParams(location.hash.slice(1)).get("seed");  // study.html#seed=7 repeats a session
  const seed = /^\d{1,10}$/.test(given ?? "") ? Number(given) >>> 0 : random32();
  begin({ observer, session: hex + random32().toString(16).padStart(8, "0"), seed, answers: [], saved: false });
});

$("resume-yes").addEventListener("click", () => begin(kept()));
$("resume-no").addEventListener("click", () => {
  forget();
  $("resume").hidden = true;
  $("form").hidden = false;
  $("consent-title").focus();
});

for (const button of document.querySelectorAll(".choose")) {
  button.addEventListener("click", () => choose(button.id.replace("choose-", "")));
}
$("pause").addEventListener("click", () => (films.A.paused ? play() : paused("The films are paused.")));

document.addEventListener("keydown", (event) => {
  if ($("trial").hidden || !$("keys").checked) return;
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
  const choice = { 1: "A", ArrowLeft: "A", 2: "B", ArrowRight: "B", 3: study.ties && "tie" }[event.key];
  if (!choice) return;
  event.preventDefault();
  choose(choice);
});

$("download").addEventListener("click", () => {
  session.saved = true;
  keep();
  $("end-status").textContent = `Saved as ${$("download").download}. Please hand that file over.`;
});
$("again").addEventListener("click", () => {
  if (!session.saved && !confirm("The answers are not saved yet. Delete them?")) return;
  forget();
  location.reload();
});

for (const film of Object.values(films)) {
  film.addEventListener("error", () => {
    if (!film.getAttribute("src")) return;
    $("broken-why").textContent = film.error?.message || "";
    show("broken");
  });
}

addEventListener("beforeunload", (event) => {
  if (session && !session.saved) event.preventDefault();
});

const found = kept();
if (found) {
  $("resume-text").textContent = found.answers.length === study.trials.length
    ? "You have answered everything; the answers are still here."
    : `You have started before: ${found.answers.length} of ${study.trials.length} answers are still here.`;
  $("resume").hidden = false;
  $("form").hidden = true;  // a new start would write over them
}
