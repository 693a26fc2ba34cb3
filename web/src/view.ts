// From where the scene is seen, and how mouse, keys and fingers change that.

import * as THREE from "three";

import { RecordedCamera } from "./data";

const SAMPLES = 20000; // places that the extent is taken from
const STEEPEST = 0.05; // radians that the view stays away from straight up and down

export class View {
  readonly position = new THREE.Vector3();
  readonly turn = new THREE.Quaternion();
  distance = 1; // to the point that it turns about
  fov = 50; // vertical, degrees
  aspect = 1; // of the pictures that the view was recorded for

  constructor(private readonly up: THREE.Vector3) {}

  get target(): THREE.Vector3 {
    return this.axis(0, 0, -1).multiplyScalar(this.distance).add(this.position);
  }

  // Vertical field of view that shows in a window all that the recording shows.
  fovFor(aspect: number): number {
    if (aspect >= this.aspect) return this.fov;
    const half = Math.tan((this.fov * Math.PI) / 360) * (this.aspect / aspect);
    return (Math.atan(half) * 360) / Math.PI;
  }

  lookThrough(camera: RecordedCamera, focus: THREE.Vector3): void {
    const pose = new THREE.Matrix4().fromArray(camera.pose).transpose();
    pose.decompose(this.position, this.turn, new THREE.Vector3());
    this.fov = camera.fov;
    this.aspect = camera.size[0] / camera.size[1];
    this.aim(focus);
  }

  // Looks at a ball from a little above, where no camera is recorded.
  showAll(middle: THREE.Vector3, radius: number): void {
    const side = new THREE.Vector3(...(Math.abs(this.up.x) < 0.9 ? [1, 0, 0] : [0, 1, 0])).cross(this.up);
    const back = side.cross(this.up).negate().normalize().addScaledVector(this.up, 0.4).normalize();
    this.distance = 2.5 * radius;
    this.position.copy(middle).addScaledVector(back, this.distance);
    this.turn.setFromRotationMatrix(new THREE.Matrix4().lookAt(this.position, middle, this.up));
  }

  // Turns about the point ahead that is as far as the focus.
  aim(focus: THREE.Vector3): void {
    const ahead = focus.clone().sub(this.position).dot(this.axis(0, 0, -1));
    this.distance = ahead > 0 ? ahead : Math.max(focus.distanceTo(this.position), 1e-6);
  }

  // Turns about the target: sideways about the scene's up, and up or down about the view's own axis.
  orbit(sideways: number, upwards: number): void {
    const target = this.target;
    const steep = this.axis(0, 0, 1).angleTo(this.up);
    const limited = Math.min(Math.max(upwards, steep - Math.PI + STEEPEST), steep - STEEPEST);
    const around = new THREE.Quaternion().setFromAxisAngle(this.up, sideways);
    const over = new THREE.Quaternion().setFromAxisAngle(this.axis(1, 0, 0), -limited);
    this.turn.premultiply(over).premultiply(around).normalize();
    this.position.copy(target).addScaledVector(this.axis(0, 0, 1), this.distance);
  }

  // Shifts sideways and upwards, in parts of the window's height at the target.
  pan(right: number, upwards: number): void {
    const height = 2 * this.distance * Math.tan((this.fov * Math.PI) / 360);
    this.position.addScaledVector(this.axis(1, 0, 0), right * height);
    this.position.addScaledVector(this.axis(0, 1, 0), upwards * height);
  }

  zoom(factor: number): void {
    const target = this.target;
    this.distance *= factor;
    this.position.copy(target).addScaledVector(this.axis(0, 0, 1), this.distance);
  }

  private axis(x: number, y: number, z: number): THREE.Vector3 {
    return new THREE.Vector3(x, y, z).applyQuaternion(this.turn);
  }
}

// The middle of most places, and how far most are from it.
export function extentOf(places: Float32Array): { middle: THREE.Vector3; radius: number } {
  const usual = (values: number[], part: number) =>
    values.sort((a, b) => a - b)[Math.floor(part * (values.length - 1))] ?? 0;
  const every = Math.ceil(places.length / 3 / SAMPLES);
  const count = Math.ceil(places.length / 3 / every);
  const axis = (c: number) => Array.from({ length: count }, (_, i) => places[3 * every * i + c]);
  const middle = new THREE.Vector3(usual(axis(0), 0.5), usual(axis(1), 0.5), usual(axis(2), 0.5));
  const [x, y, z] = [axis(0), axis(1), axis(2)];
  const away = x.map((_, i) => middle.distanceTo(new THREE.Vector3(x[i], y[i], z[i])));
  return { middle, radius: usual(away, 0.9) || 1 };
}

// Where the cameras look: the point nearest to all their axes.
export function focusOf(cameras: RecordedCamera[], otherwise: THREE.Vector3): THREE.Vector3 {
  const sum = new THREE.Matrix3().set(0, 0, 0, 0, 0, 0, 0, 0, 0);
  const right = new THREE.Vector3();
  for (const { pose } of cameras) {
    const place = new THREE.Vector3(pose[3], pose[7], pose[11]);
    const d = new THREE.Vector3(-pose[2], -pose[6], -pose[10]).normalize();
    const part = new THREE.Matrix3().set(
      1 - d.x * d.x, -d.x * d.y, -d.x * d.z,
      -d.x * d.y, 1 - d.y * d.y, -d.y * d.z,
      -d.x * d.z, -d.y * d.z, 1 - d.z * d.z,
    );
    part.elements.forEach((value, i) => (sum.elements[i] += value));
    right.add(place.applyMatrix3(part));
  }
  // All cameras at one place, or in one direction, look at no point.
  if (Math.abs(sum.determinant()) < 1e-4 * Math.max(cameras.length, 1) ** 3) return otherwise;
  return right.applyMatrix3(sum.invert());
}

// Sets a view on the way along the cameras, `part` of it from the first to the last.
export function alongPath(view: View, cameras: RecordedCamera[], part: number, focus: THREE.Vector3): void {
  const place = Math.min(Math.max(part, 0), 1) * (cameras.length - 1);
  const i = Math.min(Math.floor(place), Math.max(cameras.length - 2, 0));
  const u = place - i;
  view.lookThrough(cameras[i], focus);
  if (u === 0) return;
  const next = new View(new THREE.Vector3(0, 1, 0));
  next.lookThrough(cameras[i + 1], focus);
  view.position.lerp(next.position, u);
  view.turn.slerp(next.turn, u);
  view.fov += u * (next.fov - view.fov);
  view.aim(focus);
}
