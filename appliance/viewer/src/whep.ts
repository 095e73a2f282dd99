/**
 * One WHEP session: the peer connection, its data channels, and the HTTP resource behind it. Used by the player, one at a time or two.
 * Does not decide about retries; it reports how the POST went and when the connection is lost.
 */
import { refusalReason } from "./appliance.ts";
import { iceServers, learnIceServers } from "./ice.ts";
import { retryAfterMs } from "./retry.ts";

export interface Endpoint {
  url: string;
  token: string;
}

export interface SessionEvents {
  picture(stream: MediaStream): void;
  sound(stream: MediaStream): void;
  message(octets: ArrayBuffer): void;
  /** The appliance answered a report. */
  reply(octets: ArrayBuffer): void;
  lost(): void;
}

/** Statuses that trying again cannot mend: no right to watch, or no common ground with this browser. */
const FINAL_STATUSES: ReadonlySet<number> = new Set([400, 401, 403, 405, 406, 415, 422]);

export class WhepError extends Error {
  constructor(
    /** The HTTP status; 0 if the appliance could not be reached. */
    readonly status: number,
    readonly retryAfterMs: number,
    /** The appliance's word for it. */
    readonly reason = "",
  ) {
    super(status === 0 ? "the appliance cannot be reached" : `the appliance answered ${status}`);
  }

  get final(): boolean {
    return FINAL_STATUSES.has(this.status);
  }
}

/** An answer that takes longer than this is no longer waited for. */
export const ANSWER_LIMIT_MS = 8_000;

/** Candidates that show up within this time share one PATCH. */
const TRICKLE_BATCH_MS = 30;

export class WhepSession {
  readonly peer: RTCPeerConnection;
  postedAt: number | null = null;
  connectedAt: number | null = null;
  private readonly reports: RTCDataChannel;
  private readonly abandonment = new AbortController();
  private resource: string | null = null;
  private etag: string | null = null;
  private closed = false;
  private candidates: RTCIceCandidate[] = [];
  private trickleTimer: ReturnType<typeof setTimeout> | null = null;

  constructor(private readonly endpoint: Endpoint, private readonly events: SessionEvents) {
    this.peer = new RTCPeerConnection({ bundlePolicy: "max-bundle", rtcpMuxPolicy: "require" });
    // Created before the offer, so that the offer carries the section for them and no second negotiation is needed.
    this.channel("metadata", (octets) => this.events.message(octets));
    this.reports = this.channel("report", (octets) => this.events.reply(octets));
    const transceiver = this.peer.addTransceiver("video", { direction: "recvonly" });
    preferCodecs(transceiver);
    shortenBuffer(transceiver.receiver);
    this.peer.addTransceiver("audio", { direction: "recvonly" });
    this.peer.ontrack = (event) => {
      const stream = event.streams[0] ?? new MediaStream([event.track]);
      if (event.track.kind === "audio") this.events.sound(stream);
      else this.events.picture(stream);
    };
    this.peer.onicecandidate = (event) => this.gathered(event.candidate);
    this.peer.onconnectionstatechange = () => this.followConnection();
  }

  /** Whether a report can be sent now. */
  get reportable(): boolean {
    return !this.closed && this.reports.readyState === "open" && this.reports.bufferedAmount === 0;
  }

  /** Sends a report; one that the network loses is not sent again, for the next one is newer. */
  report(text: string): void {
    this.reports.send(text);
  }

  get connected(): boolean {
    return this.peer.connectionState === "connected";
  }

  /** Posts the offer and applies the answer. Raises WhepError. */
  async open(): Promise<void> {
    const [offer, servers] = await Promise.all([this.peer.createOffer(), iceServers(this.endpoint)]);
    if (this.closed) return;
    if (servers.length > 0) this.peer.setConfiguration({ ...this.peer.getConfiguration(), iceServers: servers });
    await this.peer.setLocalDescription({ type: "offer", sdp: inStereo(offer.sdp ?? "") });
    this.postedAt = performance.now();
    const answer = await this.post(this.peer.localDescription!.sdp);
    if (this.closed) return;
    await this.peer.setRemoteDescription({ type: "answer", sdp: answer });
    this.scheduleTrickle();
  }

  private channel(label: string, heard: (octets: ArrayBuffer) => void): RTCDataChannel {
    const channel = this.peer.createDataChannel(label, { ordered: false, maxRetransmits: 0 });
    channel.binaryType = "arraybuffer";
    channel.onmessage = (event: MessageEvent<ArrayBuffer>) => this.closed || heard(event.data);
    return channel;
  }

