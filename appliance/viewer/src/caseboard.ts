/** The worklist's part of the panel: whose case it is, choosing another, and the warning when the theatre names somebody else. */
import { date, personName, sex, time } from "./dicom/values.ts";
import type { Case, Contradiction, Hospital, HospitalState, WorklistState } from "./hospital.ts";
import { element, make, write } from "./page.ts";
import { drawLines } from "./panel.ts";

export class Caseboard {
  private readonly section = element("case", HTMLElement);
  private readonly name = element("case-name", HTMLElement);
  private readonly lines = element("case-lines", HTMLElement);
  private readonly note = element("case-note", HTMLElement);
  private readonly choice = element("case-choice", HTMLDetailsElement);
  private readonly form = element("case-search", HTMLFormElement);
  private readonly field = element("case-field", HTMLInputElement);
  private readonly found = element("case-found", HTMLElement);
  private readonly none = element("case-none", HTMLButtonElement);
  private readonly alarm = element("mismatch", HTMLElement);
  private readonly alarmLines = element("mismatch-lines", HTMLElement);
  private hospital: Hospital | null = null;
  private searches = 0;

  constructor(private readonly changed: (state: HospitalState) => void) {
    this.choice.ontoggle = () => this.choice.open && void this.search("");
    this.form.onsubmit = (event) => {
      event.preventDefault();
      void this.search(this.field.value.trim());
    };
    this.none.onclick = () => void this.choose(null);
  }

  open(hospital: Hospital | null): void {
    this.hospital = hospital;
    this.searches += 1;
    this.found.replaceChildren();
    this.field.value = "";
    this.choice.open = false;
    this.show(null);
  }

  show(state: WorklistState | null): void {
    this.section.hidden = state === null;
    this.showMismatch(state?.mismatch ?? []);
    if (state === null) {
      write(this.name, "");
      drawLines(this.lines, []);
      return;
    }
    const { case: chosen } = state;
    write(this.name, chosen === null ? "" : personName(chosen.patient_name) || "No name given");
    this.name.hidden = chosen === null;
    drawLines(this.lines, chosen === null ? [] : linesOf(chosen));
    this.section.hidden = false;
    write(this.note, noteOf(state));
    this.note.hidden = this.note.textContent === "";
    this.note.dataset["tone"] = state.state === "trouble" ? "warn" : "none";
    this.none.hidden = chosen === null;
  }

  private showMismatch(contradictions: readonly Contradiction[]): void {
    this.alarm.hidden = contradictions.length === 0;
    const wanted = JSON.stringify(contradictions);
    if (this.alarmLines.dataset["drawn"] === wanted) return;
    this.alarmLines.dataset["drawn"] = wanted;
    this.alarmLines.replaceChildren(...contradictions.map((one) =>
      make("li", "", `${one.field}: ${readable(one.field, one.worklist)} in the worklist, ${readable(one.field, one.theatre)} in the theatre`)));
  }

  /** Without words: the cases of this theatre today. */
  private async search(words: string): Promise<void> {
    const { hospital } = this;
    if (hospital === null) return;
    const search = ++this.searches;
    this.found.replaceChildren(make("p", "quiet", "Asking the worklist…"));
    try {
      let cases = await hospital.cases(words, "");
      if (cases.length === 0 && words !== "") cases = await hospital.cases("", words);
      if (search !== this.searches) return;
      const nothing = words === "" ? "The worklist has no case for this theatre today. Enter a patient ID or an accession number." : "The worklist has no case today with this patient ID or accession number.";
      this.found.replaceChildren(...(cases.length === 0 ? [make("p", "quiet", nothing)] : cases.map((one) => this.button(one))));
    } catch (reason) {
      if (search === this.searches) this.found.replaceChildren(make("p", "problem-line", reason instanceof Error ? reason.message : String(reason)));
    }
  }

  private button(one: Case): HTMLElement {
    const button = make("button", "choice");
    button.setAttribute("type", "button");
    button.append(make("strong", "", personName(one.patient_name) || one.patient_id), make("span", "", [time(one.time).slice(0, 5), one.description].filter((part) => part !== "").join(" · ")),
      make("span", "", [one.patient_id, date(one.birth_date), one.accession_number].filter((part) => part !== "").join(" · ")));
    button.onclick = () => void this.choose(one.key);
    return button;
  }

  private async choose(key: string | null): Promise<void> {
    if (this.hospital === null) return;
    try {
      const state = await this.hospital.choose(key);
      this.choice.open = false;
      this.changed(state);
    } catch (reason) {
      this.found.replaceChildren(make("p", "problem-line", reason instanceof Error ? reason.message : String(reason)));
    }
  }
}

function linesOf(one: Case): { label: string; value: string }[] {
  return [
    { label: "Patient ID", value: one.patient_id },
    { label: "Born", value: date(one.birth_date) },
    { label: "Sex", value: sex(one.sex) },
    { label: "Procedure", value: one.description },
    { label: "Scheduled", value: time(one.time).slice(0, 5) },
    { label: "Accession", value: one.accession_number },
    { label: "Physician", value: personName(one.physician) },
  ].filter((line) => line.value !== "");
}

function noteOf(state: WorklistState): string {
  if (state.state === "trouble") return state.problem;
  if (state.state === "asking") return "Asking the worklist…";
  if (state.case !== null) return state.how.startsWith("chosen") ? `${state.how.replace("chosen", "Chosen")}.` : `Matched by ${state.how}.`;
  if (state.how !== "") return "No case: an expert has chosen none.";
  return state.listed > 1 ? `No case matches; ${state.listed} are scheduled here today.` : "No case of the worklist matches.";
}

function readable(field: string, value: string): string {
  return (field === "Date of birth" ? date(value) : field === "Sex" ? sex(value) : value) || value;
}
