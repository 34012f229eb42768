/** `spec.scanInterval`, of an override and by the same pattern of a ModuleSource: how often Deckhouse looks there by itself. https://deckhouse.io/products/kubernetes-platform/documentation/v1/cr.html#modulepulloverride */

const DEFAULT_MS = 15_000;

/** `1h30m`, `15s` → milliseconds. Not set, or empty, is Deckhouse's default of 15 s; 0 for `0s`; null for what Deckhouse cannot read either. */
export function intervalMs(text: string | null): number | null {
  if (text === null || text === "") return DEFAULT_MS;
  const [whole, hours = "0", minutes = "0", seconds = "0"] = /^(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?$/.exec(text) ?? [];
  return whole === undefined ? null : (Number(hours) * 3600 + Number(minutes) * 60 + Number(seconds)) * 1000;
}

/** Whether it is the same setting; Deckhouse's definition may have written its default where nothing stood. */
export const isSameInterval = (a: string | null, b: string | null) => (a ?? "15s") === (b ?? "15s");
