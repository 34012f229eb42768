/** Who may do what: the administrator everything, others the verbs they were granted on deckhouse.io objects. */
import { createHash, randomBytes } from "node:crypto";
import type { Verb } from "./types.ts";

export interface User {
  readonly name: string;
  /** No admission policy holds for it. */
  readonly isSystem: boolean;
  may(verb: string, subresource: boolean): boolean;
}

export class Users {
  // Found by the token's hash, so that the time of a look-up says nothing of the token.
  readonly #byToken = new Map<string, User>();
  readonly #granted = new Map<string, { token: string; verbs: readonly Verb[] }>();

  constructor(adminToken: string, systemToken: string) {
    const may = () => true;
    this.#byToken.set(hash(adminToken), { name: "admin", isSystem: false, may });
    this.#byToken.set(hash(systemToken), { name: "system:serviceaccount:d8-system:deckhouse", isSystem: true, may });
  }

  grant(name: string, verbs: readonly Verb[]): string {
    const known = this.#granted.get(name);
    const token = known?.token ?? randomBytes(24).toString("hex");
    this.#granted.set(name, { token, verbs });
    const may: User["may"] = (verb, subresource) => !subresource && verbs.some((one) => one === verb);
    this.#byToken.set(hash(token), { name, isSystem: false, may });
    return token;
  }

  /** The user of an Authorization header; null: 401. */
  of(authorization: string | undefined): User | null {
    const token = /^Bearer (\S+)$/i.exec(authorization ?? "")?.[1];
    return token === undefined ? null : (this.#byToken.get(hash(token)) ?? null);
  }
}

const hash = (token: string): string => createHash("sha256").update(token).digest("hex");
