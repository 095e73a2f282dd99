import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { Hospital, HospitalProblem, offsetWords, type Snapshot, snapshotWords } from "../src/hospital.ts";

const SNAPSHOT: Snapshot = { press: "2.25.1", taken_ms: 0, bookmark: false, offset_ms: 0, state: "waiting", problem: "" };
const realFetch = globalThis.fetch;

afterEach(() => { globalThis.fetch = realFetch; });

/** Answers every request so, and notes what was asked. */
function answering(status: number, body: unknown): { url: string; options: RequestInit }[] {
  const asked: { url: string; options: RequestInit }[] = [];
  globalThis.fetch = (url, options) => {
    asked.push({ url: String(url), options: options ?? {} });
    return Promise.resolve(new Response(typeof body === "string" ? body : JSON.stringify(body), { status }));
  };
  return asked;
}

test("a snapshot's state is said in the words of the person who pressed", () => {
  const answers = { state: "answering", problem: "" };
  const silent = { state: "trouble", problem: "The PACS does not answer." };
  assert.deepEqual(snapshotWords({ ...SNAPSHOT, state: "stored" }, silent), { text: "In the PACS", tone: "good" });
  assert.equal(snapshotWords(SNAPSHOT, answers).text, "On its way to the PACS");
  assert.deepEqual(snapshotWords(SNAPSHOT, silent), { text: "Waiting on the appliance: The PACS does not answer.", tone: "warn" });
  assert.match(snapshotWords({ ...SNAPSHOT, state: "rejected", problem: "It will not keep it." }, answers).text, /^Not in the PACS: It will not keep it\. The picture is kept/);
  assert.equal(snapshotWords({ ...SNAPSHOT, state: "held" }, answers).text, "Waiting for its note");
});

test("a frame that is not the very one says how far off it is", () => {
  assert.equal(offsetWords(0), "");
  assert.equal(offsetWords(80), "the frame 80 ms after the press");
  assert.equal(offsetWords(-20), "the frame 20 ms before the press");
});

test("requests carry the token in a header, and what was pressed in the body", async () => {
  const asked = answering(201, SNAPSHOT);
  await new Hospital("a b", "token").snapshot(9000, true);
  assert.equal(asked[0]!.url, "/api/streams/a%20b/hospital/snapshots");
  assert.equal((asked[0]!.options.headers as Record<string, string>)["Authorization"], "Bearer token");
  assert.equal(asked[0]!.options.body, '{"rtp_timestamp":9000,"bookmark":true}');
});

test("a refusal is told with the appliance's own sentence, and nonsense with one of ours", async () => {
  answering(409, { detail: "The case chosen is not the patient." });
  await assert.rejects(new Hospital("a", "t").studies(), (problem: unknown) => problem instanceof HospitalProblem && problem.status === 409 && problem.message === "The case chosen is not the patient.");
  answering(502, "<html>");
  await assert.rejects(new Hospital("a", "t").studies(), /refused the request \(502\)/);
  globalThis.fetch = () => Promise.reject(new TypeError("network"));
  await assert.rejects(new Hospital("a", "t").studies(), (problem: unknown) => problem instanceof HospitalProblem && problem.status === 0);
});
