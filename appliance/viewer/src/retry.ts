/** When to try again: the first time nearly at once, then ever later, never in step with other viewers. */

const DELAYS_MS = [0, 500, 1_000, 2_000, 4_000, 6_000];
/** A lecture hall's viewers lose their picture in the same instant: even their first tries are spread over this time. */
export const FIRST_SPREAD_MS = 300;
const SPREAD_SHARE = 0.5;

export class Backoff {
  private tries = 0;

  constructor(private readonly random: () => number = Math.random) {}

  /** `atLeastMs`: what the appliance asked for in Retry-After. */
  next(atLeastMs = 0): number {
    const delayMs = DELAYS_MS[Math.min(this.tries, DELAYS_MS.length - 1)]!;
    this.tries += 1;
    const longest = Math.max(delayMs, atLeastMs);
    // The spread only ever adds, so a Retry-After is kept.
    return longest + Math.max(FIRST_SPREAD_MS, longest * SPREAD_SHARE) * this.random();
  }

  reset(): void {
    this.tries = 0;
  }
}

/** Seconds or an HTTP date, as RFC 9110 section 10.2.3 allows; 0 if absent or unreadable. */
export function retryAfterMs(field: string | null, nowMs: number): number {
  if (field === null) return 0;
  if (/^\s*\d+\s*$/.test(field)) return Number(field) * 1_000;
  const dateMs = Date.parse(field);
  return Number.isNaN(dateMs) ? 0 : Math.max(0, dateMs - nowMs);
}
