/**
 * How far this machine's clock is ahead of the appliance's, from questions and answers as NTP has them (RFC 5905 section 8).
 * The answer that took least time is the best; half its way is the most that it can be wrong by.
 */

const KEPT = 12;
/** Quicker ways of long ago are worth less than slower ones of now: clocks drift, some by 50 us a second. */
const DRIFT_PER_MS = 0.000_05;
/** What a timer and an event loop on either side may add. */
const READING_MS = 2;
/** An answer that may be wrong by more says nothing about a picture that takes 40 ms. */
const UNCERTAIN_MS = 60;

/** No clock is set by so much; it is another one: a class's is chosen anew when the appliance starts. */
const ANOTHER_CLOCK_MS = 60_000;

interface Answer {
  aheadMs: number;
  halfWayMs: number;
  atMs: number;
}

export class ClockOffset {
  private readonly answers: Answer[] = [];

  /** By this machine's clock: asked, answered; by the appliance's: its answer. All in milliseconds since 1970. */
  heard(askedMs: number, answeredMs: number, theirsMs: number): void {
    if (!(answeredMs >= askedMs) || !Number.isFinite(theirsMs)) return;
    const aheadMs = (askedMs + answeredMs) / 2 - theirsMs;
    const before = this.answers.at(-1);
    if (before !== undefined && Math.abs(aheadMs - before.aheadMs) > ANOTHER_CLOCK_MS) this.forget();
    this.answers.push({ aheadMs, halfWayMs: (answeredMs - askedMs) / 2, atMs: answeredMs });
    if (this.answers.length > KEPT) this.answers.shift();
  }

  /** This machine's clock was set: what was known is wrong now. */
  forget(): void {
    this.answers.length = 0;
  }

  /** Milliseconds to take off this machine's time; 0 while the clocks agree as well as can be told; null while that is not known. */
  aheadMs(nowMs: number): number | null {
    const error = (answer: Answer): number => answer.halfWayMs + (nowMs - answer.atMs) * DRIFT_PER_MS;
    let best: Answer | null = null;
    for (const answer of this.answers) if (best === null || error(answer) < error(best)) best = answer;
    if (best === null || error(best) > UNCERTAIN_MS) return null;
    return Math.abs(best.aheadMs) <= error(best) + READING_MS ? 0 : best.aheadMs;
  }
}
