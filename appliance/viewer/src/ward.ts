/** All of the hospital's systems in the page, for experts alone: opens with the stream, asks how things stand, hands the answer on. */
import type { Chart } from "./chart.ts";
import { Caseboard } from "./caseboard.ts";
import { Hospital, type HospitalState, type HospitalSystems } from "./hospital.ts";
import { element, write } from "./page.ts";
import { Priors } from "./priors.ts";
import { Snapshots } from "./snapshots.ts";

const ASK_INTERVAL_MS = 2_000;
/** A case is said to be somebody's only as long as the appliance has said so a moment ago. */
const STATE_LIMIT_MS = 10_000;

export class Ward {
  private hospital: Hospital | null = null;
  private state: HospitalState | null = null;
  private heardAt = 0;
  private askedAt = 0;
  private asking = false;
  private readonly trouble = element("hospital-trouble", HTMLElement);
  private readonly caseboard = new Caseboard((state) => this.take(state));
  private readonly snapshots: Snapshots;
  private readonly priors = new Priors();

  constructor(frame: () => number | null) {
    this.snapshots = new Snapshots(frame, () => { this.askedAt = 0; });
  }

  /** `systems` null: this person's page has none of them, and shows no trace of any. */
  open(systems: HospitalSystems | null, stream: string, token: string): void {
    this.hospital = systems === null ? null : new Hospital(stream, token);
    this.state = null;
    this.heardAt = performance.now();
    this.askedAt = 0;
    this.trouble.hidden = true;
    this.caseboard.open(systems?.worklist === true ? this.hospital : null);
    this.snapshots.open(systems?.pacs === true ? this.hospital : null);
    this.priors.open(systems?.pacs === true ? this.hospital : null);
  }

  /** Called now and then. */
  tick(nowMs: number, chart: Chart): void {
    if (this.hospital === null) return;
    if (nowMs - this.askedAt > ASK_INTERVAL_MS && !this.asking && !document.hidden) void this.ask(nowMs);
    if (this.state !== null && nowMs - this.heardAt > STATE_LIMIT_MS && !document.hidden) {
      this.state = null;
      this.caseboard.show(null);
      this.snapshots.show(null);
    }
    this.priors.follow(chart.subject, this.state?.pacs ?? null);
  }

  private async ask(nowMs: number): Promise<void> {
    const { hospital } = this;
    this.askedAt = nowMs;
    this.asking = true;
    try {
      const state = await hospital!.state();
      if (hospital === this.hospital) this.take(state);
    } catch (reason) {
      if (hospital === this.hospital) write(this.trouble, reason instanceof Error ? reason.message : String(reason));
      this.trouble.hidden = hospital !== this.hospital;
    } finally {
      this.asking = false;
    }
  }

  private take(state: HospitalState): void {
    this.state = state;
    this.heardAt = performance.now();
    this.trouble.hidden = true;
    this.caseboard.show(state.worklist);
    this.snapshots.show(state.pacs);
  }
}
