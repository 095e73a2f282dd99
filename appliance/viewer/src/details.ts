/** The static part as the panel shows it: patient, study and device, as pairs of a label and a readable value; of a de-identified one what is true. */
import type { Dataset } from "./dicom/dataset.ts";
import { ageBetween, ageString, date, dateTime, personName, sex } from "./dicom/values.ts";

export interface Line {
  label: string;
  value: string;
}

export interface Details {
  patientName: string;
  patient: Line[];
  study: Line[];
  device: Line[];
}

/** What stands in place of a value that was taken out. */
const WITHHELD = "WITHHELD";

/** Of a de-identified static part: no empty patient, no moved dates. */
export function readDeidentified(dataset: Dataset): Details {
  const told = (tag: string) => (dataset.text(tag) === WITHHELD ? "" : dataset.text(tag));
  return {
    patientName: "",
    patient: [],
    study: lines([["Region", region(dataset)]]),
    device: lines([["Manufacturer", told("0008,0070")], ["Model", told("0008,1090")]]),
  };
}

/** `today` (DA) stands in for a study without a date when the age is worked out. */
export function readDetails(dataset: Dataset, today: string): Details {
  const text = (tag: string) => dataset.text(tag).replaceAll("\\", ", ");
  const born = dataset.text("0010,0030");
  const age = ageBetween(born, dataset.text("0008,0020") || today) || ageString(dataset.text("0010,1010"));
  return {
    patientName: personName(dataset.text("0010,0010")) || "No name given",
    patient: lines([
      ["Patient ID", text("0010,0020")],
      ["Born", date(born)],
      ["Age", age],
      ["Sex", sex(dataset.text("0010,0040"))],
      ["Allergies", text("0010,2110")],
    ]),
    study: lines([
      ["Procedure", procedure(dataset)],
      ["Description", text("0008,1030")],
      ["Region", region(dataset)],
      ["Date", dateTime(dataset.text("0008,0020"), dataset.text("0008,0030"))],
      ["Accession", text("0008,0050")],
      ["Referred by", personName(dataset.text("0008,0090"))],
      ["Performed by", personName(dataset.text("0008,1050"))],
      ["Institution", text("0008,0080")],
    ]),
    device: lines([
      ["Manufacturer", text("0008,0070")],
      ["Model", text("0008,1090")],
      ["Serial number", text("0018,1000")],
      ["Software", text("0018,1020")],
      ["Station", text("0008,1010")],
    ]),
  };
}

function procedure(dataset: Dataset): string {
  const coded = dataset.item("0008,1032")?.text("0008,0104") ?? "";
  const requested = dataset.item("0040,0275")?.text("0032,1060") ?? "";
  return coded || requested || dataset.text("0032,1060") || dataset.text("0040,0254");
}

function region(dataset: Dataset): string {
  return dataset.items("0008,2218").map((item) => item.text("0008,0104")).filter((meaning) => meaning !== "").join(", ");
}

function lines(pairs: [string, string][]): Line[] {
  return pairs.filter(([, value]) => value !== "").map(([label, value]) => ({ label, value }));
}
