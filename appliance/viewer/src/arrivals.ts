/**
 * Whether packets of the picture still arrive while none is painted: a congested line, or loss that waits for a keyframe. The appliance mends
 * both on this session; a second one would only add to the load. Asked from the first doubt on, never while the picture moves.
 */
import { readSignal } from "./signal.ts";

const ASK_MS = 150;
/** Packets that came within this time count as arriving: the browser's own count is renewed only now and then. */
const RECENT_MS = 600;

export class Arrivals {
  private packets: number | null = null;
  private grewMs: number | null = null;
  private askedMs = 0;

  /** Asks the browser, at most once in ASK_MS; the answer counts from when it comes. */
  look(peer: RTCPeerConnection, nowMs: number): void {
    if (nowMs - this.askedMs < ASK_MS) return;
    this.askedMs = nowMs;
    readSignal(peer).then((signal) => {
      if (signal !== null) this.counted(signal.packetsReceived, performance.now());
    }, () => undefined);
  }

  /** Packets received so far, of one connection. */
  counted(packets: number, nowMs: number): void {
    if (this.packets !== null && packets > this.packets) this.grewMs = nowMs;
    this.packets = packets;
  }

  /** Another connection counts from its own beginning. */
  reset(): void {
    this.packets = this.grewMs = null;
  }

  arriving(nowMs: number): boolean {
    return this.grewMs !== null && nowMs - this.grewMs < RECENT_MS;
  }
}
