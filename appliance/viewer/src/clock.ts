/** Clocks of the page: the wall clock that capture times are compared with, and TAI as the source counts it. */
import { ClockOffset } from "./offset.ts";

/** TAI is ahead of UTC by 37 s since 2017; IERS has announced no further leap second. */
const TAI_MINUS_UTC_MS = 37_000;

/** A step larger than this between the two clocks means that the machine's time was set. */
const STEP_MS = 20;

export function utcMsFromTaiMs(taiMs: number): number {
  return taiMs - TAI_MINUS_UTC_MS;
}

/**
 * Milliseconds since 1970 with the resolution of performance.now().
 * `performance.timeOrigin` is fixed when the page loads, so a clock that is set later would be missed: `follow` notices it.
 */
export class WallClock {
  /** How far it is ahead of the appliance's. */
  readonly offset = new ClockOffset();
  private offsetMs = performance.timeOrigin;

  /** The wall clock at a time of performance.now(). */
  at(nowMs: number): number {
    return nowMs + this.offsetMs;
  }

  /** The appliance's clock at a time of performance.now(), as far as it is known. */
  applianceAt(nowMs: number): number {
    return this.at(nowMs) - (this.offset.aheadMs(this.at(nowMs)) ?? 0);
  }

  /** Whether a time of the appliance and one of this machine can be compared. */
  agreed(nowMs: number): boolean {
    return this.offset.aheadMs(this.at(nowMs)) !== null;
  }

  follow(): void {
    const differenceMs = Date.now() - this.at(performance.now());
    if (Math.abs(differenceMs) <= STEP_MS) return;
    this.offsetMs += differenceMs;
    this.offset.forget();
  }
}
