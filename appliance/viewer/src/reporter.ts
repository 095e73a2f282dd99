/** Sends a watch's reports over the connection on screen when they are due, and learns from the answers. Ticked by the page; owned by the watch. */
import type { WallClock } from "./clock.ts";
import { type Level, type Observed, readReply, REPORT_INTERVAL_MS, REPORT_OCTETS_MAX, Reports, SECOND_REPORT_MS, type Totals } from "./report.ts";
import { readSignal } from "./signal.ts";
import type { WhepSession } from "./whep.ts";

/** Questions whose answers may still come. */
const ASKED_MAX = 4;

export interface Reported {
  readonly reporting: WhepSession | null;
  readonly video: HTMLVideoElement;
}

export class Reporter {
  /** The picture that the appliance last said to be sending. */
  level: Level = "full";
  /** Reports sent, and answered. */
  sent = 0;
  answered = 0;
  private readonly reports: Reports;
  private readonly askedAt = new Map<number, number>();
  private session: WhepSession | null = null;
  private dueAt = 0;

  constructor(private readonly player: Reported, private readonly clock: WallClock, private readonly totals: (nowMs: number) => Totals, private readonly takeLatencies: (nowMs: number) => number[]) {
    this.reports = new Reports(totals(performance.now()));
  }

  /** Sends a report if one is due. */
  async tick(nowMs: number): Promise<void> {
    const session = this.player.reporting;
    if (session === null || (session === this.session && nowMs < this.dueAt)) return;
    this.dueAt = nowMs + (session === this.session ? REPORT_INTERVAL_MS : SECOND_REPORT_MS);
    this.session = session;
    const signal = await readSignal(session.peer).catch(() => null);
    // The connection may have ended while the browser was asked.
    if (session.reportable) this.send(session, signal);
  }

  /** An answer came. */
  heard(octets: ArrayBuffer): void {
    const nowMs = performance.now();
    const reply = readReply(octets);
    const askedAt = reply === null ? undefined : this.askedAt.get(reply.number);
    if (reply === null || askedAt === undefined) return;
    this.askedAt.delete(reply.number);
    this.answered += 1;
    this.level = reply.level;
    this.clock.offset.heard(this.clock.at(askedAt), this.clock.at(nowMs), reply.unixMs);
  }

  private send(session: WhepSession, signal: Observed["signal"]): void {
    const nowMs = performance.now();
    const { videoWidth, videoHeight } = this.player.video;
    const { number, text } = this.reports.next({
      totals: this.totals(nowMs), signal, connection: session, latenciesMs: this.takeLatencies(nowMs), width: videoWidth, height: videoHeight,
    });
    if (text.length > REPORT_OCTETS_MAX) return;
    for (const oldest of this.askedAt.keys()) if (this.askedAt.size >= ASKED_MAX) this.askedAt.delete(oldest);
    this.askedAt.set(number, performance.now());
    session.report(text);
    this.sent += 1;
  }
}
