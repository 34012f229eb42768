/** Everything that could be wrong, looked at before anything is created: every reason at once. */
import { Failure } from "../../src/cli/terminal.ts";
import type { Problem, RelayConfig } from "../../src/config.ts";
import { problemText } from "../../src/config/problem.ts";
import { stackOf } from "../template/index.ts";
import type { Settings } from "../template/settings.ts";
import { type Aws, type Connect } from "./aws.ts";
import { lookForParameters } from "./parameters.ts";
import { type Held, heldProblems, queuesOf, renamedIn, renamedProblems } from "./records.ts";
import { type DeployedStack, readStack, whyBlocked } from "./stack.ts";
import { type Given, readDeployable, readTarget, type Target } from "./target.ts";

export interface Ready {
  readonly target: Target;
  readonly aws: Aws;
  readonly deployed: DeployedStack | null;
  /** Queues that the new stack does not have; they are empty. */
  readonly leaving: readonly Held[];
}

/** Throws a Failure with every reason against it. */
export async function preflight(given: Given, connect: Connect): Promise<Ready> {
  const { target, settings, problems: wrongCalls } = await readTarget(given);
  const { config, problems: wrongLines } = await readDeployable(target, settings);
  const aws = connect(target.region);
  const isRegion = wrongCalls.every(({ path }) => path !== "--region");
  const nobody = isRegion ? await aws.whyNobody() : null;
  const isAsked = isRegion && nobody === null;
  const missing = isAsked && config ? await missingParameters(aws, config) : [];
  const { problems, ...seen } = isAsked && settings ? await lookAtStack(target, settings, config, aws) : NOTHING_SEEN;
  const all = [...wrongCalls, ...(nobody ? [nobody] : []), ...wrongLines, ...missing, ...problems];
  if (all.length > 0) throw refused(all);
  return { target, aws, ...seen };
}

const NOTHING_SEEN = { problems: [], deployed: null, leaving: [] };

async function missingParameters({ parameters }: Aws, config: RelayConfig): Promise<readonly Problem[]> {
  const { problems, warnings } = await lookForParameters(parameters, config);
  for (const warning of warnings) say(`warning: ${warning}`);
  return problems;
}

async function lookAtStack(target: Target, settings: Settings, config: RelayConfig | null, aws: Aws) {
  const deployed = await readStack(aws.stacks, target.stack);
  if (deployed === null) return NOTHING_SEEN;
  const blocked = whyBlocked(deployed, target);
  const next = config && stackOf(config, settings).resources.Resources;
  const leaving = next ? await queuesOf(aws.queues, deployed, (id) => id in next) : [];
  const renamed = config ? renamedIn(Object.keys(config.clusters), deployed) : [];
  const staying = await queuesOf(aws.queues, deployed, (id) => !renamed.some(({ queues }) => queues.includes(id)));
  const problems = [...(blocked ? [blocked] : []), ...heldProblems(leaving, deployed), ...renamedProblems(renamed, staying)];
  return { problems, deployed, leaving };
}

export function refused(problems: readonly Problem[]): Failure {
  return new Failure(2, "refused; nothing was changed:", ...problems.map((each) => `  ${problemText(each)}`));
}

export const say = (line: string) => void process.stderr.write(`${line}\n`);
