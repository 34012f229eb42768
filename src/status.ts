/** What an override's `status.message` means, in every version of Deckhouse since v1.56. */

/**
 * `ok`: empty (before v1.67) or `Ready`. `refused`: final, nothing will change it but a person.
 * `error`: a registry or deploy error; Deckhouse itself tries again only after the scan interval.
 */
export type Verdict = "ok" | "refused" | "error";

export function verdictOf(message: string): Verdict {
  if (message === "" || message === "Ready") return "ok";
  return REFUSALS.some((refusal) => refusal.shape.test(message)) ? "refused" : "error";
}

/** What to do about a refusal, for the one who reads the outcome. */
export function adviceOn(message: string): string {
  return REFUSALS.find((refusal) => refusal.shape.test(message))?.advice ?? "see the override's status and Deckhouse's log";
}

// https://github.com/deckhouse/deckhouse/tree/main/deckhouse-controller/pkg/controller/module-controllers/override
const REFUSALS: readonly { shape: RegExp; advice: string }[] = [
  { shape: /^The module is embedded/, advice: "the module comes with the platform's image; an override cannot replace it" },
  { shape: /^The module disabled/, advice: "enable the module (ModuleConfig), then `mpo-relay renew`" },
  { shape: /^The module not found/, advice: "no module source offers this module; look at the ModuleSource's status" },
  {
    shape: /^The source not found|^ModuleSource ".*" not found|^the '.*' module source not found/i,
    advice: "create the ModuleSource that the module names",
  },
  { shape: /^The module does not have an active source/, advice: "set spec.source in the module's ModuleConfig" },
  { shape: /^The module does not have a module definition/, advice: "the image holds no module.yaml" },
  { shape: /^Validation (?:error|failed):/i, advice: "mend what Deckhouse names in the module, push again" },
];
