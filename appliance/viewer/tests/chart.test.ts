import assert from "node:assert/strict";
import { test } from "node:test";
import { Chart, STALE_AFTER_MS, STATIC_STALE_AFTER_MS } from "../src/chart.ts";
import { RecordJoin } from "../src/join.ts";
import { MalformedMessage, readMessage } from "../src/message.ts";
import { element, frameGroups, message, part10, patient } from "./part10.ts";

const SECOND_NS = 1_000_000_000n;
const START_NS = 1_795_000_000n * SECOND_NS;

function dynamic(instance: string, captureNs: bigint, frame = 1) {
  return readMessage(message(part10(instance, [frameGroups(frame, [10, 20])]), { rtpTimestamp: frame, captureTaiNs: captureNs }));
}

function withStatic(instance: string, captureNs: bigint, id: string, name = "Weber^Anna") {
  return readMessage(message(part10(instance, [frameGroups(1, [10, 20]), ...patient(id, name)]), { captureTaiNs: captureNs, hasStatic: true }));
}

test("a message's header is read in network order", () => {
  const read = readMessage(message(part10("1.2", [frameGroups(5, [1, 2])]), { rtpTimestamp: 0xfedcba98, captureTaiNs: START_NS + 123_456_789n, hasStatic: true }));
  assert.equal(read.rtpTimestamp, 0xfedcba98);
  assert.ok(Math.abs(read.captureTaiMs - Number((START_NS + 123_456_789n) / 1000n) / 1000) < 0.001);
  assert.equal(read.hasStatic, true);
});

test("messages of another version, without payload or with broken DICOM are malformed", () => {
  const payload = part10("1.2", [frameGroups(5, [1, 2])]);
  assert.throws(() => readMessage(message(payload, { version: 2 })), MalformedMessage);
  assert.throws(() => readMessage(message(new Uint8Array(0))), MalformedMessage);
  assert.throws(() => readMessage(new ArrayBuffer(3)), MalformedMessage);
  assert.throws(() => readMessage(message(payload.slice(0, payload.length - 3))), MalformedMessage);
});

test("random octets are malformed and nothing worse", () => {
  let seed = 12_345;
  const random = () => (seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0) >>> 24;
  const whole = part10("1.2", [frameGroups(5, [1, 2]), ...patient("P1", "Weber^Anna")]);
  for (let round = 0; round < 2_000; round += 1) {
    const octets = whole.slice();
    for (let change = 0; change < 1 + (round % 6); change += 1) octets[132 + (random() * 256 + random()) % (octets.length - 132)] = random();
    try {
      new Chart().accept(readMessage(message(octets)), 0);
    } catch (reason) {
      assert.ok(reason instanceof MalformedMessage, String(reason));
    }
  }
});

test("a record carries the frame's number and instrument", () => {
  const accepted = new Chart().accept(dynamic("1.2", START_NS, 42), 0);
  assert.equal(accepted?.record.frameNumber, 42);
  assert.deepEqual(accepted?.record.instrument?.tip, { x: 10, y: 20 });
  assert.equal(accepted?.changed, false);
});

test("a message without a SOP instance is refused", () => {
  assert.throws(() => new Chart().accept(dynamic("", START_NS), 0), MalformedMessage);
});

test("the static part stays for the messages of its instance that carry none", () => {
  const chart = new Chart();
  chart.accept(withStatic("1.2", START_NS, "P1"), 0);
  chart.accept(dynamic("1.2", START_NS + SECOND_NS), 1_000);
  assert.equal(chart.staticPart?.text("0010,0020"), "P1");
});

test("another instance clears the patient at once, even before its own static part came", () => {
  const chart = new Chart();
  chart.accept(withStatic("1.2", START_NS, "P1"), 0);
  const accepted = chart.accept(dynamic("1.3", START_NS + SECOND_NS), 1_000);
  assert.equal(accepted?.changed, true);
  assert.equal(chart.staticPart, null);
  assert.equal(chart.instanceUid, "1.3");
});

test("another patient in the same instance clears and replaces", () => {
  const chart = new Chart();
  chart.accept(withStatic("1.2", START_NS, "P1"), 0);
  assert.equal(chart.accept(withStatic("1.2", START_NS + SECOND_NS, "P2"), 1_000)?.changed, true);
  assert.equal(chart.staticPart?.text("0010,0020"), "P2");
  assert.equal(chart.accept(withStatic("1.2", START_NS + 2n * SECOND_NS, "P2", "Weber^Hanna"), 2_000)?.changed, true);
});

test("the last messages of the former instance, overtaken on the way, do not bring its patient back", () => {
  const chart = new Chart();
  chart.accept(withStatic("1.2", START_NS, "P1"), 0);
  chart.accept(dynamic("1.3", START_NS + SECOND_NS), 1_000);
  assert.equal(chart.accept(withStatic("1.2", START_NS + SECOND_NS - 20_000_000n, "P1"), 1_005), null);
  assert.equal(chart.staticPart, null);
  assert.equal(chart.instanceUid, "1.3");
});

