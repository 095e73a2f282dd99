/**
 * Who and what the stream shows: keeps the static part by SOP Instance UID and turns each message into the frame's record.
 * Invariant: when the instance or the patient changes, nothing of the old one is left, before the new message is looked at;
 * and nothing is kept that no message has confirmed for STALE_AFTER_MS, for the picture may show somebody else by then.
 */
import type { Dataset } from "./dicom/dataset.ts";
import { decoderFor } from "./dicom/charset.ts";
import { type Instrument, readInstrument } from "./instrument.ts";
import { type Message, MalformedMessage } from "./message.ts";

/** Unordered delivery may bring the old instance's last messages after the new one's first; older than this is a new timeline. */
const REORDERED_MS = 2_000;

/** Without any message for so long, nothing is left to say whose picture it is. */
export const STALE_AFTER_MS = 3_000;

/** A sender repeats the static part once a second at least (PS3.22 section 6.2.2); one that has ceased to no longer says who it is. */
export const STATIC_STALE_AFTER_MS = 5_000;

export interface FrameRecord {
  rtpTimestamp: number;
  captureTaiMs: number;
  /** Frame Origin Timestamp, as the camera's sender wrote it; milliseconds since 1970 TAI. */
  originTaiMs: number | null;
  frameNumber: number | null;
  instrument: Instrument | null;
}

export interface Accepted {
  record: FrameRecord;
  /** The instance or patient is another than before: whatever was derived from earlier messages must go. */
  changed: boolean;
}

export class Chart {
  instanceUid: string | null = null;
  staticPart: Dataset | null = null;
  dynamicPart: Dataset | null = null;
  /** Counts the static parts taken over, so that a view knows when to redraw. */
  revision = 0;
  /** Another object for each patient and instance, so that a view knows when nothing it has drawn may stay. */
  subject = {};
  /** No message at present: none came yet, or none for STALE_AFTER_MS. */
  silent = true;
  /** Silent after messages had come, which is no matter of waiting for the first one. */
  fellSilent = false;
  private lastMessageMs = 0;
  private lastStaticMs = 0;
  private firstCaptureMs = 0;
  private staticCaptureMs = 0;

  /** Null for a straggler of the instance before. Raises MalformedMessage if the instance is not named. */
  accept(message: Message, nowMs: number): Accepted | null {
    const instanceUid = message.dataset.text("0002,0033");
    if (instanceUid === "") throw new MalformedMessage("no SOP Instance UID (0002,0033)");
    const otherInstance = this.instanceUid !== null && instanceUid !== this.instanceUid;
    if (otherInstance && isEarlier(message.captureTaiMs, this.firstCaptureMs)) return null;
    const newStatic = message.hasStatic && !isEarlier(message.captureTaiMs, this.staticCaptureMs);
    const changed = otherInstance || (newStatic && this.namesOtherPatient(message.dataset));
    if (changed) this.clear();
    if (this.instanceUid === null) {
      this.instanceUid = instanceUid;
      this.firstCaptureMs = message.captureTaiMs;
    }
    this.lastMessageMs = nowMs;
    this.silent = this.fellSilent = false;
    this.dynamicPart = message.dataset;
    if (message.hasStatic) this.lastStaticMs = nowMs;
    if (newStatic) this.takeStatic(message);
    return { record: frameRecord(message), changed };
  }

  /** Forgets everything; the next message starts anew. */
  clear(): void {
    this.instanceUid = null;
    this.staticPart = null;
    this.dynamicPart = null;
    this.staticCaptureMs = 0;
    this.revision += 1;
    this.subject = {};
  }

  /** Forgets everything once no message came for STALE_AFTER_MS, and who it is without a static part for STATIC_STALE_AFTER_MS; true if all is forgotten. */
  expire(nowMs: number): boolean {
    if (this.silent) return false;
    if (nowMs - this.lastMessageMs <= STALE_AFTER_MS) {
      if (this.staticPart !== null && nowMs - this.lastStaticMs > STATIC_STALE_AFTER_MS) {
        this.staticPart = null;
        this.revision += 1;
        this.subject = {};
      }
      return false;
    }
    this.clear();
    this.silent = this.fellSilent = true;
    return true;
  }

  /** The character set that dynamic parts, which carry none of their own, are read with. */
  decoder(): TextDecoder {
    return decoderFor(this.staticPart?.text("0008,0005") ?? "");
  }

  /** Whether a static part is of another patient or study than the one that is kept. */
  namesOtherPatient(dataset: Dataset): boolean {
    const before = this.staticPart;
    if (before === null) return false;
    return ["0010,0020", "0010,0010", "0020,000d"].some((tag) => before.text(tag) !== dataset.text(tag));
  }

  private takeStatic(message: Message): void {
    this.staticPart = message.dataset;
    this.staticCaptureMs = message.captureTaiMs;
    this.revision += 1;
  }
}

/** Captured before `thanMs`, yet not so long before that the source's clock must have been set back. */
function isEarlier(captureMs: number, thanMs: number): boolean {
  return captureMs < thanMs && thanMs - captureMs < REORDERED_MS;
}

function frameRecord(message: Message): FrameRecord {
  const groups = message.dataset.item("0006,0001");
  return {
    rtpTimestamp: message.rtpTimestamp,
    captureTaiMs: message.captureTaiMs,
    originTaiMs: originTaiMs(groups?.item("0034,000d")?.octetsOf("0034,0007") ?? null),
    frameNumber: groups?.item("0020,9111")?.number("0020,9156") ?? null,
    instrument: groups === null ? null : readInstrument(groups),
  };
}

/** 48 bits of seconds and 32 of nanoseconds, in network order (PS3.3 C.7.6.27). */
function originTaiMs(octets: Uint8Array | null): number | null {
  if (octets?.length !== 10) return null;
  const view = new DataView(octets.buffer, octets.byteOffset, octets.length);
  return (view.getUint16(0) * 2 ** 32 + view.getUint32(2)) * 1_000 + view.getUint32(6) / 1e6;
}
