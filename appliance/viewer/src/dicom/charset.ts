/** Turns the octets of a DICOM string into text by Specific Character Set (0008,0005), PS3.3 C.12.1.1.2. */

const LABELS: Readonly<Record<string, string>> = {
  "": "utf-8", // The default repertoire is ASCII, of which UTF-8 is the forgiving superset.
  "ISO_IR 6": "utf-8",
  "ISO_IR 192": "utf-8",
  "ISO_IR 100": "iso-8859-1",
  "ISO_IR 101": "iso-8859-2",
  "ISO_IR 109": "iso-8859-3",
  "ISO_IR 110": "iso-8859-4",
  "ISO_IR 144": "iso-8859-5",
  "ISO_IR 127": "iso-8859-6",
  "ISO_IR 126": "iso-8859-7",
  "ISO_IR 138": "iso-8859-8",
  "ISO_IR 148": "windows-1254",
  "ISO_IR 203": "iso-8859-15",
  "ISO_IR 166": "windows-874",
  "ISO_IR 13": "shift_jis",
  "ISO_IR 87": "iso-2022-jp",
  "ISO_IR 159": "iso-2022-jp",
  "ISO_IR 149": "euc-kr",
  "ISO_IR 58": "gb2312",
  GB18030: "gb18030",
  GBK: "gbk",
};

const decoders = new Map<string, TextDecoder>();

/** Escape sequences that announce Korean or Chinese in G1; the decoders for these sets do without them. */
const ESCAPES = /\u001b\$\)[AC]/g;

export function decoderFor(specificCharacterSet: string): TextDecoder {
  const terms = specificCharacterSet.split("\\").map((term) => term.trim().replace(/^ISO 2022 IR /, "ISO_IR "));
  // With code extensions the later terms name the sets that are switched to, and their decoders cover ASCII as well.
  const label = LABELS[terms.findLast((term) => term !== "") ?? ""] ?? "utf-8";
  let decoder = decoders.get(label);
  if (decoder === undefined) {
    decoder = new TextDecoder(label);
    decoders.set(label, decoder);
  }
  return decoder;
}

export function decodeText(octets: Uint8Array, decoder: TextDecoder): string {
  return decoder.decode(octets).replace(ESCAPES, "");
}
