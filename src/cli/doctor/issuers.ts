/** The issuers of webhooks with tokens: can their keys be had, and is there one among them that tokens may be signed by? */
import { lookAtKeys } from "../../oidc.ts";
import { ADVICE, toRelayError } from "../../outcome.ts";
import { providers } from "../../providers/index.ts";
import { schemeOf } from "../../providers/provider.ts";
import { counted } from "../terminal.ts";
import { type Check, failure, type Finding, ok } from "./finding.ts";
import type { Surroundings } from "./surroundings.ts";

export const issuersChecks = (around: Surroundings): Check[] =>
  Object.entries(around.config.webhooks).flatMap(([name, { oidc }]) =>
    oidc ? [{ name: `issuer of ${name}`, run: () => lookAtIssuer(name, around) }] : [],
  );

async function lookAtIssuer(name: string, { config, readSecret }: Surroundings): Promise<Finding[]> {
  const { provider = "", auth = null, oidc = null } = config.webhooks[name] ?? {};
  const row = providers[provider];
  const scheme = row && schemeOf(row, auth);
  if (!oidc || scheme?.kind !== "oidc") return []; // the configuration's own rules ask for it
  const where = `webhooks.${name}.oidc`;
  const { keys } = oidc;
  if (keys && keys.kind !== "url" && (await readSecret(keys).catch(() => null)) === null) return []; // the secrets' own check tells
  try {
    const { from, all, usable } = await lookAtKeys(scheme, oidc, readSecret);
    if (usable > 0) return [ok(where, `${counted(usable, "key")} of its issuer in ${from}`)];
    const what = `${from} holds ${counted(all, "key")}, and none that a token may be signed by (RSA, RS256): every delivery is refused`;
    return [
      failure("KEYS_UNAVAILABLE", where, what, "take the issuer's own key set (JWKS) of today: `oidc.keys`, as a file or an address"),
    ];
  } catch (thrown) {
    return [failure("KEYS_UNAVAILABLE", where, toRelayError(thrown).message, ADVICE.KEYS_UNAVAILABLE ?? "")];
  }
}
