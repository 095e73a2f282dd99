/**
 * Keeps a picture on the screen: opens sessions, notices a stall, and swaps to a new session when its first frame is painted.
 * Invariant: the last picture stays until another is there; at most two sessions exist, the one shown and its candidate.
 */
import { Arrivals } from "./arrivals.ts";
import { patienceMs } from "./patience.ts";
import { onPresented } from "./presented.ts";
import { Backoff } from "./retry.ts";
import { StallWatch } from "./stall.ts";
import { type Endpoint, WhepError, WhepSession } from "./whep.ts";

export type Phase =
  | "connecting" // nothing shown yet
  | "live"
  | "reconnecting" // the picture stands still; it returns by itself, or by a new session
  | "away" // the appliance answers, but the theatre sends nothing
  | "unreachable" // the appliance does not answer
  | "busy" // 503: every place is taken, or a part of the appliance restarts
  | "refused"; // final: 401, 403, or no common codec

export interface PlayerEvents {
  /** `status` and `reason`: what the appliance answered; 0 and "" if it was not asked. */
  phase(phase: Phase, status: number, reason: string): void;
  frame(video: HTMLVideoElement, metadata: VideoFrameCallbackMetadata): void;
  message(octets: ArrayBuffer): void;
  reply(octets: ArrayBuffer): void;
  /** The sound of the session on screen; null if it has none. */
  sound(stream: MediaStream | null): void;
}

const TICK_MS = 50;
/** A candidate that is connected but frameless for so long means that the source is away. */
const FRAMELESS_MS = 1_500;
/** A candidate may need this long for its transport: slow radio, a relay. */
const UNCONNECTED_MS = 8_000;
/** While the source is away a new session is hardly needed; try one now and then in case the old one is broken. */
const AWAY_RETRY_MS = 5_000;
/** When a stall ends, the old session and its candidate often paint together: the old one gets this long to keep the viewer. */
const PREFERENCE_MS = 80;
/** A picture that lasted this long earns a fresh start of the back-off. */
const STEADY_MS = 5_000;
/** A picture that stands still for so long makes us look whether packets arrive. */
const DOUBT_MS = 120;

/** A session with the video element that shows it. */
interface Take {
  session: WhepSession;
  video: HTMLVideoElement;
  sound: MediaStream | null;
  /** Plays it unheard from the beginning: a browser stores sound that nobody plays, and is late with it for seconds afterwards. */
  drain: HTMLAudioElement;
  firstFrameAt: number | null;
  startedAt: number;
}

export class Player {
  phase: Phase = "connecting";
  firstFrameAt: number | null = null;
  postedAt: number | null = null;
  /** Sessions that have shown a picture. */
  sessions = 0;
  private current: Take | null = null;
  private candidate: Take | null = null;
  private nextAttemptAt: number | null = null;
  private liveSince = 0;
  private ticker: number | null = null;
  private readonly backoff = new Backoff();
  private readonly pictures = new StallWatch();
  private readonly records = new StallWatch();
  private readonly arrivals = new Arrivals();

  constructor(
    private readonly endpoint: Endpoint,
    private readonly videos: readonly [HTMLVideoElement, HTMLVideoElement],
    private readonly events: PlayerEvents,
  ) {}

  start(): void {
    this.ticker = window.setInterval(() => this.tick(performance.now()), TICK_MS);
    document.addEventListener("visibilitychange", this.shown);
    void this.attempt();
  }

  stop(): void {
    if (this.ticker !== null) clearInterval(this.ticker);
    document.removeEventListener("visibilitychange", this.shown);
    for (const take of [this.current, this.candidate]) if (take !== null) this.drop(take);
    this.current = this.candidate = null;
  }

  /** A person asked: try now, whatever the back-off says. */
  retryNow(): void {
    this.backoff.reset();
    this.nextAttemptAt = performance.now();
  }

  get video(): HTMLVideoElement {
    return this.current?.video ?? this.videos[0];
  }

  get peer(): RTCPeerConnection | null {
    return this.current?.session.peer ?? null;
  }

  /** The session on screen, if its reports have a way to the appliance now. */
  get reporting(): WhepSession | null {
    const session = this.current?.session;
    return session?.reportable === true ? session : null;
  }

  /** Milliseconds until the next try; null while none is due. */
  nextAttemptInMs(nowMs: number): number | null {
    return this.nextAttemptAt === null ? null : Math.max(0, this.nextAttemptAt - nowMs);
  }

  private readonly shown = (): void => {
    const now = performance.now();
    this.pictures.restart(now);
    this.records.restart(now);
    if (this.candidate !== null) this.candidate.startedAt = now;
  };

  private async attempt(): Promise<void> {
    if (this.candidate !== null) this.drop(this.candidate);
    this.nextAttemptAt = null;
    const take = this.take();
    this.candidate = take;
    if (this.phase === "live") this.enter("reconnecting");
    try {
      await take.session.open();
    } catch (reason) {
      if (take === this.candidate) this.failed(take, reason);
    }
    this.postedAt ??= take.session.postedAt;
  }

