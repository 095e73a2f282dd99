import assert from "node:assert/strict";
import { test } from "node:test";
import { INTERRUPTED_MS, Loudness, SILENT_MS } from "../src/loudness.ts";

/** A connection whose sound is looked at every 200 ms: `power` of full scale, and whether packets come. */
class Room {
  readonly loudness = new Loudness(0);
  nowMs = 0;
  private totals = { packets: 0, energy: 0, seconds: 0 };

  constructor() {
    this.pass(400, 0.01);
  }

  pass(ms: number, power: number, comes = true): void {
    for (const end = this.nowMs + ms; this.nowMs < end; this.nowMs += 200) {
      this.totals = { packets: this.totals.packets + (comes ? 20 : 0), energy: this.totals.energy + power * 0.2, seconds: this.totals.seconds + 0.2 };
      this.loudness.look(this.totals, this.nowMs);
    }
  }

  join(): void {
    this.totals = { packets: 0, energy: 0, seconds: 0 };
    this.loudness.restart(this.nowMs);
  }

  get note(): string {
    return this.loudness.note(this.nowMs);
  }
}

test("the meter follows the energy of what is drawn", () => {
  const room = new Room();
  assert.ok(Math.abs(room.loudness.levelDb! + 20) < 0.01);
  assert.ok(Math.abs(room.loudness.meter - 2 / 3) < 0.01);
  room.pass(200, 1);
  assert.equal(room.loudness.meter, 1);
  room.pass(200, 1e-9);
  assert.equal(room.loudness.meter, 0);
  assert.equal(room.note, "");
});

test("sound that stays away is told for a while, and its return as well", () => {
  const room = new Room();
  room.pass(INTERRUPTED_MS - 400, 0, false);
  assert.equal(room.note, "", "a gap is no interruption");
  room.pass(800, 0, false);
  assert.equal(room.loudness.hearing, "interrupted");
  assert.match(room.note, /is interrupted\. It returns by itself/);
  assert.equal(room.loudness.meter, 0, "what the browser made up is not what comes");
  room.pass(60_000, 0, false);
  assert.equal(room.loudness.hearing, "interrupted");
  assert.equal(room.note, "", "the picture is not covered for ever");
  room.pass(400, 0.01);
  assert.match(room.note, /is back/);
  room.pass(8_000, 0.01);
  assert.equal(room.note, "");
});

test("an interruption outlasts a new session until packets come", () => {
  const room = new Room();
  room.pass(3_000, 0, false);
  room.join();
  room.pass(600, 0, false);
  assert.equal(room.loudness.hearing, "interrupted");
  room.pass(400, 0.01);
  assert.equal(room.loudness.hearing, "coming");
});

test("a microphone that is off is told once; a quiet room is none", () => {
  const room = new Room();
  room.pass(SILENT_MS + 1_000, 10 ** -7.5);
  assert.equal(room.loudness.hearing, "coming", "-75 dB is a quiet room");
  room.pass(SILENT_MS + 1_000, 0);
  assert.equal(room.loudness.hearing, "silent");
  assert.match(room.note, /microphone may be off/);
  room.pass(10_000, 0);
  assert.equal(room.note, "");
  room.pass(200, 0.01);
  assert.equal(room.loudness.hearing, "coming");
  assert.equal(room.note, "", "it was not interrupted");
});
