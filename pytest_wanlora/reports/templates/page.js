"use strict";
// Plays the previews that the page holds. Each clip is decoded once into frames; every pane then draws the
// frame of one shared number, so two videos cannot drift apart and a slider lands on exact frames.
(() => {
  const data = JSON.parse(document.getElementById("players").textContent);
  const FPS = 8; // of a record that does not tell how many frames there are
  const PATIENCE = 15000; // milliseconds for a step of decoding
  const PICTURE = 1000; // milliseconds to wait for a picture that the browser may have shown without a word
  const MOST_BYTES = 256e6; // decoded frames kept at a time
  const MOST_BYTES_OF_A_CLIP = 64e6; // longer or larger clips are kept at a smaller size
  const cache = new Map(); // clip name -> its frames, or a promise of them; least recently used first
  const players = new Map();

  // Resolves when the event comes; a browser that cannot decode says so, or says nothing at all.
  function once(target, event) {
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error("decoding it took too long")), PATIENCE);
      const done = (act) => () => { clearTimeout(late); act(); };
      target.addEventListener(event, done(resolve), { once: true });
      const error = new Error("this browser cannot play H.264 video");
      target.addEventListener("error", done(() => reject(error)), { once: true });
    });
  }

  // Resolves when the picture of this time is what the video shows. "seeked" alone may come before it, and a
  // page on a busy machine would then show one frame for another.
  function shown(video, begin, end) {
    if (!video.requestVideoFrameCallback) return Promise.resolve();
    return new Promise((resolve) => {
      const late = setTimeout(resolve, PICTURE);
      const look = (now, picture) => {
        if (picture.mediaTime < begin || picture.mediaTime >= end) video.requestVideoFrameCallback(look);
        else { clearTimeout(late); resolve(); }
      };
      video.requestVideoFrameCallback(look);
    });
  }

  async function decode(name) {
    const bytes = Uint8Array.from(atob(document.getElementById(name).textContent), (c) => c.charCodeAt(0));
    const address = URL.createObjectURL(new Blob([bytes], { type: "video/mp4" }));
    const video = document.createElement("video");
    try {
      const loaded = once(video, "loadeddata");
      Object.assign(video, { muted: true, playsInline: true, preload: "auto", src: address });
      await loaded;
      const count = data.frames || Math.max(1, Math.round(video.duration * FPS));
      const whole = video.videoWidth * video.videoHeight * 4 * count;
      const shrink = Math.min(1, Math.sqrt(MOST_BYTES_OF_A_CLIP / whole));
      const width = Math.max(1, Math.round(video.videoWidth * shrink));
      const height = Math.max(1, Math.round(video.videoHeight * shrink));
      const frames = [];
      for (let i = 0; i < count; i += 1) {
        const each = video.duration / count;
        const there = [once(video, "seeked"), shown(video, (i - 0.5) * each, (i + 0.5) * each)];
        video.currentTime = (i + 0.5) * each; // the middle of a frame is never another's
        await Promise.all(there);
        const canvas = document.createElement("canvas");
        Object.assign(canvas, { width, height });
        canvas.getContext("2d", { willReadFrequently: true }).drawImage(video, 0, 0, width, height);
        frames.push(canvas);
      }
      return { width, height, frames, fps: count / video.duration, bytes: width * height * 4 * count };
    } finally {
      video.removeAttribute("src");
      video.load();
      URL.revokeObjectURL(address);
    }
  }

  let line = Promise.resolve(); // clips are decoded one after the other: phones have few decoders
  function clip(name) {
    const entry = cache.get(name) || { bytes: 0, made: null };
    cache.delete(name);
    cache.set(name, entry);
    if (!entry.made) {
      entry.made = line.then(() => decode(name)).then((made) => {
        entry.bytes = made.bytes;
        forget();
        return made;
      });
      line = entry.made.catch(() => {});
    }
    return entry.made;
  }

  function forget() {
    let kept = 0;
    [...cache].reverse().forEach(([name, entry]) => {
      kept += entry.bytes;
      if (kept > MOST_BYTES) cache.delete(name);
    });
  }

  class Player {
    constructor(root) {
      this.root = root;
      const known = data.players[root.dataset.player];
      this.takes = known.takes;
      this.take = known.first;
      this.frame = 0;
      this.clips = [];
      this.playing = false;
      this.loaded = -1;
      const find = (what) => root.querySelector(what);
      this.screens = [...root.querySelectorAll(".screen:not(.difference) canvas")];
      this.difference = find(".difference");
      this.slider = find(".frames input");
      this.output = find(".frames .count");
      this.button = find(".play");
      this.speed = find(".speed select");
      this.differ = find(".differ");
      this.gain = find(".gain");
      this.trouble = find(".trouble");
      root.querySelectorAll(".needs-script").forEach((each) => { each.hidden = false; });
      this.button.addEventListener("click", () => this.play(!this.playing));
      this.slider.addEventListener("input", () => { this.play(false); this.show(Number(this.slider.value)); });
      this.speed.addEventListener("change", () => this.restart());
      root.querySelectorAll(".seeds input").forEach((input) => {
        input.addEventListener("change", () => this.choose(Number(input.value)));
      });
      if (this.differ) {
        this.differ.addEventListener("click", () => this.compare(this.difference.hidden));
        this.gain.querySelector("select").addEventListener("change", () => this.show(this.frame));
      }
      this.enable(false);
    }

    get count() { return Math.max(0, ...this.clips.map((each) => (each ? each.frames.length : 0))); }

    get fps() { return this.clips.find(Boolean).fps; }

    get seed() { return this.takes[this.take].seed; }

    enable(any) {
      this.button.disabled = !any;
      this.slider.disabled = !any;
      if (this.differ) this.differ.disabled = !(this.clips.length === 2 && this.clips.every(Boolean));
    }

    async load() {
      const take = this.take;
      if (this.loaded === take) return;
      this.loaded = take;
      const names = this.takes[take].clips;
      let trouble = "";
      const clips = await Promise.all(names.map((name) => name && clip(name).catch((error) => {
        trouble = `The video cannot be shown: ${error.message}.`;
        return null;
      })));
      if (this.take !== take) return; // another seed was chosen meanwhile
      this.clips = clips;
      this.trouble.textContent = trouble;
      this.screens.forEach((canvas, i) => {
        canvas.hidden = !clips[i];
        if (clips[i]) Object.assign(canvas, { width: clips[i].width, height: clips[i].height });
      });
      this.slider.max = String(Math.max(0, this.count - 1));
      this.enable(this.count > 0);
      if (this.differ && this.differ.disabled) this.compare(false);
      this.root.dataset.ready = String(this.seed);
      this.show(Math.min(this.frame, Math.max(0, this.count - 1)));
    }

    choose(take) {
      this.take = take;
      this.root.querySelectorAll("[data-take]").forEach((each) => { each.hidden = Number(each.dataset.take) !== take; });
      const input = this.root.querySelector(`.seeds input[value="${take}"]`);
      if (input) input.checked = true;
      delete this.root.dataset.ready;
      return this.load();
    }

    show(frame) {
      this.frame = frame;
      if (!this.count) return;
      this.clips.forEach((each, i) => {
        if (!each) return;
        this.screens[i].getContext("2d").drawImage(each.frames[Math.min(frame, each.frames.length - 1)], 0, 0);
      });
      this.slider.value = String(frame);
      this.slider.setAttribute("aria-valuetext", `frame ${frame + 1} of ${this.count}`);
      this.output.textContent = `${frame + 1} of ${this.count}`;
      this.root.dataset.frame = String(frame);
      if (this.difference && !this.difference.hidden) this.subtract();
    }

    compare(on) {
      this.difference.hidden = !on;
      this.gain.hidden = !on;
      this.differ.setAttribute("aria-pressed", String(on));
      this.root.classList.toggle("compared", on);
      if (on) this.show(this.frame);
    }

    // Brighter is a larger difference; black is none.
    subtract() {
      const [one, two] = this.clips;
      const width = Math.min(one.width, two.width);
      const height = Math.min(one.height, two.height);
      const at = (each) => each.frames[Math.min(this.frame, each.frames.length - 1)]
        .getContext("2d", { willReadFrequently: true }).getImageData(0, 0, width, height);
      const a = at(one).data;
      const image = at(two);
      const b = image.data;
      const gain = Number(this.gain.querySelector("select").value);
      let sum = 0;
      for (let i = 0; i < b.length; i += 4) {
        for (let c = i; c < i + 3; c += 1) {
          const d = Math.abs(a[c] - b[c]);
          sum += d;
          b[c] = d * gain; // clamped by its type
        }
      }
      const canvas = this.difference.querySelector("canvas");
      if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
      canvas.getContext("2d").putImageData(image, 0, 0);
      const mean = ((sum / ((b.length / 4) * 3)) / 255) * 100;
      this.difference.querySelector(".measure").textContent = `${mean.toFixed(1)}% of the range on average`;
    }

    play(on, start = performance.now()) {
      if (on && !this.count) return;
      this.playing = on;
      this.start = start;
      this.from = on && this.frame < this.count - 1 ? this.frame : 0;
      this.button.setAttribute("aria-pressed", String(on));
      this.button.querySelector("span").textContent = on ? "Pause" : "Play";
      if (on) wake();
      announce();
    }

    restart() { if (this.playing) { this.start = performance.now(); this.from = this.frame; } }

    tick(now) {
      const steps = Math.floor(((now - this.start) / 1000) * this.fps * Number(this.speed.value));
      const frame = (this.from + Math.max(0, steps)) % this.count;
      if (frame !== this.frame) this.show(frame);
    }
  }

  let awake = false;
  function wake() {
    if (awake) return;
    awake = true;
    const step = (now) => {
      const busy = [...players.values()].filter((each) => each.playing);
      busy.forEach((each) => each.tick(now));
      awake = busy.length > 0;
      if (awake) requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }

  const all = document.getElementById("play-all");
  const seen = () => [...players.values()].filter((each) => each.root.offsetParent !== null);
  function announce() {
    if (!all) return;
    const busy = seen().some((each) => each.playing);
    all.textContent = busy ? "Pause all" : "Play all";
    all.setAttribute("aria-pressed", String(busy));
  }

  // One checkpoint of a scenario at a time; without this script, and in print, all are there.
  function open(anchor) {
    const panel = document.getElementById(anchor);
    const scene = panel && panel.closest(".scene");
    if (!scene || !panel.classList.contains("panel")) return;
    const before = [...scene.querySelectorAll(".panel")].find((each) => !each.classList.contains("closed"));
    scene.querySelectorAll(".panel").forEach((each) => each.classList.toggle("closed", each !== panel));
    scene.querySelectorAll("[data-panel]").forEach((each) => {
      each.setAttribute("aria-pressed", String(each.dataset.panel === anchor));
    });
    const old = before && players.get(before.id);
    const fresh = players.get(anchor);
    if (!fresh) return;
    if (old && old !== fresh) { // the same seed and frame of the other checkpoint
      const take = fresh.takes.findIndex((each) => each.seed === old.seed);
      fresh.frame = old.frame;
      const playing = old.playing;
      old.play(false);
      (take >= 0 ? fresh.choose(take) : fresh.load()).then(() => { if (playing) fresh.play(true); });
    } else {
      fresh.load();
    }
  }

  function follow() {
    const place = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const panel = place && place.closest(".panel");
    if (panel) {
      open(panel.id);
      place.scrollIntoView({ block: "center" });
    }
    if (place && place.tabIndex === -1) place.focus({ preventScroll: true });
  }

  document.querySelectorAll(".needs-script").forEach((each) => { each.hidden = false; });
  // no <noscript>: where a server's policy forbids the script, a browser takes scripting for switched on
  document.querySelectorAll(".without-script").forEach((each) => { each.hidden = true; });
  document.querySelectorAll(".player").forEach((root) => players.set(root.dataset.player, new Player(root)));
  document.querySelectorAll(".scene").forEach((scene) => {
    const first = scene.querySelector(".panel");
    scene.querySelectorAll(".panel").forEach((each) => each.classList.toggle("closed", each !== first));
    scene.querySelectorAll("[data-panel]").forEach((button) => {
      button.setAttribute("aria-pressed", String(button.dataset.panel === first.id));
      button.addEventListener("click", () => open(button.dataset.panel));
    });
  });
  document.querySelectorAll(".to-seed").forEach((link) => {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      const player = players.get(link.closest(".panel").id);
      player.choose(player.takes.findIndex((each) => each.seed === Number(link.dataset.seed)));
      player.root.scrollIntoView({ block: "nearest" });
      player.button.focus({ preventScroll: true });
    });
  });
  if (all) {
    all.addEventListener("click", async () => {
      const shown = seen();
      const on = !shown.some((each) => each.playing);
      if (on) await Promise.all(shown.map((each) => each.load()));
      const start = performance.now();
      shown.forEach((each) => each.play(on, start));
    });
  }
  addEventListener("hashchange", follow);
  follow();

  // The first screen: the browser itself plays these, so that they are seen long before anything is decoded.
  const address = (name) => {
    const bytes = Uint8Array.from(atob(document.getElementById(name).textContent), (c) => c.charCodeAt(0));
    return URL.createObjectURL(new Blob([bytes], { type: "video/mp4" }));
  };
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const looks = [...document.querySelectorAll(".look")].map((look) => [...look.querySelectorAll("video")]);
  const pause = document.getElementById("pause-looks");
  const run = (on) => {
    looks.forEach((row) => row.forEach((video) => {
      if (!on) { video.pause(); return; }
      video.currentTime = row[0].currentTime; // one seed, one moment
      video.play().catch(() => {}); // a browser that plays nothing unasked shows the first frame
    }));
    pause.setAttribute("aria-pressed", String(on));
    pause.textContent = on ? "Pause" : "Play";
  };
  looks.forEach((row) => row.forEach((video) => {
    const figure = video.closest("figure");
    const source = address(video.dataset.clip);
    video.muted = true;
    video.src = source;
    video.addEventListener("error", () => {
      document.querySelector(".looks .trouble").textContent = "A video cannot be shown: this browser cannot play H.264 video.";
    });
    figure.querySelector(".save").href = source;
    figure.querySelector(".full").addEventListener("click", () => video.requestFullscreen && video.requestFullscreen());
  }));
  if (pause) {
    pause.addEventListener("click", () => run(pause.getAttribute("aria-pressed") !== "true"));
    run(!still);
  }

  // What comes into view is decoded first; the rest when there is time, so that a print shows pictures.
  const watch = new IntersectionObserver((entries) => {
    entries.filter((entry) => entry.isIntersecting).forEach((entry) => {
      players.get(entry.target.dataset.player).load();
    });
  }, { rootMargin: "400px" });
  players.forEach((player) => watch.observe(player.root));
  const idle = window.requestIdleCallback || ((work) => setTimeout(work, 200));
  async function rest() {
    for (const player of seen()) await player.load();
    document.documentElement.dataset.settled = "yes";
  }
  addEventListener("load", () => idle(rest));
})();
