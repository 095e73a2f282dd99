/** Prior studies of the patient: asked for only when somebody wants them; thumbnails, and a viewer of single frames. */
import { date } from "./dicom/values.ts";
import type { Hospital, Instance, PacsState, Series, Study } from "./hospital.ts";
import { element, make, write } from "./page.ts";

/** Of one series; who wants more asks for more. */
const THUMBNAILS_AT_ONCE = 24;
const NOBODY = "Can be asked once it is clear who the patient is.";

interface Place {
  study: Study;
  series: Series;
  instances: Instance[];
}

export class Priors {
  private readonly section = element("priors", HTMLElement);
  private readonly ask = element("priors-ask", HTMLButtonElement);
  private readonly note = element("priors-note", HTMLElement);
  private readonly list = element("priors-list", HTMLElement);
  private readonly dialog = element("prior", HTMLDialogElement);
  private readonly title = element("prior-title", HTMLElement);
  private readonly state = element("prior-state", HTMLElement);
  private readonly canvas = element("prior-picture", HTMLCanvasElement);
  private hospital: Hospital | null = null;
  private place: Place | null = null;
  /** Among all frames of the series, from 0. */
  private at = 0;
  private requests = 0;
  private subject: object | null = null;

  constructor() {
    this.ask.onclick = () => void this.search();
    element("prior-close", HTMLButtonElement).onclick = () => this.dialog.close();
    element("prior-back", HTMLButtonElement).onclick = () => void this.step(-1);
    element("prior-next", HTMLButtonElement).onclick = () => void this.step(1);
    this.dialog.onkeydown = (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (step !== undefined) void this.step(step);
    };
    this.dialog.onclose = () => { this.requests += 1; };
  }

  open(hospital: Hospital | null): void {
    this.hospital = hospital;
    this.section.hidden = hospital === null;
    this.clear();
  }

  /** Another patient: nothing of the one before may stand here. */
  follow(subject: object | null, pacs: PacsState | null): void {
    this.section.hidden = this.hospital === null || pacs === null;
    if (subject !== this.subject || pacs?.patient === false) {
      this.subject = subject;
      this.clear();
    }
    this.ask.disabled = pacs?.patient !== true;
    if (pacs?.patient === false) this.say(NOBODY);
    else if (this.note.dataset["of"] === "patient") this.say("");
  }

  private clear(): void {
    this.requests += 1;
    this.list.replaceChildren();
    this.say("");
    this.place = null;
    this.dialog.close();
    this.canvas.width = this.canvas.height = 0;
  }

  private say(text: string): void {
    this.note.dataset["of"] = text === NOBODY ? "patient" : "search";
    write(this.note, text);
    this.note.hidden = text === "";
  }

  private async search(): Promise<void> {
    const { hospital } = this;
    if (hospital === null) return;
    const request = ++this.requests;
    this.list.replaceChildren();
    this.say("Asking the PACS…");
    try {
      const studies = await hospital.studies();
      if (request !== this.requests) return;
      this.say(studies.length === 0 ? "The PACS has no study of this patient." : "");
      this.list.replaceChildren(...studies.map((study) => this.studyItem(study)));
    } catch (reason) {
      if (request === this.requests) this.say(wordsOf(reason));
    }
  }

  private studyItem(study: Study): HTMLElement {
    const item = make("details", "study");
    const summary = make("summary", "");
    const words = make("span", "study-words");
    const count = study.instances > 0 ? `${study.instances} ${study.instances === 1 ? "object" : "objects"}` : "";
    words.append(make("strong", "", study.description || "Study"), make("span", "quiet", [date(study.date), study.modalities, count].filter((part) => part !== "").join(" · ")));
    summary.append(words);
    const body = make("div", "study-body");
    item.append(summary, body);
    (item as HTMLDetailsElement).ontoggle = () => (item as HTMLDetailsElement).open && body.childElementCount === 0 && void this.fill(study, body);
    return item;
  }

