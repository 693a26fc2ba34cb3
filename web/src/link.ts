// Time and view as they stand behind the # of a link.

import { View } from "./view";

export function toLink(seconds: number, view: View): string {
  const numbers = (values: Iterable<number>) => Array.from(values, (value) => +value.toPrecision(7)).join();
  const parts = [
    `t=${+seconds.toFixed(4)}`,
    `at=${numbers(view.position)}`,
    `turn=${numbers(view.turn.toArray())}`,
    `lens=${numbers([view.fov, view.aspect, view.distance])}`,
  ];
  return `#${parts.join("&")}`;
}

// Sets the view; returns the second, or null where the link states none, and whether it states a view.
export function fromLink(link: string, view: View): { seconds: number | null; viewed: boolean } {
  const fields = new URLSearchParams(link.replace(/^#/, ""));
  const numbers = (name: string, count: number) => {
    const values = (fields.get(name) ?? "").split(",").map(Number);
    return values.length === count && values.every(Number.isFinite) ? values : null;
  };
  const [at, turn, lens] = [numbers("at", 3), numbers("turn", 4), numbers("lens", 3)];
  const sound = at && turn && lens && Math.hypot(...turn) > 0 && Math.min(...lens) > 0 && lens[0] < 179;
  if (sound) {
    view.position.fromArray(at);
    view.turn.fromArray(turn).normalize();
    [view.fov, view.aspect, view.distance] = lens;
  }
  const time = fields.has("t") ? Number(fields.get("t")) : NaN;
  return { seconds: Number.isFinite(time) ? time : null, viewed: Boolean(sound) };
}
