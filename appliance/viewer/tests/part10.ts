/** Writes DICOM for the tests, by the letter of PS3.5 and independent of the parser under test. */

const LONG = new Set(["OB", "OW", "SQ", "UN", "UT", "UC", "UR"]);

export type Value = string | Uint8Array | Element[][] | { vr: "FD" | "US" | "UL"; numbers: number[] };

export interface Element {
  tag: string;
  vr: string;
  value: Value;
}

export function element(tag: string, vr: string, value: Value): Element {
  return { tag, vr, value };
}

export function concat(...parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.length;
  }
  return whole;
}

function header(tag: string, vr: string, length: number): Uint8Array {
  const octets = new Uint8Array(LONG.has(vr) ? 12 : 8);
  const view = new DataView(octets.buffer);
  view.setUint16(0, Number.parseInt(tag.slice(0, 4), 16), true);
  view.setUint16(2, Number.parseInt(tag.slice(5), 16), true);
  octets.set(new TextEncoder().encode(vr), 4);
  if (LONG.has(vr)) view.setUint32(8, length, true);
  else view.setUint16(6, length, true);
  return octets;
}

function item(elements: Element[]): Uint8Array {
  const body = encode(elements);
  const octets = new Uint8Array(8);
  const view = new DataView(octets.buffer);
  view.setUint16(0, 0xfffe, true);
  view.setUint16(2, 0xe000, true);
  view.setUint32(4, body.length, true);
  return concat(octets, body);
}

function numeric(vr: "FD" | "US" | "UL", numbers: number[]): Uint8Array {
  const size = { FD: 8, US: 2, UL: 4 }[vr];
  const view = new DataView(new ArrayBuffer(size * numbers.length));
  numbers.forEach((value, index) => {
    if (vr === "FD") view.setFloat64(index * size, value, true);
    else if (vr === "US") view.setUint16(index * size, value, true);
    else view.setUint32(index * size, value, true);
  });
  return new Uint8Array(view.buffer);
}

function octetsOf(element: Element): Uint8Array {
  const { value, vr } = element;
  if (value instanceof Uint8Array) return value;
  if (Array.isArray(value)) return concat(...value.map(item));
  if (typeof value === "object") return numeric(value.vr, value.numbers);
  const text = new TextEncoder().encode(value);
  return text.length % 2 === 0 ? text : concat(text, Uint8Array.of(vr === "UI" ? 0 : 0x20));
}

export function encode(elements: Element[]): Uint8Array {
  return concat(...elements.map((one) => {
    const octets = octetsOf(one);
    return concat(header(one.tag, one.vr, octets.length), octets);
  }));
}

/** Preamble, DICM, and group 0002 as PS3.22 table 7.1-1 has it, then `elements`. */
export function part10(instanceUid: string, elements: Element[], classUid = "1.2.840.10008.10.1"): Uint8Array<ArrayBuffer> {
  const meta = encode([
    element("0002,0010", "UI", "1.2.840.10008.1.2.7.1"),
    element("0002,0031", "OB", Uint8Array.of(0, 1)),
    element("0002,0032", "UI", classUid),
    element("0002,0033", "UI", instanceUid),
    element("0002,0037", "UL", { vr: "UL", numbers: [90_000] }),
  ]);
  const length = encode([element("0002,0000", "UL", { vr: "UL", numbers: [meta.length] })]);
  return concat(new Uint8Array(128), new TextEncoder().encode("DICM"), length, meta, encode(elements));
}

/** (0006,0001) with a frame number and an instrument in the source's private block. */
export function frameGroups(frame: number, tip: [number, number], block = "10", name = "Grasper"): Element {
  const creator = element(`0099,00${block}`, "LO", "APPLIANCE INSTRUMENT 1.0");
  const instrument = [
    creator,
    element(`0099,${block}02`, "LO", name),
    element(`0099,${block}03`, "FD", { vr: "FD", numbers: tip }),
    element(`0099,${block}04`, "FD", { vr: "FD", numbers: [112.5] }),
    element(`0099,${block}05`, "FD", { vr: "FD", numbers: [36.9] }),
  ];
  return element("0006,0001", "SQ", [[
    element("0020,9111", "SQ", [[element("0020,9156", "US", { vr: "US", numbers: [frame] })]]),
    creator,
    element(`0099,${block}01`, "SQ", [instrument]),
  ]]);
}

export function patient(id: string, name: string, charset = "ISO_IR 192"): Element[] {
  return [
    element("0008,0005", "CS", charset),
    element("0008,0020", "DA", "20261122"),
    element("0008,0030", "TM", "081500.250"),
    element("0008,0070", "LO", "Maker"),
    element("0008,0090", "PN", "Okafor^Chidi^^Prof."),
    element("0008,1032", "SQ", [[element("0008,0104", "LO", "Cholecystectomy")]]),
    element("0010,0010", "PN", name),
    element("0010,0020", "LO", id),
    element("0010,0030", "DA", "19620514"),
    element("0010,0040", "CS", "F"),
    element("0020,000d", "UI", "1.2.3"),
  ];
}

export interface MessageParts {
  version?: number;
  rtpTimestamp?: number;
  captureTaiNs?: bigint;
  hasStatic?: boolean;
  isCompanion?: boolean;
}

export function message(payload: Uint8Array, parts: MessageParts = {}): ArrayBuffer {
  const head = new DataView(new ArrayBuffer(16));
  head.setUint8(0, parts.version ?? 1);
  head.setUint8(1, (parts.hasStatic === true ? 1 : 0) | (parts.isCompanion === true ? 4 : 0));
  head.setUint32(4, parts.rtpTimestamp ?? 0);
  head.setBigUint64(8, parts.captureTaiNs ?? 0n);
  return concat(new Uint8Array(head.buffer), payload).buffer;
}
