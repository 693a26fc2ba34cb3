// What the page holds: a header in JSON, and columns of numbers packed by dyn3d_ns/export/web_columns.py.

export const VERSION = 2;

export interface Column {
  name: string;
  rows: number;
  width: number;
  bits: number;
  along: boolean;
  low: number[];
  step: number[];
}

export interface RecordedCamera {
  pose: number[]; // camera to world, row by row, OpenGL axes
  fov: number; // vertical, degrees
  size: [number, number];
}

export interface Motion {
  kind: "rest" | "carried" | "frames";
  seconds: number[]; // frames
  motions: number; // carried, as all that follows
  bodies: boolean; // whether each Gaussian follows one motion alone
  latents: number;
  waves: number;
  turnColors: boolean;
  duration: number; // seconds of the unit of time
  from: number; // observed time
  to: number;
}

export interface Header {
  version: number;
  title: string;
  background: [number, number, number];
  up: [number, number, number];
  near: number;
  fps: number;
  observed: number; // last observed second
  recorded: number; // last second of the recording
  end: number; // last second shown
  count: number;
  moving: number;
  coefficients: number;
  motion: Motion;
  cameras: RecordedCamera[];
  columns: Column[];
}

export class Data {
  private readonly starts = new Map<string, { column: Column; start: number }>();

  constructor(
    readonly header: Header,
    private readonly bytes: Uint8Array,
  ) {
    let start = 0;
    for (const column of header.columns) {
      this.starts.set(column.name, { column, start });
      start += (column.rows * column.width * column.bits) / 8;
    }
    if (start !== bytes.length) throw new Error(`the data has ${bytes.length} bytes, expected ${start}`);
  }

  has(name: string): boolean {
    return this.starts.has(name);
  }

  column(name: string): Column {
    return this.find(name).column;
  }

  // Integers of a column, row by row.
  integers(name: string): Int32Array {
    const { column, start } = this.find(name);
    const { rows, width, bits } = column;
    const found = new Int32Array(rows * width);
    let at = start;
    for (let component = 0; component < width; component++) {
      for (let shift = bits - 8; shift >= 0; shift -= 8) {
        for (let row = 0; row < rows; row++) found[row * width + component] |= this.bytes[at++] << shift;
      }
    }
    if (column.along) {
      const mask = 2 ** bits - 1;
      for (let i = width; i < found.length; i++) found[i] = (found[i] + found[i - width]) & mask;
    }
    return found;
  }

  // Numbers of a column, row by row.
  floats(name: string): Float32Array {
    const { column, start } = this.find(name);
    if (column.bits === 32) {
      return new Float32Array(this.bytes.slice(start, start + 4 * column.rows * column.width).buffer);
    }
    const integers = this.integers(name);
    const found = new Float32Array(integers.length);
    for (let i = 0; i < found.length; i++) {
      const component = i % column.width;
      found[i] = column.low[component] + column.step[component] * integers[i];
    }
    return found;
  }

  private find(name: string) {
    const found = this.starts.get(name);
    if (!found) throw new Error(`the data has no column ${name}`);
    return found;
  }
}

// Reads what stands in the page.
export async function readData(): Promise<Data> {
  const header = JSON.parse(text("scene-header")) as Header;
  if (header.version !== VERSION) throw new Error(`the data is of version ${header.version}, not ${VERSION}`);
  const packed = Uint8Array.from(atob(text("scene-data")), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Data(header, new Uint8Array(await new Response(stream).arrayBuffer()));
}

function text(id: string): string {
  const element = document.getElementById(id);
  if (!element?.textContent) throw new Error(`the page holds no ${id}`);
  return element.textContent.trim();
}
