/** The appliance's JSON interface: which streams a token opens. */

export interface Stream {
  name: string;
  title: string;
  audience: string;
  live: boolean;
  width: number | null;
  height: number | null;
}

export class RefusedError extends Error {
  constructor(readonly status: number) {
    super(`the appliance answered ${status}`);
  }
}

/** Raises RefusedError for an HTTP error, TypeError if the appliance cannot be reached. */
export async function fetchStreams(token: string): Promise<Stream[]> {
  const response = await fetch("/api/streams", { headers: { Authorization: `Bearer ${token}` }, cache: "no-store" });
  if (!response.ok) throw new RefusedError(response.status);
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
  }];
}

export function whepUrl(stream: string, pageHref: string): string {
  return new URL(`/whep/${encodeURIComponent(stream)}`, pageHref).href;
}
