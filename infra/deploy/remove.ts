/** `npm run remove`: what goes and what stays, a question, osls, and the queues that turn out empty. */
import { createInterface } from "node:readline/promises";
import { counted, Failure } from "../../src/cli/terminal.ts";
import type { Connect } from "./aws.ts";
import { osls } from "./osls.ts";
import { refused, say } from "./preflight.ts";
import { deleteEmpty, type Held, queuesOf } from "./records.ts";
import { type DeployedStack, readStack } from "./stack.ts";
import { type Given, readTarget, type Target } from "./target.ts";

export async function remove(given: Given & { readonly yes?: true; readonly settle: number }, connect: Connect): Promise<void> {
  const { target, problems } = await readTarget(given);
  const aws = connect(target.region);
  const nobody = problems.length === 0 ? await aws.whyNobody() : null;
  const all = [...problems, ...(nobody ? [nobody] : [])];
  if (all.length > 0) throw refused(all);
  const deployed = await readStack(aws.stacks, target.stack);
  if (deployed === null) return say(`there is no stack ${target.stack} in ${target.region}: nothing to remove`);
  if (deployed.status.endsWith("_IN_PROGRESS"))
    throw refused([{ path: `stack ${target.stack}`, message: `a deploy is under way (${deployed.status})`, hint: "wait for its end" }]);
  const queues = await queuesOf(aws.queues, deployed, () => false);
  for (const line of outlook(target, deployed, queues)) say(line);
  if (!given.yes) await ask(target);
  // Whatever stands in relay.yaml meanwhile, the stack's name is all that counts here.
  await osls(["remove", "--stage", target.stage, "--region", target.region], { env: { MPO_RELAY_CONFIG: "infra/relay.example.yaml" } });
  say(`deleting queues that are still empty after ${given.settle} s`);
  const kept = await deleteEmpty(aws.queues, queues, given.settle);
  for (const { id, url, records } of kept) say(`${id} stays: ${counted(records, "record")}: ${url}`);
}

function outlook({ stack, region }: Target, { template, ids }: DeployedStack, queues: readonly Held[]): string[] {
  const full = queues.filter(({ records }) => records > 0).map(({ id, records, url }) => `  ${id}: ${counted(records, "record")}: ${url}`);
  const kept = Object.entries(template.Resources).flatMap(([id, resource]) =>
    resource["DeletionPolicy"] === "Retain" && resource.Type !== "AWS::SQS::Queue" && resource.Type !== "AWS::SQS::QueuePolicy"
      ? [`  ${id} (${resource.Type}): kept on purpose: ${ids.get(id) ?? ""}`]
      : [],
  );
  return [
    `${stack} in ${region}: ${counted(ids.size, "resource")}. What stays:`,
    ...full,
    ...kept,
    "  parameters of Systems Manager: the stack made none",
  ];
}

async function ask({ stage }: Target): Promise<void> {
  if (!process.stdin.isTTY) throw new Failure(2, "nobody is there to ask: --yes removes without a question; nothing was changed");
  const reader = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const answer = await reader.question(`Write the stage's name to remove it (${stage}): `);
    if (answer.trim() !== stage) throw new Failure(2, "that is another name; nothing was changed");
  } finally {
    reader.close();
  }
}
