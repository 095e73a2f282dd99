/**
 * How long a picture may stand still before a new session is opened. A part that restarts behind the worker brings the picture back on this
 * session, while a dead worker never does. Records and pictures come through the same worker, so records tell one from the other.
 */
import type { StallWatch } from "./stall.ts";

/** Records go on, so the worker lives: a new session could only help against a fault of this very session. */
export const ALIVE_MS = 1_500;
/** Nothing tells whether the worker lives: longer than an encoder takes to restart. */
export const UNKNOWN_MS = 800;
/** Packets still arrive: the worker lives and the line carries something; it is about to send less, or a keyframe. */
export const ARRIVING_MS = 4_000;

export function patienceMs(pictures: StallWatch, records: StallWatch, connected: boolean, arriving: boolean, nowMs: number): number {
  const limitMs = pictures.limitMs();
  if (!connected) return limitMs;
  if (arriving) return Math.max(limitMs, ARRIVING_MS);
  const withoutPictureMs = pictures.sinceLastMs(nowMs) ?? 0;
  const withoutRecordMs = records.sinceLastMs(nowMs);
  if (withoutRecordMs !== null && !records.stalled(nowMs)) return Math.max(limitMs, ALIVE_MS);
  // Records that had ceased well before the picture, or never came, say nothing about the worker.
  const ceasedTogether = withoutRecordMs !== null && withoutRecordMs - withoutPictureMs <= records.limitMs();
  return ceasedTogether ? limitMs : Math.max(limitMs, UNKNOWN_MS);
}
