// The time that is shown, and how it runs.

export class Player {
  seconds = 0;
  playing = false;
  speed = 1;
  loop = true;
  private last = 0;

  constructor(
    readonly end: number,
    readonly fps: number,
  ) {}

  get frame(): number {
    return Math.round(this.seconds * this.fps);
  }

  get lastFrame(): number {
    return Math.round(this.end * this.fps);
  }

  seek(seconds: number): void {
    this.seconds = Math.min(Math.max(seconds, 0), this.end);
  }

  // Shows the next frame or the one before; stops.
  step(frames: number): void {
    this.playing = false;
    this.seek((this.frame + frames) / this.fps);
  }

  play(now: number): void {
    if (!this.loop && this.seconds >= this.end) this.seconds = 0;
    this.playing = true;
    this.last = now;
  }

  // Goes on to a moment of the page's clock, in milliseconds.
  advance(now: number): void {
    if (!this.playing) return;
    const next = this.seconds + (this.speed * Math.max(now - this.last, 0)) / 1000;
    this.last = now;
    if (next < this.end) this.seconds = next;
    else if (this.loop && this.end > 0) this.seconds = next % this.end;
    else [this.seconds, this.playing] = [this.end, false];
  }
}
