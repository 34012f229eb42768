/** `npm run deploy`: preflight, osls, and the queues that nothing needs any more. */
import type { Connect } from "./aws.ts";
import { osls } from "./osls.ts";
import { preflight, say } from "./preflight.ts";
import { deleteEmpty } from "./records.ts";
import type { Given } from "./target.ts";

export async function deploy(given: Given & { readonly settle: number }, connect: Connect): Promise<void> {
  say("looking at configuration, credentials, parameters and queues");
  const { target, aws, leaving } = await preflight(given, connect);
  await osls(["deploy", ...target.args]);
  if (leaving.length === 0) return;
  say(`${leaving.map(({ id }) => id).join(", ")}: not in relay.yaml any more; deleted if still empty after ${given.settle} s`);
  for (const { id, url, records } of await deleteEmpty(aws.queues, leaving, given.settle))
    say(`warning: ${id} stays: ${records} came in meanwhile; nobody works on them any more: ${url}`);
}
