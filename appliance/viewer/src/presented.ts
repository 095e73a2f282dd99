/** Calls back for each frame that a video element presents, and says which frame that is. */
import { Recent } from "./recent.ts";

/** VideoFrame.metadata() is young: Chromium has it since 145, and TypeScript's own declarations do not yet. */
interface IdentifiedFrame {
  metadata?: () => { rtpTimestamp?: number };
}

const framesAreIdentified = typeof VideoFrame === "function" && "metadata" in VideoFrame.prototype;

/**
 * The RTP timestamp of the frame on screen; null if the browser does not tell.
 * When the page is busy, a callback may run after the next frame has replaced its own; the element's current frame is then the truth.
 * Measured: asking it costs 0.04 ms. `keep`: who measures gets that very frame, and closes it.
 */
export function rtpTimestampOnScreen(video: HTMLVideoElement, metadata: VideoFrameCallbackMetadata, keep: ((frame: VideoFrame) => void) | null = null): number | null {
  if (!framesAreIdentified) {
    keep?.(new VideoFrame(video));
    return metadata.rtpTimestamp ?? null;
  }
  const frame = new VideoFrame(video);
  const identity = (frame as unknown as IdentifiedFrame).metadata?.();
  if (keep === null) frame.close();
  else keep(frame);
  return identity?.rtpTimestamp ?? metadata.rtpTimestamp ?? null;
}

/** Ticks of video in a millisecond (RFC 4175). */
const TICKS_A_MS = 90;
/** A step between frames is no shorter than in the fastest stream: what is repeated carries a few ticks more than before (see join.ts). */
const STEP_TICKS_MIN = 90;
const STEPS_KEPT = 50;

/**
 * Until when the frame of a callback is on screen for sure, where the browser cannot be asked which one is: for the shortest of the last steps from
 * frame to frame after it was to be shown. A callback that runs later, on a busy page, may find the next frame there.
 */
export class Tenure {
  private readonly steps = new Recent<number>(STEPS_KEPT);
  private before: number | null = null;

  constructor(private readonly identified = framesAreIdentified) {}

  /** performance.now() of that end, to be asked at each callback; Infinity where the frame is identified, or no step is known yet. */
  endMs(metadata: VideoFrameCallbackMetadata): number {
    const { rtpTimestamp, expectedDisplayTime } = metadata;
    if (this.identified || rtpTimestamp === undefined) return Infinity;
    const step = this.before === null ? 0 : (rtpTimestamp - this.before) | 0;
    this.before = rtpTimestamp;
    if (step >= STEP_TICKS_MIN) this.steps.push(step);
    return expectedDisplayTime + Math.min(...this.steps.toArray()) / TICKS_A_MS;
  }
}

/**
 * Until `wanted` returns false. Without requestVideoFrameCallback the element's own frame count is watched instead;
 * such callbacks carry no RTP timestamp, so their frames can be shown and counted but never joined.
 */
export function onPresented(video: HTMLVideoElement, wanted: () => boolean, presented: (metadata: VideoFrameCallbackMetadata) => void): void {
  if ("requestVideoFrameCallback" in video) {
    const next = (_: number, metadata: VideoFrameCallbackMetadata): void => {
      if (!wanted()) return;
      video.requestVideoFrameCallback(next);
      presented(metadata);
    };
    video.requestVideoFrameCallback(next);
    return;
  }
  watchCount(video, wanted, presented);
}

function watchCount(video: HTMLVideoElement, wanted: () => boolean, presented: (metadata: VideoFrameCallbackMetadata) => void): void {
  let before = 0;
  const look = (now: number): void => {
    if (!wanted()) return;
    requestAnimationFrame(look);
    const { totalVideoFrames } = video.getVideoPlaybackQuality();
    if (totalVideoFrames === before) return;
    before = totalVideoFrames;
    presented({ presentationTime: now, expectedDisplayTime: now, mediaTime: video.currentTime, width: video.videoWidth, height: video.videoHeight, presentedFrames: totalVideoFrames });
  };
  requestAnimationFrame(look);
}
