/** The buttons and keys: marker, panel, picture fit, full screen. Choices are remembered for the browser session. */
import type { Fit } from "./fit.ts";
import { element, setIcon } from "./page.ts";

export interface ControlEvents {
  marker(on: boolean): void;
  fit(fit: Fit): void;
}

const BAR_SHOWN_MS = 2_500;
const KEYS = { marker: "viewer.marker", panel: "viewer.panel", fit: "viewer.fit" };

export class Controls {
  private readonly markerButton = element("toggle-marker", HTMLButtonElement);
  private readonly panelButton = element("toggle-panel", HTMLButtonElement);
  private readonly fitButton = element("toggle-fit", HTMLButtonElement);
  private readonly fullButton = element("toggle-full", HTMLButtonElement);
  private readonly stage = element("stage", HTMLElement);

  private barTimer: number | undefined;

  constructor(private readonly events: ControlEvents) {
    this.markerButton.onclick = () => this.setMarker(!pressed(this.markerButton));
    this.panelButton.onclick = () => this.setPanel(!pressed(this.panelButton));
    this.fitButton.onclick = () => this.setFit(pressed(this.fitButton) ? "contain" : "cover");
    this.fullButton.onclick = () => void this.toggleFull();
    this.stage.ondblclick = () => void this.toggleFull();
    document.addEventListener("keydown", (event) => this.key(event));
    document.addEventListener("fullscreenchange", () => this.showFull());
    document.addEventListener("pointermove", () => this.wakeBar());
    document.addEventListener("focusin", () => this.wakeBar());
    this.setMarker(sessionStorage.getItem(KEYS.marker) !== "off");
    // On a phone held sideways the picture has the whole screen until the panel is asked for.
    const small = window.matchMedia("(max-height: 500px)").matches;
    this.setPanel((sessionStorage.getItem(KEYS.panel) ?? (small ? "off" : "on")) === "on");
    this.setFit(sessionStorage.getItem(KEYS.fit) === "cover" ? "cover" : "contain");
  }

  /** The browser names no frame's RTP timestamp, so there is nothing that the marker could be placed by. */
  disableMarker(): void {
    this.markerButton.disabled = true;
    this.markerButton.title = "This browser cannot tell which frame is shown, so no marker is drawn";
  }

  private setMarker(on: boolean): void {
    press(this.markerButton, on);
    sessionStorage.setItem(KEYS.marker, on ? "on" : "off");
    this.events.marker(on);
  }

  private setPanel(on: boolean): void {
    press(this.panelButton, on);
    sessionStorage.setItem(KEYS.panel, on ? "on" : "off");
    document.body.classList.toggle("panel-shown", on);
  }

  private setFit(fit: Fit): void {
    press(this.fitButton, fit === "cover");
    sessionStorage.setItem(KEYS.fit, fit);
    document.body.classList.toggle("cover", fit === "cover");
    this.events.fit(fit);
  }

  private async toggleFull(): Promise<void> {
    const app = document.documentElement;
    if (document.fullscreenElement !== null) await document.exitFullscreen();
    else if (typeof app.requestFullscreen === "function") await app.requestFullscreen({ navigationUI: "hide" }).catch(() => undefined);
    // A phone whose browser gives full screen to bare video elements only would lose marker and status: use all of its window instead.
    else document.body.classList.toggle("immersed");
    this.showFull();
  }

  /** In full screen the bar shows only while somebody moves the pointer or the focus. */
  private wakeBar(): void {
    document.body.classList.add("active");
    clearTimeout(this.barTimer);
    this.barTimer = window.setTimeout(() => document.body.classList.remove("active"), BAR_SHOWN_MS);
  }

  private showFull(): void {
    if (typeof document.documentElement.requestFullscreen === "function") document.body.classList.toggle("immersed", document.fullscreenElement !== null);
    const full = document.body.classList.contains("immersed");
    press(this.fullButton, full);
    setIcon(this.fullButton.querySelector("svg")!, full ? "i-shrink" : "i-expand");
  }

  private key(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.target instanceof HTMLInputElement) return;
    const button = { f: this.fullButton, m: this.markerButton, i: this.panelButton }[event.key.toLowerCase()];
    if (button === undefined || button.disabled || document.body.dataset["view"] !== "watch") return;
    event.preventDefault();
    button.click();
  }
}

function press(button: HTMLButtonElement, on: boolean): void {
  button.setAttribute("aria-pressed", String(on));
}

function pressed(button: HTMLButtonElement): boolean {
  return button.getAttribute("aria-pressed") === "true";
}
