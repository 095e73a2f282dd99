/** Snapshot and bookmark: the buttons, their keys (S, B), the note, and what became of each picture. */
import { timeOfDay } from "./dicom/values.ts";
import { type Hospital, HospitalProblem, offsetWords, type PacsState, type Snapshot, snapshotWords } from "./hospital.ts";
import { element, make, write } from "./page.ts";

const SAID_FOR_MS = 6_000;

export class Snapshots {
  private readonly take = element("take-snapshot", HTMLButtonElement);
  private readonly mark = element("take-bookmark", HTMLButtonElement);
  private readonly said = element("said", HTMLElement);
  private readonly form = element("note-form", HTMLFormElement);
  private readonly field = element("note-field", HTMLInputElement);
  private readonly section = element("snapshots", HTMLElement);
  private readonly list = element("snapshot-list", HTMLElement);
  private hospital: Hospital | null = null;
  private noted: string | null = null;
  private timer: number | undefined;

  /** `frame` gives the RTP timestamp of the frame on screen, null if the browser does not tell it. */
  constructor(private readonly frame: () => number | null, private readonly pressed: () => void) {
    this.take.onclick = () => void this.press(false);
    this.mark.onclick = () => void this.press(true);
    document.addEventListener("keydown", (event) => this.key(event));
    this.form.onsubmit = (event) => {
      event.preventDefault();
      void this.note(this.field.value.trim());
    };
    this.field.onkeydown = (event) => {
      if (event.key === "Escape") void this.note("");
    };
  }

  open(hospital: Hospital | null): void {
    this.hospital = hospital;
    this.take.hidden = this.mark.hidden = hospital === null;
    this.endNote();
    this.say("");
    this.show(null);
  }

  show(pacs: PacsState | null): void {
    const snapshots = pacs?.snapshots ?? [];
    this.section.hidden = pacs === null || (snapshots.length === 0 && pacs.state !== "trouble");
    const wanted = JSON.stringify(pacs);
    if (this.list.dataset["drawn"] === wanted) return;
    this.list.dataset["drawn"] = wanted;
    this.list.replaceChildren(...(pacs === null ? [] : snapshots.map((one) => drawn(one, pacs))));
    if (pacs !== null && snapshots.length === 0 && pacs.state === "trouble") this.list.replaceChildren(make("li", "problem-line", pacs.problem));
  }

  private async press(bookmark: boolean): Promise<void> {
    const rtpTimestamp = this.frame();
    if (this.hospital === null) return;
    if (rtpTimestamp === null) {
      this.say("There is no picture to store, or this browser cannot tell which one it shows.", "warn");
      return;
    }
    this.say(bookmark ? "Marking this moment…" : "Storing this picture…", "busy");
    try {
      const taken = await this.hospital.snapshot(rtpTimestamp, bookmark);
      const frame = offsetWords(taken.offset_ms);
      this.say(`${bookmark ? "Moment marked" : "Picture taken"}${frame === "" ? "" : ` (${frame})`}. It is safe on the appliance and goes to the PACS.`, "good");
      if (bookmark) this.beginNote(taken.press);
    } catch (reason) {
      this.say(`Not stored. ${reason instanceof HospitalProblem ? reason.message : String(reason)}`, "bad");
    }
    this.pressed();
  }

  private beginNote(press: string): void {
    this.noted = press;
    this.form.hidden = false;
    this.field.value = "";
    this.field.focus();
  }

  private endNote(): void {
    this.noted = null;
    this.form.hidden = true;
    this.field.blur();
  }

  private async note(text: string): Promise<void> {
    const press = this.noted;
    this.endNote();
    if (press === null || this.hospital === null) return;
    try {
      await this.hospital.note(press, text);
      if (text !== "") this.say("Note added to the picture.", "good");
    } catch (reason) {
      const late = reason instanceof HospitalProblem && reason.status === 409;
      this.say(late ? "The picture has gone without its note: too much time had passed." : `The note was not added. ${reason instanceof Error ? reason.message : String(reason)}`, "bad");
    }
    this.pressed();
  }

  private say(text: string, tone = "none"): void {
    clearTimeout(this.timer);
    write(this.said, text);
    this.said.dataset["tone"] = tone;
    this.said.hidden = text === "";
    if (text !== "" && tone !== "busy") this.timer = window.setTimeout(() => this.say(""), SAID_FOR_MS);
  }

  private key(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.target instanceof HTMLInputElement) return;
    const button = { s: this.take, b: this.mark }[event.key.toLowerCase()];
    if (button === undefined || button.hidden || document.body.dataset["view"] !== "watch" || document.querySelector("dialog[open]") !== null) return;
    event.preventDefault();
    button.click();
  }
}

function drawn(snapshot: Snapshot, pacs: PacsState): HTMLElement {
  const { text, tone } = snapshotWords(snapshot, pacs);
  const item = make("li", "");
  const head = make("span", "snapshot-head", `${timeOfDay(snapshot.taken_ms).slice(0, 8)} ${snapshot.bookmark ? "Bookmark" : "Snapshot"}`);
  const state = make("span", "snapshot-state", text);
  state.dataset["tone"] = tone;
  item.append(head, state);
  const frame = offsetWords(snapshot.offset_ms);
  if (frame !== "") item.append(make("span", "quiet", `It shows ${frame}.`));
  return item;
}
