import assert from "node:assert/strict";
import { test } from "node:test";
import { WallClock } from "../src/clock.ts";
import { FreezeClock, SightClock } from "../src/freeze.ts";
import { isFrameOf, RecordJoin } from "../src/join.ts";
import { ClockOffset } from "../src/offset.ts";
import { Pace } from "../src/pace.ts";
import { Reduction } from "../src/reduced.ts";
import { type Observed, readReply, REPORT_OCTETS_MAX, Reports, type Totals } from "../src/report.ts";
import type { Signal } from "../src/signal.ts";
import { retryWords } from "../src/wording.ts";

const BEGUN: Totals = { atMs: 1_000, visibleMs: 0, frames: 0, freezes: 0, frozenMs: 0, joined: 0, late: 0, missing: 0 };
const SIGNAL: Signal = {
  codec: "H.264", mimeType: "video/h264", packetsLost: 0, packetsReceived: 0, nacks: 0, freezes: 0, frozenSeconds: 0, bufferSeconds: 0, framesBuffered: 0, decodeSeconds: 0, framesDecoded: 0, soundBufferSeconds: 0, soundSamples: 0,
};
const CONNECTION = {};

function observed(totals: Partial<Totals>, signal: Partial<Signal> = {}, more: Partial<Observed> = {}): Observed {
  return { totals: { ...BEGUN, ...totals }, signal: { ...SIGNAL, ...signal }, connection: CONNECTION, latenciesMs: [], width: 1280, height: 720, ...more };
}

function next(reports: Reports, seen: Observed): Record<string, unknown> {
  return JSON.parse(reports.next(seen).text) as Record<string, unknown>;
}

test("a report is about the time since the one before", () => {
  const reports = new Reports(BEGUN);
  const first = next(reports, observed({ atMs: 4_000, visibleMs: 3_000, frames: 150, joined: 149, late: 1 }, { packetsReceived: 1_400, nacks: 2, bufferSeconds: 0.6, framesBuffered: 150, decodeSeconds: 0.3, framesDecoded: 150, soundBufferSeconds: 9_600, soundSamples: 192_000 }));
  assert.deepEqual([first["number"], first["seconds"], first["visible_seconds"], first["frames"], first["joined"], first["late"]], [1, 3, 3, 150, 149, 1]);
  assert.deepEqual([first["packets_received"], first["nacks"], first["buffer_seconds"], first["decode_seconds"], first["sound_buffer_seconds"]], [1_400, 2, 0.004, 0.002, 0.05]);
  const second = next(reports, observed({ atMs: 9_000, visibleMs: 8_000, frames: 400, joined: 399, late: 1 }, { packetsReceived: 3_700, nacks: 2, bufferSeconds: 0.6, framesBuffered: 150 }));
  assert.deepEqual([second["number"], second["seconds"], second["frames"], second["late"], second["packets_received"], second["nacks"]], [2, 5, 250, 0, 2_300, 0]);
  assert.deepEqual([second["buffer_seconds"], second["decode_seconds"], second["latency"], second["codec"]], [null, null, null, "h264"]);
});

