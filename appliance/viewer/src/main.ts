/** The page's beginning: reads the link, opens the stream at once, and keeps what is shown up to date. Wires the modules together. */
import { fetchStreams, RefusedError, type Stream, whepUrl } from "./appliance.ts";
import { Controls } from "./controls.ts";
import { askForLink, chooseStream } from "./entry.ts";
import { exposeHook, type Watched } from "./hook.ts";
import { type Link, readClaims, readLink, withoutToken } from "./link.ts";
import { Marker } from "./marker.ts";
import { Measure } from "./measure.ts";
import { element, write } from "./page.ts";
import { Panel } from "./panel.ts";
import type { Phase } from "./player.ts";
import { Readings } from "./readings.ts";
import { Reduction } from "./reduced.ts";
import { readSignal, type Signal } from "./signal.ts";
import { Sound } from "./sound.ts";
import { Status } from "./status.ts";
import { ScreenWake } from "./wake.ts";
import { Ward } from "./ward.ts";
import { Watch } from "./watch.ts";
import { retryWords, wordingFor } from "./wording.ts";

const TOKEN_KEY = "viewer.token";
const READINGS_INTERVAL_MS = 100;
const STATUS_INTERVAL_MS = 500;
const SIGNAL_INTERVAL_MS = 1_000;
const SOUND_INTERVAL_MS = 200;
/** How the stream arrives at the appliance may change; a slow question is enough, and 200 students ask it. */
const THEATRE_INTERVAL_MS = 15_000;

const ROLES: Readonly<Record<string, string>> = { expert: "Expert", student: "Student" };

class Page implements Watched {
  watch: Watch | null = null;
  role = "";
  stream = "";
  measure: Measure | null = null;
  private title = "";
  /** Whether the appliance has taken the token: until then its claims are only what somebody wrote. */
  private confirmed = false;
  private reduction = new Reduction();
  private liveSince: number | null = null;
  private readInstance: string | null = null;
  private signal: Signal | null = null;
  private token = "";
  private theatre: Stream | null = null;
  private readonly marker = new Marker(element("marker", HTMLCanvasElement), element("stage", HTMLElement));
  private readonly controls = new Controls({
    marker: (on) => { this.marker.wanted = on; },
    fit: (fit) => { this.marker.pictureFit = fit; },
  });
  private readonly sound = new Sound();
  private readonly status = new Status();
  private readonly panel = new Panel();
  private readonly readings = new Readings();
  private readonly wake = new ScreenWake();
  private readonly ward = new Ward(() => (this.liveSince === null ? null : (this.watch?.lastFrame?.rtpTimestamp ?? null)));

  constructor() {
    element("retry", HTMLButtonElement).onclick = () => this.watch?.player.retryNow();
    element("other-link", HTMLButtonElement).onclick = () => this.begin(null, "");
    window.addEventListener("pagehide", () => this.watch?.stop());
    // A page that comes back from the browser's cache has lost its connections.
    window.addEventListener("pageshow", (event) => event.persisted && location.reload());
    window.setInterval(() => this.refreshReadings(), READINGS_INTERVAL_MS);
    window.setInterval(() => this.refreshStatus(), STATUS_INTERVAL_MS);
    window.setInterval(() => void this.refreshSignal(), SIGNAL_INTERVAL_MS);
    window.setInterval(() => void this.sound.look(this.watch?.player.peer ?? null), SOUND_INTERVAL_MS);
    window.setInterval(() => void this.refreshTheatre(), THEATRE_INTERVAL_MS);
  }

