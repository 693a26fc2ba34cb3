// The page: its controls, and what they do.

import * as THREE from "three";

import { Data, readData } from "./data";
import { listen } from "./gestures";
import { fromLink, toLink } from "./link";
import { Player } from "./player";
import { Stage } from "./stage";
import { View, alongPath, extentOf, focusOf } from "./view";

const find = <T extends HTMLElement>(id: string) => document.getElementById(id) as T;

function say(text: string): void {
  find("message").textContent = text;
  find("message").hidden = text === "";
}

function fail(error: unknown): void {
  find("poster").hidden = false;
  say(`The scene cannot be shown: ${error instanceof Error ? error.message : String(error)}`);
  console.error(error);
}

class Page {
  private readonly canvas = find<HTMLCanvasElement>("picture");
  private readonly slider = find<HTMLInputElement>("time");
  private readonly path = find<HTMLInputElement>("path");
  private readonly cameras = find<HTMLSelectElement>("camera");
  private readonly player: Player;
  private readonly view: View;
  private readonly focus: THREE.Vector3;
  private readonly stage: Stage;
  private asked = false;
  private drawing = false;

  constructor(private readonly data: Data) {
    const { header } = data;
    this.player = new Player(header.end, header.fps);
    this.view = new View(new THREE.Vector3(...header.up).normalize());
    const { middle, radius } = extentOf(data.floats("means"));
    this.focus = focusOf(header.cameras, middle);
    if (header.cameras.length) this.view.lookThrough(header.cameras[0], this.focus);
    else this.view.showAll(middle, radius);
    this.stage = new Stage(this.canvas, data);
    this.setUp();
    this.restore();
  }

  // Asks for a picture of what is set now; pictures are drawn one after the other.
  redraw(): void {
    document.body.dataset.settled = "false";
    this.asked = true;
    if (this.drawing) return;
    this.drawing = true;
    requestAnimationFrame((now) => {
      this.asked = false;
      this.draw(now).then(
        () => {
          this.drawing = false;
          if (this.asked || this.player.playing) this.redraw();
          else document.body.dataset.settled = "true";
        },
        (error: unknown) => fail(error),
      );
    });
  }

  private async draw(now: number): Promise<void> {
    this.player.advance(now);
    if (this.path.checked) {
      alongPath(this.view, this.data.header.cameras, this.player.seconds / this.pathLength, this.focus);
    }
    this.tell();
    await this.stage.draw(this.player.seconds, this.view);
    if (!find("poster").hidden) say("");
    find("poster").hidden = true;
    const { dataset } = document.body;
    dataset.drawn = String(1 + Number(dataset.drawn ?? 0));
  }

  private get pathLength(): number {
    return this.data.header.recorded || 1;
  }

  private tell(): void {
    const { header } = this.data;
    const { player } = this;
    const future = player.seconds > header.observed + 0.01 / header.fps;
    const text = `frame ${player.frame} of ${player.lastFrame} · ${player.seconds.toFixed(2)} s`;
    const state = header.end === 0 ? "one moment" : text;
    find("state").textContent = future ? `${state} · predicted` : state;
    if (document.activeElement !== this.slider || player.playing || +this.slider.value !== player.frame) {
      this.slider.value = String(player.frame);
    }
    this.slider.setAttribute("aria-valuetext", find("state").textContent ?? "");
    find("play").textContent = player.playing ? "Pause" : "Play";
  }

  private moved(): void {
    this.path.checked = false;
    this.cameras.value = "";
    this.redraw();
  }

  private seek(seconds: number): void {
    this.player.seek(seconds);
    this.redraw();
  }

  private toggle(): void {
    if (this.player.playing) this.player.playing = false;
    else this.player.play(performance.now());
    this.redraw();
  }

  private step(frames: number): void {
    this.player.step(frames);
    this.redraw();
  }

