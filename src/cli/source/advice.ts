/** What to do about a registry that does not let us look. */
import type { RelayError } from "../../outcome.ts";
import { Trouble } from "../../registry/trouble.ts";

/** undefined: its message says all that we know. */
export function adviceOn(error: RelayError, isAnonymous: boolean): string | undefined {
  if (error instanceof Trouble && error.status !== null) return onStatus(error.status, isAnonymous);
  return ADVICE.find(([shape]) => shape.test(error.message))?.[1];
}

function onStatus(status: number, isAnonymous: boolean): string | undefined {
  if (status === 429)
    return `wait a while${isAnonymous ? ", or log in by --docker-config FILE: registries count strangers more strictly" : ""}`;
  if (status >= 500) return "try again; if it stays, look at the registry";
  if (status !== 401 && status !== 403) return undefined;
  const login = isAnonymous
    ? "it was asked anonymously: log in by --docker-config FILE, or by `registry:` at the source in the configuration"
    : "is the login right, and may it pull here?";
  return `${login}. Many registries answer so, too, where a repository is not there`;
}

const ADVICE: readonly (readonly [RegExp, string])[] = [
  [
    /: no answer within|E(?:CONNREFUSED|NOTFOUND|AI_AGAIN|HOSTUNREACH|NETUNREACH|CONNRESET)/,
    "is that the registry's address, and can it be reached from here?",
  ],
  [/CERT|SELF_SIGNED|UNABLE_TO_/, "name its authority by `registry: { ca: file:… }` at the source, or in NODE_EXTRA_CA_CERTS"],
  [/EPROTO/, "does it speak plain HTTP? Then say so by `registry: { plainHttp: true }` at the source"],
  [/linux\/amd64/, "Deckhouse cannot run it either: push the image for linux/amd64"],
];
