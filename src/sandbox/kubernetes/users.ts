/** Who may do what: the administrator everything, others the verbs they were granted on deckhouse.io objects. */
import { createHash, randomBytes } from "node:crypto";
import type { Verb } from "./types.ts";

export interface User {
  readonly name: string;
  may(verb: string, subresource: boolean): boolean;
}

export class Users {
  // Found by the token's hash, so that the time of a look-up says nothing of the token.
  readonly #byToken = new Map<string, User>();
  readonly #granted = new Map<string, { token: string; verbs: readonly Verb[] }>();

  constructor(adminToken: string) {
    this.#byToken.set(hash(adminToken), { name: "admin", may: () => true });
  }

  grant(name: string, verbs: readonly Verb[]): string {
    const known = this.#granted.get(name);
    const token = known?.token ?? randomBytes(24).toString("hex");
    this.#granted.set(name, { token, verbs });
    this.#byToken.set(hash(token), { name, may: (verb, subresource) => !subresource && verbs.some((one) => one === verb) });
    return token;
  }

  /** The user of an Authorization header; null: 401. */
  of(authorization: string | undefined): User | null {
    const token = /^Bearer (\S+)$/i.exec(authorization ?? "")?.[1];
    return token === undefined ? null : (this.#byToken.get(hash(token)) ?? null);
  }
}

const hash = (token: string): string => createHash("sha256").update(token).digest("hex");
