/** The hospital's systems behind the appliance: snapshots, the worklist's case, prior studies. One object asks for all of them. */

export interface HospitalSystems {
  worklist: boolean;
  pacs: boolean;
}

export interface Case {
  key: string;
  patient_name: string;
  patient_id: string;
  birth_date: string;
  sex: string;
  accession_number: string;
  description: string;
  date: string;
  time: string;
  station: string;
  physician: string;
}

export interface Contradiction {
  field: string;
  worklist: string;
  theatre: string;
}

/** "asking" before the first answer, "answering", or "trouble" with a sentence. */
export interface PeerState {
  state: string;
  problem: string;
}

export interface WorklistState extends PeerState {
  station: string;
  listed: number;
  case: Case | null;
  how: string;
  mismatch: Contradiction[];
}

export interface Snapshot {
  press: string;
  taken_ms: number;
  bookmark: boolean;
  /** The frame that was stored came so long after (or before) the one asked for; 0: it is the very one. */
  offset_ms: number;
  /** "held" for its note, "waiting", "stored", "rejected". */
  state: string;
  problem: string;
}

export interface PacsState extends PeerState {
  snapshots: Snapshot[];
  /** Whether somebody is named whose studies could be looked for. */
  patient: boolean;
}

export interface HospitalState {
  worklist: WorklistState | null;
  pacs: PacsState | null;
}

export interface Study {
  uid: string;
  date: string;
  time: string;
  description: string;
  modalities: string;
  instances: number;
}

export interface Series {
  uid: string;
  number: number;
  modality: string;
  description: string;
}

export interface Instance {
  uid: string;
  number: number;
  frames: number;
}

export class HospitalProblem extends Error {
  constructor(
    /** The HTTP status; 0 if the appliance could not be reached. */
    readonly status: number,
    sentence: string,
  ) {
    super(sentence);
  }
}

const UNREACHABLE = "The appliance cannot be reached. Check the network and try again.";
const ANSWER_LIMIT_MS = 60_000;

export class Hospital {
  private readonly base: string;

  constructor(stream: string, private readonly token: string) {
    this.base = `/api/streams/${encodeURIComponent(stream)}/hospital`;
  }

  state(): Promise<HospitalState> {
    return this.ask<HospitalState>("GET", "");
  }

  async cases(patientId: string, accessionNumber: string): Promise<Case[]> {
    const query = new URLSearchParams();
    if (patientId !== "") query.set("patient_id", patientId);
    if (accessionNumber !== "") query.set("accession_number", accessionNumber);
    return (await this.ask<{ cases: Case[] }>("GET", `/worklist?${query}`)).cases;
  }

  choose(key: string | null): Promise<HospitalState> {
    return key === null ? this.ask<HospitalState>("DELETE", "/case") : this.ask<HospitalState>("PUT", "/case", { key });
  }

  snapshot(rtpTimestamp: number, bookmark: boolean): Promise<Snapshot> {
    return this.ask<Snapshot>("POST", "/snapshots", { rtp_timestamp: rtpTimestamp, bookmark });
  }

  async note(press: string, note: string): Promise<void> {
    await this.ask("PUT", `/snapshots/${press}/note`, { note });
  }

  async studies(): Promise<Study[]> {
    return (await this.ask<{ studies: Study[] }>("GET", "/studies")).studies;
  }

  async series(study: string): Promise<Series[]> {
    return (await this.ask<{ series: Series[] }>("GET", `/studies/${study}/series`)).series;
  }

  async instances(study: string, series: string): Promise<Instance[]> {
    return (await this.ask<{ instances: Instance[] }>("GET", `/studies/${study}/series/${series}/instances`)).instances;
  }

  /** A frame, decoded; the page's policy loads no pictures by address, and needs none so. */
  async picture(study: string, series: string, instance: string, frame: number, size: "thumbnail" | "full"): Promise<ImageBitmap> {
    const response = await this.request("GET", `/studies/${study}/series/${series}/instances/${instance}/frames/${frame}?size=${size}`);
    return createImageBitmap(await response.blob());
  }

  private async ask<T>(method: string, path: string, body?: object): Promise<T> {
    return (await (await this.request(method, path, body)).json()) as T;
  }

  private async request(method: string, path: string, body?: object): Promise<Response> {
    const headers: Record<string, string> = { Authorization: `Bearer ${this.token}` };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    let response: Response;
    try {
      response = await fetch(this.base + path, { method, headers, body: body === undefined ? null : JSON.stringify(body), cache: "no-store", signal: AbortSignal.timeout(ANSWER_LIMIT_MS) });
    } catch {
      throw new HospitalProblem(0, UNREACHABLE);
    }
    if (response.ok) return response;
    const problem = (await response.json().catch(() => ({}))) as { detail?: unknown };
    throw new HospitalProblem(response.status, typeof problem.detail === "string" ? problem.detail : `The appliance refused the request (${response.status}).`);
  }
}

/** What a snapshot's state means for the person who pressed; `pacs` is what the PACS does now. */
export function snapshotWords(snapshot: Snapshot, pacs: PeerState): { text: string; tone: "good" | "busy" | "warn" | "bad" } {
  if (snapshot.state === "stored") return { text: "In the PACS", tone: "good" };
  if (snapshot.state === "rejected") return { text: `Not in the PACS: ${snapshot.problem} The picture is kept on the appliance.`, tone: "bad" };
  if (snapshot.state === "held") return { text: "Waiting for its note", tone: "busy" };
  if (pacs.state === "trouble") return { text: `Waiting on the appliance: ${pacs.problem}`, tone: "warn" };
  return { text: "On its way to the PACS", tone: "busy" };
}

/** "" for the very frame. */
export function offsetWords(offsetMs: number): string {
  return offsetMs === 0 ? "" : `the frame ${Math.abs(offsetMs)} ms ${offsetMs > 0 ? "after" : "before"} the press`;
}
