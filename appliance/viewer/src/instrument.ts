/** The private block in which the source says, for each frame, where the instrument's tip is and what its sensors read. */
import type { Dataset } from "./dicom/dataset.ts";

const GROUP = "0099";
const CREATOR = "APPLIANCE INSTRUMENT 1.0";
const NAMES: Readonly<Record<string, string>> = { "01": "Instruments", "02": "Instrument", "03": "Tip Position", "04": "Insertion Depth (mm)", "05": "Temperature (°C)" };

export interface Instrument {
  name: string;
  /** Pixels of the full raster; 0, 0 is the centre of the top left pixel. */
  tip: { x: number; y: number } | null;
  depthMm: number | null;
  temperatureC: number | null;
}

/** The first instrument of a frame's functional groups (0006,0001), or null if it names none. */
export function readInstrument(groups: Dataset): Instrument | null {
  const sequence = groups.privateTag(GROUP, CREATOR, "01");
  const item = sequence === null ? null : groups.item(sequence);
  if (item === null) return null;
  const tag = (offset: string) => item.privateTag(GROUP, CREATOR, offset) ?? "";
  const [x, y] = item.numbers(tag("03"));
  return {
    name: item.text(tag("02")),
    tip: x !== undefined && y !== undefined && Number.isFinite(x) && Number.isFinite(y) ? { x, y } : null,
    depthMm: item.number(tag("04")),
    temperatureC: item.number(tag("05")),
  };
}

/** The name of an element of this block, for the list of all elements. */
export function instrumentElementName(dataset: Dataset, tag: string): string {
  const reserved = dataset.privateTag(GROUP, CREATOR, tag.slice(7));
  return reserved === tag ? NAMES[tag.slice(7)] ?? "" : "";
}
