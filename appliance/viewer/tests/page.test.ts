import assert from "node:assert/strict";
import { test } from "node:test";
import { onPage, place } from "../src/fit.ts";
import { readIceServers } from "../src/ice.ts";
import { readClaims, readLink, readPasted, withoutToken } from "../src/link.ts";
import { findBead, readStamp, sinceStampMs } from "../src/measure.ts";
import { codecName } from "../src/signal.ts";
import { sdpFragment, WhepError } from "../src/whep.ts";
import { wordingFor } from "../src/wording.ts";

const PAGE = "https://appliance.example:8443/";
const TOKEN = `eyJhbGciOiJIUzI1NiJ9.${Buffer.from('{"role":"student","stream":"endoscope","exp":1800000000}').toString("base64url")}.c2ln`;

test("the link's fragment gives the token and its query the stream", () => {
  assert.deepEqual(readLink(`${PAGE}?stream=endoscope&measure=1#token=${TOKEN}`), { stream: "endoscope", token: TOKEN, measure: true });
  assert.deepEqual(readLink(PAGE), { stream: null, token: null, measure: false });
  assert.equal(withoutToken(`${PAGE}?stream=endoscope#token=${TOKEN}`), `${PAGE}?stream=endoscope`);
});

test("what people paste is understood, and what is no link is not", () => {
  assert.equal(readPasted(`  ${PAGE}?stream=a#token=${TOKEN}\n`, PAGE)?.stream, "a");
  assert.equal(readPasted(`?stream=b#token=${TOKEN}`, PAGE)?.stream, "b");
  assert.equal(readPasted(TOKEN, PAGE)?.token, TOKEN);
  for (const text of ["", "hello", PAGE, `${PAGE}#token=`, `${PAGE}#token=<script>`, "http://[#token=a.b.c"]) assert.equal(readPasted(text, PAGE), null, text);
});

test("claims are read for display, and a broken token has none", () => {
  assert.deepEqual(readClaims(TOKEN), { role: "student", stream: "endoscope", expiresMs: 1_800_000_000_000 });
  assert.deepEqual(readClaims("a.b.c"), { role: null, stream: null, expiresMs: null });
});

test("a contained picture is letterboxed, a covering one is cut, evenly on both sides", () => {
  assert.deepEqual(place(1280, 720, 1280, 900, "contain"), { left: 0, top: 90, scale: 1 });
  assert.deepEqual(place(1280, 720, 640, 720, "contain"), { left: 0, top: 180, scale: 0.5 });
  assert.deepEqual(place(1280, 720, 1280, 1440, "cover"), { left: -640, top: 0, scale: 2 });
  assert.equal(place(0, 0, 640, 480, "contain"), null);
});

test("a pixel coordinate means the pixel's centre", () => {
  const placement = place(1280, 720, 2560, 1440, "contain")!;
  assert.deepEqual(onPage(placement, 0, 0), { left: 1, top: 1 });
  assert.deepEqual(onPage(placement, 1279, 719), { left: 2559, top: 1439 });
});

test("ICE servers are read from Link headers, other relations are not", () => {
  const links = '</whep/a/b>; rel="urn:ietf:params:whep:ext:dicom-rtv:metadata"; channel="metadata", <stun:s.example:3478>; rel="ice-server", <turn:t.example?transport=udp>; rel="ice-server"; username="u"; credential="pw"; credential-type="password"';
  assert.deepEqual(readIceServers(links), [{ urls: "stun:s.example:3478" }, { urls: "turn:t.example?transport=udp", username: "u", credential: "pw" }]);
  assert.deepEqual(readIceServers(null), []);
});

test("a trickle fragment names transport and candidates", () => {
  const offer = "v=0\r\ns=-\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=ice-ufrag:abcd\r\na=ice-pwd:secret\r\na=mid:0\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:1\r\n";
  assert.equal(sdpFragment(offer, [{ candidate: "candidate:1 1 udp 1 192.0.2.1 5000 typ host" }]),
    "a=ice-ufrag:abcd\r\na=ice-pwd:secret\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\na=candidate:1 1 udp 1 192.0.2.1 5000 typ host\r\n");
});

test("no right to watch is final; no picture, no place and no network are not", () => {
  for (const status of [401, 403, 406, 422]) assert.equal(new WhepError(status, 0).final, true, String(status));
  for (const status of [0, 404, 409, 429, 500, 502, 503]) assert.equal(new WhepError(status, 0).final, false, String(status));
});

test("every refusal has words of its own", () => {
  const headings = [401, 403, 406, 400].map((status) => wordingFor("refused", status).heading);
  assert.equal(new Set(headings).size, headings.length);
  assert.deepEqual(wordingFor("refused", 422), wordingFor("refused", 406));
  assert.match(wordingFor("refused", 422).explanation, /no video format/);
  assert.match(wordingFor("refused", 401, "expired_token").heading ?? "", /has expired/);
  assert.match(wordingFor("refused", 401, "bad_token").heading ?? "", /is not valid/);
  assert.equal(wordingFor("live", 0).heading, null);
  assert.match(wordingFor("away", 409).heading ?? "", /No picture from the theatre/);
});

test("codecs are named as engineers name them", () => {
  assert.equal(codecName("video/H264", "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"), "H.264 Constrained Baseline");
  assert.equal(codecName("video/H264", "profile-level-id=64001f"), "H.264 High");
  assert.equal(codecName("video/VP8", ""), "VP8");
});

function strip(stamp: bigint, sync = 0b1010010111000011n): Uint8Array {
  const row = new Uint8Array(1024 * 4);
  const cells = (stamp << 16n) | sync;
  for (let cell = 0; cell < 64; cell += 1) if ((cells >> BigInt(63 - cell)) & 1n) row.fill(235, cell * 64, cell * 64 + 64);
  return row;
}

test("the burnt-in stamp is read, and only behind its sync word", () => {
  assert.equal(readStamp(strip(0x123456789abcn)), 0x123456789abc);
  assert.equal(readStamp(strip(0x123456789abcn, 0n)), null);
});

test("a stamp that wrapped still gives the time since it", () => {
  const nowMs = 1_795_000_000_000;
  const stamp = (nowMs * 1_000 - 42_500) % 2 ** 48;
  assert.ok(Math.abs(sinceStampMs(stamp, nowMs) - 42.5) < 0.001);
  assert.ok(Math.abs(sinceStampMs(5, (2 ** 48 * 6 - 5) / 1_000) + 0.01) < 0.001);
});

test("the bead's centre is found on red tissue, and tissue alone has none", () => {
  const width = 80;
  const pixels = new Uint8Array(width * width * 4);
  for (let index = 0; index < width * width; index += 1) pixels.set([180, 70, 60, 255], index * 4);
  assert.equal(findBead(pixels, width), null);
  for (let y = 0; y < width; y += 1) for (let x = 0; x < width; x += 1) if (Math.hypot(x - 31, y - 52) <= 6) pixels.set([25, 250, 115, 255], (y * width + x) * 4);
  const found = findBead(pixels, width)!;
  assert.ok(Math.hypot(found.x - 31, found.y - 52) < 0.01);
});
