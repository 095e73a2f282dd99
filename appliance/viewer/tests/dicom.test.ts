import assert from "node:assert/strict";
import { test } from "node:test";
import { decoderFor, decodeText } from "../src/dicom/charset.ts";
import { MalformedDicom, parsePart10 } from "../src/dicom/dataset.ts";
import { listElements } from "../src/dicom/listing.ts";
import { ageBetween, ageString, date, dateTime, personName, sex, time } from "../src/dicom/values.ts";
import { readDeidentified, readDetails } from "../src/details.ts";
import { instrumentElementName, readInstrument } from "../src/instrument.ts";
import { element, frameGroups, part10, patient } from "./part10.ts";

test("metadata is read as Explicit VR Little Endian although group 0002 names the video's transfer syntax", () => {
  const dataset = parsePart10(part10("1.2.3", [frameGroups(77, [640.25, 360.5]), ...patient("P1", "Weber^Anna")]));
  assert.equal(dataset.text("0002,0010"), "1.2.840.10008.1.2.7.1");
  assert.equal(dataset.item("0006,0001")?.item("0020,9111")?.number("0020,9156"), 77);
  assert.equal(dataset.text("0010,0020"), "P1");
});

test("a transfer syntax that means implicit VR for files changes nothing for metadata", () => {
  const octets = part10("1.2.3", patient("P1", "Weber^Anna"));
  const syntax = new TextEncoder().encode("1.2.840.10008.1.2.7.1");
  const at = octets.findIndex((_, index) => syntax.every((octet, offset) => octets[index + offset] === octet));
  octets.set(new TextEncoder().encode("1.2.840.10008.1.2\0\0\0\0"), at);
  assert.equal(parsePart10(octets).text("0010,0020"), "P1");
});

test("every truncation is refused or loses whole elements, and none reads beyond its octets", () => {
  const whole = part10("1.2.3", [frameGroups(1, [1, 2]), ...patient("P1", "Weber^Anna")]);
  const tags = parsePart10(whole).tags();
  let refused = 0;
  for (let length = 0; length < whole.length; length += 1) {
    try {
      const found = parsePart10(whole.slice(0, length)).tags();
      assert.deepEqual(found, tags.slice(0, found.length), `cut at ${length}`);
    } catch (reason) {
      assert.ok(reason instanceof MalformedDicom, `cut at ${length}: ${String(reason)}`);
      refused += 1;
    }
  }
  assert.ok(refused > whole.length - tags.length - 2, "only cuts between two elements may pass");
});

test("lying lengths are refused", () => {
  const octets = part10("1.2.3", [element("0010,0020", "LO", "P1")]);
  octets[octets.length - 4] = 0xf0;
  assert.throws(() => parsePart10(octets), MalformedDicom);
});

test("text is decoded by the specific character set", () => {
  const utf8 = parsePart10(part10("1.2", patient("P1", "Müller-Østergård^Bjørn")));
  assert.equal(personName(utf8.text("0010,0010")), "Bjørn Müller-Østergård");
  assert.equal(decodeText(Uint8Array.of(0x4d, 0xfc, 0x6c), decoderFor("ISO_IR 100")), "Mül");
  assert.equal(decodeText(Uint8Array.of(0xc6, 0xf8), decoderFor("ISO_IR 144")), "Цј");
  assert.equal(decodeText(Uint8Array.of(0x59, 0x1b, 0x24, 0x42, 0x3b, 0x33, 0x1b, 0x28, 0x42), decoderFor("\\ISO 2022 IR 87")), "Y山");
  assert.equal(decodeText(Uint8Array.of(0x1b, 0x24, 0x29, 0x43, 0xc8, 0xab), decoderFor("\\ISO 2022 IR 149")), "홍");
  assert.equal(decodeText(Uint8Array.of(0x41), decoderFor("NO SUCH SET")), "A");
});

test("items inherit the character set of the data set around them", () => {
  const latin = Uint8Array.of(0x4d, 0xfc, 0x6c, 0x6c);
  const dataset = parsePart10(part10("1.2", [element("0008,0005", "CS", "ISO_IR 100"), element("0008,1032", "SQ", [[element("0008,0104", "LO", latin)]])]));
  assert.equal(dataset.item("0008,1032")?.text("0008,0104"), "Müll");
});

