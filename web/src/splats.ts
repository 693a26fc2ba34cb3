// The scene as Spark draws it: a generator of Gaussians that reads our tables.

import { SplatGenerator, dyno } from "@sparkjsdev/spark";
import * as THREE from "three";

import { CarriedMotion } from "./carried";
import { Data } from "./data";
import { FrameMotion } from "./frames";
import { SHAPE_TEXELS, fill, layoutOf } from "./gaussians";
import { viewDependence } from "./harmonics";
import { TEXEL, Table } from "./table";

const FUNCTION = /* glsl */ `
void turnVector(vec4 q, inout vec3 v) {
  vec3 t = 2.0 * cross(q.xyz, v);
  v += q.w * t + cross(q.xyz, t);
}

vec4 quatProduct(vec4 a, vec4 b) {
  return vec4(a.w * b.xyz + b.w * a.xyz + cross(a.xyz, b.xyz), a.w * b.w - dot(a.xyz, b.xyz));
}
`;

export class SplatScene {
  readonly object: SplatGenerator;
  private readonly motion: CarriedMotion | FrameMotion | null;
  private readonly eye = dyno.dynoVec3(new THREE.Vector3());
  private readonly waves: { value: number }[];

  constructor(data: Data) {
    const { count, moving, coefficients, motion } = data.header;
    const carried = motion.kind === "carried";
    const movingLayout = layoutOf(coefficients, motion, true);
    const restingLayout = layoutOf(coefficients, motion, false);
    const movingTable = new Table(moving, movingLayout.texels);
    const restingTable = new Table(count - moving, restingLayout.texels);
    fill(movingTable, movingLayout, data, 0);
    fill(restingTable, restingLayout, data, moving);
    this.motion = carried
      ? new CarriedMotion(data)
      : motion.kind === "frames"
        ? new FrameMotion(data, movingTable, movingLayout)
        : null;
    this.waves = Array.from({ length: movingLayout.changes }, () => dyno.dynoFloat(0));
    const moves = this.motion instanceof CarriedMotion ? this.motion.glsl(movingLayout) : "";
    const waveNames = this.waves.map((_, m) => `wave${m}`);
    const one = dyno.dyno({
      inTypes: {
        index: "int",
        movingTable: "sampler2D",
        restingTable: "sampler2D",
        motionTable: "sampler2D",
        eye: "vec3",
        ...Object.fromEntries(waveNames.map((name) => [name, "float"])),
      } as Record<string, dyno.DynoType>,
      outTypes: { gsplat: dyno.Gsplat },
      globals: () => [dyno.defineGsplat, TEXEL, FUNCTION, moves],
      statements: ({ inputs, outputs }) => {
        const read = (of: string) => `texelOf(${inputs[of]}, row + `;
        const body = (of: string, texels: number, move: boolean) => `
  int row = (${inputs.index}${of === "movingTable" ? "" : ` - ${moving}`}) * ${texels};
  vec4 place = ${read(of)}0);
  center = place.xyz;
  opacity = place.w;
  quat = ${read(of)}1);
  ${move ? `moveGaussian(${inputs[of]}, row, ${inputs.motionTable}, center, quat, turn);` : ""}
  scales = ${read(of)}2).xyz;
  vec3 d = normalize(center - ${inputs.eye});
  ${move && motion.turnColors ? "turnVector(vec4(-turn.xyz, turn.w), d);" : ""}
  vec3 base = ${read(of)}${SHAPE_TEXELS}).rgb;
  ${waveNames.map((name, m) => `base += ${inputs[name]} * ${read(of)}${SHAPE_TEXELS + coefficients + m}).rgb;`).join("\n  ")}
  color = 0.5 + 0.2820948 * base + ${viewDependence(coefficients).replaceAll("coefficient(", `${read(of)}${SHAPE_TEXELS} + `)};`;
        return `
vec3 center, scales, color;
vec4 quat, turn = vec4(0.0, 0.0, 0.0, 1.0);
float opacity;
if (${inputs.index} < ${moving}) {${body("movingTable", movingLayout.texels, carried)}
} else {${body("restingTable", restingLayout.texels, false)}
}
${outputs.gsplat}.flags = GSPLAT_FLAG_ACTIVE;
${outputs.gsplat}.index = ${inputs.index};
${outputs.gsplat}.center = center;
${outputs.gsplat}.scales = scales;
${outputs.gsplat}.quaternion = quat;
${outputs.gsplat}.rgba = vec4(max(color, 0.0), opacity);`.split("\n");
      },
    });
    const table = this.motion instanceof CarriedMotion ? this.motion.table : new Table(1, 1);
    this.object = new SplatGenerator({
      numSplats: count,
      generator: dyno.dynoBlock({ index: "int" }, { gsplat: dyno.Gsplat }, ({ index }) =>
        one.apply({
          index,
          movingTable: dyno.dynoSampler2D(movingTable.texture),
          restingTable: dyno.dynoSampler2D(restingTable.texture),
          motionTable: dyno.dynoSampler2D(table.texture),
          eye: this.eye,
          ...Object.fromEntries(waveNames.map((name, m) => [name, this.waves[m]])),
        }),
      ),
    });
    this.object.frustumCulled = false;
  }

  // Sets what the Gaussians depend on; tells whether that changes them.
  set(seconds: number, eye: THREE.Vector3): void {
    this.motion?.setTime(seconds);
    if (this.motion instanceof CarriedMotion) {
      this.motion.waves.forEach((value, m) => (this.waves[m].value = value));
    }
    this.eye.value.copy(eye);
    this.object.updateVersion();
  }
}
