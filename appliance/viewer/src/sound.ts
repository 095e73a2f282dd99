/**
 * The theatre's sound: silent until somebody asks for it, as browsers demand; then heard from whichever session is on screen.
 * It has an element and a stream of its own, so that no picture ever waits for it. No sound from the appliance: no button.
 */
import { Loudness, readSound } from "./loudness.ts";
import { element, setIcon } from "./page.ts";

const KEYS = { on: "viewer.sound", volume: "viewer.volume" };

export class Sound {
  private readonly button = element("toggle-sound", HTMLButtonElement);
  private readonly slider = element("volume", HTMLInputElement);
  private readonly audio = new Audio();
  private readonly volumeWorks: boolean;
  readonly loudness = new Loudness(performance.now());
  private wanted = sessionStorage.getItem(KEYS.on) === "on";

  constructor() {
    this.audio.muted = true;
    // A phone that leaves loudness to its own buttons ignores this; then there is no slider.
    this.audio.volume = 0.5;
    this.volumeWorks = this.audio.volume === 0.5;
    this.slider.value = sessionStorage.getItem(KEYS.volume) ?? "1";
    this.audio.volume = Number(this.slider.value);
    this.button.onclick = () => this.want(!this.wanted);
    this.slider.oninput = () => {
      this.audio.volume = Number(this.slider.value);
      sessionStorage.setItem(KEYS.volume, this.slider.value);
    };
    document.addEventListener("keydown", (event) => this.key(event));
  }

  get heard(): boolean {
    return !this.button.hidden && !this.audio.muted;
  }

  /** The sound of the session that is on screen now; null if it has none. */
  attach(stream: MediaStream | null): void {
    this.button.hidden = stream === null;
    this.loudness.restart(performance.now());
    this.audio.srcObject = stream;
    if (stream !== null) void this.play();
    else this.show(false);
  }

  /** Looks how loud it is, and whether it comes. */
  async look(peer: RTCPeerConnection | null): Promise<void> {
    const totals = peer === null || this.button.hidden ? null : await readSound(peer).catch(() => null);
    if (totals === null) return;
    this.loudness.look(totals, performance.now());
    this.button.style.setProperty("--level", this.loudness.meter.toFixed(2));
    if (this.button.dataset["hearing"] === this.loudness.hearing) return;
    this.button.dataset["hearing"] = this.loudness.hearing;
    this.name();
  }

  /** Whether somebody listens and nothing comes. */
  get interrupted(): boolean {
    return this.heard && this.loudness.hearing === "interrupted";
  }

  /** A sentence about the sound for who listens; "" for none. */
  note(nowMs: number): string {
    return this.heard ? this.loudness.note(nowMs) : "";
  }

  private want(on: boolean): void {
    this.wanted = on;
    sessionStorage.setItem(KEYS.on, on ? "on" : "off");
    void this.play();
  }

  /** A browser that has not seen a click yet may refuse: then it stays silent, and the button says so. */
  private async play(): Promise<void> {
    this.audio.muted = !this.wanted;
    try {
      await this.audio.play();
    } catch {
      this.wanted = false;
      this.audio.muted = true;
      this.audio.play().catch(() => undefined);
    }
    this.show(!this.audio.muted);
  }

  private show(on: boolean): void {
    this.button.setAttribute("aria-pressed", String(on));
    this.name();
    setIcon(this.button.querySelector("svg")!, on ? "i-sound" : "i-muted");
    this.slider.hidden = !on || !this.volumeWorks;
  }

  private name(): void {
    const act = this.heard ? "Mute the theatre (A)" : "Hear the theatre (A)";
    const state = { coming: "", silent: "; its sound is silent", interrupted: "; its sound is interrupted" }[this.loudness.hearing];
    this.button.title = act + state;
    this.button.setAttribute("aria-label", `Sound from the theatre${state}`);
  }

  private key(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.target instanceof HTMLInputElement || event.target instanceof HTMLTextAreaElement) return;
    if (event.key.toLowerCase() !== "a" || this.button.hidden || document.body.dataset["view"] !== "watch") return;
    event.preventDefault();
    this.button.click();
  }
}