  /** With a token: opens the stream, or offers the choice. Without: asks for the link. */
  begin(link: Link | null, problem: string): void {
    this.watch?.stop();
    this.watch = null;
    this.confirmed = false;
    this.ward.open(null, "", "");
    if (link?.token == null) {
      sessionStorage.removeItem(TOKEN_KEY);
      askForLink(problem, (pasted) => this.begin(pasted, ""));
      return;
    }
    const token = link.token;
    sessionStorage.setItem(TOKEN_KEY, token);
    this.token = token;
    const claims = readClaims(token);
    if (link.measure) this.measure ??= new Measure();
    const stream = link.stream ?? claims.stream;
    this.setRole(claims.role ?? "");
    if (stream !== null) this.open(stream, token);
    void this.learnStreams(token, stream);
  }

  /** Titles and sizes; fetched beside the POST, which does not wait for them. */
  private async learnStreams(token: string, wanted: string | null): Promise<void> {
    let streams: Stream[];
    try {
      streams = await fetchStreams(token);
    } catch (reason) {
      if (wanted !== null) return;
      const refused = reason instanceof RefusedError && (reason.status === 401 || reason.status === 403) ? wordingFor("refused", reason.status, reason.reason) : null;
      this.begin(null, refused === null ? "The appliance cannot be reached. Check the network and try again." : `${refused.heading}. ${refused.explanation}`);
      return;
    }
    const known = streams.find((stream) => stream.name === wanted) ?? (wanted === null && streams.length === 1 ? streams[0] : undefined);
    if (known === undefined) {
      if (wanted === null) chooseStream(streams, (stream) => this.choose(stream, token));
      return;
    }
    if (wanted === null) this.choose(known, token);
    else this.describe(known, token);
  }

  private choose(stream: Stream, token: string): void {
    this.open(stream.name, token);
    this.describe(stream, token);
  }

  private open(stream: string, token: string): void {
    this.stream = stream;
    this.title = stream;
    write(element("title", HTMLElement), stream);
    document.body.dataset["view"] = "watch";
    const address = new URL(withoutToken(location.href));
    address.searchParams.set("stream", stream);
    history.replaceState(null, "", address);
    const videos = [element("picture-a", HTMLVideoElement), element("picture-b", HTMLVideoElement)] as const;
    this.watch = new Watch({ url: whepUrl(stream, location.href), token }, videos, this.marker, this.measure, (phase, status, reason) => this.showPhase(phase, status, reason));
    this.reduction = new Reduction();
    // Another size is another level of the picture, or another raster of the camera: what the marker's place counts from is asked for again.
    for (const video of videos) video.onresize = () => { if (this.watch?.raster != null) void this.learnStreams(token, stream); };
    this.watch.onSound = (stream) => this.sound.attach(stream);
    this.watch.start();
    this.showPhase("connecting", 0);
  }

  private describe(stream: Stream, token: string): void {
    this.title = stream.title;
    this.theatre = stream;
    write(element("title", HTMLElement), stream.title);
    this.confirmed = true;
    if (stream.audience !== "") this.setRole(stream.audience === "class" ? "student" : "expert");
    if (this.watch !== null && stream.width !== null && stream.height !== null) this.watch.raster = { width: stream.width, height: stream.height };
    this.ward.open(stream.hospital, stream.name, token);
    this.nameWindow();
  }

  private setRole(role: string): void {
    this.role = role;
    this.showRole();
    this.panel.setAudience(this.expert);
  }

  /** Nobody is called an expert on the word of a token that the appliance has not taken. */
  private showRole(): void {
    const badge = element("role", HTMLElement);
    write(badge, ROLES[this.role] ?? "");
    badge.hidden = badge.textContent === "" || !this.confirmed;
    badge.dataset["role"] = this.role;
  }

  /** Only the appliance decides who receives what; this chooses the words for it. */
  private get expert(): boolean {
    return this.role !== "student";
  }

  private showPhase(phase: Phase, status: number, reason = ""): void {
    const live = phase === "live";
    this.liveSince = live ? performance.now() : null;
    if (live) this.confirmed = true;
    else if (phase === "refused") {
      this.confirmed = false;
      this.ward.open(null, "", "");
    }
    this.showRole();
    this.status.show(wordingFor(phase, status, reason), (this.watch?.frames ?? 0) > 0, phase === "refused");
    this.wake.want(live);
    document.body.dataset["phase"] = phase;
    this.nameWindow();
  }

