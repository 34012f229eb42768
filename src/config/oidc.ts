/** Rules of a webhook that takes tokens of an issuer. An issuer signs for everybody who asks it, so what is not narrowed lets strangers in. */
import * as z from "zod";
import { type RegistryProvider, schemeOf } from "../providers/provider.ts";
import { isEncrypted } from "./forms.ts";
import type { Tell } from "./problem.ts";

const word = z.string().nullish().catch(null);
const claims = z.object({
  issuer: word,
  email: word,
  subject: z
    .union([z.string(), z.array(z.string().catch(""))])
    .nullish()
    .catch(null),
  keys: word,
});
/** A block that is there counts, whatever is in it. */
export const oidcSketch = claims.nullish().catch({});

interface Webhook {
  readonly auth?: string | null | undefined;
  readonly secret?: unknown;
  readonly previousSecret?: unknown;
  readonly insecure?: unknown;
  readonly oidc?: z.infer<typeof oidcSketch>;
}

/** `row` is undefined where the provider is not known: that is told elsewhere. */
export function oidcRules(path: readonly PropertyKey[], webhook: Webhook, row: RegistryProvider | undefined, problem: Tell): void {
  const scheme = row && schemeOf(row, webhook.auth ?? null);
  if (scheme && scheme.kind !== "oidc") {
    const hint = row.auth.some(({ kind }) => kind === "oidc") ? "write auth: oidc" : "take it out, and name a secret";
    return problem([...path, "oidc"], `this webhook authenticates by ${scheme.kind}`, hint);
  }
  if (!webhook.oidc)
    return problem([...path, "oidc"], "whose tokens to take is not said", "write oidc: with an audience, and with email or subject");
  for (const key of ["secret", "previousSecret", "insecure"] as const)
    if (webhook[key] !== undefined && webhook[key] !== null && webhook[key] !== false)
      problem([...path, key], "tokens of an issuer need no secret", "take it out");
  if (scheme?.issuers) ownIssuer([...path, "oidc"], webhook.oidc, problem);
  else if (scheme) anyIssuer([...path, "oidc"], webhook.oidc, problem);
}

type Claims = z.infer<typeof claims>;

function ownIssuer(path: readonly PropertyKey[], { issuer, email }: Claims, problem: Tell): void {
  if (issuer) problem([...path, "issuer"], "this provider has its own issuer", "take it out");
  if (!email) problem([...path, "email"], "is missing", "write the e-mail address of the service account that sends");
}

function anyIssuer(path: readonly PropertyKey[], { issuer, subject, keys }: Claims, problem: Tell): void {
  if (!issuer) problem([...path, "issuer"], "is missing", "write the tokens' iss claim, for example https://gitlab.example.com");
  else if (!keys && URL.canParse(issuer) && !isEncrypted(issuer))
    problem([...path, "issuer"], "its keys would come over plain http, where they can be exchanged", "write https, or keys: file:PATH");
  const patterns = [subject ?? []].flat();
  if (patterns.length === 0) problem([...path, "subject"], "is missing", SUBJECT);
  if (!patterns.every(isNarrow)) problem([...path, "subject"], "lets strangers in", SUBJECT);
}

const SUBJECT = "name at least the owner in full: project_path:group/*, or repo:organisation/repository:ref:refs/heads/main";

/** Before the first wildcard stand two whole parts: `repo:organisation*` would let an organisation of a longer name in. */
function isNarrow(pattern: string): boolean {
  return !/[*?]/.test(pattern) || /^[^:/*?]+[:/][^:/*?]+[:/]/.test(pattern);
}
