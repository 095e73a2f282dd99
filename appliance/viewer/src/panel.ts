/** The panel beside the picture: patient, study, device, connection, all elements. Redrawn when the static part changes. */
import type { Chart } from "./chart.ts";
import type { Section } from "./companions.ts";
import { type Line, readDeidentified, readDetails } from "./details.ts";
import { dayOf } from "./dicom/values.ts";
import { listElements, type Row } from "./dicom/listing.ts";
import { instrumentElementName } from "./instrument.ts";
import { element, make, write } from "./page.ts";

/** The first metadata may come so long after the picture before its absence is worth a word. */
const NONE_AFTER_MS = 4_000;
/** Patient Identity Removed. */
const IDENTITY_REMOVED = "0012,0062";
const LISTING_INTERVAL_MS = 1_000;
const MISSING = "No metadata from the theatre. Details and values are shown as soon as it arrives.";

export class Panel {
  private readonly notice = element("notice", HTMLElement);
  private readonly identity = element("identity", HTMLElement);
  private readonly withheld = element("withheld", HTMLElement);
  private readonly waiting = element("waiting", HTMLElement);
  private readonly patientName = element("patient-name", HTMLElement);
  private readonly lists = { patient: element("patient", HTMLElement), study: element("study", HTMLElement), device: element("device", HTMLElement) };
  /** A class has a clock of its own, whose time of day is nobody's. */
  private readonly captured = element("t-captured", HTMLElement);
  private readonly companions = element("companions", HTMLElement);
  private readonly connection = element("connection", HTMLElement);
  private readonly everything = element("everything", HTMLDetailsElement);
  private readonly rows = element("elements", HTMLElement);
  private subject: object | null = null;
  private revision = -1;
  private listedAt = 0;

  setAudience(expert: boolean): void {
    this.withheld.hidden = expert;
    this.captured.hidden = !expert;
  }

  /** `liveForMs`: how long there has been a picture; null while there is none. */
  update(chart: Chart, nowMs: number, liveForMs: number | null, expert: boolean): void {
    const missing = chart.fellSilent || (chart.silent && liveForMs !== null && liveForMs > NONE_AFTER_MS);
    write(this.notice, missing ? MISSING : "");
    this.notice.hidden = !missing;
    if (chart.subject !== this.subject) {
      this.subject = chart.subject;
      this.revision = -1;
      this.listedAt = 0;
      this.rows.replaceChildren();
    }
    if (chart.revision !== this.revision) {
      this.revision = chart.revision;
      this.drawDetails(chart);
    }
    this.identity.hidden = chart.staticPart === null;
    this.waiting.hidden = !expert || missing || chart.staticPart !== null;
    if (this.everything.open && nowMs - this.listedAt > LISTING_INTERVAL_MS) {
      this.listedAt = nowMs;
      this.drawElements(chart);
    }
  }

  writeConnection(lines: Line[]): void {
    drawLines(this.connection, lines);
  }

  /** What describes the sound, another picture, and what belongs together. */
  writeCompanions(sections: Section[]): void {
    const wanted = JSON.stringify(sections);
    if (this.companions.dataset["drawn"] === wanted) return;
    this.companions.dataset["drawn"] = wanted;
    this.companions.replaceChildren(...sections.map(drawSection));
  }

  private drawDetails(chart: Chart): void {
    const { staticPart } = chart;
    const details = staticPart === null ? null : staticPart.text(IDENTITY_REMOVED) === "YES" ? readDeidentified(staticPart) : readDetails(staticPart, dayOf(Date.now()));
    write(this.patientName, details?.patientName ?? "");
    drawLines(this.lists.patient, details?.patient ?? []);
    drawLines(this.lists.study, details?.study ?? []);
    drawLines(this.lists.device, details?.device ?? []);
  }

  private drawElements(chart: Chart): void {
    const dynamic = chart.dynamicPart === null ? [] : listElements(chart.dynamicPart, instrumentElementName).filter((row) => row.tag < "0008,0000" || row.depth > 0);
    const fixed = chart.staticPart === null ? [] : listElements(chart.staticPart, instrumentElementName);
    this.rows.replaceChildren(...joinParts(dynamic, fixed).map(drawRow));
  }
}

/** The latest dynamic part, then the cached static one: group 0002 and the functional groups come from the former only. */
function joinParts(dynamic: Row[], fixed: Row[]): Row[] {
  const firstFixed = fixed.findIndex((row) => row.depth === 0 && row.tag >= "0008,0000");
  const firstForeign = dynamic.findIndex((row) => row.depth === 0 && row.tag >= "0008,0000");
  return [...(firstForeign < 0 ? dynamic : dynamic.slice(0, firstForeign)), ...(firstFixed < 0 ? [] : fixed.slice(firstFixed))];
}

/** A line without a label is one more value of the label before it. */
export function drawLines(list: HTMLElement, lines: Line[]): void {
  const wanted = JSON.stringify(lines);
  if (list.dataset["drawn"] === wanted) return;
  list.dataset["drawn"] = wanted;
  list.replaceChildren(...lines.flatMap((line) => [...(line.label === "" ? [] : [make("dt", "", line.label)]), make("dd", "", line.value)]));
  const section = list.closest("section");
  if (section !== null) section.hidden = lines.length === 0;
}

function drawSection({ title, lines, conflict }: Section): HTMLElement {
  const section = make("section", "");
  const list = make("dl", "");
  section.append(make("h2", "", title), ...(conflict ? [make("p", "notice", `${title}: another patient or study than the picture's. Ask the theatre who is on the table.`)] : []), list);
  drawLines(list, lines);
  return section;
}

function drawRow(row: Row): HTMLElement {
  const drawn = make("div", `row depth-${Math.min(row.depth, 6)}`);
  drawn.setAttribute("role", "row");
  const cells: [string, string][] = [["tag", `(${row.tag})`], ["name", row.name || "Unknown"], ["value", row.value || "empty"]];
  for (const [kind, text] of cells) {
    const cell = make("span", kind === "value" && row.value === "" ? "value empty" : kind, text);
    cell.setAttribute("role", "cell");
    drawn.append(cell);
  }
  return drawn;
}
