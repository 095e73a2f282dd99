/** `window.applianceViewer`: read-only measurements of the running page, for tests and for engineers at the console. */
import type { Measure } from "./measure.ts";
import type { FrameSample, MarkerPosition, Watch } from "./watch.ts";

export interface ApplianceViewer {
  /** "connecting", "live", "reconnecting", "away", "unreachable", "busy", "refused", or "idle" before a stream is opened. */
  readonly state: string;
  /** "expert", "student", or "" while unknown. */
  readonly role: string;
  readonly stream: string;
  /** WHEP sessions that have shown a picture; grows when the viewer had to connect again. */
  readonly sessions: number;
  /** Frames presented, by callbacks; those joined with their own record; those replaced on screen before a record came. */
  readonly frames: number;
  /** Frames that the browser says to have presented: a busy page misses callbacks. */
  readonly shown: number;
  readonly joined: number;
  readonly unjoined: number;
  readonly messages: number;
  readonly malformed: number;
  /** Of the unjoined: their record came too late, or never. */
  readonly late: number;
  readonly missing: number;
  /** Reports sent to the appliance and answered by it; the picture that it says to send; how far this clock is ahead of its, null if unknown. */
  readonly reports: number;
  readonly replies: number;
  readonly level: string;
  readonly clockAheadMs: number | null;
  /** Milliseconds from the capture instant to the frame's callback, oldest first, the last 3000. */
  readonly latencies: number[];
  /** The marker of the frame on screen, in pixels of the decoded picture. */
  readonly marker: MarkerPosition | null;
  readonly lastFrame: { rtpTimestamp: number | null; presentedFrames: number } | null;
  /** One entry for each frame, oldest first, the last 3000. */
  readonly samples: FrameSample[];
  readonly video: HTMLVideoElement | null;
  readonly peer: RTCPeerConnection | null;
  /** performance.now() at the first POST of an offer and at the first painted frame. */
  readonly postedAt: number | null;
  readonly firstFrameAt: number | null;
  /** Pixel measurements; null without `measure=1` in the address. */
  readonly measure: Measure | null;
  /** The burnt-in stamps' glass latencies in milliseconds, and the marker's distances from the bead in pixels. */
  readonly glassLatencies: number[];
  readonly beadDistances: number[];
}

declare global {
  interface Window {
    applianceViewer: ApplianceViewer;
  }
}

export interface Watched {
  watch: Watch | null;
  role: string;
  stream: string;
  measure: Measure | null;
}

export function exposeHook(page: Watched): void {
  window.applianceViewer = {
    get state() { return page.watch?.player.phase ?? "idle"; },
    get role() { return page.role; },
    get stream() { return page.stream; },
    get sessions() { return page.watch?.player.sessions ?? 0; },
    get frames() { return page.watch?.frames ?? 0; },
    get shown() { return page.watch?.shown ?? 0; },
    get joined() { return page.watch?.joined ?? 0; },
    get unjoined() { return page.watch?.unjoined ?? 0; },
    get messages() { return page.watch?.messages ?? 0; },
    get malformed() { return page.watch?.malformed ?? 0; },
    get late() { return page.watch?.late ?? 0; },
    get missing() { return page.watch?.missing ?? 0; },
    get reports() { return page.watch?.reporter.sent ?? 0; },
    get replies() { return page.watch?.reporter.answered ?? 0; },
    get level() { return page.watch?.reporter.level ?? ""; },
    get clockAheadMs() { return page.watch?.clock.offset.aheadMs(Date.now()) ?? null; },
    get latencies() { return page.watch?.pace.latencies.toArray() ?? []; },
    get marker() { return page.watch?.markerPosition ?? null; },
    get lastFrame() { return page.watch?.lastFrame ?? null; },
    get samples() { return page.watch?.samples.toArray() ?? []; },
    get video() { return page.watch?.player.video ?? null; },
    get peer() { return page.watch?.player.peer ?? null; },
    get postedAt() { return page.watch?.player.postedAt ?? null; },
    get firstFrameAt() { return page.watch?.player.firstFrameAt ?? null; },
    get measure() { return page.measure; },
    get glassLatencies() { return page.measure?.glassLatencies.toArray() ?? []; },
    get beadDistances() { return page.measure?.beads.toArray().map((sample) => sample.distance) ?? []; },
  };
}
