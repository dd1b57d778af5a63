"use strict";
// All films together: one clock sets the frame of each, so they never drift apart. Without this script they just loop.
(() => {
  const byId = (id) => document.getElementById(id);
  const strips = [...document.querySelectorAll(".strip")].map((element) => ({
    fps: Number(element.dataset.fps), count: Number(element.dataset.frames), frame: 0, late: 0, seen: true, element,
    films: [...element.querySelectorAll("video")],
  }));
  const longest = strips.reduce((one, other) => (other.count > one.count ? other : one));  // what the controls count
  let playing = !window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  let speed = 1;
  let last = null;

  function seek(film, strip) {
    const time = (strip.frame + 0.5) / strip.fps;  // the middle of a frame: rounding never shows its neighbour
    if (film.readyState > 0 && !film.seeking && Math.abs(film.currentTime - time) > 1e-3) {
      film.currentTime = time;
    }
  }

  function show() {
    for (const strip of strips) {
      if (strip.seen || !playing) {
        strip.films.forEach((film) => seek(film, strip));
      }
    }
    byId("frame").value = longest.frame + 1;
    byId("where").textContent = `frame ${longest.frame + 1} of ${longest.count}`;
  }

  function play(yes) {
    playing = yes;
    last = null;
    byId("play").textContent = playing ? "Pause" : "Play";
    if (playing) {
      requestAnimationFrame(tick);
    } else {
      show();  // those out of sight as well
    }
  }

  function tick(now) {
    if (!playing) {
      return;
    }
    const passed = last === null ? 0 : Math.min(now - last, 500) / 1000;  // a hidden page's clock stands still
    last = now;
    let moved = false;
    for (const strip of strips) {
      strip.late += passed * strip.fps * speed;
      const whole = Math.floor(strip.late);
      strip.late -= whole;
      strip.frame = (strip.frame + whole) % strip.count;
      moved = moved || whole > 0;
    }
    if (moved) {
      show();
    }
    requestAnimationFrame(tick);
  }

  function step(by) {
    play(false);
    strips.forEach((strip) => { strip.frame = (strip.frame + by + strip.count) % strip.count; });
    show();
  }

  // a link to what is folded opens it
  function reveal() {
    const target = location.hash.length > 1 && byId(decodeURIComponent(location.hash.slice(1)));
    if (!target) {
      return;
    }
    for (let at = target; at; at = at.parentElement) {
      if (at.tagName === "DETAILS") {
        at.open = true;
      }
    }
    target.scrollIntoView();
    target.focus({ preventScroll: true });
  }

  for (const strip of strips) {
    for (const film of strip.films) {
      film.removeAttribute("autoplay");
      film.pause();
      for (const event of ["loadeddata", "seeked"]) {
        film.addEventListener(event, () => seek(film, strip));
      }
    }
  }
  if ("IntersectionObserver" in window) {
    const observer = new IntersectionObserver((entries) => entries.forEach((entry) => {
      strips.find((strip) => strip.element === entry.target).seen = entry.isIntersecting;
    }));
    strips.forEach((strip) => observer.observe(strip.element));
  }
  byId("frame").max = longest.count;
  byId("play").addEventListener("click", () => play(!playing));
  byId("back").addEventListener("click", () => step(-1));
  byId("on").addEventListener("click", () => step(1));
  byId("frame").addEventListener("input", (event) => {
    const wanted = Number(event.target.value);  // read before anything is shown, which sets it
    play(false);
    strips.forEach((strip) => { strip.frame = Math.min(wanted, strip.count) - 1; });
    show();
  });
  byId("speed").addEventListener("change", (event) => { speed = Number(event.target.value); });
  byId("larger").addEventListener("change", (event) => {
    document.body.classList.toggle("larger-films", event.target.checked);
  });
  window.addEventListener("hashchange", reveal);
  window.addEventListener("beforeprint", () => {
    document.querySelectorAll("details").forEach((details) => { details.open = true; });
  });
  byId("controls").hidden = false;
  show();
  play(playing);
  reveal();
})();