  /** Ends the session here and at the appliance; also safe while the page is going away. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    if (this.trickleTimer !== null) clearTimeout(this.trickleTimer);
    this.peer.close();
    this.abandonment.abort();
    this.remove();
  }

  /** The answer. Raises WhepError, with status 0 also for an answer that was cut short or took too long. */
  private async post(offer: string): Promise<string> {
    const timer = setTimeout(() => this.abandonment.abort(), ANSWER_LIMIT_MS);
    let response: Response;
    try {
      response = await fetch(this.endpoint.url, {
        method: "POST",
        headers: { "Content-Type": "application/sdp", Authorization: `Bearer ${this.endpoint.token}` },
        body: offer,
        signal: this.abandonment.signal,
      });
      if (response.status === 201) {
        this.learn(response.headers);
        return await response.text();
      }
    } catch {
      throw new WhepError(0, 0);
    } finally {
      clearTimeout(timer);
    }
    throw new WhepError(response.status, retryAfterMs(response.headers.get("Retry-After"), Date.now()), await refusalReason(response));
  }

  private learn(headers: Headers): void {
    const location = headers.get("Location");
    this.resource = location === null ? null : new URL(location, this.endpoint.url).href;
    this.etag = headers.get("ETag");
    learnIceServers(headers.get("Link"));
    // Closed while the answer was on its way: the appliance has a session that only this response names.
    if (this.closed) this.remove();
  }

  private remove(): void {
    if (this.resource === null) return;
    const resource = this.resource;
    this.resource = null;
    // keepalive lets the request outlive the page. A session that cannot be deleted ends by lost consent (RFC 7675).
    fetch(resource, { method: "DELETE", keepalive: true, headers: { Authorization: `Bearer ${this.endpoint.token}` } }).catch(() => undefined);
  }

  private gathered(candidate: RTCIceCandidate | null): void {
    // The appliance finds viewers behind mDNS names as peer-reflexive candidates; it could not resolve the names.
    if (candidate === null || candidate.candidate === "" || candidate.address?.endsWith(".local") === true) return;
    this.candidates.push(candidate);
    this.scheduleTrickle();
  }

  private scheduleTrickle(): void {
    if (this.resource === null || this.candidates.length === 0 || this.trickleTimer !== null) return;
    this.trickleTimer = setTimeout(() => {
      this.trickleTimer = null;
      void this.trickle();
    }, TRICKLE_BATCH_MS);
  }

  private async trickle(): Promise<void> {
    if (this.closed || this.resource === null) return;
    const body = sdpFragment(this.peer.localDescription!.sdp, this.candidates.splice(0));
    const headers: Record<string, string> = { "Content-Type": "application/trickle-ice-sdpfrag", Authorization: `Bearer ${this.endpoint.token}` };
    if (this.etag !== null) headers["If-Match"] = this.etag;
    // A refused candidate is no reason to give up: the connectivity checks decide.
    await fetch(this.resource, { method: "PATCH", headers, body, signal: this.abandonment.signal }).catch(() => undefined);
  }

  private followConnection(): void {
    const state = this.peer.connectionState;
    if (state === "connected") this.connectedAt ??= performance.now();
    if (!this.closed && (state === "failed" || state === "disconnected")) this.events.lost();
  }
}

/** A browser decodes both sides only if its own offer says so (RFC 7587 section 6.1, `stereo`). */
export function inStereo(offer: string): string {
  const opus = /^a=rtpmap:(\d+) opus\/48000\/2/m.exec(offer)?.[1];
  return opus === undefined ? offer : offer.replace(new RegExp(`^(a=fmtp:${opus} (?!.*stereo=)[^\\r\\n]*)`, "m"), "$1;stereo=1");
}

function preferCodecs(transceiver: RTCRtpTransceiver): void {
  const codecs = RTCRtpReceiver.getCapabilities("video")?.codecs ?? [];
  const wanted = (mime: string) => codecs.filter((codec) => codec.mimeType.toLowerCase() === mime);
  // H.264 with packetization mode 1 only: mode 0 cannot carry a slice larger than a packet (RFC 6184 section 6.2).
  const h264 = wanted("video/h264").filter((codec) => codec.sdpFmtpLine?.includes("packetization-mode=1") ?? false);
  const order = [...h264, ...wanted("video/vp8"), ...wanted("video/rtx")];
  if (order.length > 0) transceiver.setCodecPreferences(order);
}

function shortenBuffer(receiver: RTCRtpReceiver): void {
  if ("jitterBufferTarget" in receiver) receiver.jitterBufferTarget = 0;
}

/** RFC 8840 fragment for the one bundled transport. */
export function sdpFragment(offer: string, candidates: readonly { candidate: string }[]): string {
  const line = (prefix: string) => offer.split(/\r?\n/).find((text) => text.startsWith(prefix)) ?? "";
  return [line("a=ice-ufrag:"), line("a=ice-pwd:"), line("m="), line("a=mid:"), ...candidates.map((one) => `a=${one.candidate}`), ""].join("\r\n");
}
