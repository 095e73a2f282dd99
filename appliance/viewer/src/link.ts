/**
 * The viewer's link: `/?stream=NAME#token=JWT`, or what a person pastes. Reads it; keeps nothing itself.
 * The token's claims are read for display only: the appliance alone decides what they are worth.
 */

export interface Link {
  stream: string | null;
  token: string | null;
  measure: boolean;
}

export interface Claims {
  role: string | null;
  stream: string | null;
  expiresMs: number | null;
}

const TOKEN = /^[\w-]+\.[\w-]+\.[\w-]+$/;

export function readLink(href: string): Link {
  const url = new URL(href);
  const fragment = new URLSearchParams(url.hash.slice(1));
  return {
    stream: url.searchParams.get("stream") || null,
    token: fragment.get("token") || null,
    measure: url.searchParams.get("measure") === "1",
  };
}

/** Understands a whole link, a `stream=…#token=…` part of one, or the bare token; null if there is no token in it. */
export function readPasted(text: string, pageHref: string): Link | null {
  const trimmed = text.trim();
  if (TOKEN.test(trimmed)) return { stream: null, token: trimmed, measure: false };
  const hash = trimmed.indexOf("#");
  if (hash < 0) return null;
  let link: Link;
  try {
    link = readLink(new URL(trimmed, pageHref).href);
  } catch {
    return null;
  }
  return link.token !== null && TOKEN.test(link.token) ? link : null;
}

export function withoutToken(href: string): string {
  const url = new URL(href);
  url.hash = "";
  return url.href;
}

export function readClaims(token: string): Claims {
  try {
    const part = token.split(".")[1] ?? "";
    const bytes = Uint8Array.from(atob(part.replace(/-/g, "+").replace(/_/g, "/")), (letter) => letter.charCodeAt(0));
    const claims = JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>;
    return {
      role: typeof claims["role"] === "string" ? claims["role"] : null,
      stream: typeof claims["stream"] === "string" ? claims["stream"] : null,
      expiresMs: typeof claims["exp"] === "number" ? claims["exp"] * 1_000 : null,
    };
  } catch {
    return { role: null, stream: null, expiresMs: null };
  }
}