  private setUp(): void {
    const { header } = this.data;
    const { player } = this;
    this.slider.max = String(player.lastFrame);
    find("timeline").hidden = find("playing").hidden = header.end === 0;
    const future = header.observed < header.end - 0.01 / header.fps;
    find("future").hidden = !future;
    if (future) find("timeline").style.setProperty("--observed", String(header.observed / header.end));
    header.cameras.forEach((_, i) => this.cameras.add(new Option(`Camera ${i}`, String(i))));
    this.cameras.value = header.cameras.length ? "0" : "";
    find("jumping").hidden = header.cameras.length === 0;
    find("following").hidden = header.cameras.length < 2;
    // Where nothing moves, playing shows the recording's way through the scene.
    this.path.checked = header.motion.kind === "rest" && header.cameras.length > 1 && header.end > 0;
    if (this.path.checked) this.cameras.value = "";

    this.slider.addEventListener("input", () => {
      player.playing = false;
      this.seek(+this.slider.value / header.fps);
    });
    find("play").addEventListener("click", () => this.toggle());
    find("back").addEventListener("click", () => this.step(-1));
    find("forward").addEventListener("click", () => this.step(1));
    find("speed").addEventListener("change", () => (player.speed = +find<HTMLSelectElement>("speed").value));
    find("loop").addEventListener("change", () => (player.loop = find<HTMLInputElement>("loop").checked));
    this.path.addEventListener("change", () => {
      this.cameras.value = "";
      this.redraw();
    });
    this.cameras.addEventListener("change", () => {
      const camera = header.cameras[this.cameras.value === "" ? -1 : +this.cameras.value];
      if (!camera) return;
      this.path.checked = false;
      this.view.lookThrough(camera, this.focus);
      this.redraw();
    });
    find("link").addEventListener("click", () => this.copyLink());
    find("full").addEventListener("click", () => this.fullScreen());
    listen(this.canvas, this.view, () => this.moved());
    document.addEventListener("keydown", (event) => this.press(event));
    window.addEventListener("hashchange", () => this.restore());
    new ResizeObserver(() => this.redraw()).observe(this.canvas);
    this.canvas.addEventListener("webglcontextlost", () => {
      find("poster").hidden = false;
      say("The graphics driver has stopped drawing; reload the page to see the scene again.");
    });
  }

  private press(event: KeyboardEvent): void {
    const control = event.target instanceof Element && event.target.closest("button, input, select, a");
    if (control || event.ctrlKey || event.metaKey || event.altKey) return;
    const actions: Record<string, () => void> = {
      " ": () => this.toggle(),
      ",": () => this.step(-1),
      ".": () => this.step(1),
      f: () => this.fullScreen(),
    };
    const action = actions[event.key];
    if (!action || this.data.header.end === 0 && event.key !== "f") return;
    event.preventDefault();
    action();
  }

  private restore(): void {
    const { seconds, viewed } = fromLink(location.hash, this.view);
    document.body.dataset.link = location.hash;
    if (seconds !== null) {
      this.player.playing = false;
      this.player.seek(seconds);
    }
    if (viewed) this.moved();
    else this.redraw();
  }

  private copyLink(): void {
    const link = toLink(this.player.seconds, this.view);
    location.replace(link);
    const told = (text: string) => (find("copied").textContent = text);
    if (!navigator.clipboard) told("The address bar shows the link.");
    else {
      navigator.clipboard.writeText(location.href).then(
        () => told("Copied."),
        () => told("The address bar shows the link."),
      );
    }
  }

  private fullScreen(): void {
    const done = document.fullscreenElement
      ? document.exitFullscreen()
      : document.documentElement.requestFullscreen?.();
    done?.catch(() => say("This browser does not show the page on the full screen."));
  }
}

async function open(): Promise<void> {
  if (!document.createElement("canvas").getContext("webgl2")) {
    say("This browser has no WebGL2, which the scene is drawn with: this is a still picture of it.");
    return;
  }
  new Page(await readData());
}

open().catch(fail);