  private async fill(study: Study, body: HTMLElement): Promise<void> {
    const { hospital } = this;
    if (hospital === null) return;
    const request = this.requests;
    body.replaceChildren(make("p", "quiet", "Asking the PACS…"));
    try {
      const series = await hospital.series(study.uid);
      body.replaceChildren(...(series.length === 0 ? [make("p", "quiet", "This study has no series.")] : []));
      for (const one of series) {
        if (request !== this.requests) return;
        const instances = await hospital.instances(study.uid, one.uid);
        if (request !== this.requests) return;
        const grid = make("div", "thumbnails");
        body.append(make("h3", "", [one.modality, one.description || `Series ${one.number}`].filter((part) => part !== "").join(" · ")), grid);
        this.addThumbnails({ study, series: one, instances }, grid, 0);
      }
    } catch (reason) {
      if (request === this.requests) body.append(make("p", "problem-line", wordsOf(reason)));
    }
  }

  private addThumbnails(place: Place, grid: HTMLElement, from: number): void {
    const shown = place.instances.slice(from, from + THUMBNAILS_AT_ONCE);
    for (const [offset, instance] of shown.entries()) {
      const number = from + offset + 1;
      const button = make("button", "thumbnail");
      button.setAttribute("type", "button");
      button.setAttribute("aria-label", `Picture ${number}${instance.frames > 1 ? `, ${instance.frames} frames` : ""}`);
      const canvas = document.createElement("canvas");
      canvas.width = canvas.height = 0;
      button.append(canvas, make("span", "thumbnail-word", instance.frames > 1 ? `${instance.frames} frames` : ""));
      button.onclick = () => this.show(place, place.instances.slice(0, number - 1).reduce((sum, one) => sum + one.frames, 0));
      grid.append(button);
      void this.drawThumbnail(place, instance, canvas, button);
    }
    const left = place.instances.length - from - shown.length;
    if (left <= 0) return;
    const more = make("button", "plain more", `${left} more`);
    more.setAttribute("type", "button");
    more.onclick = () => {
      more.remove();
      this.addThumbnails(place, grid, from + shown.length);
    };
    grid.append(more);
  }

  private async drawThumbnail(place: Place, instance: Instance, canvas: HTMLCanvasElement, button: HTMLElement): Promise<void> {
    const request = this.requests;
    try {
      const picture = await this.hospital!.picture(place.study.uid, place.series.uid, instance.uid, 1, "thumbnail");
      if (request === this.requests || canvas.isConnected) draw(canvas, picture);
    } catch (reason) {
      write(button.querySelector(".thumbnail-word")!, "No picture");
      button.title = wordsOf(reason);
    }
  }

  private show(place: Place, at: number): void {
    this.place = place;
    this.dialog.showModal();
    void this.turnTo(at);
  }

  private async step(by: number): Promise<void> {
    if (this.place !== null) await this.turnTo(this.at + by);
  }

  private async turnTo(at: number): Promise<void> {
    const { place, hospital } = this;
    if (place === null || hospital === null) return;
    const frames = place.instances.reduce((sum, one) => sum + one.frames, 0);
    this.at = Math.max(0, Math.min(at, frames - 1));
    const turned = this.at;
    let left = turned;
    const instance = place.instances.find((one) => left < one.frames || ((left -= one.frames), false))!;
    write(this.title, [date(place.study.date), place.study.description, place.series.description].filter((part) => part !== "").join(" · "));
    write(this.state, `${turned + 1} of ${frames}: loading…`);
    const current = () => this.place === place && this.at === turned && this.dialog.open;
    try {
      const picture = await hospital.picture(place.study.uid, place.series.uid, instance.uid, left + 1, "full");
      if (!current()) return;
      draw(this.canvas, picture);
      write(this.state, `${turned + 1} of ${frames}`);
    } catch (reason) {
      if (!current()) return;
      this.canvas.width = this.canvas.height = 0;
      write(this.state, `${turned + 1} of ${frames}: ${wordsOf(reason)}`);
    }
  }
}

function draw(canvas: HTMLCanvasElement, picture: ImageBitmap): void {
  canvas.width = picture.width;
  canvas.height = picture.height;
  canvas.getContext("2d")?.drawImage(picture, 0, 0);
  picture.close();
}

function wordsOf(reason: unknown): string {
  return reason instanceof Error ? reason.message : String(reason);
}
