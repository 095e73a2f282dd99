/**
 * What the person in front of this page sees, told to the appliance every few seconds: latency, freezes, losses, metadata that met its frame.
 * Only numbers about the picture: nothing in it says who watches, from where, or with which machine.
 */
import { percentile } from "./recent.ts";
import type { Signal } from "./signal.ts";

/** The appliance reads no longer one. */
export const REPORT_OCTETS_MAX = 1_024;
export const REPORT_INTERVAL_MS = 5_000;
/** A new connection reports at once, which tells the two clocks apart, and soon again. */
export const SECOND_REPORT_MS = 3_000;

/** Upper bounds of the appliance's histogram; a last count is for what is above them all. */
const LATENCY_BOUNDS_S = [0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.075, 0.1, 0.125, 0.15, 0.2, 0.3, 0.5, 1, 2];

/** Totals since the page began, at one moment. */
export interface Totals {
  atMs: number;
  visibleMs: number;
  frames: number;
  freezes: number;
  frozenMs: number;
  joined: number;
  late: number;
  missing: number;
}

export interface Observed {
  totals: Totals;
  /** The browser's own totals of the connection that `connection` stands for; null where it tells none. */
  signal: Signal | null;
  connection: object;
  latenciesMs: readonly number[];
  width: number;
  height: number;
}

const NO_SIGNAL: Signal = {
  codec: "", mimeType: "", packetsLost: 0, packetsReceived: 0, nacks: 0, freezes: 0, frozenSeconds: 0, bufferSeconds: 0, framesBuffered: 0, decodeSeconds: 0, framesDecoded: 0,
  soundBufferSeconds: 0, soundSamples: 0,
};

/** Turns what was observed into reports, each about the time since the one before. */
export class Reports {
  private number = 0;
  private before: Totals;
  private connection: object | null = null;
  private signal = NO_SIGNAL;
  /** Freezes at the beginning of this connection, and what has been reported of it. */
  private atConnection: Totals;
  private frozenMs = 0;
  private freezes = 0;

  constructor(begun: Totals) {
    this.before = this.atConnection = begun;
  }

  /** The next report's number and JSON text. */
  next(seen: Observed): { number: number; text: string } {
    if (seen.connection !== this.connection) this.connect(seen.connection);
    const { before } = this;
    const now = seen.totals;
    const signal = seen.signal ?? this.signal;
    const freeze = this.freeze(now, signal);
    const seconds = (now.atMs - before.atMs) / 1_000;
    const visible = Math.min(seconds, (now.visibleMs - before.visibleMs) / 1_000);
    const report = {
      version: 1,
      number: (this.number += 1),
      seconds: rounded(seconds),
      visible_seconds: rounded(visible),
      codec: /^video\/(h264|vp8)$/.exec(signal.mimeType)?.[1] ?? "other",
      width: seen.width,
      height: seen.height,
      frames: now.frames - before.frames,
      freezes: freeze.count,
      frozen_seconds: rounded(Math.min(visible, freeze.ms / 1_000)),
      packets_received: Math.max(0, signal.packetsReceived - this.signal.packetsReceived),
      packets_lost: Math.max(0, signal.packetsLost - this.signal.packetsLost),
      nacks: Math.max(0, signal.nacks - this.signal.nacks),
      buffer_seconds: mean(signal.bufferSeconds - this.signal.bufferSeconds, signal.framesBuffered - this.signal.framesBuffered),
      decode_seconds: mean(signal.decodeSeconds - this.signal.decodeSeconds, signal.framesDecoded - this.signal.framesDecoded),
      sound_buffer_seconds: mean(signal.soundBufferSeconds - this.signal.soundBufferSeconds, signal.soundSamples - this.signal.soundSamples),
      latency: latency(seen.latenciesMs),
      joined: now.joined - before.joined,
      late: now.late - before.late,
      missing: now.missing - before.missing,
    };
    this.before = now;
    // A packet that was given up and came after all is taken back from the browser's total; the most it said stands.
    this.signal = { ...signal, packetsLost: Math.max(signal.packetsLost, this.signal.packetsLost) };
    return { number: report.number, text: JSON.stringify(report) };
  }

  private connect(connection: object): void {
    this.connection = connection;
    this.signal = NO_SIGNAL;
    this.atConnection = this.before;
    this.frozenMs = this.freezes = 0;
  }

  /**
   * The page counts a freeze while it lasts and over reconnections; the browser, only afterwards, also what a busy page did not notice. The larger
   * total is right. The browser's says nothing once the page was out of sight, where nobody saw what it counted.
   */
  private freeze(now: Totals, signal: Signal): { count: number; ms: number } {
    const from = this.atConnection;
    const hidden = now.atMs - from.atMs - (now.visibleMs - from.visibleMs) > 1;
    const browser = hidden ? NO_SIGNAL : signal;
    const ms = Math.max(this.frozenMs, now.frozenMs - from.frozenMs, browser.frozenSeconds * 1_000);
    const count = Math.max(this.freezes, now.freezes - from.freezes, browser.freezes);
    const fresh = { count: count - this.freezes, ms: ms - this.frozenMs };
    this.frozenMs = ms;
    this.freezes = count;
    return fresh;
  }
}

function latency(latenciesMs: readonly number[]): { p50: number; p95: number; max: number; mean: number; counts: number[] } | null {
  if (latenciesMs.length === 0) return null;
  const counts = new Array<number>(LATENCY_BOUNDS_S.length + 1).fill(0);
  let sumMs = 0;
  for (const ms of latenciesMs) {
    const bucket = LATENCY_BOUNDS_S.findIndex((bound) => ms <= bound * 1_000);
    counts[bucket < 0 ? LATENCY_BOUNDS_S.length : bucket]! += 1;
    sumMs += ms;
  }
  const share = (part: number): number => rounded((percentile(latenciesMs, part) ?? 0) / 1_000);
  return { p50: share(0.5), p95: share(0.95), max: share(1), mean: rounded(sumMs / latenciesMs.length / 1_000), counts };
}

function mean(total: number, count: number): number | null {
  return count > 0 && total >= 0 ? rounded(total / count) : null;
}

/** To a tenth of a millisecond. */
function rounded(seconds: number): number {
  return Math.round(seconds * 10_000) / 10_000;
}

/** Which picture the appliance sends to this viewer. */
export type Level = "full" | "half" | "small";

export interface Reply {
  number: number;
  level: Level;
  unixMs: number;
}

/** The appliance's answer to a report; null for anything else. */
export function readReply(octets: ArrayBuffer): Reply | null {
  try {
    const { number, level, unix_ms: unixMs } = JSON.parse(new TextDecoder().decode(octets)) as Record<string, unknown>;
    if (typeof number !== "number" || typeof unixMs !== "number" || (level !== "full" && level !== "half" && level !== "small")) return null;
    return { number, level, unixMs };
  } catch {
    return null;
  }
}
