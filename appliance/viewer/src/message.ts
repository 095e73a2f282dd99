/**
 * One message of the data channel "metadata": 16 octets, network order, then Part 10 bytes. Called for each message received.
 * `version u8 = 1 | flags u8 (bit 0: static part present, bit 1: de-identified, bit 2: companion) | reserved u16 | RTP timestamp u32 | capture time u64, TAI nanoseconds`, the times on the audience's own clock
 */
import { type Dataset, MalformedDicom, parsePart10 } from "./dicom/dataset.ts";

const HEADER_OCTETS = 16;
const VERSION = 1;
const STATIC = 0x01;
const COMPANION = 0x04;

export interface Message {
  rtpTimestamp: number;
  /** Milliseconds since 1970 TAI; a double holds it to a quarter of a microsecond. */
  captureTaiMs: number;
  hasStatic: boolean;
  /** It describes no frame of the picture, but its sound, another picture, or what belongs together. */
  isCompanion: boolean;
  dataset: Dataset;
}

export class MalformedMessage extends Error {}

export function readMessage(buffer: ArrayBuffer, inherited?: TextDecoder): Message {
  if (buffer.byteLength <= HEADER_OCTETS) throw new MalformedMessage(`${buffer.byteLength} octets are too few for a message`);
  const header = new DataView(buffer, 0, HEADER_OCTETS);
  const version = header.getUint8(0);
  if (version !== VERSION) throw new MalformedMessage(`version ${version}, expected ${VERSION}`);
  try {
    return {
      rtpTimestamp: header.getUint32(4),
      captureTaiMs: (header.getUint32(8) * 2 ** 32 + header.getUint32(12)) / 1e6,
      hasStatic: (header.getUint8(1) & STATIC) !== 0,
      isCompanion: (header.getUint8(1) & COMPANION) !== 0,
      dataset: parsePart10(new Uint8Array(buffer, HEADER_OCTETS), inherited),
    };
  } catch (reason) {
    if (reason instanceof MalformedDicom) throw new MalformedMessage(reason.message);
    throw reason;
  }
}
