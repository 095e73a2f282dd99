/** What the page says while the appliance sends this viewer a lesser picture than the stream's own, and when the full one is back. */
import type { Level } from "./report.ts";

/** Long enough to be read twice; then the state in the bar alone goes on saying it, and nothing lies over the picture. */
const NOTE_MS = 9_000;

const WORDS: Readonly<Record<Level, string>> = {
  full: "Full picture again.",
  half: "Reduced picture: your network carries every second frame for now.",
  small: "Reduced picture: your network carries a smaller one for now.",
};

export class Reduction {
  private level: Level = "full";
  private changedMs = Number.NEGATIVE_INFINITY;

  /** Once a moment, with what the appliance last said. */
  follow(level: Level, nowMs: number): void {
    if (level === this.level) return;
    this.level = level;
    this.changedMs = nowMs;
  }

  get reduced(): boolean {
    return this.level !== "full";
  }

  /** What the picture is, for the list of the connection's details. */
  get quality(): string {
    return { full: "Full", half: "Reduced, every second frame", small: "Reduced, smaller picture" }[this.level];
  }

  /** The sentence to show over the picture's edge; "" once it has been there long enough. */
  note(nowMs: number): string {
    return nowMs - this.changedMs < NOTE_MS ? WORDS[this.level] : "";
  }
}
