/** The appliance's JSON interface: which streams a token opens. */
import type { HospitalSystems } from "./hospital.ts";

export interface Stream {
  name: string;
  title: string;
  audience: string;
  live: boolean;
  /** The source's raster, in whose pixels tips are told. */
  width: number | null;
  height: number | null;
  /** What the best picture has. */
  shownWidth: number | null;
  shownHeight: number | null;
  /** Whether latency is measured from the capture, on clocks that agree; else from the packets' arrival at the appliance. */
  fromCapture: boolean;
  /** In a word how the stream arrives at the appliance; "" if it does not say. */
  status: string;
  /** What is not as it should be there: sentences for experts. */
  findings: string[];
  /** The hospital's systems that this token opens; null if none. */
  hospital: HospitalSystems | null;
}

export class RefusedError extends Error {
  constructor(readonly status: number, readonly reason = "") {
    super(`the appliance answered ${status}`);
  }
}

/** The word that the appliance has for a refusal (`reason` of its problem document); "" if it says none. */
export async function refusalReason(response: Response): Promise<string> {
  const problem = (await response.json().catch(() => null)) as { reason?: unknown } | null;
  return typeof problem?.reason === "string" ? problem.reason : "";
}

/** Raises RefusedError for an HTTP error, TypeError if the appliance cannot be reached. */
export async function fetchStreams(token: string): Promise<Stream[]> {
  const response = await fetch("/api/streams", { headers: { Authorization: `Bearer ${token}` }, cache: "no-store" });
  if (!response.ok) throw new RefusedError(response.status, await refusalReason(response));
  const body = (await response.json()) as { streams?: unknown };
  return Array.isArray(body.streams) ? body.streams.flatMap(readStream) : [];
}

function readStream(entry: unknown): Stream[] {
  if (typeof entry !== "object" || entry === null) return [];
  const fields = entry as Record<string, unknown>;
  const name = fields["name"];
  if (typeof name !== "string") return [];
  const pixels = (field: string): number | null => (typeof fields[field] === "number" && (fields[field] as number) > 0 ? (fields[field] as number) : null);
  return [{
    name,
    title: typeof fields["title"] === "string" && fields["title"] !== "" ? fields["title"] : name,
    audience: typeof fields["audience"] === "string" ? fields["audience"] : "",
    live: fields["live"] === true,
    width: pixels("width"),
    height: pixels("height"),
    shownWidth: pixels("shown_width"),
    shownHeight: pixels("shown_height"),
    fromCapture: fields["time"] !== "arrival",
    status: typeof fields["status"] === "string" ? fields["status"] : "",
    findings: Array.isArray(fields["findings"]) ? fields["findings"].flatMap(readFinding) : [],
    hospital: readSystems(fields["hospital"]),
  }];
}

/** Findings about clocks are left out: the words beside the latency say what follows of them. */
function readFinding(entry: unknown): string[] {
  if (typeof entry !== "object" || entry === null) return [];
  const { domain, sentence } = entry as Record<string, unknown>;
  return typeof sentence === "string" && domain !== "external_synchronisation" ? [sentence] : [];
}

function readSystems(entry: unknown): HospitalSystems | null {
  if (typeof entry !== "object" || entry === null) return null;
  const { worklist, pacs } = entry as Record<string, unknown>;
  return { worklist: worklist === true, pacs: pacs === true };
}

export function whepUrl(stream: string, pageHref: string): string {
  return new URL(`/whep/${encodeURIComponent(stream)}`, pageHref).href;
}
