/**
 * Watching one stream: joins frames with their records, drives the marker, and counts. Owns the player, the chart, the pace and the reporter.
 * Invariant: the marker is shown only for a frame that was joined with its own record.
 */
import { Chart, type FrameRecord } from "./chart.ts";
import { WallClock } from "./clock.ts";
import { Companions } from "./companions.ts";
import { FreezeClock, SightClock } from "./freeze.ts";
import { isFrameOf, RecordJoin } from "./join.ts";
import { Marker } from "./marker.ts";
import type { Measure } from "./measure.ts";
import { MalformedMessage, readMessage } from "./message.ts";
import { Pace } from "./pace.ts";
import { type Phase, Player } from "./player.ts";
import { rtpTimestampOnScreen, Tenure } from "./presented.ts";
import { Recent } from "./recent.ts";
import type { Totals } from "./report.ts";
import { Reporter } from "./reporter.ts";
import type { Endpoint } from "./whep.ts";

const SAMPLES_KEPT = 3_000;
/** A frame whose record has not come for so long has missed it. */
const LATE_MS = 2_000;
const AWAITED_MAX = 512;

/** Where the marker stood for a frame, in pixels of the decoded picture. */
export interface MarkerPosition {
  x: number;
  y: number;
  rtpTimestamp: number;
}

export interface FrameSample {
  rtpTimestamp: number;
  marker: MarkerPosition | null;
  /** performance.now() at the frame's callback. */
  at: number;
}

interface FrameOnScreen {
  rtpTimestamp: number;
  at: number;
  video: HTMLVideoElement;
  /** performance.now() until which no other frame can be there. */
  endMs: number;
  sample: FrameSample;
}

export class Watch {
  readonly clock = new WallClock();
  readonly chart = new Chart();
  readonly companions = new Companions();
  readonly pace = new Pace(this.clock);
  readonly samples = new Recent<FrameSample>(SAMPLES_KEPT);
  readonly player: Player;
  onSound: (stream: MediaStream | null) => void = () => undefined;
  /** Callbacks; `shown` counts the frames, of which a busy page may miss some. */
  frames = 0;
  shown = 0;
  joined = 0;
  unjoined = 0;
  /** Of the unjoined: those whose record, or callback, came when the next frame was or may have been on screen, and those that never got a record. */
  late = 0;
  missing = 0;
  messages = 0;
  malformed = 0;
  /** The record of the frame on screen, while it has one. */
  record: FrameRecord | null = null;
  markerPosition: MarkerPosition | null = null;
  lastFrame: { rtpTimestamp: number | null; presentedFrames: number } | null = null;
  /** Size of the source's raster, if the appliance says it; tips are given in its pixels. */
  raster: { width: number; height: number } | null = null;
  readonly reporter: Reporter;
  private readonly freezes = new FreezeClock();
  private readonly sight = new SightClock(performance.now(), !isHidden());
  /** Frames that were replaced before their record came, by RTP timestamp, with the time that they were. */
  private readonly awaited = new Map<number, number>();
  private readonly join = new RecordJoin<FrameRecord>();
  private readonly tenure = new Tenure();
  private unmatched: FrameOnScreen | null = null;
  private shownBy: HTMLVideoElement | null = null;

  constructor(
    endpoint: Endpoint,
    videos: readonly [HTMLVideoElement, HTMLVideoElement],
    private readonly marker: Marker,
    private readonly measure: Measure | null,
    phase: (phase: Phase, status: number, reason: string) => void,
  ) {
    this.player = new Player(endpoint, videos, {
      phase: (entered, status, reason) => {
        // A theatre that sends nothing has no picture that could stand still.
        if (entered === "away") this.freezes.pause(performance.now());
        phase(entered, status, reason);
      },
      frame: (video, metadata) => this.frame(video, metadata),
      message: (octets) => this.message(octets),
      reply: (octets) => this.reporter.heard(octets),
      sound: (stream) => this.onSound(stream),
    });
    this.reporter = new Reporter(this.player, this.clock, (nowMs) => this.totals(nowMs), (nowMs) => this.pace.takeLatencies(nowMs));
  }

  start(): void {
    document.addEventListener("visibilitychange", this.sighted);
    this.player.start();
  }

  stop(): void {
    document.removeEventListener("visibilitychange", this.sighted);
    this.player.stop();
  }

  /** A hidden page presents nothing, and nobody misses it. */
  private readonly sighted = (): void => {
    const nowMs = performance.now();
    this.sight.turn(nowMs, !isHidden());
    this.freezes.pause(nowMs);
  };

  private totals(nowMs: number): Totals {
    this.giveUp(nowMs);
    if (!isHidden()) this.freezes.settle(nowMs);
    const { freezes, frozenMs } = this.freezes;
    return { atMs: nowMs, visibleMs: this.sight.visibleMs(nowMs), frames: this.shown, freezes, frozenMs, joined: this.joined, late: this.late, missing: this.missing };
  }

  /** False once a frame came without its RTP timestamp: then no marker can be placed in this browser. */
  get joinable(): boolean {
    return this.lastFrame === null || this.lastFrame.rtpTimestamp !== null;
  }

