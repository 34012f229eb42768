/** Bytes of a delivery → a value. The content type only picks the decoder: a form holds its JSON in `payload`; everything else, also none, is JSON. */

export type Body = { ok: true; value: unknown } | { ok: false; why: string };

/** Never throws. `contentType` is the header's value or undefined. */
export function decodeBody(bytes: Uint8Array, contentType: string | undefined): Body {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return { ok: false, why: "not UTF-8" };
  }
  if (/^\s*application\/x-www-form-urlencoded\b/i.test(contentType ?? "")) {
    const payload = new URLSearchParams(text).get("payload");
    if (payload === null) return { ok: false, why: "a form without `payload`" };
    text = payload;
  }
  try {
    return { ok: true, value: parseJson(text) };
  } catch {
    return { ok: false, why: "not JSON" };
  }
}

/** A MiB of this alone takes JSON.parse 70 ms and as many megabytes; any other nesting takes half of that at most. No registry writes either. */
const TOO_DEEP = "[".repeat(1000);

/** JSON.parse for a text of anybody. Throws SyntaxError. */
export function parseJson(text: string): unknown {
  if (text.includes(TOO_DEEP)) throw new SyntaxError("lists in lists, too deep");
  return JSON.parse(text);
}
