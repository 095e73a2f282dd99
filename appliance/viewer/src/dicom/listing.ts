/** Every element of a data set as rows for the list "All elements": tag, name, VR and readable value, sequences indented. */
import type { Dataset } from "./dataset.ts";
import { elementName, uidName } from "./names.ts";
import { date, personName, time } from "./values.ts";

const ROWS_MAX = 400;
const DEPTH_MAX = 8;
const TEXT_MAX = 200;
const OCTETS_SHOWN = 12;

export interface Row {
  depth: number;
  tag: string;
  name: string;
  vr: string;
  value: string;
}

/** `privateName` names what the source's own private block holds. */
export function listElements(dataset: Dataset, privateName: (dataset: Dataset, tag: string) => string): Row[] {
  const rows: Row[] = [];
  const walk = (part: Dataset, depth: number): void => {
    for (const tag of part.tags()) {
      if (rows.length >= ROWS_MAX) return;
      const vr = part.vr(tag);
      const items = vr === "SQ" ? part.items(tag) : [];
      const creator = tag.slice(5, 7) === "00" && elementName(tag) === "Private element";
      rows.push({ depth, tag, name: creator ? "Private Creator" : privateName(part, tag) || elementName(tag), vr, value: vr === "SQ" ? `${items.length} item${items.length === 1 ? "" : "s"}` : readable(part, tag, vr) });
      if (depth < DEPTH_MAX) for (const item of items) walk(item, depth + 1);
    }
  };
  walk(dataset, 0);
  return rows;
}

function readable(dataset: Dataset, tag: string, vr: string): string {
  switch (vr) {
    case "US": case "SS": case "UL": case "SL": case "FL": case "FD":
      return dataset.numbers(tag).map((value) => String(Number(value.toFixed(4)))).join(", ");
    case "OB": case "OW": case "OF": case "OD": case "OL": case "UN":
      return octets(dataset.octetsOf(tag), tag);
    case "PN":
      return personName(dataset.text(tag));
    case "DA":
      return date(dataset.text(tag)) || dataset.text(tag);
    case "TM":
      return time(dataset.text(tag)) || dataset.text(tag);
    case "UI":
      return uidName(dataset.text(tag)) || dataset.text(tag);
    default:
      return shorten(dataset.text(tag).replaceAll("\\", ", "));
  }
}

function octets(value: Uint8Array | null, tag: string): string {
  if (value === null) return "";
  const hexadecimal = (part: Uint8Array) => Array.from(part, (octet) => octet.toString(16).padStart(2, "0")).join("");
  const isIdentifier = ["0002,0035", "0002,0036", "0034,0002", "0034,0005"].includes(tag) && value.length === 16;
  if (isIdentifier) return hexadecimal(value).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
  const shown = hexadecimal(value.subarray(0, OCTETS_SHOWN));
  return value.length <= OCTETS_SHOWN ? shown : `${shown}… (${value.length} octets)`;
}

function shorten(text: string): string {
  return text.length <= TEXT_MAX ? text : `${text.slice(0, TEXT_MAX)}…`;
}
