/** Can each secret be read, is it long enough, and has the hub's certificate some time left? */
import { X509Certificate } from "node:crypto";
import type { SecretRef } from "../../config.ts";
import { refText } from "../../secrets.ts";
import { references, SHORT_SECRET } from "../references.ts";
import { counted, messageOf, span } from "../terminal.ts";
import { type Check, failure, type Finding, ok, warning } from "./finding.ts";
import type { Surroundings } from "./surroundings.ts";

const SOON_MS = 14 * 24 * 3600 * 1000;

export const secretsCheck = (around: Surroundings): Check => ({ name: "secrets", run: () => lookAtSecrets(around) });

async function lookAtSecrets({ config, readSecret, now }: Surroundings): Promise<Finding[]> {
  const all = references(config);
  const looks = all.map(async ({ path, ref, isSecret }): Promise<Finding[]> => {
    try {
      const { length } = await readSecret(ref);
      if (!isSecret || length >= SHORT_SECRET) return [];
      const what = `the secret ${refText(ref)} has only ${length} characters`;
      return [warning("SECRET_SHORT", path, what, `take at least ${SHORT_SECRET}, for example from: openssl rand -hex 32`)];
    } catch (thrown) {
      return [failure("SECRET_UNREADABLE", path, messageOf(thrown), howToMend(ref))];
    }
  });
  const certificate = config.hub?.tls?.certificate;
  const findings = (await Promise.all([...looks, ...(certificate ? [certificateEnd(certificate, readSecret, now())] : [])])).flat();
  const unread = findings.filter(({ code }) => code === "SECRET_UNREADABLE").length;
  return [...(all.length > unread ? [ok("secrets", `${counted(all.length - unread, "reference")} can be read`)] : []), ...findings];
}

function howToMend(ref: SecretRef): string {
  if (ref.kind === "env") return `set the variable ${ref.name} in the environment of this process, as in that of the relay`;
  if (ref.kind === "file") return "write it there, readable for the user that the relay runs as (and run this as that user)";
  return "it needs AWS credentials that may read it (ssm:GetParameter on this parameter), and AWS_REGION; aws ssm get-parameter --name … shows whether it is there";
}

async function certificateEnd(ref: SecretRef, readSecret: Surroundings["readSecret"], now: Date): Promise<Finding[]> {
  const text = await readSecret(ref).catch(() => null);
  if (text === null) return []; // told above
  const where = "hub.certificate";
  const todo = "write a new certificate and its key where they are read; the hub takes them up without a restart";
  let endsAt: number;
  try {
    endsAt = Date.parse(new X509Certificate(text).validTo);
  } catch {
    return [failure("HUB_CERTIFICATE", where, `${refText(ref)} holds no certificate (PEM)`, todo)];
  }
  const left = endsAt - now.getTime();
  if (left <= 0)
    return [failure("HUB_CERTIFICATE", where, `the certificate ended ${span(-left)} ago: no worker can borrow its queue`, todo)];
  return left < SOON_MS ? [warning("HUB_CERTIFICATE", where, `the certificate ends in ${span(left)}`, todo)] : [];
}
