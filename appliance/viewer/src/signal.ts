/** What the browser itself knows about the connection: codec, losses, delays. Asked once a second, and for each report, while there is one. */

/** All but the codec's names are totals since the connection began; seconds where not packets or frames. */
export interface Signal {
  codec: string;
  mimeType: string;
  packetsLost: number;
  packetsReceived: number;
  nacks: number;
  freezes: number;
  frozenSeconds: number;
  bufferSeconds: number;
  framesBuffered: number;
  decodeSeconds: number;
  framesDecoded: number;
  /** The sound's; none of it: 0. */
  soundBufferSeconds: number;
  soundSamples: number;
}

export async function readSignal(peer: RTCPeerConnection): Promise<Signal | null> {
  const report = await peer.getStats();
  const sound = [...report.values()].find((entry) => entry.type === "inbound-rtp" && entry.kind === "audio");
  for (const entry of report.values()) {
    if (entry.type !== "inbound-rtp" || entry.kind !== "video") continue;
    const codec = report.get(entry.codecId) as { mimeType?: string; sdpFmtpLine?: string } | undefined;
    return {
      codec: codecName(codec?.mimeType ?? "", codec?.sdpFmtpLine ?? ""),
      mimeType: (codec?.mimeType ?? "").toLowerCase(),
      packetsLost: Math.max(0, entry.packetsLost ?? 0),
      packetsReceived: entry.packetsReceived ?? 0,
      nacks: entry.nackCount ?? 0,
      freezes: entry.freezeCount ?? 0,
      frozenSeconds: entry.totalFreezesDuration ?? 0,
      bufferSeconds: entry.jitterBufferDelay ?? 0,
      framesBuffered: entry.jitterBufferEmittedCount ?? 0,
      decodeSeconds: entry.totalDecodeTime ?? 0,
      framesDecoded: entry.framesDecoded ?? 0,
      soundBufferSeconds: sound?.jitterBufferDelay ?? 0,
      soundSamples: sound?.jitterBufferEmittedCount ?? 0,
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
