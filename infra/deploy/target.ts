/** Which deployment a command is about, and the configuration that it deploys. */
import { readFile } from "node:fs/promises";
import { parse } from "yaml";
import * as z from "zod";
import type { Problem, RelayConfig } from "../../src/config.ts";
import { readConfiguration } from "../template/configuration.ts";
import { problemsOf } from "../template/index.ts";
import { readSettings, type Settings } from "../template/settings.ts";

/** As commander gives it. */
export interface Given {
  readonly stage: string;
  readonly region: string;
  /** `name=value` each. */
  readonly param?: readonly string[];
}

export interface Target {
  readonly service: string;
  readonly stage: string;
  readonly region: string;
  /** What CloudFormation calls it. */
  readonly stack: string;
  /** What osls is called with beside its command. */
  readonly args: readonly string[];
}

const REGION = /^[a-z]{2}(?:-[a-z]+)+-\d$/;

/** `settings` is null where they have problems. */
export async function readTarget(given: Given): Promise<{ target: Target; settings: Settings | null; problems: readonly Problem[] }> {
  const { stage, region, param = [] } = given;
  const { service, params } = written.parse(parse(await readFile("serverless.yml", "utf8"), { logLevel: "error" }));
  const read = readSettings({ ...params["default"], ...params[stage], ...Object.fromEntries(param.map(pair)), service, stage });
  const args = ["--stage", stage, "--region", region, ...param.flatMap((each) => ["--param", each])];
  const target = { service, stage, region, stack: `${service}-${stage}`, args };
  const isRegion = REGION.test(region);
  const problems = isRegion ? [] : [{ path: "--region", message: "not the name of a region", hint: "eu-central-1, for example" }];
  return "stage" in read ? { target, settings: read, problems } : { target, settings: null, problems: [...read, ...problems] };
}

/** What of serverless.yml counts here. */
const written = z.object({ service: z.string(), params: z.record(z.string(), z.record(z.string(), z.unknown())) });

const pair = (text: string): [string, string] => {
  const at = text.indexOf("=");
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
};

/** `config` is null where it has problems. They do not wait for settings that are in order. */
export async function readDeployable(
  { stage, service }: Target,
  settings: Settings | null,
): Promise<{ config: RelayConfig | null; problems: readonly Problem[] }> {
  const loaded = await readConfiguration();
  if (!loaded.ok) return { config: null, problems: loaded.problems };
  const problems = problemsOf(loaded.config, settings ?? { service, stage, http: "url", kmsKeyArn: "", alarmTopic: "" });
  return { config: problems.length === 0 ? loaded.config : null, problems };
}
