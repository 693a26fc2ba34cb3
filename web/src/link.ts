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

// Sets the view; returns the second, or null where the link states none.
export function fromLink(link: string, view: View): number | null {
  const fields = new URLSearchParams(link.replace(/^#/, ""));
  const numbers = (name: string, count: number) => {
    const values = (fields.get(name) ?? "").split(",").map(Number);
    return values.length === count && values.every(Number.isFinite) ? values : null;
  };
  const [at, turn, lens] = [numbers("at", 3), numbers("turn", 4), numbers("lens", 3)];
  if (at && turn && lens && Math.hypot(...turn) > 0 && lens.every((value) => value > 0) && lens[0] < 179) {
    view.position.fromArray(at);
    view.turn.fromArray(turn).normalize();
    [view.fov, view.aspect, view.distance] = lens;
  }
  const time = fields.has("t") ? Number(fields.get("t")) : NaN;
  return Number.isFinite(time) ? time : null;
}
