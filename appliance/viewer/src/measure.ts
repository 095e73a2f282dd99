/**
 * Measurements for tests, made only with `measure=1` in the address: copies a few pixels of the frame on screen out of its VideoFrame.
 * Finds the time stamp that the synthetic source burns in, and the bright bead at the instrument's tip.
 */
import { utcMsFromTaiMs } from "./clock.ts";
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
const SIDE = 2 * REACH;
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

/** A frame that was joined with a record: how long after the instant that its record names it was sent, by what is burnt into its own pixels. */
export interface IdentitySample {
  rtpTimestamp: number;
  sentAfterMs: number;
}

/** Microseconds since 1970 UTC modulo 2^48, or null if the strip holds no stamp. `strip` is a row of RGBA, CELL * CELLS wide. */
export function readStamp(strip: Uint8Array): number | null {
  const bit = (cell: number): number => ((strip[(cell * CELL + CELL / 2) * 4 + 1] ?? 0) >= WHITE ? 1 : 0);
  if (SYNC.some((wanted, index) => bit(TIME_BITS + index) !== wanted)) return null;
  let microseconds = 0;
  for (let cell = 0; cell < TIME_BITS; cell += 1) microseconds = microseconds * 2 + bit(cell);
  return microseconds;
}

/** Milliseconds from a stamp to `nowMs` (since 1970). 48 bits of microseconds wrap every nine years, so the nearest instant is meant. */
export function sinceStampMs(stamp: number, nowMs: number): number {
  const span = 2 ** TIME_BITS;
  const difference = (nowMs * 1_000 - stamp) % span;
  return (difference > span / 2 ? difference - span : difference) / 1_000;
}

/** Centre of the bead in an RGBA square, in its own pixel coordinates, weighted by how bead-coloured each pixel is. */
export function findBead(pixels: Uint8Array, width: number): { x: number; y: number } | null {
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
  /** Milliseconds from the burnt-in stamp to the frame's callback, by this machine's clock. */
  readonly glassLatencies = new Recent<number>(KEPT);
  readonly beads = new Recent<BeadSample>(KEPT);
  readonly identities = new Recent<IdentitySample>(KEPT);
  /** Frames in which the stamp, or the bead near the marker, was not found. */
  stampsMissed = 0;
  beadsMissed = 0;
  private held: VideoFrame | null = null;
  private stamp: Promise<number | null> = Promise.resolve(null);

  /** Holds the frame on screen until the next one, and reads its stamp. `at`: performance.now() of its callback. */
  frame(frame: VideoFrame, at: number): void {
    this.held?.close();
    this.held = frame;
    this.stamp = this.readStamp(frame, performance.timeOrigin + at);
  }

  /** The frame that is held was joined with a record that says this time of its frame's origin. */
  async joined(rtpTimestamp: number, originTaiMs: number | null): Promise<void> {
    const stamp = await this.stamp;
    if (stamp !== null && originTaiMs !== null) this.identities.push({ rtpTimestamp, sentAfterMs: -sinceStampMs(stamp, utcMsFromTaiMs(originTaiMs)) });
  }

  /** Looks for the bead around the marker of the frame that is held. */
  async bead(marker: { x: number; y: number }, rtpTimestamp: number): Promise<void> {
    if (this.held === null) return;
    // Chroma is stored for two pixels by two, so a region begins on an even pixel.
    const left = clamp(Math.round((marker.x - REACH) / 2) * 2, this.held.displayWidth - SIDE);
    const top = clamp(Math.round((marker.y - REACH) / 2) * 2, this.held.displayHeight - SIDE);
    const pixels = await copy(this.held, { x: left, y: top, width: SIDE, height: SIDE });
    const found = pixels === null ? null : findBead(pixels, SIDE);
    if (found === null) {
      this.beadsMissed += 1;
      return;
    }
    const bead = { x: left + found.x, y: top + found.y };
    this.beads.push({ rtpTimestamp, marker, bead, distance: Math.hypot(bead.x - marker.x, bead.y - marker.y) });
  }

  private async readStamp(frame: VideoFrame, shownMs: number): Promise<number | null> {
    const strip = await copy(frame, { x: 0, y: CELL / 2, width: CELL * CELLS, height: 2 });
    const stamp = strip === null ? null : readStamp(strip);
    if (stamp === null) this.stampsMissed += 1;
    else this.glassLatencies.push(sinceStampMs(stamp, shownMs));
    return stamp;
  }
}

function clamp(value: number, most: number): number {
  return Math.max(0, Math.min(value, most - (most % 2)));
}

/**
 * RGBA of a region, or null where the frame does not reach or the browser cannot convert.
 * Measured: 0.2 ms, against 9 ms for drawing a 720p frame on a canvas and reading it back, which would disturb what is measured.
 */
async function copy(frame: VideoFrame, rect: DOMRectInit & { width: number; height: number }): Promise<Uint8Array | null> {
  const pixels = new Uint8Array(rect.width * rect.height * 4);
  // A clone, since the frame held may be closed before the copy is made.
  const clone = frame.clone();
  try {
    await clone.copyTo(pixels, { rect, format: "RGBA" });
    return pixels;
  } catch {
    return null;
  } finally {
    clone.close();
  }
}
