// The motion of everything else: what changes is written frame by frame, and lies between two frames on the way
// from one to the other.

import { Data } from "./data";
import { Layout, SHAPE_TEXELS } from "./gaussians";
import { Table } from "./table";

interface Track {
  width: number;
  low: number[];
  step: number[];
  values: Int32Array; // time by time, Gaussian by Gaussian
}

export class FrameMotion {
  private readonly tracks = new Map<string, Track>();

  constructor(
    private readonly data: Data,
    private readonly table: Table,
    private readonly layout: Layout,
  ) {
    for (const name of ["means", "quats", "scales", "opacities", "sh"]) {
      if (data.has(`${name}Over`)) this.tracks.set(name, this.read(`${name}Over`));
    }
  }

  // Integers are differences to the time before, modulo the column's range.
  private read(name: string): Track {
    const { width, bits, low, step } = this.data.column(name);
    const values = this.data.integers(name);
    const [frame, unused] = [this.table.rows * width, 32 - bits];
    for (let i = frame; i < values.length; i++) {
      values[i] = values[i - frame] + ((values[i] << unused) >> unused);
    }
    return { width, low, step, values };
  }

  setTime(seconds: number): void {
    const times = this.data.header.motion.seconds;
    let after = times.findIndex((time) => time >= seconds - 1e-6);
    if (after < 0) after = times.length - 1;
    const before = Math.max(after - 1, 0);
    const span = times[after] - times[before];
    const part = span > 0 ? Math.min(Math.max((seconds - times[before]) / span, 0), 1) : 1;
    for (const [name, track] of this.tracks) this.put(name, track, before, after, part);
    this.table.changed();
  }

  private put(name: string, track: Track, before: number, after: number, part: number): void {
    const { width, low, step, values } = track;
    const rows = this.table.rows;
    const now = new Array<number>(width);
    for (let row = 0; row < rows; row++) {
      const [a, b] = [width * (rows * before + row), width * (rows * after + row)];
      for (let c = 0; c < width; c++) {
        now[c] = low[c] + step[c] * ((1 - part) * values[a + c] + part * values[b + c]);
      }
      const at = 4 * row * this.table.texels;
      if (name === "means") this.table.values.set(now, at);
      else if (name === "opacities") this.table.values[at + 3] = now[0];
      else if (name === "scales") this.table.values.set(now.map(Math.exp), at + 8);
      else if (name === "quats") {
        const length = Math.hypot(...now) || 1;
        this.table.values.set([now[1] / length, now[2] / length, now[3] / length, now[0] / length], at + 4);
      } else {
        for (let k = 0; k < this.layout.coefficients; k++) {
          this.table.values.set(now.slice(3 * k, 3 * k + 3), at + 4 * (SHAPE_TEXELS + k));
        }
      }
    }
  }
}
