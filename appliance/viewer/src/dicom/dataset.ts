/**
 * A DICOM data set as the page uses it: typed, charset-aware reads over what dicom-parser found. Built by `parsePart10`.
 * Invariant: a data set that could not be parsed to its last octet is refused whole; nothing is read from half of one.
 */
import * as dicomParser from "dicom-parser";
import { decodeText, decoderFor } from "./charset.ts";

/** "0010,0010" in lower-case hexadecimal. */
export type Tag = string;

const PREAMBLE_OCTETS = 128;
const NUMBER_OCTETS: Readonly<Record<string, number>> = { US: 2, SS: 2, UL: 4, SL: 4, FL: 4, FD: 8 };

export class MalformedDicom extends Error {}

export class Dataset {
  private readonly decoder: TextDecoder;

  constructor(
    private readonly octets: Uint8Array,
    private readonly found: Readonly<Record<string, dicomParser.Element>>,
    inherited: TextDecoder,
  ) {
    const charset = this.octetsOf("0008,0005");
    // Items inherit the character set of the data set around them unless they state their own (PS3.5 section 7.5.3).
    this.decoder = charset === null ? inherited : decoderFor(String.fromCharCode(...charset).trim());
  }

  has(tag: Tag): boolean {
    return key(tag) in this.found;
  }

  tags(): Tag[] {
    return Object.keys(this.found).sort().map((name) => `${name.slice(1, 5)},${name.slice(5)}`);
  }

  vr(tag: Tag): string {
    return this.found[key(tag)]?.vr ?? "UN";
  }

  octetsOf(tag: Tag): Uint8Array | null {
    const element = this.found[key(tag)];
    if (element === undefined || element.items !== undefined || element.length === 0) return null;
    return this.octets.subarray(element.dataOffset, element.dataOffset + element.length);
  }

  /** The whole value as text (values of a multi-valued element stay joined by a backslash), without padding; "" if absent. */
  text(tag: Tag): string {
    const octets = this.octetsOf(tag);
    return octets === null ? "" : decodeText(octets, this.decoder).replace(/[\0 ]+$/, "").trimStart();
  }

  numbers(tag: Tag): number[] {
    const octets = this.octetsOf(tag);
    const vr = this.vr(tag);
    if (octets === null) return [];
    const size = NUMBER_OCTETS[vr];
    if (size === undefined) return this.text(tag).split("\\").map(Number).filter(Number.isFinite);
    const view = new DataView(octets.buffer, octets.byteOffset, octets.byteLength);
    return Array.from({ length: Math.floor(octets.byteLength / size) }, (_, index) => readNumber(view, index * size, vr));
  }

  number(tag: Tag): number | null {
    return this.numbers(tag)[0] ?? null;
  }

  items(tag: Tag): Dataset[] {
    const items = this.found[key(tag)]?.items ?? [];
    return items.flatMap((item) => (item.dataSet === undefined ? [] : [new Dataset(this.octets, item.dataSet.elements, this.decoder)]));
  }

  item(tag: Tag): Dataset | null {
    return this.items(tag)[0] ?? null;
  }

  /** The tag of element `offset` in the block that `creator` reserved in `group` (PS3.5 section 7.8.1), if it did. */
  privateTag(group: string, creator: string, offset: string): Tag | null {
    for (const tag of this.tags()) {
      if (tag.startsWith(`${group},00`) && tag > `${group},000f` && this.text(tag) === creator) return `${group},${tag.slice(7)}${offset}`;
    }
    return null;
  }
}

function key(tag: Tag): string {
  return `x${tag.slice(0, 4)}${tag.slice(5)}`;
}

function readNumber(view: DataView, offset: number, vr: string): number {
  switch (vr) {
    case "US": return view.getUint16(offset, true);
    case "SS": return view.getInt16(offset, true);
    case "UL": return view.getUint32(offset, true);
    case "SL": return view.getInt32(offset, true);
    case "FL": return view.getFloat32(offset, true);
    default: return view.getFloat64(offset, true);
  }
}

/**
 * Parses preamble, "DICM", group 0002 and the data set behind it.
 * (0002,0010) names the coding of the video, not of this data set, which is always Explicit VR Little Endian (PS3.22 section 7.1);
 * dicomParser.parseDicom would believe it, so the elements are read directly.
 */
export function parsePart10(octets: Uint8Array, inherited: TextDecoder = decoderFor("")): Dataset {
  if (octets.length <= PREAMBLE_OCTETS + 4) throw new MalformedDicom(`${octets.length} octets are too few for a Part 10 header`);
  if (String.fromCharCode(...octets.subarray(PREAMBLE_OCTETS, PREAMBLE_OCTETS + 4)) !== "DICM") throw new MalformedDicom("no DICM behind the preamble");
  const stream = new dicomParser.ByteStream(dicomParser.littleEndianByteArrayParser, octets, PREAMBLE_OCTETS + 4);
  const target = { elements: {}, warnings: [] as string[] } as unknown as dicomParser.DataSet;
  try {
    dicomParser.parseDicomDataSetExplicit(target, stream, octets.length);
  } catch (reason) {
    // dicom-parser throws plain strings.
    throw new MalformedDicom(String(reason));
  }
  if (target.warnings.length > 0) throw new MalformedDicom(target.warnings[0]);
  return new Dataset(octets, target.elements, inherited);
}
