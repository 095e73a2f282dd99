import assert from "node:assert/strict";
import { test } from "node:test";
import { Arrivals } from "../src/arrivals.ts";
import { utcMsFromTaiMs } from "../src/clock.ts";
import { ALIVE_MS, ARRIVING_MS, patienceMs, UNKNOWN_MS } from "../src/patience.ts";
import { percentile, Recent, Timed } from "../src/recent.ts";
import { Backoff, FIRST_SPREAD_MS, retryAfterMs } from "../src/retry.ts";
import { StallWatch } from "../src/stall.ts";

function frames(watch: StallWatch, fromMs: number, intervalMs: number, count: number): number {
  for (let index = 0; index < count; index += 1) watch.frame(fromMs + index * intervalMs);
  return fromMs + (count - 1) * intervalMs;
}

test("50 frames a second stall when none came for half a second", () => {
  const watch = new StallWatch();
  const last = frames(watch, 1_000, 20, 100);
  assert.equal(watch.stalled(last + 400), false);
  assert.equal(watch.stalled(last + 500), true);
});

test("a source of two frames a second is slow, not stalled", () => {
  const watch = new StallWatch();
  const last = frames(watch, 1_000, 500, 60);
  assert.equal(watch.stalled(last + 1_000), false);
  assert.equal(watch.stalled(last + 2_600), true);
});

test("nothing has stalled before the first frame", () => {
  assert.equal(new StallWatch().stalled(1e6), false);
});

test("the time a page was hidden is no stall", () => {
  const watch = new StallWatch();
  frames(watch, 0, 20, 50);
  watch.restart(60_000);
  assert.equal(watch.stalled(60_300), false);
  assert.equal(watch.stalled(60_600), true);
});

test("one pause does not make a fast source a slow one", () => {
  const watch = new StallWatch();
  frames(watch, 0, 20, 100);
  watch.frame(62_000);
  assert.ok(watch.limitMs() < 600);
});

test("the first retry is quick, later ones come ever later", () => {
  const backoff = new Backoff(() => 0.5);
  const delays = Array.from({ length: 8 }, () => backoff.next());
  assert.ok(delays[0]! <= FIRST_SPREAD_MS);
  for (let index = 1; index < delays.length; index += 1) assert.ok(delays[index]! >= delays[index - 1]!);
  assert.ok(delays[7]! <= 9_000);
  backoff.reset();
  assert.equal(backoff.next(), delays[0]);
});

test("no retry, not even the first, comes together with another viewer's", () => {
  const [one, other] = [new Backoff(() => 0), new Backoff(() => 0.9)];
  for (let attempt = 0; attempt < 8; attempt += 1) assert.ok(other.next() - one.next() >= 0.9 * FIRST_SPREAD_MS);
});

function patience(lastPictureMs: number | null, lastRecordMs: number | null, nowMs: number, connected = true, arriving = false): number {
  const [pictures, records] = [new StallWatch(), new StallWatch()];
  if (lastPictureMs !== null) frames(pictures, lastPictureMs - 2_000, 20, 101);
  if (lastRecordMs !== null) frames(records, lastRecordMs - 2_000, 20, 101);
  return patienceMs(pictures, records, connected, arriving, nowMs);
}

test("while records go on, a standing picture is given time to come back by itself", () => {
  assert.equal(patience(10_000, 10_700, 10_720), ALIVE_MS);
  assert.ok(ALIVE_MS > 1_000);
});

test("while packets arrive no second session competes with the first, and a lost connection is left all the same", () => {
  assert.equal(patience(10_000, 10_010, 10_500, true, true), ARRIVING_MS);
  assert.ok(patience(10_000, 10_010, 10_500, false, true) < ARRIVING_MS);
});

test("packets arrive while their count grows, and no longer soon after", () => {
  const arrivals = new Arrivals();
  arrivals.counted(500, 1_000);
  assert.equal(arrivals.arriving(1_000), false, "one count says nothing");
  arrivals.counted(520, 1_200);
  assert.equal(arrivals.arriving(1_500), true);
  arrivals.counted(520, 1_700);
  assert.equal(arrivals.arriving(2_000), false);
  arrivals.reset();
  arrivals.counted(900, 2_100);
  assert.equal(arrivals.arriving(2_100), false, "another connection begins anew");
});

test("a worker that sends neither pictures nor records is left at once", () => {
  const limitMs = new StallWatch().limitMs();
  assert.equal(patience(10_000, 10_010, 10_500), limitMs);
  assert.equal(patience(10_000, 10_700, 11_200), limitMs, "it died while the picture was away already");
  assert.equal(patience(10_000, 10_700, 10_720, false), limitMs, "a lost connection outweighs the last records");
});

test("records that never came, or ceased long before the picture, prove nothing", () => {
  assert.equal(patience(10_000, null, 10_500), UNKNOWN_MS);
  assert.equal(patience(10_000, 4_000, 10_500), UNKNOWN_MS);
});

test("Retry-After is kept, in seconds or as a date", () => {
  assert.equal(retryAfterMs("2", 0), 2_000);
  assert.equal(retryAfterMs("Sun, 22 Nov 2026 15:00:05 GMT", Date.UTC(2026, 10, 22, 15, 0, 0)), 5_000);
  assert.equal(retryAfterMs("Sun, 22 Nov 2026 14:00:00 GMT", Date.UTC(2026, 10, 22, 15, 0, 0)), 0);
  assert.equal(retryAfterMs(null, 0), 0);
  assert.equal(retryAfterMs("soon", 0), 0);
  assert.ok(new Backoff(() => 0).next(retryAfterMs("2", 0)) >= 2_000);
});

test("percentiles, rings and spans", () => {
  assert.equal(percentile([], 0.5), null);
  assert.equal(percentile([5, 1, 9], 0.5), 5);
  assert.equal(percentile([5, 1, 9], 1), 9);
  const recent = new Recent<number>(3);
  for (const value of [1, 2, 3, 4]) recent.push(value);
  assert.deepEqual(recent.toArray(), [2, 3, 4]);
  recent.clear();
  recent.push(8);
  assert.deepEqual(recent.toArray(), [8]);
  const timed = new Timed(1_000);
  timed.push(0, 1);
  timed.push(900, 2);
  timed.push(1_500, 3);
  assert.deepEqual(timed.within(1_600), [2, 3]);
  assert.deepEqual(timed.within(5_000), []);
});

test("TAI is 37 seconds ahead of UTC", () => {
  assert.equal(utcMsFromTaiMs(1_795_000_037_000), 1_795_000_000_000);
});
