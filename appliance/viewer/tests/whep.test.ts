import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, mock, test } from "node:test";
import { ANSWER_LIMIT_MS, WhepError, WhepSession } from "../src/whep.ts";

/** As much of a browser's peer connection as an offer needs: node has none. */
class Peer {
  connectionState = "new";
  localDescription = { sdp: "v=0\r\n" };
  createDataChannel = () => ({});
  createOffer = async () => ({ type: "offer", sdp: "v=0\r\n" });
  addTransceiver = () => ({ receiver: {}, setCodecPreferences: () => undefined });
  setLocalDescription = async () => undefined;
  setRemoteDescription = async () => undefined;
  close = () => undefined;
}

Object.assign(globalThis, { RTCPeerConnection: Peer, RTCRtpReceiver: { getCapabilities: () => null } });

let server: Server;

beforeEach(async () => {
  server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
});

afterEach(() => {
  mock.restoreAll();
  server.closeAllConnections();
  server.close();
});

function openSession(): { session: WhepSession; opening: Promise<void>; asked: Promise<ServerResponse> } {
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/whep/a`;
  const session = new WhepSession({ url, token: "t" }, { picture: () => undefined, sound: () => undefined, message: () => undefined, reply: () => undefined, lost: () => undefined });
  const asked = new Promise<ServerResponse>((resolve) => {
    server.on("request", (request: IncomingMessage, response: ServerResponse) => (request.method === "OPTIONS" ? response.end() : resolve(response)));
  });
  return { session, opening: session.open(), asked };
}

function isNetworkFailure(reason: unknown): boolean {
  return reason instanceof WhepError && reason.status === 0 && !reason.final;
}

test("an answer that is cut short is the network's failure, and its session is ended", async () => {
  const { session, opening, asked } = openSession();
  const refused = assert.rejects(opening, isNetworkFailure);
  const response = await asked;
  response.writeHead(201, { Location: "/whep/a/1", "Content-Length": "1000" });
  response.write("v=0", () => response.destroy());
  await refused;
  session.close();
  const [request] = (await once(server, "request")) as [IncomingMessage];
  assert.deepEqual([request.method, request.url], ["DELETE", "/whep/a/1"]);
});

test("a refusal keeps its status and the time that the appliance asked for", async () => {
  const { opening, asked } = openSession();
  const refused = assert.rejects(opening, (reason) => reason instanceof WhepError && reason.status === 503 && reason.retryAfterMs === 2_000);
  (await asked).writeHead(503, { "Retry-After": "2" }).end();
  await refused;
});

test("a refusal keeps the word that the appliance has for it", async () => {
  const { opening, asked } = openSession();
  const refused = assert.rejects(opening, (reason) => reason instanceof WhepError && reason.final && reason.reason === "expired_token");
  (await asked).writeHead(401, { "Content-Type": "application/problem+json" }).end('{"status": 401, "reason": "expired_token"}');
  await refused;
});

test("a session that is closed leaves no request behind", async () => {
  const { session, opening, asked } = openSession();
  const refused = assert.rejects(opening, isNetworkFailure);
  const left = once(await asked, "close");
  session.close();
  await Promise.all([refused, left]);
});

test("an answer that does not come is not waited for without end", async () => {
  const limits: (() => void)[] = [];
  const real = globalThis.setTimeout;
  mock.method(globalThis, "setTimeout", (callback: () => void, delayMs: number) => {
    if (delayMs === ANSWER_LIMIT_MS) limits.push(callback);
    return real(delayMs === ANSWER_LIMIT_MS ? () => undefined : callback, delayMs);
  });
  const { opening, asked } = openSession();
  const refused = assert.rejects(opening, isNetworkFailure);
  await asked;
  assert.equal(limits.length, 1);
  limits[0]!();
  await refused;
});
