/** Certificates that the relay holds or trusts: have they some time left, and does the key belong to them? */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { pathText } from "../../config/problem.ts";
import type { SecretRef } from "../../config.ts";
import { refText } from "../../secrets.ts";
import { counted, span } from "../terminal.ts";
import { type Check, failure, type Finding, ok, warning } from "./finding.ts";
import type { Surroundings } from "./surroundings.ts";

const SOON_DAYS = 14;

/** One that we show others, with its key. `code`: of the finding. `of`: `the hub's certificate`. `hence`: what does not work without it. Texts are PEM. */
export interface Shown {
  readonly code: string;
  readonly where: string;
  readonly of: string;
  readonly hence: string;
  readonly todo: string;
  readonly certificate: string;
  /** null: it is not to be seen. */
  readonly key: string | null;
}
/** Authorities, of which one must be that of the other side. */
export type Trusted = Omit<Shown, "certificate" | "key"> & { readonly authorities: string };

type Say = (level: Finding["level"], what: string) => Finding;

/** Of its chain the first one counts, by which others know us. */
export function shownFindings({ certificate, key, ...about }: Shown, now: Date): Finding[] {
  const { of, hence } = about;
  const say = sayer(about);
  const [first] = certificatesIn(certificate);
  if (!first) return [say("error", `${of} is none (PEM): ${hence}`)];
  return [...endFindings(Date.parse(first.validTo), of, hence, now, say), ...(key === null ? [] : keyFindings(first, key, of, hence, say))];
}

/** Whoever is trusted may be several, of which old ones end while new ones are there: the last of them counts. */
export function trustedFindings({ authorities, ...about }: Trusted, now: Date): Finding[] {
  const { of, hence } = about;
  const say = sayer(about);
  const all = certificatesIn(authorities);
  if (all.length === 0) return [say("error", `${of} is none (PEM): ${hence}`)];
  return endFindings(Math.max(...all.map(({ validTo }) => Date.parse(validTo))), of, hence, now, say);
}

const sayer =
  ({ code, where, todo }: Pick<Shown, "code" | "where" | "todo">): Say =>
  (level, what) =>
    level === "error" ? failure(code, where, what, todo) : warning(code, where, what, todo);

/** [] also where one of them cannot be read. */
function certificatesIn(text: string): X509Certificate[] {
  try {
    return (text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []).map((each) => new X509Certificate(each));
  } catch {
    return [];
  }
}

function endFindings(endsAt: number, of: string, hence: string, now: Date, say: Say): Finding[] {
  const left = endsAt - now.getTime();
  if (left <= 0) return [say("error", `${of} ended ${span(-left)} ago: ${hence}`)];
  return left < SOON_DAYS * 24 * 3600 * 1000 ? [say("warning", `${of} ends in ${span(left)}`)] : [];
}

function keyFindings(certificate: X509Certificate, key: string, of: string, hence: string, say: Say): Finding[] {
  try {
    if (certificate.checkPrivateKey(createPrivateKey(key))) return [];
    return [say("error", `the key beside ${of} is that of another one: ${hence}`)];
  } catch {
    return [say("error", `the key beside ${of} cannot be read (PEM): ${hence}`)];
  }
}

/** Those that the configuration names. What a kubeconfig holds its cluster's own check looks at. */
export function certificatesChecks(around: Surroundings): Check[] {
  const looks = looksAt(around);
  const run = async (): Promise<Finding[]> => {
    const findings = (await Promise.all(looks.map((look) => look()))).flat();
    return findings.length === 0
      ? [ok("certificates", `${counted(looks.length, "file")} of them, each with more than ${SOON_DAYS} days left`)]
      : findings;
  };
  return looks.length === 0 ? [] : [{ name: "certificates", run }];
}

function looksAt({ config, readSecret, now }: Surroundings): (() => Promise<Finding[]>)[] {
  const read = (ref: SecretRef) => readSecret(ref).catch(() => null); // the secrets' own check tells
  const { tls } = config.hub ?? {};
  const ofHub = async () => {
    if (!tls) return [];
    const [certificate, key] = await Promise.all([read(tls.certificate), read(tls.key)]);
    if (certificate === null) return [];
    const of = `the hub's certificate in ${refText(tls.certificate)}`;
    const todo = "write a new certificate and its key where they are read; the hub takes them up without a restart";
    return shownFindings(
      { code: "HUB_CERTIFICATE", where: "hub.certificate", of, hence: "no worker can borrow its queue", todo, certificate, key },
      now(),
    );
  };
  const ofAuthority = async (where: string, ref: SecretRef, hence: string) => {
    const authorities = await read(ref);
    const todo = "write the authority of today there; it is read again without a restart";
    return authorities === null
      ? []
      : trustedFindings({ code: "CERTIFICATE", where, of: `the authority in ${refText(ref)}`, hence, todo, authorities }, now());
  };
  const hubs = Object.entries(config.clusters).flatMap(([name, { hub }]) => {
    const ca = hub?.ca;
    return ca ? [() => ofAuthority(`clusters.${name}.hubCa`, ca, "the hub's certificate is refused, and no record comes from it")] : [];
  });
  const registries = config.sources.flatMap(({ registry }, index) => {
    const ca = registry?.ca;
    const hence = "the registry's certificate is refused, and nobody notices a lost push there";
    return ca ? [() => ofAuthority(pathText(["sources", index, "registry", "ca"]), ca, hence)] : [];
  });
  return [...(tls ? [ofHub] : []), ...hubs, ...registries];
}
