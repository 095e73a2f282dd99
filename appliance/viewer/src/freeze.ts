/**
 * How long the picture stood still for whoever watches, from the frames as they were presented. Told of each one, settled for each report.
 * Time out of sight, or without a source, is no freeze: nothing was to be seen.
 */

/** As the browsers' own statistics define a freeze (W3C webrtc-stats, freezeCount): by this much, or this many times, longer than the mean. */
const FREEZE_MS = 150;
const INTERVALS = 3;
const INTERVAL_WEIGHT = 0.1;
/** Until two frames have told: five a second, the slowest that is worth watching. */
const UNKNOWN_INTERVAL_MS = 200;

export class FreezeClock {
  /** Both only ever grow. */
  freezes = 0;
  frozenMs = 0;
  private lastFrameMs: number | null = null;
  private intervalMs: number | null = null;
  /** What has been counted already of the freeze that goes on. */
  private countedMs = 0;

  /** `shown`: frames presented since the last call; a busy page is called back less often than frames are shown. */
  frame(nowMs: number, shown: number): void {
    if (this.lastFrameMs !== null) {
      const gapMs = nowMs - this.lastFrameMs;
      const missed = Math.max(1, shown);
      if (this.countedMs > 0 || gapMs / missed > this.limitMs()) this.freeze(gapMs);
      else this.intervalMs = gapMs / missed * INTERVAL_WEIGHT + (this.intervalMs ?? gapMs / missed) * (1 - INTERVAL_WEIGHT);
    }
    this.lastFrameMs = nowMs;
    this.countedMs = 0;
  }

  /** Counts what there is of a freeze that goes on. */
  settle(nowMs: number): void {
    if (this.lastFrameMs !== null && nowMs - this.lastFrameMs > this.limitMs()) this.freeze(nowMs - this.lastFrameMs);
  }

  /** The page goes out of sight, or the source has gone: count what was, and nothing more until the next frame. */
  pause(nowMs: number): void {
    this.settle(nowMs);
    this.lastFrameMs = null;
    this.countedMs = 0;
  }

  private limitMs(): number {
    const intervalMs = this.intervalMs ?? UNKNOWN_INTERVAL_MS;
    return Math.max(INTERVALS * intervalMs, intervalMs + FREEZE_MS);
  }

  private freeze(gapMs: number): void {
    if (this.countedMs === 0) this.freezes += 1;
    this.frozenMs += Math.max(0, gapMs - this.countedMs);
    this.countedMs = gapMs;
  }
}

/** How long the page was in sight. */
export class SightClock {
  private totalMs = 0;
  private since: number | null;

  constructor(nowMs: number, visible: boolean) {
    this.since = visible ? nowMs : null;
  }

  turn(nowMs: number, visible: boolean): void {
    this.totalMs = this.visibleMs(nowMs);
    this.since = visible ? nowMs : null;
  }

  visibleMs(nowMs: number): number {
    return this.totalMs + (this.since === null ? 0 : Math.max(0, nowMs - this.since));
  }
}
