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
  const MOST_IN_STRIP = 33; // frames of the strip; of longer videos every second, third, ... is shown
  const cache = new Map(); // clip name -> its frames, or a promise of them; least recently used first
  const page = document.getElementById("page");
  let language = "en";
  let words = data.words.en;
  const fill = (text, ...values) => values.reduce((said, value, i) => said.replaceAll(`%${i + 1}`, value), text);

  // Resolves when the event comes; a browser that cannot decode says so, or says nothing at all.
  function once(target, event, broken) {
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(words.tooLong)), PATIENCE);
      const done = (act) => () => { clearTimeout(late); act(); };
      target.addEventListener(event, done(resolve), { once: true });
      target.addEventListener("error", done(() => reject(new Error(broken))), { once: true });
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

  const read = new Promise((resolve) => {
    if (document.readyState === "loading") addEventListener("DOMContentLoaded", resolve);
    else resolve();
  });
  // What a clip is played from: the page holds it, or it lies beside the page.
  const inside = (name) => /^v[0-9]+$/.test(name);
  function address(name) {
    if (!inside(name)) return name;
    const bytes = Uint8Array.from(atob(document.getElementById(name).textContent), (c) => c.charCodeAt(0));
    return URL.createObjectURL(new Blob([bytes], { type: "video/mp4" }));
  }

  async function decode(name) {
    await read; // the clips behind this script
    const source = address(name);
    const broken = inside(name) ? words.noH264 : words.noFile;
    const video = document.createElement("video");
    try {
      const loaded = once(video, "loadeddata", broken);
      Object.assign(video, { muted: true, playsInline: true, preload: "auto", src: source });
      await loaded;
      const count = data.frames || Math.max(1, Math.round(video.duration * FPS));
      const whole = video.videoWidth * video.videoHeight * 4 * count;
      const shrink = Math.min(1, Math.sqrt(MOST_BYTES_OF_A_CLIP / whole));
      const width = Math.max(1, Math.round(video.videoWidth * shrink));
      const height = Math.max(1, Math.round(video.videoHeight * shrink));
      const frames = [];
      for (let i = 0; i < count; i += 1) {
        const each = video.duration / count;
        const there = [once(video, "seeked", broken), shown(video, (i - 0.5) * each, (i + 0.5) * each)];
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
      if (inside(name)) URL.revokeObjectURL(source);
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

  // A file that was read from beside the page may be shown, but a browser may not let its pixels be read.
  function pixels(canvas, width, height) {
    try {
      return canvas.getContext("2d", { willReadFrequently: true }).getImageData(0, 0, width, height);
    } catch { return null; }
  }

  // Mean difference of two pictures, as a share of their range; into the second, amplified, if asked.
  function apart(one, two, width, height, gain) {
    const a = pixels(one, width, height);
    const image = pixels(two, width, height);
    if (!a || !image) return null;
    const b = image.data;
    let sum = 0;
    for (let i = 0; i < b.length; i += 4) {
      for (let c = i; c < i + 3; c += 1) {
        const d = Math.abs(a.data[c] - b[c]);
        sum += d;
        b[c] = d * gain; // clamped by its type
      }
    }
    return { mean: sum / ((b.length / 4) * 3) / 255, image };
  }

  class Player {
    constructor(root, stage) {
      this.root = root;
      this.stage = stage;
      const known = data.players[root.dataset.player];
      this.takes = known.takes;
      this.sides = known.sides;
      this.take = known.first;
      this.frame = 0;
      this.clips = [];
      this.playing = false;
      this.loaded = -1;
      this.mode = "";
      const find = (what) => root.querySelector(what);
      this.screens = [...root.querySelectorAll(".screen:not(.compared) canvas")];
      this.compared = find(".compared");
      this.slider = find(".frames input");
      this.output = find(".frames .count");
      this.button = find(".play");
      this.speed = find(".speed select");
      this.gain = find(".gain");
      this.wipe = find(".wipe");
      this.strip = find(".frames-strip");
      this.trouble = find(".trouble");
      this.modes = [...root.querySelectorAll("[data-mode]")];
      // the baseline beside the checkpoint whose numbers are shown
      this.base = this.sides.indexOf(-1);
      this.other = this.base === 0 ? 1 : 0;
      this.button.addEventListener("click", () => this.play(!this.playing));
      this.slider.addEventListener("input", () => { this.play(false); this.show(Number(this.slider.value)); });
      this.speed.addEventListener("change", () => this.restart());
      root.querySelectorAll(".seeds input").forEach((input) => {
        input.addEventListener("change", () => this.choose(Number(input.value)));
      });
      this.modes.forEach((button) => {
        button.addEventListener("click", () => this.compare(this.mode === button.dataset.mode ? "" : button.dataset.mode));
      });
      if (this.compared) {
        this.gain.querySelector("select").addEventListener("change", () => this.show(this.frame));
        const at = this.wipe.querySelector("input");
        at.addEventListener("input", () => this.show(this.frame));
        this.compared.querySelector("canvas").addEventListener("pointermove", (event) => {
          if (this.mode !== "wipe" || (event.pointerType === "touch" && !event.isPrimary)) return;
          at.value = String(Math.round((event.offsetX / event.target.clientWidth) * 100));
          this.show(this.frame);
        });
      }
      const screens = find(".screens");
      find("button.full").addEventListener("click", () => screens.requestFullscreen && screens.requestFullscreen());
      root.querySelectorAll(".screen .save").forEach((link, i) => link.addEventListener("click", (event) => {
        const name = this.takes[this.take].clips[i];
        if (!name) { event.preventDefault(); return; }
        link.download = this.takes[this.take].files[i];
        link.href = address(name);
      }));
      this.enable();
    }

    get count() { return Math.max(0, ...this.clips.map((each) => (each ? each.frames.length : 0))); }

    get fps() { return this.clips.find(Boolean).fps; }

    get seed() { return this.takes[this.take].seed; }

    get pair() { return [this.clips[this.base], this.clips[this.other]]; }

    get paired() { return this.base >= 0 && this.pair.every(Boolean); }

    enable() {
      this.button.disabled = !this.count;
      this.slider.disabled = !this.count;
      this.modes.forEach((each) => { each.disabled = !this.paired; });
    }

    async load() {
      const take = this.take;
      if (this.loaded === take) return;
      this.loaded = take;
      let trouble = "";
      const clips = await Promise.all(this.takes[take].clips.map((name) => name && clip(name).catch((error) => {
        trouble = fill(words.cannot, error.message);
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
      this.enable();
      if (this.mode && !this.paired) this.compare("");
      this.film();
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

    // Compare the baseline with another checkpoint, by its number in the run.
    against(side) {
      const at = this.sides.indexOf(side);
      if (at < 0) return;
      this.other = at;
      this.root.querySelectorAll(".screen[data-side]").forEach((each) => {
        each.classList.toggle("chosen", this.sides.length > 2 && Number(each.dataset.side) === side);
      });
      if (!this.clips.length) return;
      this.enable();
      if (this.mode && !this.paired) this.compare("");
      this.film();
      this.show(this.frame);
    }

    show(frame) {
      this.frame = frame;
      if (!this.count) return;
      this.clips.forEach((each, i) => {
        if (!each) return;
        this.screens[i].getContext("2d").drawImage(each.frames[Math.min(frame, each.frames.length - 1)], 0, 0);
      });
      this.slider.value = String(frame);
      this.slider.setAttribute("aria-valuetext", fill(words.frameOf, frame + 1, this.count));
      this.output.textContent = fill(words.countOf, frame + 1, this.count);
      this.root.dataset.frame = String(frame);
      if (this.strip) {
        this.strip.querySelectorAll("button").forEach((each) => {
          if (Number(each.dataset.frame) === frame) each.setAttribute("aria-current", "true");
          else each.removeAttribute("aria-current");
        });
      }
      if (this.mode) this.draw();
    }

    compare(mode) {
      this.mode = mode;
      this.compared.hidden = !mode;
      this.gain.hidden = mode !== "difference";
      this.wipe.hidden = mode !== "wipe";
      this.modes.forEach((each) => each.setAttribute("aria-pressed", String(each.dataset.mode === mode)));
      const pressed = this.modes.find((each) => each.dataset.mode === mode);
      this.compared.querySelector(".role").textContent = pressed ? pressed.textContent : "";
      if (mode) this.show(this.frame);
    }

    at(each) { return each.frames[Math.min(this.frame, each.frames.length - 1)]; }

    draw() {
      const [one, two] = this.pair;
      const width = Math.min(one.width, two.width);
      const height = Math.min(one.height, two.height);
      const canvas = this.compared.querySelector("canvas");
      const context = canvas.getContext("2d");
      const measure = this.compared.querySelector(".measure");
      if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
      measure.textContent = "";
      if (this.mode === "wipe") { // the baseline on the left of the line, the candidate on its right
        const x = Math.round((Number(this.wipe.querySelector("input").value) / 100) * width);
        context.drawImage(this.at(two), 0, 0);
        if (x > 0) context.drawImage(this.at(one), 0, 0, x, height, 0, 0, x, height);
        context.fillStyle = "#fff";
        context.fillRect(x - 1, 0, 2, height);
        return;
      }
      const gain = Number(this.gain.querySelector("select").value);
      const found = apart(this.at(one), this.at(two), width, height, gain);
      if (found) { // brighter is a larger difference; black is none
        context.putImageData(found.image, 0, 0);
        measure.textContent = fill(words.mean, (found.mean * 100).toFixed(1));
        return;
      }
      context.globalCompositeOperation = "copy";
      context.drawImage(this.at(one), 0, 0);
      context.globalCompositeOperation = "difference";
      context.drawImage(this.at(two), 0, 0);
      context.globalCompositeOperation = "source-over";
    }

    // All frames in small, the baseline's above; the one that differs most is framed.
    film() {
      const box = this.strip && this.strip.parentElement;
      if (!box) return;
      box.hidden = !this.paired;
      this.strip.replaceChildren();
      if (!this.paired) return;
      const [one, two] = this.pair;
      const count = Math.min(one.frames.length, two.frames.length);
      const width = 96;
      const height = Math.max(1, Math.round((width * two.height) / two.width));
      const small = (frame) => {
        const canvas = document.createElement("canvas");
        Object.assign(canvas, { width, height });
        canvas.getContext("2d", { willReadFrequently: true }).drawImage(frame, 0, 0, width, height);
        return canvas;
      };
      const pairs = Array.from({ length: count }, (_, i) => [small(one.frames[i]), small(two.frames[i])]);
      const means = pairs.map(([a, b]) => apart(a, b, width, height, 1)?.mean ?? 0);
      const top = Math.max(...means);
      const worst = top > 0 ? means.indexOf(top) : -1;
      const step = Math.ceil(count / MOST_IN_STRIP);
      pairs.forEach((pair, i) => {
        if (i % step && i !== worst) return;
        const button = document.createElement("button");
        button.type = "button";
        button.dataset.frame = String(i);
        if (i === worst) button.className = "most";
        const label = document.createElement("span");
        label.textContent = String(i + 1);
        button.setAttribute("aria-label", fill(words.frameOf, i + 1, count) + (i === worst ? `, ${words.most}` : ""));
        button.append(...pair, label);
        button.addEventListener("click", () => { this.play(false); this.show(i); });
        this.strip.append(button);
      });
    }

    play(on, start = performance.now()) {
      if (on && !this.count) return;
      this.playing = on;
      this.start = start;
      this.from = on && this.frame < this.count - 1 ? this.frame : 0;
      this.button.setAttribute("aria-pressed", String(on));
      this.button.querySelector("span").textContent = on ? words.pause : words.play;
      if (on) wake(this.stage);
      this.stage.announce();
    }

    restart() { if (this.playing) { this.start = performance.now(); this.from = this.frame; } }

    tick(now) {
      const steps = Math.floor(((now - this.start) / 1000) * this.fps * Number(this.speed.value));
      const frame = (this.from + Math.max(0, steps)) % this.count;
      if (frame !== this.frame) this.show(frame);
    }
  }

  let awake = false;
  function wake(stage) {
    if (awake) return;
    awake = true;
    const step = (now) => {
      const busy = [...stage.players.values()].filter((each) => each.playing);
      busy.forEach((each) => each.tick(now));
      awake = busy.length > 0;
      if (awake) requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }

  // The page in one language, with all that is bound to it.
  class Stage {
    constructor(root) {
      this.root = root;
      this.players = new Map();
      const all = (what) => [...root.querySelectorAll(what)];
      all(".needs-script").forEach((each) => { each.hidden = false; });
      // no <noscript>: where a server's policy forbids the script, a browser takes scripting for switched on
      all(".without-script").forEach((each) => { each.hidden = true; });
      all(".player").forEach((each) => this.players.set(each.dataset.player, new Player(each, this)));
      all(".language").forEach((each) => each.addEventListener("click", () => speak(each.lang, true)));
      all(".scene").forEach((scene) => {
        const first = scene.querySelector(".panel");
        this.open(first);
        scene.querySelectorAll("[data-panel]").forEach((button) => {
          button.addEventListener("click", () => this.open(root.querySelector(`#${button.dataset.panel}`)));
        });
      });
      all(".to-seed").forEach((link) => link.addEventListener("click", (event) => {
        event.preventDefault();
        const player = this.players.get(link.closest(".scene").id);
        if (!player) return;
        player.choose(player.takes.findIndex((each) => each.seed === Number(link.dataset.seed)));
        player.root.scrollIntoView({ block: "nearest" });
        player.button.focus({ preventScroll: true });
      }));
      this.all = root.querySelector(".play-all");
      if (this.all) {
        this.all.addEventListener("click", async () => {
          const shown = [...this.players.values()];
          const on = !shown.some((each) => each.playing);
          if (on) await Promise.all(shown.map((each) => each.load()));
          const start = performance.now();
          shown.forEach((each) => each.play(on, start));
        });
      }
      this.look();
      // what comes into view is decoded first
      const watch = new IntersectionObserver((entries) => {
        entries.filter((entry) => entry.isIntersecting).forEach((entry) => {
          this.players.get(entry.target.dataset.player).load();
        });
      }, { rootMargin: "400px" });
      this.players.forEach((player) => watch.observe(player.root));
    }

    announce() {
      if (!this.all) return;
      const busy = [...this.players.values()].some((each) => each.playing);
      this.all.textContent = busy ? words.pauseAll : words.playAll;
      this.all.setAttribute("aria-pressed", String(busy));
    }

    // The numbers of one checkpoint of a scenario at a time; without this script, and in print, all are there.
    open(panel) {
      const scene = panel.closest(".scene");
      scene.querySelectorAll(".panel").forEach((each) => each.classList.toggle("closed", each !== panel));
      scene.querySelectorAll("[data-panel]").forEach((each) => {
        each.setAttribute("aria-pressed", String(each.dataset.panel === panel.id));
      });
      const player = this.players.get(scene.id);
      if (player) player.against(Number(panel.dataset.side));
    }

    follow() {
      const name = decodeURIComponent(location.hash.slice(1));
      const place = name && [...this.root.querySelectorAll("[id]")].find((each) => each.id === name);
      const panel = place && place.closest(".panel");
      if (panel) {
        this.open(panel);
        place.scrollIntoView({ block: "center" });
      }
      if (place && place.tabIndex === -1) place.focus({ preventScroll: true });
    }

    // The first screen: the browser itself plays these, so that they are seen long before anything is decoded.
    look() {
      const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
      const looks = [...this.root.querySelectorAll(".look")].map((look) => [...look.querySelectorAll("video")]);
      const pause = this.root.querySelector(".pause-looks");
      if (!pause) return;
      this.run = (on) => {
        looks.forEach((row) => row.forEach((video) => {
          if (!on) { video.pause(); return; }
          video.currentTime = row[0].currentTime; // one seed, one moment
          video.play().catch(() => {}); // a browser that plays nothing unasked shows the first frame
        }));
        pause.setAttribute("aria-pressed", String(on));
        pause.textContent = on ? words.pause : words.play;
      };
      const start = (video) => {
        video.src = address(video.dataset.clip);
        video.closest("figure").querySelector(".save").href = video.src;
      };
      looks.forEach((row, at) => row.forEach((video) => {
        video.muted = true;
        video.addEventListener("error", () => {
          this.root.querySelector(".looks .trouble").textContent = fill(words.cannot, words.noH264);
        });
        if (at === 0) start(video); // its clips stand before this script
        video.closest("figure").querySelector(".full").addEventListener("click", () => video.requestFullscreen && video.requestFullscreen());
      }));
      // nothing else is decoded before the first pictures, and nothing plays that is not seen
      const pictures = looks[0].map((video) => new Promise((resolve) => {
        ["loadeddata", "error"].forEach((event) => video.addEventListener(event, resolve, { once: true }));
      }));
      line = Promise.race([Promise.all(pictures), new Promise((resolve) => { setTimeout(resolve, PATIENCE); })]);
      const seen = new IntersectionObserver((entries) => entries.forEach((entry) => {
        const on = entry.isIntersecting && pause.getAttribute("aria-pressed") === "true";
        looks.find((row) => row[0].closest(".row") === entry.target).forEach((video) => {
          if (on) video.play().catch(() => {});
          else video.pause();
        });
      }));
      looks.forEach((row) => seen.observe(row[0].closest(".row")));
      pause.addEventListener("click", () => this.run(pause.getAttribute("aria-pressed") !== "true"));
      this.run(!still);
      read.then(() => {
        looks.slice(1).flat().forEach(start);
        this.run(pause.getAttribute("aria-pressed") === "true");
      });
    }

    quiet() {
      this.players.forEach((each) => each.play(false));
      if (this.run) this.run(false);
    }
  }

  // The rest is decoded when there is time, a clip at a time, so that a print shows pictures.
  const idle = window.requestIdleCallback || ((work) => setTimeout(work, 200));
  const ready = new Promise((resolve) => { addEventListener("load", resolve); });
  async function rest(stage) {
    for (const player of stage.players.values()) {
      for (const name of player.takes[player.take].clips) if (name && inside(name)) await clip(name).catch(() => {});
      await player.load();
    }
    document.documentElement.dataset.settled = "yes";
  }

  // Each language is there once; the one that is not read lies in a fragment, with all that was done to it.
  const kept = { en: document.createDocumentFragment(), ko: document.getElementById("ko").content };
  const stages = {};
  function speak(next, asked = false) {
    if (next !== language) {
      const place = scrollY;
      if (stages[language]) stages[language].quiet();
      kept[language].append(...page.childNodes);
      page.append(kept[next]);
      kept[next] = document.createDocumentFragment();
      language = next;
      words = data.words[next];
      document.documentElement.lang = next;
      document.title = words.title;
      scrollTo({ top: place, behavior: "instant" });
    }
    if (!stages[next]) {
      stages[next] = new Stage(page);
      ready.then(() => idle(() => rest(stages[next])));
    }
    if (asked) page.querySelector(".language").focus({ preventScroll: true });
  }
  speak((navigator.language || "").startsWith("ko") ? "ko" : "en");
  addEventListener("beforeprint", () => page.querySelectorAll(".folded").forEach((each) => { each.open = true; }));
  addEventListener("hashchange", () => stages[language].follow());
  stages[language].follow();
})();
