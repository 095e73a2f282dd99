/** What the browser itself knows about the connection: codec, size, losses. Asked once a second while there is a connection. */

export interface Signal {
  codec: string;
  packetsLost: number;
  packetsReceived: number;
}

export async function readSignal(peer: RTCPeerConnection): Promise<Signal | null> {
  const report = await peer.getStats();
  for (const entry of report.values()) {
    if (entry.type !== "inbound-rtp" || entry.kind !== "video") continue;
    const codec = report.get(entry.codecId) as { mimeType?: string; sdpFmtpLine?: string } | undefined;
    return {
      codec: codecName(codec?.mimeType ?? "", codec?.sdpFmtpLine ?? ""),
      packetsLost: Math.max(0, entry.packetsLost ?? 0),
      packetsReceived: entry.packetsReceived ?? 0,
    };
  }
  return null;
}

const PROFILES: Readonly<Record<string, string>> = { "42": "Baseline", "4d": "Main", "58": "Extended", "64": "High" };

/** "video/H264" with its profile-level-id (RFC 6184 section 8.1) to "H.264 Constrained Baseline". */
export function codecName(mimeType: string, parameters: string): string {
  const name = mimeType.replace(/^video\//i, "").toUpperCase();
  if (name !== "H264") return name;
  const identifier = /profile-level-id=([0-9a-f]{6})/i.exec(parameters)?.[1]?.toLowerCase() ?? "";
  const profile = PROFILES[identifier.slice(0, 2)] ?? "";
  const constrained = identifier.startsWith("42") && (Number.parseInt(identifier.slice(2, 4), 16) & 0x40) !== 0;
  return ["H.264", constrained ? "Constrained" : "", profile].filter((part) => part !== "").join(" ");
}
