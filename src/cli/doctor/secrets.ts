/** Can each secret be read, and is it long enough? */
import type { SecretRef } from "../../config.ts";
import { refText } from "../../secrets.ts";
import { references, SHORT_SECRET } from "../references.ts";
import { counted, messageOf } from "../terminal.ts";
import { type Check, failure, type Finding, ok, warning } from "./finding.ts";
import type { Surroundings } from "./surroundings.ts";

export const secretsCheck = (around: Surroundings): Check => ({ name: "secrets", run: () => lookAtSecrets(around) });

async function lookAtSecrets({ config, readSecret }: Surroundings): Promise<Finding[]> {
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
  const findings = (await Promise.all(looks)).flat();
  const unread = findings.filter(({ code }) => code === "SECRET_UNREADABLE").length;
  return [...(all.length > unread ? [ok("secrets", `${counted(all.length - unread, "reference")} can be read`)] : []), ...findings];
}

function howToMend(ref: SecretRef): string {
  if (ref.kind === "env") return `set the variable ${ref.name} in the environment of this process, as in that of the relay`;
  if (ref.kind === "file") return "write it there, readable for the user that the relay runs as (and run this as that user)";
  return "it needs AWS credentials that may read it (ssm:GetParameter on this parameter), and AWS_REGION; aws ssm get-parameter --name … shows whether it is there";
}
