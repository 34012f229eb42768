/** The set-up of a registry that has no file of its own here: what follows from how it proves itself. */
import { type AuthScheme, type RegistryProvider, schemeOf } from "../../providers/provider.ts";
import { type Hook, lines, type RegistrySetup, SECRET, urlOf } from "./setup.ts";

export function plainSetup(provider: RegistryProvider): RegistrySetup {
  return {
    checked: "made from what the relay asks for, not tried on the registry itself",
    paste: (hook) => {
      const scheme = schemeOf(provider, hook.auth);
      const rows = { URL: urlOf(hook, SECRET), ...(scheme && proofRows(scheme, hook)), "Content type": "application/json" };
      const text = Object.entries(rows).map(([name, value]) => `${name.padEnd(14)}${value}`);
      return [{ kind: "steps", where: "the registry's webhook, for pushes and nothing else", text: lines(...text) }];
    },
    ...(provider.sample && { sample: provider.sample }),
  };
}

/** What is asked for beside the URL, as in auth.ts. */
function proofRows(scheme: AuthScheme, { username, oidc }: Hook): Readonly<Record<string, string>> {
  switch (scheme.kind) {
    case "token":
      return { Header: `${scheme.header}: ${scheme.scheme === undefined ? "" : `${scheme.scheme} `}${SECRET}` };
    case "hmac": {
      const signed = scheme.over === "form:payload" ? "the JSON text" : "the body";
      return {
        Secret: SECRET,
        "Signs by": `HMAC-${scheme.hash.toUpperCase()} of ${signed}, ${scheme.encoding}: ${scheme.header}: ${scheme.prefix ?? ""}…`,
      };
    }
    case "basic":
      return { "User name": username ?? "mpo-relay", Password: SECRET };
    case "standard-webhooks":
      return { Secret: SECRET, "Signs by": "Standard Webhooks: webhook-id, webhook-timestamp, webhook-signature" };
    case "oidc":
      return { Header: `authorization: Bearer <a token${oidc ? ` for the audience ${oidc.audience}` : ""}>` };
    case "url":
      return {};
  }
}
