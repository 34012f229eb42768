/** The stack, from the one relay.yaml: a cluster added there gets its queues, functions and roles by the next deploy. */
import type { Problem, RelayConfig } from "../../src/config.ts";
import { problemText } from "../../src/config/problem.ts";
import { alarms } from "./alarms.ts";
import { readConfiguration } from "./configuration.ts";
import { dashboard } from "./dashboard.ts";
import { functions } from "./functions.ts";
import { inboxes, inboxesOf } from "./inboxes.ts";
import { journal } from "./journal.ts";
import { deadLettersOf, type Deployed, idOf, JOURNAL, queueOf, type Resources, UNPARSED_QUEUE, workerOf } from "./names.ts";
import { queries } from "./queries.ts";
import { queues } from "./queues.ts";
import { overQuotas } from "./quotas.ts";
import { refusalsOf } from "./refusals.ts";
import { roles } from "./roles.ts";
import { readSettings, type Settings } from "./settings.ts";
import { workers } from "./workers.ts";

export interface Stack {
  readonly functions: Readonly<Record<string, unknown>>;
  readonly resources: {
    readonly Resources: Resources;
    readonly Outputs: Readonly<Record<string, { readonly Value: unknown }>>;
  };
}

/** Of a configuration that {@link refusalsOf} has nothing against. */
export function stackOf(config: RelayConfig, settings: Settings): Stack {
  const deployed = deployedOf(config, settings);
  const Resources = {
    ...queues(deployed),
    ...inboxes(config),
    ...journal,
    ...roles(config, settings, deployed),
    ...workers(config, deployed),
    ...alarms(deployed, settings.alarmTopic),
    ...dashboard(deployed),
    ...queries(deployed),
  };
  return { functions: functions(config, settings, deployed), resources: { Resources, Outputs: outputs(deployed) } };
}

/** Why the stack cannot be made of the configuration, or not be deployed. Its size is looked at where nothing else is wrong. */
export function problemsOf(config: RelayConfig, settings: Settings): Problem[] {
  const refused = refusalsOf(config, settings);
  if (refused.length > 0) return refused;
  const { functions: made, resources } = stackOf(config, settings);
  return overQuotas(made, resources.Resources, settings);
}

export function deployedOf(config: RelayConfig, { service, stage }: Settings): Deployed {
  const each = Object.entries(config.clusters).map(([name, { kubernetes }]) => ({ name, id: idOf(name), consumed: kubernetes !== null }));
  return { service, stage, sweepMinutes: config.tuning.sweepMs / 60_000, clusters: each, inboxes: inboxesOf(config) };
}

function outputs({ clusters }: Deployed) {
  const ofClusters = clusters.flatMap(({ id, consumed }) => [
    [`QueueUrl${id}`, { Value: { Ref: queueOf(id) } }] as const,
    [`DeadLettersUrl${id}`, { Value: { Ref: deadLettersOf(id) } }] as const,
    ...(consumed ? [] : [[`WorkerPolicy${id}`, { Value: { Ref: workerOf(id) } }] as const]),
  ]);
  return {
    ...Object.fromEntries(ofClusters),
    UnparsedQueueUrl: { Value: { Ref: UNPARSED_QUEUE } },
    JournalTable: { Value: { Ref: JOURNAL } },
  };
}

/**
 * Reads the configuration and makes the stack of it; `relay` is what goes into each function's zip.
 * Throws an Error with every problem, before anything is built.
 */
export async function generate(given: Readonly<Record<string, unknown>>): Promise<Stack & { readonly relay: unknown }> {
  const loaded = await readConfiguration();
  const settings = readSettings(given);
  if (!loaded.ok || !("stage" in settings))
    throw refused([...("stage" in settings ? [] : settings), ...(loaded.ok ? [] : loaded.problems)]);
  const problems = problemsOf(loaded.config, settings);
  if (problems.length > 0) throw refused(problems);
  return { ...stackOf(loaded.config, settings), relay: loaded.raw };
}

function refused(problems: readonly Problem[]): Error {
  const text = ["this cannot be deployed:", ...problems.map((each) => `  ${problemText(each)}`)].join("\n");
  return Object.assign(new Error(text), { stack: text }); // osls shows the stack, where there is nothing to learn from it
}
