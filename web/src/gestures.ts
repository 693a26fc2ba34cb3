// Mouse, fingers and keys on the picture.

import { View } from "./view";

const TURN = Math.PI; // radians that a drag over the window's height turns by
const KEY = 0.06; // radians, or part of the window's height, of a key press

export function listen(canvas: HTMLCanvasElement, view: View, moved: () => void): void {
  const pointers = new Map<number, { x: number; y: number }>();
  const middle = () => {
    const [a, b] = [...pointers.values()];
    return { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2, apart: Math.hypot(a.x - b.x, a.y - b.y) };
  };

  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  });
  for (const end of ["pointerup", "pointercancel"] as const) {
    canvas.addEventListener(end, (event) => pointers.delete(event.pointerId));
  }
  canvas.addEventListener("pointermove", (event) => {
    const last = pointers.get(event.pointerId);
    if (!last || pointers.size > 2) return;
    const height = Math.max(canvas.clientHeight, 1);
    const before = pointers.size === 2 ? middle() : null;
    const [dx, dy] = [(event.clientX - last.x) / height, (event.clientY - last.y) / height];
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (before) {
      const now = middle();
      view.pan((before.x - now.x) / height, (now.y - before.y) / height);
      if (now.apart > 0) view.zoom(before.apart / now.apart);
    } else if (event.shiftKey || event.ctrlKey || (event.buttons & 6) !== 0) {
      view.pan(-dx, dy);
    } else {
      view.orbit(-TURN * dx, TURN * dy);
    }
    moved();
  });
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      view.zoom(Math.exp(0.001 * event.deltaY * (event.deltaMode ? 30 : 1)));
      moved();
    },
    { passive: false },
  );
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (!press(view, event.key, event.shiftKey)) return;
    event.preventDefault();
    moved();
  });
}

function press(view: View, key: string, shift: boolean): boolean {
  const [x, y] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[key] ?? [0, 0];
  if (x || y) {
    if (shift) view.pan(KEY * x, KEY * y);
    else view.orbit(KEY * x, KEY * y);
  } else if (key === "+" || key === "=") view.zoom(1 / 1.1);
  else if (key === "-" || key === "_") view.zoom(1.1);
  else return false;
  return true;
}
