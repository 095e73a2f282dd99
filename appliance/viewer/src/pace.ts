/** Latency and frame rate of what is on screen, from the frames as they are presented. */
import { utcMsFromTaiMs, WallClock } from "./clock.ts";
import { percentile, Recent, Timed } from "./recent.ts";

const SPAN_MS = 3_000;
const LATENCIES_KEPT = 3_000;
/** Between two reports: ten seconds of the fastest stream. */
const UNREPORTED_MAX = 1_200;

/** Outside these limits the camera's clock and this machine's do not agree, and their difference is no latency. */
const PLAUSIBLE_MS = { least: 0, most: 5_000 };

/** Clocks that lie a day apart do not tell the same time. */
const UNRELATED_MS = 86_400_000;

export interface Latency {
  ms: number;
  from: "camera" | "network";
}

export class Pace {
  /** Milliseconds from the capture instant to the frame's callback, for the joined frames. */
  readonly latencies = new Recent<number>(LATENCIES_KEPT);
  private unreported: number[] = [];
  private readonly fromCamera = new Timed(SPAN_MS);
  private readonly fromNetwork = new Timed(SPAN_MS);
  private readonly presented = new Timed(SPAN_MS);
  private lastPresented: number | null = null;
  private startedAt: number | null = null;

  constructor(private readonly clock: WallClock) {}

  /** Once for each frame on screen, at the time of its callback (performance.now()); returns how many were shown since the one before. */
  frame(metadata: VideoFrameCallbackMetadata, nowMs: number): number {
    // Callbacks can be missed when the page is busy; presentedFrames counts what was shown all the same.
    const counted = this.lastPresented === null ? 1 : metadata.presentedFrames - this.lastPresented;
    const shown = counted > 0 && counted < 100 ? counted : 1;
    this.lastPresented = metadata.presentedFrames;
    this.startedAt ??= nowMs;
    this.presented.push(nowMs, shown);
    if (metadata.receiveTime !== undefined) this.fromNetwork.push(nowMs, nowMs - metadata.receiveTime);
    return shown;
  }

  /** The capture instant of the frame whose callback came at `frameMs`. */
  captured(captureTaiMs: number, frameMs: number): void {
    const latencyMs = this.clock.applianceAt(frameMs) - utcMsFromTaiMs(captureTaiMs);
    // A class has a clock of its own: until the appliance has told it, no difference to this machine's is a latency.
    if (Math.abs(latencyMs) > UNRELATED_MS) return;
    this.latencies.push(latencyMs);
    if (this.unreported.length < UNREPORTED_MAX) this.unreported.push(latencyMs);
    this.fromCamera.push(frameMs, latencyMs);
  }

  /** The plausible latencies since the last call; none while the clocks are not known to agree. */
  takeLatencies(nowMs: number): number[] {
    const taken = this.unreported;
    this.unreported = [];
    return this.clock.agreed(nowMs) ? taken.filter((ms) => ms >= PLAUSIBLE_MS.least && ms <= PLAUSIBLE_MS.most) : [];
  }

  /** Another video element took over: its count starts anew. */
  restart(): void {
    this.lastPresented = null;
  }

  latency(nowMs: number): Latency | null {
    const camera = percentile(this.fromCamera.within(nowMs), 0.5);
    if (camera !== null && camera >= PLAUSIBLE_MS.least && camera <= PLAUSIBLE_MS.most) return { ms: camera, from: "camera" };
    const network = percentile(this.fromNetwork.within(nowMs), 0.5);
    return network === null || network < 0 ? null : { ms: network, from: "network" };
  }

  framesPerSecond(nowMs: number): number {
    const shown = this.presented.within(nowMs).reduce((sum, count) => sum + count, 0);
    const spanMs = Math.min(SPAN_MS, this.startedAt === null ? SPAN_MS : nowMs - this.startedAt);
    return spanMs < 500 ? 0 : (shown * 1_000) / spanMs;
  }
}
