import assert from "node:assert/strict";
import { test } from "node:test";
import { Chart, STATIC_STALE_AFTER_MS } from "../src/chart.ts";
import { Companions, type Section } from "../src/companions.ts";
import { readMessage } from "../src/message.ts";
import { element, type Element, frameGroups, message, part10, patient } from "./part10.ts";

const SOUND = "1.2.840.10008.10.3";
const RENDITION = "1.2.840.10008.10.4";
const FLOWS = element("0034,000a", "SQ", [[element("0034,0001", "SQ", [[element("0034,0003", "UI", "1.2.840.10008.1.2.7.3"), element("0034,0004", "UL", { vr: "UL", numbers: [48_000] })]])]]);

function heard(instanceUid: string, elements: Element[], classUid?: string) {
  return readMessage(message(part10(instanceUid, elements, classUid), { hasStatic: true, isCompanion: classUid !== undefined, captureTaiNs: 1n }));
}

function reference(kind: string, instanceUid: string): Element[] {
  return [element("0008,1199", "SQ", [[element("0008,1155", "UI", instanceUid)]]), element("0040,a040", "CS", kind)];
}

function charted(id = "P1"): Chart {
  const chart = new Chart();
  chart.accept(heard("1.1", [frameGroups(1, [1, 1]), ...patient(id, "Weber^Anna")]), 0);
  return chart;
}

function sound(id = "P1"): Element[] {
  return [...patient(id, "Weber^Anna").slice(0, 4), element("0008,103e", "LO", "Theatre sound"), ...patient(id, "Weber^Anna").slice(6), FLOWS];
}

function lines(section: Section | undefined): Record<string, string> {
  return Object.fromEntries((section?.lines ?? []).map((line) => [line.label, line.value]));
}

test("the sound and what belongs together are told in words, the members by what they are", () => {
  const companions = new Companions();
  const title = element("0040,a043", "SQ", [[element("0008,0100", "SH", "130371"), element("0008,0102", "SH", "DCM")]]);
  const content = element("0040,a730", "SQ", [reference("IMAGE", "1.1"), reference("WAVEFORM", "1.2"), reference("IMAGE", "1.9")]);
  companions.accept(heard("1.3", [...patient("P1", "Weber^Anna"), title, content], RENDITION), 0);
  companions.accept(heard("1.2", sound(), SOUND), 0);
  const sections = companions.sections(charted());
  assert.deepEqual(sections.map((section) => [section.title, section.conflict]), [["Sound", false], ["Belongs together", false]]);
  assert.equal(lines(sections[0])["Format"], "PCM, 48 kHz");
  assert.deepEqual(sections[1]!.lines.map((line) => line.value), ["Picture with sound", "this picture", "Theatre sound", "not received here"]);
});

test("a sound of another patient is said to be, and its patient is not named", () => {
  const companions = new Companions();
  companions.accept(heard("1.2", sound("P2"), SOUND), 0);
  const [section] = companions.sections(charted());
  assert.equal(section!.conflict, true);
  assert.equal(lines(section)["Patient"], "not the picture's");
  assert.ok(!JSON.stringify(section).includes("P2") && !JSON.stringify(section).includes("Weber"));
});

test("what its sender has ceased to say, and all while nobody says who is in the picture, is not shown", () => {
  const companions = new Companions();
  companions.accept(heard("1.2", sound(), SOUND), 0);
  assert.deepEqual(companions.sections(new Chart()), []);
  companions.expire(STATIC_STALE_AFTER_MS + 1);
  assert.deepEqual(companions.sections(charted()), []);
});

test("a sender of ever new instances fills no memory", () => {
  const companions = new Companions();
  for (let instance = 0; instance < 100; instance += 1) companions.accept(heard(`1.2.${instance}`, sound(), SOUND), 0);
  assert.equal(companions.sections(charted()).length, 8);
});
