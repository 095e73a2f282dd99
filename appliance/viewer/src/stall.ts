/**
 * Notices that the picture (or the stream of records) stands still. Told of each one and asked now and then; it has no timer of its own.
 * A hidden page presents nothing, so the time it was hidden never counts.
 */

const STALL_MS = 450;
/** A slow source (a few frames a second) is not a stalled one: wait for this many of its frame intervals. */
const INTERVALS = 4;
const LONGEST_STALL_MS = 2_500;
const INTERVAL_WEIGHT = 0.1;

export class StallWatch {
  private lastFrameMs: number | null = null;
  private intervalMs = 0;

  frame(nowMs: number): void {
    if (this.lastFrameMs !== null) {
      const passedMs = Math.min(nowMs - this.lastFrameMs, LONGEST_STALL_MS / INTERVALS);
      this.intervalMs += INTERVAL_WEIGHT * (passedMs - this.intervalMs);
    }
    this.lastFrameMs = nowMs;
  }

  /** The page was shown again, or a new picture took over: count from here. */
  restart(nowMs: number): void {
    if (this.lastFrameMs !== null) this.lastFrameMs = nowMs;
  }

  limitMs(): number {
    return Math.min(LONGEST_STALL_MS, Math.max(STALL_MS, INTERVALS * this.intervalMs));
  }

  /** Null before the first frame. */
  sinceLastMs(nowMs: number): number | null {
    return this.lastFrameMs === null ? null : Math.max(0, nowMs - this.lastFrameMs);
  }

  stalled(nowMs: number): boolean {
    return (this.sinceLastMs(nowMs) ?? 0) > this.limitMs();
  }
}
