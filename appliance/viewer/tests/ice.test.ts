import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { iceServers, learnIceServers } from "../src/ice.ts";

test("the servers are asked for with the token until they are known, and only then no more", async () => {
  const asked: string[] = [];
  let status = 503;
  const server = createServer((request, response) => {
    asked.push(`${request.method} ${request.url} ${request.headers.authorization}`);
    response.writeHead(status, { Link: '<turn:t.example>; rel="ice-server"; username="u"; credential="c"' }).end();
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const endpoint = { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/whep/a`, token: "t" };
  const turn = [{ urls: "turn:t.example", username: "u", credential: "c" }];
  assert.deepEqual(await iceServers(endpoint), []);
  status = 200;
  assert.deepEqual(await iceServers(endpoint), turn);
  server.close();
  server.closeAllConnections();
  assert.deepEqual(await iceServers(endpoint), turn);
  assert.deepEqual(asked, Array(2).fill("OPTIONS /whep/a Bearer t"));
  learnIceServers('<stun:s.example>; rel="ice-server"');
  assert.deepEqual(await iceServers(endpoint), [{ urls: "stun:s.example" }]);
});