  private frame(video: HTMLVideoElement, metadata: VideoFrameCallbackMetadata): void {
    const at = performance.now();
    if (video !== this.shownBy) {
      this.shownBy = video;
      this.pace.restart();
    }
    this.frames += 1;
    const shown = this.pace.frame(metadata, at);
    this.shown += shown;
    this.freezes.frame(at, shown);
    if (this.unmatched !== null) this.leaveUnjoined(this.unmatched, at);
    this.unmatched = null;
    const { measure } = this;
    const rtpTimestamp = rtpTimestampOnScreen(video, metadata, measure && ((frame) => measure.frame(frame, at)));
    this.lastFrame = { rtpTimestamp, presentedFrames: metadata.presentedFrames };
    if (rtpTimestamp === null) {
      this.unjoined += 1;
      this.leaveUnmarked();
      return;
    }
    const sample: FrameSample = { rtpTimestamp, marker: null, at };
    this.samples.push(sample);
    const onScreen = { rtpTimestamp, at, video, sample, endMs: this.tenure.endMs(metadata) };
    const record = this.join.get(rtpTimestamp, at);
    if (record !== null) this.match(onScreen, record, at);
    else {
      this.unmatched = onScreen;
      this.leaveUnmarked();
    }
  }

  private message(octets: ArrayBuffer): void {
    const now = performance.now();
    try {
      const message = readMessage(octets, this.chart.decoder());
      if (message.isCompanion) {
        this.companions.accept(message, now);
        return;
      }
      this.messages += 1;
      const accepted = this.chart.accept(message, now);
      if (accepted === null) return;
      if (accepted.changed) this.forget();
      this.join.put(accepted.record.rtpTimestamp, accepted.record, now);
      // The record came after its frame was painted: the frame is still there, so the marker is still right.
      if (this.unmatched !== null && isFrameOf(this.unmatched.rtpTimestamp, accepted.record.rtpTimestamp)) this.match(this.unmatched, accepted.record, now);
      else this.countLate(accepted.record.rtpTimestamp);
    } catch (reason) {
      if (!(reason instanceof MalformedMessage)) throw reason;
      this.messages += 1;
      this.malformed += 1;
    }
  }

  /** Called now and then: details that no message has confirmed are not shown beside a picture that may be another patient's. */
  expire(nowMs: number): void {
    if (this.chart.expire(nowMs)) this.forget();
    this.companions.expire(nowMs);
  }

  /** Nothing of the former patient or instance may be joined or shown any more. */
  private forget(): void {
    this.join.clear();
    this.leaveUnmarked();
  }

  private match(frame: FrameOnScreen, record: FrameRecord, nowMs: number): void {
    this.unmatched = null;
    this.pace.captured(record.captureTaiMs, frame.at);
    if (nowMs > frame.endMs) {
      this.unjoined += 1;
      this.late += 1;
      this.leaveUnmarked();
      return;
    }
    this.joined += 1;
    this.record = record;
    void this.measure?.joined(frame.rtpTimestamp, record.originTaiMs);
    const tip = record.instrument?.tip ?? null;
    if (tip === null) {
      this.markerPosition = null;
      this.marker.hide();
      return;
    }
    const { videoWidth, videoHeight } = frame.video;
    const x = (tip.x + 0.5) * (videoWidth / (this.raster?.width ?? videoWidth)) - 0.5;
    const y = (tip.y + 0.5) * (videoHeight / (this.raster?.height ?? videoHeight)) - 0.5;
    this.marker.show(x, y, record.instrument?.name ?? "", videoWidth, videoHeight);
    this.markerPosition = { x, y, rtpTimestamp: frame.rtpTimestamp };
    frame.sample.marker = this.markerPosition;
    void this.measure?.bead(this.markerPosition, frame.rtpTimestamp);
  }

  /** The next frame is on screen, and the record of this one has not come. Where no record ever came, none is waited for. */
  private leaveUnjoined(frame: FrameOnScreen, nowMs: number): void {
    this.unjoined += 1;
    if (this.messages === 0) return;
    this.awaited.set(frame.rtpTimestamp, nowMs);
    if (this.awaited.size > AWAITED_MAX) this.giveUp(nowMs, AWAITED_MAX);
  }

  private countLate(recordTimestamp: number): void {
    for (const frameTimestamp of this.awaited.keys()) {
      if (!isFrameOf(frameTimestamp, recordTimestamp)) continue;
      this.awaited.delete(frameTimestamp);
      this.late += 1;
      return;
    }
  }

  /** Counts the frames whose record has not come in time, and the oldest beyond `keep`. */
  private giveUp(nowMs: number, keep = AWAITED_MAX): void {
    for (const [rtpTimestamp, sinceMs] of this.awaited) {
      if (nowMs - sinceMs < LATE_MS && this.awaited.size <= keep) break;
      this.awaited.delete(rtpTimestamp);
      this.missing += 1;
    }
  }

  private leaveUnmarked(): void {
    this.record = null;
    this.markerPosition = null;
    this.marker.hide();
  }
}

/** Also where there is no document, as in the unit tests. */
function isHidden(): boolean {
  return typeof document !== "undefined" && document.hidden;
}
