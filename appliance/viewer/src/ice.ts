/**
 * The STUN and TURN servers of viewers behind a firewall. They are asked for before the first offer, for a browser gathers addresses with
 * those that it knows then. Used by every WHEP session; what was learned once serves the whole life of the page.
 */
import type { Endpoint } from "./whep.ts";

/** The offer is being made meanwhile, so a healthy appliance delays nobody; one that is slow at this will be slow at the POST too. */
const ANSWER_LIMIT_MS = 2_000;

let known: RTCIceServer[] | null = null;

/** Source: RFC 9725 section 4.6 (OPTIONS with the token). Never raises: without an answer there are none, and the next session asks again. */
export async function iceServers(endpoint: Endpoint): Promise<RTCIceServer[]> {
  if (known !== null) return known;
  const patience = new AbortController();
  const timer = setTimeout(() => patience.abort(), ANSWER_LIMIT_MS);
  try {
    const response = await fetch(endpoint.url, { method: "OPTIONS", headers: { Authorization: `Bearer ${endpoint.token}` }, signal: patience.signal });
    if (response.ok) known = readIceServers(response.headers.get("Link"));
  } catch {
    // The POST that follows tells the viewer what is wrong.
  } finally {
    clearTimeout(timer);
  }
  return known ?? [];
}

/** A session's answer names them too, with newer credentials. */
export function learnIceServers(links: string | null): void {
  known = readIceServers(links);
}

/** STUN and TURN servers of the Link header fields: `<turn:host:3478>; rel="ice-server"; username="u"; credential="c"`. */
export function readIceServers(links: string | null): RTCIceServer[] {
  const servers: RTCIceServer[] = [];
  for (const match of (links ?? "").matchAll(/<([^>]*)>([^,<]*)/g)) {
    const parameters = new Map(Array.from(match[2]!.matchAll(/;\s*([\w-]+)\s*=\s*"?([^";]*)"?/g), (pair) => [pair[1]!.toLowerCase(), pair[2]!]));
    if (!parameters.get("rel")?.split(/\s+/).includes("ice-server")) continue;
    const username = parameters.get("username");
    const credential = parameters.get("credential");
    servers.push({ urls: match[1]!, ...(username !== undefined && credential !== undefined ? { username, credential } : {}) });
  }
  return servers;
}
