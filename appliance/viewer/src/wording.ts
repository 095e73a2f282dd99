/** What each state of the connection is called, how it looks, and what it means for the person watching. */
import type { Phase } from "./player.ts";

export interface Wording {
  label: string;
  tone: "good" | "busy" | "warn" | "bad";
  icon: string;
  /** Over the picture; null while the picture speaks for itself. */
  heading: string | null;
  explanation: string;
  canRetry: boolean;
}

const WORDINGS: Readonly<Record<Phase, Wording>> = {
  connecting: { label: "Connecting", tone: "busy", icon: "i-link", heading: "Connecting", explanation: "Opening the picture from the theatre.", canRetry: false },
  live: { label: "Live", tone: "good", icon: "i-live", heading: null, explanation: "", canRetry: false },
  reconnecting: { label: "Reconnecting", tone: "warn", icon: "i-link", heading: "Picture paused", explanation: "The last picture is shown while the connection is restored.", canRetry: false },
  away: { label: "No picture", tone: "warn", icon: "i-away", heading: "No picture from the theatre", explanation: "The appliance is connected, but the source is not sending. The picture returns by itself.", canRetry: true },
  unreachable: { label: "Not reachable", tone: "bad", icon: "i-alert", heading: "The appliance cannot be reached", explanation: "Check the network connection.", canRetry: true },
  busy: { label: "Waiting", tone: "warn", icon: "i-clock", heading: "Waiting for a place", explanation: "Every place is taken, or many are joining at once.", canRetry: true },
  refused: { label: "No access", tone: "bad", icon: "i-lock", heading: "This stream cannot be opened", explanation: "", canRetry: false },
};

const NO_COMMON_FORMAT = { heading: "This browser cannot show the picture", explanation: "It shares no video format with the appliance. A current Chrome, Edge, Firefox or Safari can." };

const REFUSALS: Readonly<Record<number, { heading: string; explanation: string }>> = {
  401: { heading: "This link is not valid", explanation: "It is incomplete, or this appliance does not know it. Ask the theatre for a new one." },
  403: { heading: "This link does not open this stream", explanation: "It was issued for another stream. Ask the theatre for a link to this one." },
  // The appliance's own answer is 422; 406 stands for an answer that this browser would not take.
  406: NO_COMMON_FORMAT,
  422: NO_COMMON_FORMAT,
};

/** The appliance's word for a token whose time is over. */
const EXPIRED_TOKEN = "expired_token";
const EXPIRED = { heading: "This link has expired", explanation: "Ask the theatre for a new one." };

export function wordingFor(phase: Phase, status: number, reason = ""): Wording {
  const wording = WORDINGS[phase];
  if (phase === "away" && status === 404) return { ...wording, heading: "Unknown stream", explanation: "The appliance has no stream of this name at the moment. This page keeps looking for it." };
  if (phase !== "refused") return wording;
  if (reason === EXPIRED_TOKEN) return { ...wording, ...EXPIRED };
  return { ...wording, ...(REFUSALS[status] ?? { explanation: `The appliance refused the request (${status}).` }) };
}

const WAITING: ReadonlySet<Phase> = new Set<Phase>(["busy", "unreachable"]);

/** When the page tries again by itself; "" in a state in which that is no matter of waiting. */
export function retryWords(phase: Phase, inMs: number | null): string {
  if (!WAITING.has(phase)) return "";
  const seconds = Math.ceil((inMs ?? 0) / 1_000);
  return seconds <= 1 ? "Trying again now." : `This page tries again in ${seconds} s.`;
}