  private nameWindow(): void {
    const wording = wordingFor(this.watch?.player.phase ?? "connecting", 0);
    document.title = `${this.title} · ${wording.label}`;
  }

  private refreshReadings(): void {
    if (this.watch === null) return;
    const now = performance.now();
    this.watch.expire(now);
    const { record, chart } = this.watch;
    // A single frame without a record leaves the values standing; another patient or instance never does.
    if (record !== null || chart.instanceUid !== this.readInstance) this.readings.update(record);
    this.readInstance = chart.instanceUid;
    this.panel.update(chart, now, this.liveSince === null ? null : now - this.liveSince, this.expert);
  }

  private refreshStatus(): void {
    if (this.watch === null) return;
    const now = performance.now();
    const { phase } = this.watch.player;
    this.watch.clock.follow();
    this.ward.tick(now, this.watch.chart);
    void this.watch.reporter.tick(now);
    this.panel.writeCompanions(this.watch.companions.sections(this.watch.chart));
    this.reduction.follow(this.watch.reporter.level, now);
    const live = this.liveSince !== null;
    if (live) {
      const lacks = [this.reduction.reduced ? "reduced" : "", this.sound.interrupted ? "no sound" : ""].filter((word) => word !== "");
      const notes = [this.reduction.note(now), this.sound.note(now)].filter((note) => note !== "");
      this.status.quality(wordingFor(phase, 0), lacks, notes.join(" "));
    }
    this.status.waiting(retryWords(phase, this.watch.player.nextAttemptInMs(now)));
    this.status.measure(this.watch.pace.latency(now), this.watch.pace.framesPerSecond(now), live, this.theatre?.fromCapture ?? true);
    if (!this.watch.joinable) this.controls.disableMarker();
  }

  private async refreshTheatre(): Promise<void> {
    if (this.liveSince === null || document.hidden) return;
    const streams = await fetchStreams(this.token).catch(() => []);
    this.theatre = streams.find((stream) => stream.name === this.stream) ?? this.theatre;
  }

  private async refreshSignal(): Promise<void> {
    const { watch } = this;
    const peer = watch?.player.peer ?? null;
    if (watch === null || peer === null) return;
    this.signal = (await readSignal(peer).catch(() => null)) ?? this.signal;
    const { videoWidth, videoHeight } = watch.player.video;
    const unmatched = watch.frames === 0 ? "" : `${watch.unjoined} of ${watch.frames} frames`;
    this.panel.writeConnection([
      { label: "Picture", value: videoWidth > 0 ? `${videoWidth} × ${videoHeight}` : "" },
      { label: "Quality", value: videoWidth > 0 ? this.reduction.quality : "" },
      { label: "Codec", value: this.signal?.codec ?? "" },
      { label: "Lost", value: this.signal === null ? "" : `${this.signal.packetsLost} of ${this.signal.packetsReceived + this.signal.packetsLost} packets` },
      { label: "Unmatched", value: unmatched },
      { label: "Latency", value: this.theatre?.fromCapture === false ? "from arrival at the appliance; the clocks are not on one time" : "" },
      { label: "Marker", value: watch.joinable ? "" : "not possible in this browser" },
      ...(this.theatre?.findings ?? []).map((sentence, index) => ({ label: index === 0 ? "Theatre" : "", value: sentence })),
    ].filter((line) => line.value !== ""));
  }
}

function start(): void {
  const page = new Page();
  exposeHook(page);
  const link = readLink(location.href);
  const token = link.token ?? sessionStorage.getItem(TOKEN_KEY);
  // The token leaves the address bar before anything else happens, so that no screenshot, bookmark or history keeps it.
  history.replaceState(null, "", withoutToken(location.href));
  page.begin({ ...link, token }, "");
}

start();
