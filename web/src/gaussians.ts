// Gaussians as rows of texels: centre and opacity, orientation, scales and the body's number, then colours and
// what a motion adds.

import { Data, Motion } from "./data";
import { Table } from "./table";

export const SHAPE_TEXELS = 3;

export interface Layout {
  texels: number;
  coefficients: number; // of spherical harmonics, a texel each
  changes: number; // of colours over time, a texel each
  motionTexel: number; // where the weights of motions stand, four a texel
  weights: number;
  bendTexel: number; // where it stands how latent motions bend, two texels each
  latents: number;
}

// The rows of Gaussians that rest, or of those that follow a motion.
export function layoutOf(coefficients: number, motion: Motion, moving: boolean): Layout {
  const carried = motion.kind === "carried";
  const changes = carried ? motion.waves : 0;
  const weights = moving && carried && !motion.bodies ? motion.motions : 0;
  const latents = moving && carried ? motion.latents : 0;
  const motionTexel = SHAPE_TEXELS + coefficients + changes;
  const bendTexel = motionTexel + Math.ceil(weights / 4);
  const texels = bendTexel + 2 * latents;
  return { texels, coefficients, changes, motionTexel, weights, bendTexel, latents };
}

// Fills a table with the Gaussians from `first` on.
export function fill(table: Table, layout: Layout, data: Data, first: number): void {
  const means = data.floats("means");
  const quats = data.floats("quats");
  const scales = data.floats("scales");
  const opacities = data.floats("opacities");
  const base = data.floats("base");
  const rest = layout.coefficients > 1 ? data.floats("rest") : new Float32Array();
  const changes = layout.changes ? data.floats("changes") : new Float32Array();
  const weights = layout.weights ? data.floats("weights") : new Float32Array();
  const bodies = data.has("bodies") ? data.floats("bodies") : new Float32Array();
  const others = 3 * (layout.coefficients - 1);
  for (let row = 0; row < table.rows; row++) {
    const i = first + row;
    const [x, y, z] = quats.subarray(3 * i, 3 * i + 3);
    const w = Math.sqrt(Math.max(1 - x * x - y * y - z * z, 0));
    table.set(row, 0, means[3 * i], means[3 * i + 1], means[3 * i + 2], opacities[i]);
    table.set(row, 1, x, y, z, w);
    table.set(row, 2, ...Array.from(scales.subarray(3 * i, 3 * i + 3), Math.exp), bodies[i] ?? 0);
    let texel = SHAPE_TEXELS;
    table.set(row, texel++, ...base.subarray(3 * i, 3 * i + 3));
    for (let k = 0; k < layout.coefficients - 1; k++) {
      table.set(row, texel++, ...rest.subarray(others * i + 3 * k, others * i + 3 * k + 3));
    }
    for (let m = 0; m < layout.changes; m++) {
      const at = 3 * layout.changes * i + 3 * m;
      table.set(row, texel++, ...changes.subarray(at, at + 3));
    }
    if (layout.weights) {
      const mine = weights.subarray(layout.weights * row, layout.weights * (row + 1));
      const sum = mine.reduce((a, b) => a + b, 0) || 1;
      table.set(row, layout.motionTexel, ...Array.from(mine, (weight) => weight / sum));
    }
  }
  for (let j = 0; j < layout.latents; j++) {
    const bend = data.floats(`bend${j}`);
    const turn = data.floats(`turn${j}`);
    for (let row = 0; row < table.rows; row++) {
      const [w, x, y, z] = turn.subarray(4 * row, 4 * row + 4);
      table.set(row, layout.bendTexel + 2 * j, ...bend.subarray(3 * row, 3 * row + 3));
      table.set(row, layout.bendTexel + 2 * j + 1, x, y, z, w);
    }
  }
}
