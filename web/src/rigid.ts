// The motion of dyn3d-velocity: every Gaussian mixes a few rigid motions while the recording is observed, and
// follows a mixture of their twists after that, by the midpoint rule as in dyn3d_ns/fields/integrate.py.

import { Data } from "./data";
import { Table } from "./table";

const ROW = 4; // texels of a motion: three rows of its matrix with its shift, and its quaternion
const TWISTS = 4; // texels of a motion's twists in a step: velocity and turn at its start and at its middle

export class RigidMotion {
  readonly table: Table;
  readonly waves: number[];
  steps = 0;
  private readonly pivots: Float32Array;
  private readonly values: Float32Array;
  private readonly rates: Float32Array;
  private readonly twists: Float32Array;
  private readonly maxSteps: number;

  constructor(private readonly data: Data) {
    this.pivots = data.floats("pivots");
    this.values = data.floats("values");
    this.rates = data.floats("rates");
    this.twists = data.floats("twists");
    this.maxSteps = (data.column("twists").rows - 1) / 2;
    const { motions, waves } = data.header.motion;
    this.table = new Table(motions, ROW + TWISTS * this.maxSteps);
    this.waves = new Array(waves).fill(0);
  }

  // Sets what depends on the time alone.
  setTime(seconds: number): void {
    const { motions, from, to, step } = this.data.header.motion;
    const now = Math.min(Math.max(seconds, from), to);
    for (let k = 0; k < motions; k++) this.setMotion(k, this.sixAt(k, now));
    const phase = (now - from) / Math.max(to - from, 1e-6);
    for (let m = 0; m < this.waves.length; m++) this.waves[m] = Math.cos(Math.PI * (m + 1) * phase);
    const ahead = Math.max(seconds - to, 0) / step;
    this.steps = Math.min(Math.ceil(ahead - 1e-4), this.maxSteps);
    for (let i = 0; i < this.steps; i++) {
      const part = Math.min(ahead - i, 1);
      for (let k = 0; k < motions; k++) this.setTwists(k, i, part, part * step);
    }
    this.table.changed();
  }

  // Shift and rotation vector of a motion, by Hermite's cubic through the samples.
  private sixAt(motion: number, seconds: number): number[] {
    const { motions, from, to } = this.data.header.motion;
    const last = this.data.column("values").rows - 1;
    const spacing = (to - from) / last;
    const place = spacing > 0 ? (seconds - from) / spacing : 0;
    const i = Math.min(Math.floor(place), Math.max(last - 1, 0));
    const u = place - i;
    const a = 6 * (motions * i + motion);
    const b = 6 * (motions * Math.min(i + 1, last) + motion);
    return Array.from({ length: 6 }, (_, c) => {
      const [p, q] = [this.values[a + c], this.values[b + c]];
      const [s, t] = [this.rates[a + c] * spacing, this.rates[b + c] * spacing];
      return (
        p * (1 + 2 * u) * (1 - u) ** 2 + q * u * u * (3 - 2 * u) + s * u * (1 - u) ** 2 + t * u * u * (u - 1)
      );
    });
  }

  private setMotion(k: number, six: number[]): void {
    const [rx, ry, rz] = six.slice(3);
    const angle = Math.hypot(rx, ry, rz);
    const factor = angle > 1e-6 ? Math.sin(0.5 * angle) / angle : 0.5;
    const [w, x, y, z] = [Math.cos(0.5 * angle), factor * rx, factor * ry, factor * rz];
    const rows = [
      [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
      [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
      [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ];
    const pivot = this.pivots.subarray(3 * k, 3 * k + 3);
    rows.forEach((row, axis) => {
      const turned = row[0] * pivot[0] + row[1] * pivot[1] + row[2] * pivot[2];
      this.table.set(k, axis, ...row, six[axis] + pivot[axis] - turned);
    });
    this.table.set(k, 3, x, y, z, w);
  }

  private setTwists(k: number, i: number, part: number, seconds: number): void {
    const { motions } = this.data.header.motion;
    const at = (half: number, c: number) => this.twists[6 * (motions * (2 * i + half) + k) + c];
    // The parabola through the step's start, middle and end, at the middle of the part that is taken.
    const middle = Array.from({ length: 6 }, (_, c) => {
      const [a, b, d] = [at(0, c), at(1, c), at(2, c)];
      return a + part * (b - a) + 0.5 * part * (part - 1) * (d - 2 * b + a);
    });
    const start = Array.from({ length: 6 }, (_, c) => at(0, c));
    const texel = ROW + TWISTS * i;
    this.table.set(k, texel, start[0], start[1], start[2], seconds);
    this.table.set(k, texel + 1, start[3], start[4], start[5]);
    this.table.set(k, texel + 2, middle[0], middle[1], middle[2]);
    this.table.set(k, texel + 3, middle[3], middle[4], middle[5]);
  }

  // GLSL that moves a centre and finds the turn from the canonical orientation (xyzw).
  glsl(weightTexel: number): string {
    const { motions } = this.data.header.motion;
    return /* glsl */ `
vec4 quatRate(vec4 q, vec3 w) {
  return vec4(0.5 * (q.w * w + cross(w, q.xyz)), -0.5 * dot(w, q.xyz));
}

void moveGaussian(highp sampler2D gaussians, int row, highp sampler2D table, int steps, inout vec3 center, out vec4 turn) {
  const int motions = ${motions};
  const int wide = ${this.table.texels};
  vec4 r0 = vec4(0.0), r1 = vec4(0.0), r2 = vec4(0.0);
  float weights[motions];
  int used[motions];
  int count = 0;
  turn = vec4(0.0);
  vec4 four;
  for (int k = 0; k < motions; k++) {
    if ((k & 3) == 0) four = texelOf(gaussians, row + ${weightTexel} + (k >> 2));
    float weight = four[k & 3];
    if (weight == 0.0) continue;
    weights[count] = weight;
    used[count++] = k * wide;
    r0 += weight * texelOf(table, k * wide);
    r1 += weight * texelOf(table, k * wide + 1);
    r2 += weight * texelOf(table, k * wide + 2);
    turn += weight * texelOf(table, k * wide + 3);
  }
  vec4 point = vec4(center, 1.0);
  center = vec3(dot(r0, point), dot(r1, point), dot(r2, point));
  for (int i = 0; i < steps; i++) {
    int at = ${ROW} + ${TWISTS} * i;
    float h = texelOf(table, at).w;
    vec3 u = vec3(0.0), w = vec3(0.0), v = vec3(0.0), o = vec3(0.0);
    for (int j = 0; j < count; j++) {
      u += weights[j] * texelOf(table, used[j] + at).xyz;
      w += weights[j] * texelOf(table, used[j] + at + 1).xyz;
      v += weights[j] * texelOf(table, used[j] + at + 2).xyz;
      o += weights[j] * texelOf(table, used[j] + at + 3).xyz;
    }
    vec3 middle = center + 0.5 * h * (u + cross(w, center));
    vec4 middleTurn = turn + 0.5 * h * quatRate(turn, w);
    center += h * (v + cross(o, middle));
    turn += h * quatRate(middleTurn, o);
  }
  turn = normalize(turn);
}
`;
  }
}
