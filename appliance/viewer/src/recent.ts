/** The last values of a measurement, bounded; used for latencies, frame times and the samples that tests read. */

export class Recent<T> {
  private readonly slots: T[] = [];
  private next = 0;

  constructor(private readonly limit: number) {}

  push(value: T): void {
    this.slots[this.next] = value;
    this.next = (this.next + 1) % this.limit;
  }

  get length(): number {
    return this.slots.length;
  }

  clear(): void {
    this.slots.length = 0;
    this.next = 0;
  }

  /** Oldest first. */
  toArray(): T[] {
    return this.slots.length < this.limit ? this.slots.slice() : [...this.slots.slice(this.next), ...this.slots.slice(0, this.next)];
  }
}

/** The value below which `share` (0 to 1) of the values lie, or null without values. */
export function percentile(values: readonly number[], share: number): number | null {
  if (values.length === 0) return null;
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? null;
}

/** Values with the time they were taken at; `within` gives those of the last `spanMs`. */
export class Timed {
  private readonly entries: { atMs: number; value: number }[] = [];

  constructor(private readonly spanMs: number) {}

  push(atMs: number, value: number): void {
    this.entries.push({ atMs, value });
    this.expire(atMs);
  }

  within(nowMs: number): number[] {
    this.expire(nowMs);
    return this.entries.map((entry) => entry.value);
  }

  clear(): void {
    this.entries.length = 0;
  }

  private expire(nowMs: number): void {
    let old = 0;
    while (old < this.entries.length && this.entries[old]!.atMs < nowMs - this.spanMs) old += 1;
    if (old > 0) this.entries.splice(0, old);
  }
}