test("person names are spoken: prefix, given, middle, family, suffix", () => {
  assert.equal(personName("Weber^Anna"), "Anna Weber");
  assert.equal(personName("Adams^John Robert Quincy^^Rev.^B.A. M.Div."), "Rev. John Robert Quincy Adams, B.A. M.Div.");
  assert.equal(personName("Yamada^Tarou=山田^太郎=やまだ^たろう"), "Tarou Yamada (太郎 山田)");
  assert.equal(personName("=山田^太郎"), "太郎 山田");
  assert.equal(personName(""), "");
});

test("dates and times leave no doubt about day and month", () => {
  assert.equal(date("19620514"), "14 May 1962");
  assert.equal(date("1962.05.14"), "14 May 1962");
  assert.equal(date("19621399"), "");
  assert.equal(time("081500.250"), "08:15:00");
  assert.equal(time("08"), "08:00");
  assert.equal(dateTime("20261122", "081500"), "22 Nov 2026, 08:15");
  assert.equal(dateTime("20261122", ""), "22 Nov 2026");
});

test("ages count whole years, and months and days for the smallest", () => {
  assert.equal(ageBetween("19620514", "20261122"), "64 years");
  assert.equal(ageBetween("19621123", "20261122"), "63 years");
  assert.equal(ageBetween("20251022", "20261122"), "13 months");
  assert.equal(ageBetween("20261101", "20261122"), "21 days");
  assert.equal(ageBetween("20261121", "20261122"), "1 day");
  assert.equal(ageBetween("20261123", "20261122"), "", "born after the study: no age is better than a wrong one");
  assert.equal(ageString("064Y"), "64 years");
  assert.equal(sex("F"), "Female");
});

test("the panel's lines leave out what the source does not say", () => {
  const details = readDetails(parsePart10(part10("1.2", patient("P1", "Weber^Anna"))), "20270101");
  assert.equal(details.patientName, "Anna Weber");
  assert.deepEqual(details.patient, [
    { label: "Patient ID", value: "P1" }, { label: "Born", value: "14 May 1962" }, { label: "Age", value: "64 years" }, { label: "Sex", value: "Female" },
  ]);
  assert.deepEqual(details.study.map((line) => line.label), ["Procedure", "Date", "Referred by"]);
  assert.deepEqual(details.device, [{ label: "Manufacturer", value: "Maker" }]);
});

test("of a de-identified static part the panel tells the region and the maker, and no moved date", () => {
  const region = element("0008,2218", "SQ", [[element("0008,0104", "LO", "Abdomen")]]);
  const details = readDeidentified(parsePart10(part10("1.2", [...patient("", "").slice(0, 4), element("0008,1090", "LO", "WITHHELD"), region])));
  assert.deepEqual(details, { patientName: "", patient: [], study: [{ label: "Region", value: "Abdomen" }], device: [{ label: "Manufacturer", value: "Maker" }] });
});

test("the instrument is found in whichever private block its creator reserved", () => {
  for (const block of ["10", "a7"]) {
    const groups = parsePart10(part10("1.2", [frameGroups(3, [640.25, 360.5], block)])).item("0006,0001");
    assert.deepEqual(groups && readInstrument(groups), { name: "Grasper", tip: { x: 640.25, y: 360.5 }, depthMm: 112.5, temperatureC: 36.9 });
  }
});

test("a foreign private block in the same group is not taken for an instrument", () => {
  const foreign = element("0006,0001", "SQ", [[element("0099,0010", "LO", "SOMEBODY ELSE"), element("0099,1001", "SQ", [[element("0099,1003", "FD", { vr: "FD", numbers: [1, 2] })]])]]);
  const groups = parsePart10(part10("1.2", [foreign])).item("0006,0001");
  assert.equal(groups && readInstrument(groups), null);
});

test("all elements are listed in order, indented, with readable names and values", () => {
  const rows = listElements(parsePart10(part10("1.2.3", [frameGroups(9, [1.5, 2]), ...patient("P1", "Weber^Anna"), element("0041,0010", "LO", "SOMEBODY")])), instrumentElementName);
  const find = (tag: string) => rows.find((row) => row.tag === tag);
  assert.deepEqual(find("0010,0010"), { depth: 0, tag: "0010,0010", name: "Patient's Name", vr: "PN", value: "Anna Weber" });
  assert.deepEqual(find("0020,9156"), { depth: 2, tag: "0020,9156", name: "Frame Acquisition Number", vr: "US", value: "9" });
  assert.equal(find("0099,1003")?.name, "Tip Position");
  assert.equal(find("0099,1003")?.value, "1.5, 2");
  assert.equal(find("0041,0010")?.name, "Private Creator");
  assert.equal(find("0002,0010")?.value, "SMPTE ST 2110-20 Uncompressed Progressive Active Video");
});
