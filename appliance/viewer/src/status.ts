/** The status in the bar and over the picture: state in words, colour and shape; latency; frame rate. */
import type { Latency } from "./pace.ts";
import { element, setIcon, write } from "./page.ts";
import type { Wording } from "./wording.ts";

/** Up to here a surgeon notices no delay; up to the second, guiding by voice is safe (Kumcu 2016, Xu and Perez 2014). */
const GOOD_MS = 100;
const FAIR_MS = 200;

export class Status {
  private readonly pill = element("state", HTMLElement);
  private readonly label = element("state-label", HTMLElement);
  private readonly latency = element("latency", HTMLElement);
  private readonly latencyFrom = element("latency-from", HTMLElement);
  private readonly latencyGroup = element("latency-group", HTMLElement);
  private readonly rate = element("rate", HTMLElement);
  private readonly curtain = element("curtain", HTMLElement);
  private readonly heading = element("curtain-heading", HTMLElement);
  private readonly explanation = element("curtain-explanation", HTMLElement);
  private readonly next = element("curtain-next", HTMLElement);
  private readonly reduced = element("reduced", HTMLElement);
  private readonly retry = element("retry", HTMLButtonElement);
  private readonly entry = element("other-link", HTMLButtonElement);

  /** `hasPicture`: an old picture is still shown beneath, so the curtain is a veil with a note and no blank wall. */
  show(wording: Wording, hasPicture: boolean, refused: boolean): void {
    this.pill.dataset["tone"] = wording.tone;
    write(this.label, wording.label);
    setIcon(this.pill.querySelector("svg")!, wording.icon);
    this.curtain.hidden = wording.heading === null;
    this.curtain.dataset["tone"] = wording.tone;
    this.curtain.classList.toggle("veil", hasPicture);
    setIcon(this.curtain.querySelector("svg")!, wording.icon);
    write(this.heading, wording.heading ?? "");
    write(this.explanation, wording.explanation);
    this.retry.hidden = !wording.canRetry;
    this.entry.hidden = !refused;
  }

  /** When the page tries again by itself; "" while nothing is waited for. */
  waiting(words: string): void {
    write(this.next, words);
    this.next.hidden = words === "";
  }

  /** `lacks`: what the live stream is short of, such as "reduced"; `note`: a sentence about it, "" for none. */
  quality(wording: Wording, lacks: readonly string[], note: string): void {
    write(this.label, [wording.label, ...lacks].join(", "));
    this.pill.dataset["tone"] = lacks.length > 0 ? "warn" : wording.tone;
    write(this.reduced, note);
    this.reduced.hidden = note === "";
  }

  /** `fromCapture`: the theatre's clocks agree with the appliance's; else latency counts from the arrival there. */
  measure(latency: Latency | null, framesPerSecond: number, live: boolean, fromCapture: boolean): void {
    write(this.latency, latency === null || !live ? "–" : `${Math.round(latency.ms)}`);
    write(this.latencyFrom, latency?.from === "network" ? "in this browser" : fromCapture ? "from camera clock" : "from arrival");
    this.latencyGroup.dataset["tone"] = latency === null || !live || latency.from === "network" ? "none" : latency.ms <= GOOD_MS ? "good" : latency.ms <= FAIR_MS ? "warn" : "bad";
    write(this.rate, live && framesPerSecond > 0 ? framesPerSecond.toFixed(0) : "–");
  }
}
