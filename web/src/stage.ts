// Draws the scene: three.js and Spark, set to what the toolkit's own rasteriser does.

import { SparkRenderer } from "@sparkjsdev/spark";
import * as THREE from "three";

import { Data } from "./data";
import { SplatScene } from "./splats";
import { View } from "./view";

const LOW_PASS = 0.3; // square pixels that every Gaussian is widened by
const REACH = 3.33; // standard deviations
const FAINTEST = 1 / 255;

// Where Spark's shader differs from dyn3d_ns/rendering: lines of it, and what stands there instead.
const CHANGES = [
  // Faint Gaussians end where they no longer count.
  [
    "adjustedStdDev = maxStdDev;",
    "adjustedStdDev = min(maxStdDev, sqrt(max(2.0 * log(rgba.a / minAlpha), 0.0)));",
  ],
  // What lies far outside of the picture is projected as if it were near its border, else it smears over it.
  [
    "vec2 J2 = -(J1 * viewCenter.xy) * invZ;",
    `vec2 border = 1.3 / vec2(projectionMatrix[0][0], projectionMatrix[1][1]);
        vec2 J2 = -J1 * clamp(viewCenter.xy * invZ, -border, border);`,
  ],
];

function likeOurs(shader: string): string {
  for (const [theirs, ours] of CHANGES) {
    if (!shader.includes(theirs)) throw new Error(`Spark's shader has no line ${theirs}`);
    shader = shader.replace(theirs, ours);
  }
  return shader;
}

export class Stage {
  readonly camera: THREE.PerspectiveCamera;
  private readonly renderer: THREE.WebGLRenderer;
  private readonly scene = new THREE.Scene();
  private readonly spark: SparkRenderer;
  private readonly splats: SplatScene;
  private shown = "";

  constructor(
    private readonly canvas: HTMLCanvasElement,
    data: Data,
  ) {
    THREE.ColorManagement.enabled = false;
    this.renderer = new THREE.WebGLRenderer({ canvas, antialias: false, alpha: false });
    this.renderer.setClearColor(new THREE.Color(...data.header.background), 1);
    this.camera = new THREE.PerspectiveCamera(50, 1, data.header.near, 1e6 * data.header.near);
    this.spark = new SparkRenderer({
      renderer: this.renderer,
      autoUpdate: false,
      accumExtSplats: true,
      preBlurAmount: LOW_PASS,
      blurAmount: 0,
      maxStdDev: REACH,
      minAlpha: FAINTEST,
      maxPixelRadius: 1e5,
      clipXY: 1e3,
      sortRadial: false,
      enableLod: false,
      depthTest: false,
    });
    const { material } = this.spark;
    material.vertexShader = likeOurs(material.vertexShader);
    this.splats = new SplatScene(data);
    this.scene.add(this.spark, this.splats.object);
  }

  // Draws a moment from a view, once the Gaussians are where they belong and in order. A call must wait for the
  // one before.
  async draw(seconds: number, view: View): Promise<void> {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!width || !height) return;
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    const [wide, high] = [Math.round(width * ratio), Math.round(height * ratio)];
    const { camera, scene } = this;
    camera.position.copy(view.position);
    camera.quaternion.copy(view.turn);
    camera.fov = view.fovFor(width / height);
    camera.aspect = width / height;
    camera.updateProjectionMatrix();
    camera.updateMatrixWorld();
    const asked = [seconds, ...view.position, ...view.turn.toArray()].join();
    if (asked !== this.shown) {
      this.splats.set(seconds, view.position);
      await this.spark.update({ scene, camera });
      this.shown = asked;
    }
    if (this.canvas.width !== wide || this.canvas.height !== high) this.renderer.setSize(wide, high, false);
    this.renderer.render(scene, camera);
  }
}
