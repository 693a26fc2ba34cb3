// The motion of dyn3d-velocity: a Gaussian bends by its body's latent motions, then follows a mixture of rigid
// ones, or one alone; all are cubics of time, of which the data holds values and rates at some times.

import { Data } from "./data";
import { Layout } from "./gaussians";
import { Table } from "./table";

const ROW = 4; // texels of a motion: three rows of its matrix with its shift, and its quaternion; then latents
const RIGID = 7; // numbers of a motion: quaternion (wxyz) and shift; then latents

export class CarriedMotion {
  readonly table: Table;
  readonly waves: number[];
  private readonly values: Float32Array;
  private readonly rates: Float32Array;
  private readonly times: Float32Array;

  constructor(private readonly data: Data) {
    this.values = data.floats("motions");
    this.rates = data.floats("rates");
    this.times = data.floats("times");
    const { motions, latents, waves } = data.header.motion;
    this.table = new Table(motions, ROW + Math.ceil(latents / 4));
    this.waves = new Array(waves).fill(0);
  }

  // Sets what depends on the time alone.
  setTime(seconds: number): void {
    const { motions, latents, duration, from, to } = this.data.header.motion;
    const time = seconds / duration;
    for (let k = 0; k < motions; k++) {
      const now = this.motionAt(k, time);
      this.setPose(k, now);
      for (let j = 0; j < latents; j += 4) {
        this.table.set(k, ROW + j / 4, ...now.slice(RIGID + j, RIGID + Math.min(j + 4, latents)));
      }
    }
    const phase = Math.min(Math.max((time - from) / Math.max(to - from, 1e-6), 0), 1);
    for (let m = 0; m < this.waves.length; m++) this.waves[m] = Math.cos(Math.PI * (m + 1) * phase);
    this.table.changed();
  }

  // The numbers of a motion, by Hermite's cubic; held before the first time and after the last.
  private motionAt(motion: number, time: number): number[] {
    const times = this.times;
    const last = times.length - 1;
    let i = 0;
    while (i < last - 1 && times[i + 1] <= time) i++;
    const next = Math.min(i + 1, last);
    const spacing = times[next] - times[i];
    const u = spacing > 0 ? Math.min(Math.max((time - times[i]) / spacing, 0), 1) : 0;
    const width = RIGID + this.data.header.motion.latents;
    const a = width * (times.length * motion + i);
    const b = width * (times.length * motion + next);
    return Array.from({ length: width }, (_, c) => {
      const [p, q] = [this.values[a + c], this.values[b + c]];
      const [s, t] = [this.rates[a + c] * spacing, this.rates[b + c] * spacing];
      return (
        p * (1 + 2 * u) * (1 - u) ** 2 + q * u * u * (3 - 2 * u) + s * u * (1 - u) ** 2 + t * u * u * (u - 1)
      );
    });
  }

  private setPose(k: number, numbers: number[]): void {
    const length = Math.hypot(...numbers.slice(0, 4)) || 1;
    const [w, x, y, z] = numbers.slice(0, 4).map((number) => number / length);
    const rows = [
      [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
      [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
      [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ];
    rows.forEach((row, axis) => this.table.set(k, axis, ...row, numbers[4 + axis]));
    this.table.set(k, 3, x, y, z, w);
  }

  // GLSL that bends and moves a Gaussian, and finds the turn of its axes since the canonical time.
  glsl(layout: Layout): string {
    const { motions, bodies, latents } = this.data.header.motion;
    const fours = Math.ceil(latents / 4);
    const wide = this.table.texels;
    const add = (weight: string, at: string) => `
    r0 += ${weight} * texelOf(table, ${at});
    r1 += ${weight} * texelOf(table, ${at} + 1);
    r2 += ${weight} * texelOf(table, ${at} + 2);
    mixed += ${weight} * texelOf(table, ${at} + 3);
    for (int j = 0; j < ${fours}; j++) latent[j] += ${weight} * texelOf(table, ${at} + ${ROW} + j);`;
    const mix = bodies
      ? `
  int at = ${wide} * int(texelOf(gaussians, row + 2).w + 0.5);${add("1.0", "at")}`
      : `
  vec4 four;
  for (int k = 0; k < ${motions}; k++) {
    if ((k & 3) == 0) four = texelOf(gaussians, row + ${layout.motionTexel} + (k >> 2));
    float weight = four[k & 3];
    if (weight == 0.0) continue;${add("weight", `${wide} * k`)}
  }`;
    return /* glsl */ `
void moveGaussian(highp sampler2D gaussians, int row, highp sampler2D table, inout vec3 center, inout vec4 quat, out vec4 turn) {
  vec4 r0 = vec4(0.0), r1 = vec4(0.0), r2 = vec4(0.0), mixed = vec4(0.0), before = quat;
  vec4 latent[${fours + 1}];
  for (int j = 0; j < ${fours}; j++) latent[j] = vec4(0.0);${mix}
  for (int j = 0; j < ${latents}; j++) {
    int texel = row + ${layout.bendTexel} + 2 * j;
    center += latent[j >> 2][j & 3] * texelOf(gaussians, texel).xyz;
    quat += latent[j >> 2][j & 3] * texelOf(gaussians, texel + 1);
  }
  vec4 point = vec4(center, 1.0);
  center = vec3(dot(r0, point), dot(r1, point), dot(r2, point));
  quat = normalize(quatProduct(mixed, quat));
  turn = quatProduct(quat, vec4(-before.xyz, before.w));
}
`;
  }
}
