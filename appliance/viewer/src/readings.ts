/** The tiles under the picture: what the instrument and the frame on screen say, written at most ten times a second. */
import type { FrameRecord } from "./chart.ts";
import { utcMsFromTaiMs } from "./clock.ts";
import { timeOfDay } from "./dicom/values.ts";
import { element, write } from "./page.ts";

const ABSENT = "–";

export class Readings {
  private readonly instrument = element("r-instrument", HTMLElement);
  private readonly depth = element("r-depth", HTMLElement);
  private readonly temperature = element("r-temperature", HTMLElement);
  private readonly tip = element("r-tip", HTMLElement);
  private readonly frame = element("r-frame", HTMLElement);
  private readonly captured = element("r-captured", HTMLElement);

  update(record: FrameRecord | null): void {
    const instrument = record?.instrument ?? null;
    write(this.instrument, instrument?.name || ABSENT);
    write(this.depth, fixed(instrument?.depthMm, 1));
    write(this.temperature, fixed(instrument?.temperatureC, 1));
    write(this.tip, instrument?.tip ? `${Math.round(instrument.tip.x)}, ${Math.round(instrument.tip.y)}` : ABSENT);
    write(this.frame, record?.frameNumber?.toString() ?? ABSENT);
    write(this.captured, record === null ? ABSENT : timeOfDay(utcMsFromTaiMs(record.captureTaiMs)));
  }
}

function fixed(value: number | null | undefined, digits: number): string {
  return value === null || value === undefined || !Number.isFinite(value) ? ABSENT : value.toFixed(digits);
}
