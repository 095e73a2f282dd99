import assert from "node:assert/strict";
import { test } from "node:test";
import { utcMsFromTaiMs } from "../src/clock.ts";
import { percentile, Recent, Timed } from "../src/recent.ts";
import { Backoff, retryAfterMs } from "../src/retry.ts";
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

test("the first retry is immediate, later ones come ever later and never together", () => {
  const backoff = new Backoff(() => 0.5);
  const delays = Array.from({ length: 8 }, () => backoff.next());
  assert.equal(delays[0], 0);
  for (let index = 1; index < delays.length; index += 1) assert.ok(delays[index]! >= delays[index - 1]!);
  assert.ok(delays[7]! <= 8_000);
  assert.notEqual(new Backoff(() => 0.1).next(1_000), new Backoff(() => 0.9).next(1_000));
  backoff.reset();
  assert.equal(backoff.next(), 0);
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
