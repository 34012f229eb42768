/** `npm run deploy:plan`: what a deploy would change. Templates are compared, and code by its hash; no change set is made for it (decision 0019). */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { fullDiff, ResourceImpact } from "@aws-cdk/cloudformation-diff";
import { GetFunctionConfigurationCommand, type LambdaClient, ResourceNotFoundException } from "@aws-sdk/client-lambda";
import * as z from "zod";
import { counted } from "../../src/cli/terminal.ts";
import type { Connect } from "./aws.ts";
import { osls } from "./osls.ts";
import { preflight, say } from "./preflight.ts";
import { type DeployedStack, type Template, templateSchema } from "./stack.ts";
import type { Given } from "./target.ts";

const PACKAGE = ".serverless";

export interface Change {
  /** Logical id. */
  readonly id: string;
  readonly type: string;
  /** `replace`: a new one is made, and the old one goes; `maybe replace`: what CloudFormation does depends on values. `leave`: out of the stack, and stays. */
  readonly what: "create" | "update" | "replace" | "maybe replace" | "remove" | "leave";
  /** Properties that differ. */
  readonly properties: readonly string[];
}

export async function printPlan(given: Given & { readonly json?: true }, connect: Connect): Promise<void> {
  say("looking at configuration, credentials, parameters and queues");
  const { target, aws, deployed } = await preflight(given, connect);
  say("packaging");
  await osls(["package", ...target.args], { quiet: true });
  const packaged = templateSchema.parse(JSON.parse(await readFile(`${PACKAGE}/cloudformation-template-update-stack.json`, "utf8")));
  const changes = changesOf(
    deployed ? withCode(deployed.template, await deployedCode(aws.functions, deployed)) : { Resources: {} },
    withCode(packaged, await packagedCode(packaged)),
  );
  const { stack, region } = target;
  if (given.json) return print(JSON.stringify({ stack, region, exists: deployed !== null, changes }));
  print(`${stack} in ${region}: ${deployed === null ? "not there yet; " : ""}${summary(changes)}`);
  for (const { id, type, what, properties } of changes)
    print(`  ${what.padEnd(13)}  ${id} (${type})${properties.length > 0 ? `: ${properties.join(", ")}` : ""}`);
}

const print = (line: string) => void process.stdout.write(`${line}\n`);
const summary = (changes: readonly Change[]) => (changes.length === 0 ? "nothing would change" : counted(changes.length, "change"));

const WHAT: Readonly<Record<ResourceImpact, Change["what"] | null>> = {
  [ResourceImpact.WILL_CREATE]: "create",
  [ResourceImpact.WILL_UPDATE]: "update",
  [ResourceImpact.WILL_REPLACE]: "replace",
  [ResourceImpact.MAY_REPLACE]: "maybe replace",
  [ResourceImpact.WILL_DESTROY]: "remove",
  [ResourceImpact.WILL_ORPHAN]: "leave",
  [ResourceImpact.WILL_IMPORT]: "create",
  [ResourceImpact.NO_CHANGE]: null,
};

/** Both templates as CloudFormation has them, with what stands for their code in place of where it was uploaded to. */
export function changesOf(before: Template, after: Template): Change[] {
  const changes: Change[] = [];
  fullDiff(before, after).resources.forEachDifference((id, { changeImpact, resourceType = "", isUpdate, propertyUpdates }) => {
    const what = WHAT[changeImpact];
    if (what !== null) changes.push({ id, type: resourceType, what, properties: isUpdate ? Object.keys(propertyUpdates) : [] });
  });
  return changes.toSorted((a, b) => a.id.localeCompare(b.id));
}

/** The uploaded file's name holds the time of the packaging, which is no change. */
function withCode({ Resources, ...rest }: Template, hashes: ReadonlyMap<string, string>): Template {
  const all = Object.entries(Resources).map(([id, resource]) => {
    const hash = hashes.get(id);
    return [id, hash === undefined ? resource : { ...resource, Properties: { ...resource.Properties, Code: hash } }] as const;
  });
  return { ...rest, Resources: Object.fromEntries(all) };
}

const functionsIn = ({ Resources }: Template) => Object.keys(Resources).filter((id) => Resources[id]?.Type === "AWS::Lambda::Function");

/** The hash that AWS itself made of the code that runs. */
async function deployedCode(client: LambdaClient, { template, ids }: DeployedStack): Promise<Map<string, string>> {
  const read = functionsIn(template).map(async (id): Promise<[string, string]> => {
    try {
      const { CodeSha256 = "" } = await client.send(new GetFunctionConfigurationCommand({ FunctionName: ids.get(id) }));
      return [id, CodeSha256];
    } catch (error) {
      if (error instanceof ResourceNotFoundException) return [id, ""];
      throw error;
    }
  });
  return new Map(await Promise.all(read));
}

const code = z.object({ Code: z.object({ S3Key: z.string() }) });

async function packagedCode(template: Template): Promise<Map<string, string>> {
  const read = functionsIn(template).map(async (id): Promise<[string, string]> => {
    const zip = code.parse(template.Resources[id]?.Properties).Code.S3Key.split("/").at(-1);
    const bytes = await readFile(`${PACKAGE}/${zip}`);
    return [id, createHash("sha256").update(bytes).digest("base64")];
  });
  return new Map(await Promise.all(read));
}