  private take(): Take {
    const video = this.current?.video === this.videos[0] ? this.videos[1] : this.videos[0];
    const session = new WhepSession(this.endpoint, {
      picture: (stream) => this.show(take, stream),
      sound: (stream) => this.hear(take, stream),
      message: (octets) => this.recorded(take, octets),
      reply: (octets) => take === this.current && this.events.reply(octets),
      lost: () => this.lost(take),
    });
    const take: Take = { session, video, sound: null, drain: new Audio(), firstFrameAt: null, startedAt: performance.now() };
    return take;
  }

  private show(take: Take, stream: MediaStream): void {
    take.video.srcObject = stream;
    // Muted video may start by itself; a browser that still refuses (battery saver) is served by the play button it draws.
    take.video.play().catch(() => undefined);
    const wanted = (): boolean => take === this.current || take === this.candidate;
    onPresented(take.video, wanted, (metadata) => this.presented(take, metadata));
  }

  private hear(take: Take, stream: MediaStream): void {
    take.sound = stream;
    take.drain.muted = true;
    take.drain.srcObject = stream;
    take.drain.play().catch(() => undefined);
    if (take === this.current) this.events.sound(stream);
  }

  private presented(take: Take, metadata: VideoFrameCallbackMetadata): void {
    const now = performance.now();
    take.firstFrameAt ??= now;
    this.firstFrameAt ??= now;
    if (take === this.candidate) {
      if (this.current?.session.connected === true && now - take.firstFrameAt < PREFERENCE_MS) return;
      this.promote(take);
    }
    // The picture came back by itself, so the candidate is not needed.
    else if (this.candidate !== null) this.abandonCandidate();
    this.pictures.frame(now);
    if (this.phase !== "live") {
      this.liveSince = now;
      this.nextAttemptAt = null;
      this.enter("live");
    }
    this.events.frame(take.video, metadata);
  }

  private recorded(take: Take, octets: ArrayBuffer): void {
    if (take === this.current) this.records.frame(performance.now());
    this.events.message(octets);
  }

  private promote(take: Take): void {
    const before = this.current;
    this.current = take;
    this.candidate = null;
    this.sessions += 1;
    this.arrivals.reset();
    for (const video of this.videos) video.classList.toggle("shown", video === take.video);
    this.events.sound(take.sound);
    if (before !== null) this.drop(before);
  }

  private abandonCandidate(): void {
    this.drop(this.candidate!);
    this.candidate = null;
  }

  private drop(take: Take): void {
    take.session.close();
    if (take.video.srcObject !== null) take.video.srcObject = null;
    take.drain.srcObject = null;
  }

  private lost(take: Take): void {
    if (take === this.candidate) {
      this.abandonCandidate();
      this.retryIn(this.backoff.next());
    } else if (take === this.current && this.candidate === null && this.nextAttemptAt === null) {
      this.enter("reconnecting");
      this.retryIn(this.backoff.next());
    }
  }

  private failed(take: Take, reason: unknown): void {
    // Anything but an HTTP answer here is an SDP that this browser refuses: as final as a 406.
    const error = reason instanceof WhepError ? reason : new WhepError(406, 0);
    this.drop(take);
    this.candidate = null;
    if (error.final) {
      this.enter("refused", error.status, error.reason);
      this.stop();
      return;
    }
    this.enter(error.status === 0 ? "unreachable" : error.status === 503 ? "busy" : "away", error.status);
    this.retryIn(this.backoff.next(error.retryAfterMs));
  }

  private retryIn(delayMs: number): void {
    this.nextAttemptAt = performance.now() + delayMs;
  }

  private tick(now: number): void {
    if (this.phase === "live" && now - this.liveSince > STEADY_MS) this.backoff.reset();
    if (this.nextAttemptAt !== null && now >= this.nextAttemptAt) void this.attempt();
    if (document.hidden) return;
    if (this.current !== null && (this.pictures.sinceLastMs(now) ?? 0) > DOUBT_MS) this.arrivals.look(this.current.session.peer, now);
    if (this.candidate !== null) this.watchCandidate(this.candidate, now);
    else if (this.pictures.stalled(now)) this.watchStall(now);
  }

  private watchStall(now: number): void {
    if (this.phase === "live") this.enter("reconnecting");
    if (this.phase !== "reconnecting" || this.nextAttemptAt !== null) return;
    const connected = this.current?.session.connected === true;
    const limitMs = patienceMs(this.pictures, this.records, connected, this.arrivals.arriving(now), now);
    if (this.pictures.sinceLastMs(now)! > limitMs) this.retryIn(this.backoff.next());
  }

  private watchCandidate(candidate: Take, now: number): void {
    if (this.nextAttemptAt !== null) return;
    const connectedAt = candidate.session.connectedAt;
    if (connectedAt !== null && now - Math.max(connectedAt, candidate.startedAt) > FRAMELESS_MS) {
      // The fresh session stays: when the theatre sends again, its first frame brings the picture back at once.
      this.enter("away");
      this.retryIn(this.backoff.next(AWAY_RETRY_MS));
    } else if (connectedAt === null && now - candidate.startedAt > UNCONNECTED_MS) {
      this.abandonCandidate();
      this.enter("unreachable");
      this.retryIn(this.backoff.next());
    }
  }

  private enter(phase: Phase, status = 0, reason = ""): void {
    if (phase === this.phase && phase !== "refused") return;
    this.phase = phase;
    this.events.phase(phase, status, reason);
  }
}
