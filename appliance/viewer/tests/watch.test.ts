import assert from "node:assert/strict";
import { test } from "node:test";
import { STALE_AFTER_MS } from "../src/chart.ts";
import { Marker } from "../src/marker.ts";
import { Tenure } from "../src/presented.ts";
import { Watch } from "../src/watch.ts";
import { frameGroups, message, part10, patient } from "./part10.ts";

/** What the page gives a watch that never presents a frame: a canvas to hide, an observer that nothing is told to. */
function silentWatch(): Watch {
  globalThis.ResizeObserver ??= class { observe() {} unobserve() {} disconnect() {} };
  const marker = new Marker({ style: {} } as HTMLCanvasElement, {} as HTMLElement);
  const video = {} as HTMLVideoElement;
  return new Watch({ url: "https://appliance.example/whep/a", token: "" }, [video, video], marker, null, () => undefined);
}

const WITH_STATIC = message(part10("1.2", [frameGroups(1, [10, 20]), ...patient("P1", "Weber^Anna")]), { captureTaiNs: 1n, hasStatic: true });
const DYNAMIC = message(part10("1.2", [frameGroups(2, [10, 20])]), { captureTaiNs: 2n });

function patientId(watch: Watch): string | null {
  return watch.chart.staticPart?.text("0010,0020") ?? null;
}

test("a patient whose metadata has ceased is not named beside a picture that goes on", () => {
  const watch = silentWatch();
  watch["message"](WITH_STATIC);
  const heardMs = performance.now();
  watch.expire(heardMs);
  assert.equal(patientId(watch), "P1");
  watch.expire(heardMs + STALE_AFTER_MS + 1);
  assert.deepEqual([watch.chart.staticPart, watch.chart.dynamicPart, watch.record, watch.markerPosition], [null, null, null, null]);
  watch["message"](DYNAMIC);
  assert.equal(patientId(watch), null, "the same instance is no proof of the same patient");
  watch["message"](WITH_STATIC);
  assert.equal(patientId(watch), "P1");
});

test("no record from before the silence is joined with a frame after it", () => {
  const watch = silentWatch();
  watch["message"](WITH_STATIC);
  assert.equal(watch["join"].size, 1);
  watch.expire(performance.now() + STALE_AFTER_MS + 1);
  assert.equal(watch["join"].size, 0);
});

test("what describes the sound says nothing of who is in the picture, and is joined with no frame", () => {
  const watch = silentWatch();
  watch["message"](WITH_STATIC);
  watch["message"](message(part10("1.9", patient("P2", "Other^Person"), "1.2.840.10008.10.3"), { captureTaiNs: 3n, hasStatic: true, isCompanion: true }));
  assert.deepEqual([patientId(watch), watch.chart.instanceUid, watch["join"].size, watch.messages], ["P1", "1.2", 1, 1]);
});

/** A frame's callback, as a browser runs it that names the frame but cannot be asked for the one on screen: `lateMs` after it was to be shown. */
function present(watch: Watch, number: number, lateMs: number): void {
  const video = { videoWidth: 0, videoHeight: 0 } as HTMLVideoElement;
  watch["frame"](video, { rtpTimestamp: number * 90_000, presentedFrames: number, expectedDisplayTime: performance.now() - lateMs } as VideoFrameCallbackMetadata);
}

function recordOf(number: number): ArrayBuffer {
  return message(part10("1.2", [frameGroups(number, [10, 20])]), { captureTaiNs: BigInt(number), rtpTimestamp: number * 90_000 });
}

test("where frames are not identified, a callback that comes when the next frame may be there marks none", () => {
  const watch = silentWatch();
  watch["message"](WITH_STATIC);
  for (let number = 1; number < 6; number += 1) watch["message"](recordOf(number));
  present(watch, 1, 0);
  present(watch, 2, 250);
  assert.deepEqual([watch.joined, watch.unjoined, watch.markerPosition?.rtpTimestamp], [2, 0, 180_000]);
  present(watch, 3, 1_500);
  assert.deepEqual([watch.joined, watch.unjoined, watch.late, watch.markerPosition], [2, 1, 1, null]);
  present(watch, 4, 500);
  assert.equal(watch.markerPosition?.rtpTimestamp, 360_000, "a little late is not too late");
});

test("neither does a record that comes so late", () => {
  const watch = silentWatch();
  watch["message"](WITH_STATIC);
  present(watch, 1, 0);
  watch["message"](recordOf(1));
  present(watch, 2, 1_500);
  watch["message"](recordOf(2));
  present(watch, 3, 0);
  assert.deepEqual([watch.joined, watch.unjoined, watch.late, watch.missing], [1, 1, 1, 0]);
});

test("where the browser says which frame is on screen, no callback is too late", () => {
  const identified = new Tenure(true);
  const named = { rtpTimestamp: 1_800, expectedDisplayTime: 0 } as VideoFrameCallbackMetadata;
  assert.deepEqual([identified.endMs(named), identified.endMs({ ...named, rtpTimestamp: 3_600 })], [Infinity, Infinity]);
  const guessed = new Tenure(false);
  assert.deepEqual([guessed.endMs(named), guessed.endMs({ ...named, rtpTimestamp: 1_803 }), guessed.endMs({ ...named, rtpTimestamp: 3_603 })], [Infinity, Infinity, 20]);
});