test("an overtaken static part of the former patient in the same instance is not taken back", () => {
  const chart = new Chart();
  chart.accept(withStatic("1.2", START_NS + SECOND_NS, "P2"), 0);
  assert.equal(chart.accept(withStatic("1.2", START_NS, "P1"), 10)?.changed, false);
  assert.equal(chart.staticPart?.text("0010,0020"), "P2");
});

test("a source whose clock was set back is followed", () => {
  const chart = new Chart();
  chart.accept(withStatic("1.2", START_NS + 3600n * SECOND_NS, "P1"), 0);
  assert.equal(chart.accept(withStatic("1.3", START_NS, "P2"), 1_000)?.changed, true);
  assert.equal(chart.staticPart?.text("0010,0020"), "P2");
});

test("details that no message has confirmed are forgotten, and come back with a static part only", () => {
  const chart = new Chart();
  chart.accept(withStatic("1.2", START_NS, "P1"), 100);
  const { subject } = chart;
  assert.equal(chart.expire(100 + STALE_AFTER_MS), false);
  assert.equal(chart.staticPart?.text("0010,0020"), "P1");
  assert.equal(chart.expire(101 + STALE_AFTER_MS), true);
  assert.deepEqual([chart.staticPart, chart.dynamicPart, chart.instanceUid, chart.fellSilent], [null, null, null, true]);
  assert.notEqual(chart.subject, subject, "a view must redraw all it shows");
  chart.accept(dynamic("1.2", START_NS + 5n * SECOND_NS), 5_000);
  assert.deepEqual([chart.staticPart, chart.silent], [null, false]);
  chart.accept(withStatic("1.2", START_NS + 6n * SECOND_NS, "P2"), 6_000);
  assert.equal(chart.staticPart?.text("0010,0020"), "P2");
});

test("a sender that ceases to say who it is, is nobody's any more", () => {
  const chart = new Chart();
  chart.accept(withStatic("1.2", START_NS, "P1"), 0);
  const { subject, revision } = chart;
  for (let ms = 1_000; ms <= STATIC_STALE_AFTER_MS; ms += 1_000) chart.accept(dynamic("1.2", START_NS + BigInt(ms) * 1_000_000n), ms);
  assert.equal(chart.expire(STATIC_STALE_AFTER_MS), false);
  assert.equal(chart.staticPart?.text("0010,0020"), "P1");
  assert.equal(chart.expire(STATIC_STALE_AFTER_MS + 1), false, "the live values stay");
  assert.deepEqual([chart.staticPart, chart.instanceUid, chart.silent], [null, "1.2", false]);
  assert.notEqual(chart.subject, subject);
  assert.ok(chart.revision > revision);
  chart.accept(withStatic("1.2", START_NS + 6n * SECOND_NS, "P1"), 6_000);
  assert.equal(chart.staticPart?.text("0010,0020"), "P1");
});

test("a chart that has heard nothing has nothing to forget", () => {
  const chart = new Chart();
  assert.equal(chart.expire(1e6), false);
  assert.deepEqual([chart.silent, chart.fellSilent], [true, false]);
});

test("a frame is joined with the record of its own timestamp only", () => {
  const join = new RecordJoin<string>();
  join.put(1_800, "a", 0);
  join.put(3_600, "b", 20);
  assert.equal(join.get(3_600, 30), "b");
  assert.equal(join.get(1_800, 30), "a");
  assert.equal(join.get(5_400, 30), null);
});

test("records expire, and their number is bounded", () => {
  const join = new RecordJoin<number>();
  join.put(7, 7, 0);
  assert.equal(join.get(7, 10_000), null, "an old record must not meet a timestamp that has wrapped");
  for (let index = 0; index < 10_000; index += 1) join.put(index, index, 10_000);
  assert.ok(join.size <= 256);
  assert.equal(join.get(9_999, 10_000), 9_999);
  join.clear();
  assert.equal(join.size, 0);
});

test("a record tells the origin of its frame as the camera's sender wrote it", () => {
  const origin = element("0034,0007", "OB", Uint8Array.of(0, 0, 0x58, 0x07, 0x2e, 0x9f, 0x1c, 0x9c, 0x38, 0x00));
  const groups = element("0006,0001", "SQ", [[element("0034,000d", "SQ", [[origin]])]]);
  const accepted = new Chart().accept(readMessage(message(part10("1.2", [groups]))), 0);
  assert.equal(accepted?.record.originTaiMs, 1_476_865_695_480);
  assert.equal(new Chart().accept(readMessage(message(part10("1.2", [frameGroups(1, [1, 1])]))), 0)?.record.originTaiMs, null);
});
