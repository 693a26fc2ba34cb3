// Rows of four-number texels for shaders.

import * as THREE from "three";

const WIDTH_BITS = 12;

export class Table {
  readonly texture: THREE.DataTexture;
  readonly values: Float32Array;

  constructor(
    readonly rows: number,
    readonly texels: number,
  ) {
    const width = 1 << WIDTH_BITS;
    const height = Math.max(Math.ceil((rows * texels) / width), 1);
    this.values = new Float32Array(4 * width * height);
    this.texture = new THREE.DataTexture(this.values, width, height, THREE.RGBAFormat, THREE.FloatType);
    this.texture.needsUpdate = true;
  }

  set(row: number, texel: number, ...values: number[]): void {
    this.values.set(values, 4 * (row * this.texels + texel));
  }

  changed(): void {
    this.texture.needsUpdate = true;
  }
}

export const TEXEL = /* glsl */ `
vec4 texelOf(highp sampler2D table, int at) {
  return texelFetch(table, ivec2(at & ${(1 << WIDTH_BITS) - 1}, at >> ${WIDTH_BITS}), 0);
}
`;
