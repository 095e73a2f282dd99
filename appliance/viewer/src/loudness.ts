/**
 * Whether the theatre's sound comes and how loud it is, by the browser's own totals; and the words for it. Fed by the sound a few times a second.
 * Invariant: it speaks of what arrives here, whether or not this page plays it aloud.
 */

/** Totals since the connection began: RTP packets, and energy and length of what was drawn from the buffer (W3C webrtc-stats). */
export interface SoundTotals {
  packets: number;
  energy: number;
  seconds: number;
}

/** Without a packet for so long it is interrupted. */
export const INTERRUPTED_MS = 1_500;
/** Below this nobody hears anything: a microphone that is switched off, not a quiet room. */
export const SILENT_DB = -80;
export const SILENT_MS = 10_000;
/** The meter's left end. */
const FLOOR_DB = -60;
/** A sentence covers some of the picture, so it is said for so long; an interruption's for longer, and the state beside the title goes on. */
const SAID_MS = 6_000;
const INTERRUPTION_SAID_MS = 15_000;

export type Hearing = "coming" | "silent" | "interrupted";

export class Loudness {
  /** Of the last look, in dB below full scale; null while nothing comes. */
  levelDb: number | null = null;
  hearing: Hearing = "coming";
  private before: SoundTotals | null = null;
  private sinceMs = 0;
  private wasInterrupted = false;

  constructor(private cameMs: number, private loudMs = cameMs) {}

  /** Another session: its totals begin anew. An interruption goes on until sound comes. */
  restart(nowMs: number): void {
    this.before = null;
    this.cameMs = this.loudMs = nowMs;
  }

  /** Takes the totals of now. */
  look(totals: SoundTotals, nowMs: number): void {
    const before = this.before;
    this.before = totals;
    if (before === null) return;
    const came = totals.packets > before.packets;
    if (came) this.cameMs = nowMs;
    const seconds = totals.seconds - before.seconds;
    this.levelDb = came && seconds > 0 ? 10 * Math.log10(Math.max(0, totals.energy - before.energy) / seconds) : null;
    // Without packets nothing is known about silence.
    if (!came || this.levelDb === null || this.levelDb > SILENT_DB) this.loudMs = nowMs;
    const interrupted = nowMs - this.cameMs > INTERRUPTED_MS || (this.hearing === "interrupted" && !came);
    this.enter(interrupted ? "interrupted" : nowMs - this.loudMs > SILENT_MS ? "silent" : "coming", nowMs);
  }

  /** From 0 to 1, for the meter. */
  get meter(): number {
    return this.levelDb === null ? 0 : Math.min(1, Math.max(0, 1 - this.levelDb / FLOOR_DB));
  }

  /** A sentence for who listens; "" while there is nothing to say. */
  note(nowMs: number): string {
    const interrupted = this.hearing === "interrupted";
    if (nowMs - this.sinceMs > (interrupted ? INTERRUPTION_SAID_MS : SAID_MS)) return "";
    if (interrupted) return "The theatre's sound is interrupted. It returns by itself.";
    if (this.hearing === "silent") return "The theatre's sound is silent: its microphone may be off.";
    return this.wasInterrupted ? "The theatre's sound is back." : "";
  }

  private enter(hearing: Hearing, nowMs: number): void {
    if (hearing === this.hearing) return;
    this.wasInterrupted = this.hearing === "interrupted";
    this.hearing = hearing;
    this.sinceMs = nowMs;
  }
}

/** What the browser has of the sound of a connection; null if it has none. */
export async function readSound(peer: RTCPeerConnection): Promise<SoundTotals | null> {
  const receiver = peer.getReceivers().find((one) => one.track.kind === "audio");
  if (receiver === undefined) return null;
  for (const entry of (await receiver.getStats()).values()) {
    if (entry.type === "inbound-rtp" && entry.kind === "audio") {
      return { packets: entry.packetsReceived ?? 0, energy: entry.totalAudioEnergy ?? 0, seconds: entry.totalSamplesDuration ?? 0 };
    }
  }
  // Where nothing ever came there is no entry.
  return { packets: 0, energy: 0, seconds: 0 };
}