test("the largest report is as small as the appliance wants it, and says nothing of who watches", () => {
  const huge = 999_999_999;
  const text = new Reports(BEGUN).next(observed(
    { atMs: huge * 10, visibleMs: huge * 10 - 7, frames: huge, freezes: huge, frozenMs: huge, joined: huge, late: huge, missing: huge },
    { packetsLost: huge, packetsReceived: huge, nacks: huge, bufferSeconds: huge / 7, framesBuffered: 3, decodeSeconds: huge / 7, framesDecoded: 3, soundBufferSeconds: huge / 7, soundSamples: 3 },
    { latenciesMs: Array.from({ length: 1_200 }, (_, index) => index * 2.1234567), width: 16_384, height: 16_384 },
  )).text;
  assert.ok(text.length < REPORT_OCTETS_MAX, `${text.length}`);
  assert.doesNotMatch(text.replace(/"codec":"\w+"/, "").replace(/"[a-z_0-9]+":/g, ""), /[a-df-z]{5}|"/i);
});

test("latencies are summed up and sorted into the appliance's buckets", () => {
  const sorted = next(new Reports(BEGUN), observed({ atMs: 6_000 }, {}, { latenciesMs: [35, 36, 37, 38, 39, 44, 10, 2_500] }))["latency"] as Record<string, unknown>;
  assert.deepEqual([sorted["p50"], sorted["p95"], sorted["max"]], [0.038, 2.5, 2.5]);
  assert.deepEqual(sorted["counts"], [1, 0, 0, 5, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
});

test("what the browser takes back of its losses is not counted twice", () => {
  const reports = new Reports(BEGUN);
  const lost = [5, 3, 6].map((packetsLost, index) => next(reports, observed({ atMs: 2_000 + index * 1_000 }, { packetsLost }))["packets_lost"]);
  assert.deepEqual(lost, [5, 0, 1]);
});

test("a freeze that the page and the browser saw is counted once, also across two reports", () => {
  const reports = new Reports(BEGUN);
  const first = next(reports, observed({ atMs: 6_000, visibleMs: 5_000, freezes: 1, frozenMs: 2_000 }));
  assert.deepEqual([first["freezes"], first["frozen_seconds"]], [1, 2]);
  const second = next(reports, observed({ atMs: 11_000, visibleMs: 10_000, freezes: 1, frozenMs: 3_000 }, { freezes: 1, frozenSeconds: 3.04 }));
  assert.deepEqual([second["freezes"], second["frozen_seconds"]], [0, 1.04]);
});

test("what the browser counts out of sight is nobody's freeze", () => {
  const reports = new Reports(BEGUN);
  const report = next(reports, observed({ atMs: 6_000, visibleMs: 1_000 }, { freezes: 3, frozenSeconds: 4 }));
  assert.deepEqual([report["freezes"], report["frozen_seconds"], report["visible_seconds"]], [0, 0, 1]);
});

test("a new connection begins to count anew, and a freeze goes on over it", () => {
  const reports = new Reports(BEGUN);
  next(reports, observed({ atMs: 6_000, visibleMs: 5_000, freezes: 1, frozenMs: 400 }, { packetsReceived: 2_000, packetsLost: 9, freezes: 1, frozenSeconds: 0.4 }));
  const after = next(reports, observed({ atMs: 11_000, visibleMs: 10_000, freezes: 2, frozenMs: 3_400 }, { packetsReceived: 700 }, { connection: {} }));
  assert.deepEqual([after["packets_received"], after["packets_lost"], after["freezes"], after["frozen_seconds"]], [700, 0, 1, 3]);
});

test("no number of a report is ever negative or more than its time", () => {
  const reports = new Reports({ ...BEGUN, frozenMs: 500 });
  next(reports, observed({ atMs: 2_000, visibleMs: 1_000, frozenMs: 900 }, { packetsReceived: 50, nacks: 4, bufferSeconds: 3, framesBuffered: 9 }));
  const report = next(reports, observed({ atMs: 3_000, visibleMs: 2_000, frozenMs: 20_000 }, {}));
  assert.ok((report["frozen_seconds"] as number) <= 1);
  for (const [name, value] of Object.entries(report)) if (typeof value === "number") assert.ok(value >= 0, name);
});

/** Frames every `everyMs`, the last at `fromMs + everyMs * count`. */
function frames(clock: FreezeClock, fromMs: number, everyMs: number, count: number): number {
  for (let index = 1; index <= count; index += 1) clock.frame(fromMs + everyMs * index, 1);
  return fromMs + everyMs * count;
}

test("an even picture never freezes, a slow one neither", () => {
  for (const everyMs of [16.7, 20, 40, 200]) {
    const clock = new FreezeClock();
    const last = frames(clock, 0, everyMs, 100);
    clock.settle(last + everyMs);
    assert.deepEqual([clock.freezes, clock.frozenMs], [0, 0], String(everyMs));
  }
});

test("a gap is one freeze, settled as it grows and never twice", () => {
  const clock = new FreezeClock();
  const last = frames(clock, 0, 20, 100);
  for (const afterMs of [100, 300, 900]) clock.settle(last + afterMs);
  assert.deepEqual([clock.freezes, clock.frozenMs], [1, 900]);
  clock.frame(last + 1_000, 1);
  assert.deepEqual([clock.freezes, clock.frozenMs], [1, 1_000]);
  frames(clock, last + 1_000, 20, 50);
  assert.deepEqual([clock.freezes, clock.frozenMs], [1, 1_000]);
});

test("a page that was too busy to be called back has seen no freeze", () => {
  const clock = new FreezeClock();
  const last = frames(clock, 0, 20, 100);
  clock.frame(last + 400, 20);
  assert.equal(clock.freezes, 0);
});

test("time out of sight is not frozen, what was before it is", () => {
  const clock = new FreezeClock();
  const last = frames(clock, 0, 20, 100);
  clock.pause(last + 500);
  clock.settle(last + 60_000);
  clock.frame(last + 61_000, 1);
  assert.deepEqual([clock.freezes, clock.frozenMs], [1, 500]);
});

test("the time in sight adds up", () => {
  const clock = new SightClock(100, true);
  clock.turn(1_100, false);
  assert.equal(clock.visibleMs(5_000), 1_000);
  clock.turn(6_000, true);
  clock.turn(6_500, true);
  assert.equal(clock.visibleMs(7_000), 2_000);
  assert.equal(new SightClock(0, false).visibleMs(9_000), 0);
});

test("a clock that is off is found out by the quickest answer", () => {
  const offset = new ClockOffset();
  assert.equal(offset.aheadMs(0), null);
  offset.heard(1_000_250, 1_000_290, 1_000_005);
  offset.heard(1_005_250, 1_005_254, 1_005_002);
  offset.heard(1_010_250, 1_010_400, 1_010_110);
  assert.equal(offset.aheadMs(1_010_400), 250);
  offset.forget();
  assert.equal(offset.aheadMs(1_010_400), null);
});

test("another clock, as a class has after a restart of the appliance, is not mixed with the one before", () => {
  const offset = new ClockOffset();
  offset.heard(1_000_250, 1_000_252, 1_000_001 - 2 * 31_557_600_000);
  assert.ok((offset.aheadMs(1_000_252) ?? 0) > 31_557_600_000);
  offset.heard(1_005_250, 1_005_290, 1_005_020 - 31_557_600_000);
  assert.equal(offset.aheadMs(1_005_290), 31_557_600_250);
});

test("clocks that agree as well as can be told are left alone", () => {
  const offset = new ClockOffset();
  offset.heard(1_000, 1_010, 1_004);
  assert.equal(offset.aheadMs(1_010), 0);
});

test("a way that is too long, or too long ago, tells nothing", () => {
  const slow = new ClockOffset();
  slow.heard(0, 400, 200);
  assert.equal(slow.aheadMs(400), null);
  const old = new ClockOffset();
  old.heard(0, 4, 2);
  assert.equal(old.aheadMs(60_000), 0);
  assert.equal(old.aheadMs(3_600_000), null);
  const broken = new ClockOffset();
  broken.heard(10, 5, 7);
  broken.heard(1, 2, Number.NaN);
  assert.equal(broken.aheadMs(10), null);
});

test("latencies are reported only once the clocks are known to agree, and by the appliance's clock", () => {
  const clock = new WallClock();
  const pace = new Pace(clock);
  const captureTaiMs = (frameMs: number): number => clock.at(frameMs) + 37_000 - 300 - 40;
  pace.captured(captureTaiMs(1_000), 1_000);
  assert.deepEqual(pace.takeLatencies(1_000), []);
  clock.offset.heard(clock.at(1_100), clock.at(1_104), clock.at(1_102) - 300);
  pace.captured(captureTaiMs(1_200), 1_200);
  pace.captured(captureTaiMs(1_220) + 100, 1_220);
  const taken = pace.takeLatencies(1_300);
  assert.equal(taken.length, 1, "a frame from the future is no latency");
  assert.ok(Math.abs(taken[0]! - 40) < 0.01);
  assert.deepEqual(pace.takeLatencies(1_400), []);
});

test("a frame that carries some ticks more meets its record, another frame never", () => {
  const join = new RecordJoin<string>();
  join.put(0xffff_ffff, "wrapping", 0);
  join.put(3_000, "one", 0);
  for (const more of [0, 1, 2, 3]) assert.equal(join.get(3_000 + more, 1), "one");
  assert.equal(join.get(2_999, 1), null);
  assert.equal(join.get(3_004, 1), null);
  assert.equal(join.get(1, 1), "wrapping");
  assert.equal(isFrameOf(1, 0xffff_ffff), true);
  assert.equal(isFrameOf(0xffff_ffff, 1), false);
});

test("a frame's own record is preferred to the one some ticks before", () => {
  const join = new RecordJoin<string>();
  join.put(2_998, "before", 0);
  join.put(3_000, "own", 0);
  assert.equal(join.get(3_000, 1), "own");
});

test("a reply is read, and what is none is passed over", () => {
  const octets = (text: string): ArrayBuffer => new TextEncoder().encode(text).buffer as ArrayBuffer;
  assert.deepEqual(readReply(octets('{"version":1,"number":3,"level":"half","unix_ms":1795000000000.5}')), { number: 3, level: "half", unixMs: 1_795_000_000_000.5 });
  for (const text of ["", "null", "[]", "{", '{"number":3,"level":"worse","unix_ms":1}', '{"number":"3","level":"half","unix_ms":1}', '{"number":3,"level":"half"}']) assert.equal(readReply(octets(text)), null, text);
});

test("a reduced picture is named at once and for as long as it lasts, and so is the full one's return", () => {
  const reduction = new Reduction();
  assert.deepEqual([reduction.note(0), reduction.reduced], ["", false]);
  reduction.follow("small", 1_000);
  assert.match(reduction.note(1_000), /^Reduced picture: your network carries/);
  reduction.follow("small", 60_000);
  assert.deepEqual([reduction.note(60_000), reduction.reduced], ["", true]);
  reduction.follow("full", 61_000);
  assert.match(reduction.note(61_500), /^Full picture again/);
  assert.equal(reduction.reduced, false);
});

test("who waits is told for how long", () => {
  assert.equal(retryWords("busy", 7_400), "This page tries again in 8 s.");
  assert.equal(retryWords("busy", null), "Trying again now.");
  assert.equal(retryWords("live", 3_000), "");
  assert.equal(retryWords("refused", null), "");
});
