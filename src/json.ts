/** What a text or bytes hold as JSON; null where they hold none. For schemas: null is none of what they take. */
export function jsonOf(text: string | Buffer): unknown {
  try {
    return JSON.parse(text.toString("utf8"));
  } catch {
    return null;
  }
}
