/**
 * What the theatre says beside the picture, to experts alone: of its sound, of another picture, and which of them belong together (PS3.22 section 6.1).
 * Invariant: a companion says nothing of who is in the picture; nothing is kept that its sender has ceased to say.
 */
import { type Chart, STATIC_STALE_AFTER_MS } from "./chart.ts";
import type { Dataset } from "./dicom/dataset.ts";
import { date, time } from "./dicom/values.ts";
import type { Line } from "./details.ts";
import type { Message } from "./message.ts";

/** A stream has hardly more flows; what comes beyond them is not kept. */
const COMPANIONS_MAX = 8;
const AUDIO = "1.2.840.10008.10.3";
const RENDITION = "1.2.840.10008.10.4";
const PCM = "1.2.840.10008.1.2.7.3";
/** PS3.16 CID 7070, in the words of the page. */
const TITLES: Readonly<Record<string, string>> = { "130370": "Rendition", "130371": "Picture with sound", "130372": "Stereo pair", "130373": "Stereo pair with sound" };

export interface Section {
  title: string;
  lines: Line[];
  /** It names another patient than the picture does: somebody must look. */
  conflict: boolean;
}

export class Companions {
  private readonly parts = new Map<string, { dataset: Dataset; heardMs: number }>();

  accept(message: Message, nowMs: number): void {
    const instanceUid = message.dataset.text("0002,0033");
    if (!message.hasStatic || (this.parts.size >= COMPANIONS_MAX && !this.parts.has(instanceUid))) return;
    this.parts.set(instanceUid, { dataset: message.dataset, heardMs: nowMs });
  }

  expire(nowMs: number): void {
    for (const [instanceUid, part] of this.parts) if (nowMs - part.heardMs > STATIC_STALE_AFTER_MS) this.parts.delete(instanceUid);
  }

  /** As the panel shows them: the sound first, what belongs together last. None while nobody says what the picture is. */
  sections(chart: Chart): Section[] {
    if (chart.staticPart === null) return [];
    const datasets = [...this.parts.values()].map((part) => part.dataset).sort((a, b) => classOf(a).localeCompare(classOf(b)));
    return datasets.map((dataset) => {
      const conflict = chart.namesOtherPatient(dataset);
      const lines = [...(classOf(dataset) === RENDITION ? this.composition(dataset, chart) : described(dataset)), ["Patient", conflict ? "not the picture's" : ""]];
      return { title: titleOf(dataset), conflict, lines: lines.flatMap(([label, value]) => (value ? [{ label: label!, value }] : [])) };
    });
  }

  private composition(dataset: Dataset, chart: Chart): string[][] {
    const title = dataset.item("0040,a043");
    const held = dataset.items("0040,a730").map((item) => {
      const kind = item.text("0040,a040");
      if (kind === "TEXT") return ["Note", item.text("0040,a160")];
      return [kind === "WAVEFORM" ? "Sound" : kind === "IMAGE" ? "Picture" : "", this.named(item.item("0008,1199")?.text("0008,1155") ?? "", chart)];
    });
    return [["Kind", TITLES[title?.text("0008,0100") ?? ""] ?? title?.text("0008,0104") ?? ""], ...held.filter(([label]) => label !== "")];
  }

  /** What an instance is, for people. */
  private named(instanceUid: string, chart: Chart): string {
    if (instanceUid === chart.instanceUid) return [chart.staticPart?.text("0008,103e"), "this picture"].filter(Boolean).join(", ");
    const part = this.parts.get(instanceUid)?.dataset;
    return part === undefined ? "not received here" : part.text("0008,103e") || part.text("0008,1090") || "received";
  }
}

function classOf(dataset: Dataset): string {
  return dataset.text("0002,0032");
}

function titleOf(dataset: Dataset): string {
  return classOf(dataset) === AUDIO ? "Sound" : classOf(dataset) === RENDITION ? "Belongs together" : "Another picture";
}

function described(dataset: Dataset): string[][] {
  const began = dataset.text("0008,002a");
  return [
    ["Description", dataset.text("0008,103e")],
    ["Format", formatOf(dataset)],
    ["Manufacturer", dataset.text("0008,0070")],
    ["Model", dataset.text("0008,1090")],
    ["Serial number", dataset.text("0018,1000")],
    ["Software", dataset.text("0018,1020")],
    ["Station", dataset.text("0008,1010")],
    ["Since", [date(began), time(began.slice(8, 12))].filter(Boolean).join(", ")],
  ];
}

function formatOf(dataset: Dataset): string {
  const flow = dataset.item("0034,000a")?.item("0034,0001") ?? null;
  const rateHz = flow?.number("0034,0004") ?? null;
  return flow?.text("0034,0003") !== PCM ? "" : ["PCM", rateHz === null ? "" : `${rateHz / 1_000} kHz`].filter(Boolean).join(", ");
}
