/** Tells of a bearer token that ends soon, while there is time to renew it: afterwards every record of the cluster waits. */
import { TOKEN_ENDS_PART, TOKEN_TOLD_MS } from "./limits.ts";
import type { Observer } from "./observe.ts";
import { ADVICE } from "./outcome.ts";

/** Instants in ms since 1970. */
export interface TokenLife {
  readonly beginsAt: number;
  readonly endsAt: number;
}

/** null: a token that is no JWT, or does not end, as those of old Secrets, or whose times are no numbers: jose reads them unchecked. Not verified: whoever made it is the API server's question. */
export async function lifeOf(token: string): Promise<TokenLife | null> {
  const { decodeJwt } = await import("jose/jwt/decode"); // only where there is such a token
  try {
    const { exp, iat = exp } = decodeJwt(token);
    return Number.isFinite(exp) && Number.isFinite(iat) ? { beginsAt: Number(iat) * 1000, endsAt: Number(exp) * 1000 } : null;
  } catch {
    return null;
  }
}

/** The last part of its life has begun, or is over. */
export function endsSoon({ beginsAt, endsAt }: TokenLife, now: Date): boolean {
  return endsAt - now.getTime() < (endsAt - beginsAt) * TOKEN_ENDS_PART;
}

/** Hears each token that is read, some times an hour; alarms `TOKEN_ENDS` within the last part of its life, now and then. */
export function watchTokenEnd(cluster: string, observer: Observer, now: () => Date = () => new Date()): (token: string) => Promise<void> {
  let toldAt = -Infinity;
  return async (token) => {
    const life = await lifeOf(token);
    const at = now();
    if (life === null || !endsSoon(life, at) || at.getTime() - toldAt < TOKEN_TOLD_MS) return;
    toldAt = at.getTime();
    observer.alarm("TOKEN_ENDS", { what: ADVICE.TOKEN_ENDS ?? "", cluster, endsAt: new Date(life.endsAt).toISOString() });
  };
}
