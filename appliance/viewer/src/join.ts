/**
 * Joins a frame on screen with the record of the same RTP timestamp. Records and frames travel apart, so either may come first.
 * Invariant: a frame is given its own record or none; another frame's record is never offered in its place.
 */

/**
 * Where the appliance moves a viewer to another coding of the stream, a keyframe may repeat the frame just sent; RTP timestamps must rise, so it
 * carries some ticks more. Three are 33 us: no camera makes another frame in that time.
 */
const TICKS_MORE_MAX = 3;

/** Whether a frame with this RTP timestamp is the one that the record speaks of. */
export function isFrameOf(frameTimestamp: number, recordTimestamp: number): boolean {
  return (frameTimestamp - recordTimestamp) >>> 0 <= TICKS_MORE_MAX;
}

const RECORDS_MAX = 256;
const KEEP_MS = 4_000;

export class RecordJoin<T> {
  private readonly records = new Map<number, { record: T; untilMs: number }>();

  put(rtpTimestamp: number, record: T, nowMs: number): void {
    // Deleting first moves a repeated timestamp to the young end, which keeps the map in order of age.
    this.records.delete(rtpTimestamp);
    this.records.set(rtpTimestamp, { record, untilMs: nowMs + KEEP_MS });
    for (const [oldest, entry] of this.records) {
      if (this.records.size <= RECORDS_MAX && entry.untilMs >= nowMs) break;
      this.records.delete(oldest);
    }
  }

  get(rtpTimestamp: number, nowMs: number): T | null {
    for (let more = 0; more <= TICKS_MORE_MAX; more += 1) {
      const entry = this.records.get((rtpTimestamp - more) >>> 0);
      if (entry !== undefined && entry.untilMs >= nowMs) return entry.record;
    }
    return null;
  }

  clear(): void {
    this.records.clear();
  }

  get size(): number {
    return this.records.size;
  }
}
