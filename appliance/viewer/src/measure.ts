/**
 * Measurements for tests, made only with `measure=1` in the address: reads pixels of the frame on screen back through a canvas.
 * Finds the time stamp that the synthetic source burns in, and the bright bead at the instrument's tip.
 */
import { Recent } from "./recent.ts";

const KEPT = 3_000;

/** The burnt-in stamp: 64 cells of 16 x 16 pixels along the top edge; 48 bits of time, most significant first, then the sync word. */
const CELL = 16;
const CELLS = 64;
const TIME_BITS = 48;
const SYNC = [1, 0, 1, 0, 0, 1, 0, 1, 1, 1, 0, 0, 0, 0, 1, 1];
const WHITE = 128;

/** Half the side of the square around the marker that is searched for the bead. */
const REACH = 40;
/** A pixel belongs to the bead if its green exceeds its other colours by so much; tissue and steel never do that. */
const BEAD_EXCESS = 60;
const BEAD_PIXELS_MIN = 6;

export interface BeadSample {
  rtpTimestamp: number;
  /** Pixels between the marker and the centre of the bead in the decoded picture. */
  distance: number;
  marker: { x: number; y: number };
  bead: { x: number; y: number };
}

/** Microseconds since 1970 UTC, or null if the strip holds no stamp. `strip` is one row of RGBA, CELL * CELLS wide. */
export function readStamp(strip: Uint8ClampedArray): number | null {
  const bit = (cell: number): number => ((strip[(cell * CELL + CELL / 2) * 4 + 1] ?? 0) >= WHITE ? 1 : 0);
  if (SYNC.some((wanted, index) => bit(TIME_BITS + index) !== wanted)) return null;
  let microseconds = 0;
  for (let cell = 0; cell < TIME_BITS; cell += 1) microseconds = microseconds * 2 + bit(cell);
  return microseconds;
}

/** Centre of the bead in an RGBA square, in its own pixel coordinates, weighted by how bead-coloured each pixel is. */
export function findBead(pixels: Uint8ClampedArray, width: number): { x: number; y: number } | null {
  let weight = 0;
  let x = 0;
  let y = 0;
  let count = 0;
  for (let index = 0; index * 4 < pixels.length; index += 1) {
    const excess = pixels[index * 4 + 1]! - Math.max(pixels[index * 4]!, pixels[index * 4 + 2]!);
    if (excess < BEAD_EXCESS) continue;
    count += 1;
    weight += excess;
    x += excess * (index % width);
    y += excess * Math.floor(index / width);
  }
  return count < BEAD_PIXELS_MIN ? null : { x: x / weight, y: y / weight };
}

export class Measure {
  /** Milliseconds from the burnt-in stamp to the end of its read-back, by this machine's clock. */
  readonly glassLatencies = new Recent<number>(KEPT);
  readonly beads = new Recent<BeadSample>(KEPT);
  /** Frames in which the stamp, or the bead near the marker, was not found. */
  stampsMissed = 0;
  beadsMissed = 0;
  private readonly strip = canvasContext(CELL * CELLS, 1);
  private readonly square = canvasContext(2 * REACH + 1, 2 * REACH + 1);

  stamp(video: HTMLVideoElement): void {
    this.strip.drawImage(video, 0, CELL / 2, CELL * CELLS, 1, 0, 0, CELL * CELLS, 1);
    const microseconds = readStamp(this.strip.getImageData(0, 0, CELL * CELLS, 1).data);
    if (microseconds === null) this.stampsMissed += 1;
    else this.glassLatencies.push(performance.timeOrigin + performance.now() - microseconds / 1_000);
  }

  bead(video: HTMLVideoElement, marker: { x: number; y: number }, rtpTimestamp: number): void {
    const left = Math.round(marker.x) - REACH;
    const top = Math.round(marker.y) - REACH;
    const side = 2 * REACH + 1;
    this.square.clearRect(0, 0, side, side);
    this.square.drawImage(video, left, top, side, side, 0, 0, side, side);
    const found = findBead(this.square.getImageData(0, 0, side, side).data, side);
    if (found === null) {
      this.beadsMissed += 1;
      return;
    }
    const bead = { x: left + found.x, y: top + found.y };
    this.beads.push({ rtpTimestamp, marker, bead, distance: Math.hypot(bead.x - marker.x, bead.y - marker.y) });
  }
}

function canvasContext(width: number, height: number): CanvasRenderingContext2D {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  // Kept in main memory, so that a read-back does not wait for the graphics processor.
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (context === null) throw new Error("this browser draws no 2D canvas");
  return context;
}
