/** infra/workers/, from which people deploy a Worker: its configuration starts, and its key opens what that names and nothing else. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { parse } from "yaml";
import * as z from "zod";
import { type QueueForm, resolveQueue } from "../src/config.ts";
import { openSinks, workersConfig } from "../src/workers.ts";
import { fakeObserver } from "./support/relay.ts";

const folder = join(import.meta.dirname, "../infra/workers");
const read = (name: string) => readFileSync(join(folder, name), "utf8");

/** JSON with comments is YAML once these begin with `#`. */
const wrangler = z
  .object({
    main: z.string(),
    no_bundle: z.literal(true),
    compatibility_date: z.iso.date(),
    compatibility_flags: z.tuple([z.literal("nodejs_compat")]),
    vars: z.strictObject({ MPO_RELAY_CONFIG: z.looseObject({}) }),
  })
  .parse(parse(read("wrangler.jsonc").replace(/(^|\s)\/\/ /gm, "$1# ")));
const config = () => workersConfig({ MPO_RELAY_CONFIG: JSON.stringify(wrangler.vars.MPO_RELAY_CONFIG) });

test("the example starts, and uploads the bundle that the build makes", async () => {
  openSinks(await config(), fakeObserver().observer, {});
  expect(existsSync(join(folder, wrangler.main))).toBe(true);
  // https://developers.cloudflare.com/workers/configuration/compatibility-flags/ (process.env holds bindings; node:fs is there)
  expect(wrangler.compatibility_date >= "2025-09-15").toBe(true);
});

test("the key may put records into the example's queues and look whether they are there, and no more", async () => {
  const { clusters, unparsed } = await config();
  const policy = z
    .object({
      Statement: z.tuple([z.strictObject({ Effect: z.literal("Allow"), Action: z.array(z.string()), Resource: z.array(z.string()) })]),
    })
    .parse(JSON.parse(read("policy.json")));
  const [{ Action, Resource }] = policy.Statement;
  expect(Action).toEqual(["sqs:SendMessage", "sqs:GetQueueAttributes"]);
  expect(Resource).toEqual([...Object.values(clusters).map(({ queue }) => queue), unparsed].map((form) => arnOf(form)));
});

/** https://sqs.<region>.amazonaws.com/<account>/<name> */
function arnOf(form: QueueForm | null): string {
  const queue = form && resolveQueue(form, {});
  const [, region, account, name] =
    /^https:\/\/sqs\.([^.]+)\.amazonaws\.com\/(\d+)\/(.+)$/.exec(queue?.kind === "sqs" ? queue.url : "") ?? [];
  return `arn:aws:sqs:${region}:${account}:${name}`;
}
