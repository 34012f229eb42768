/** One run in one topology: pushes and faults as planned, until everything is at rest, and then the ledger. */
import { CoreV1Api } from "@kubernetes/client-node";
import { copyFile, mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { audit, behind, remainsOf } from "../e2e/audit.ts";
import { eventually } from "../e2e/wait.ts";
import { startWorld, type World } from "../e2e/world.ts";
import { type Api, startApi } from "./api.ts";
import { FAULTS, type Stage } from "./faults.ts";
import { type Lost, lostOf, type Push } from "./ledger.ts";
import { type Plan, planOf } from "./plan.ts";
import { pushAll } from "./pushes.ts";
import { mebibytes } from "./tell.ts";
import { type Senders, startSenders, WEBHOOKS } from "./senders.ts";
import { startTopology, type Topology, type TopologyName } from "./topologies.ts";

export interface ChaosOptions {
  readonly name: TopologyName;
  readonly seed: number;
  readonly pushes: number;
  readonly say: (line: string) => void;
  /** Called when nothing is pushed or broken any more: what is left is waiting, during which another run may be at work. */
  readonly calm: () => void;
  /** Where logs and ledger go when a push was lost or a part was missing. */
  readonly findings: string;
}
export interface Result {
  readonly pushes: number;
  readonly acknowledged: number;
  /** How often each fault was made. */
  readonly faults: ReadonlyMap<string, number>;
  readonly answers: ReadonlyMap<string, number>;
  /** Nudges that the API server took, for each override. */
  readonly patches: readonly number[];
  /** From the last push to the last nudge. */
  readonly lastMs: number;
  readonly lost: readonly Lost[];
  /** Those that show what their tag resolves to; others, that a record or letter names; others. */
  readonly overrides: { readonly right: number; readonly named: number; readonly wrong: number };
  /** Records that still lie in the queue. */
  readonly open: number;
  /** Codes of dead letters. */
  readonly letters: ReadonlyMap<string, number>;
  /** Letters of looks whose override shows what its tag resolves to: somebody would be woken for nothing. */
  readonly needless: number;
  /** Peak memory of the relay's processes, in MiB. */
  readonly memory: ReadonlyMap<string, number>;
  /** Why the run proves nothing even where nothing was lost. */
  readonly missing: readonly string[];
}

/** Without any progress. A record that a worker had in hand when it was killed shows again after two minutes; the longest back-off is five. */
const REST_MS = 330_000;
const FOLLOWED_MS = 20_000;
const SAY_MS = 10_000;

/** Throws an Error where a part cannot be had, or ended by itself. */
export async function chaos(options: ChaosOptions): Promise<Result> {
  const plan = planOf(options.seed, options.name, options.pushes);
  const between: { senders?: Senders; api?: Api } = {};
  let world: World | null = null;
  let topology: Topology | null = null;
  try {
    world = await startWorld({
      modules: [...plan.kinds.keys()],
      version: "v1alpha1",
      quiet: true,
      seeded: true,
      notify: async (relayUrl) => (between.senders = await startSenders(relayUrl)).url,
      api: async (direct) => (between.api = await startApi(direct)),
    });
    const { senders, api } = between;
    if (!senders || !api) throw new Error("nothing stands between the relay and the others");
    senders.open({ host: world.registry.host, secret: await readFile(join(world.folder, "webhook.secret"), "utf8") });
    topology = await startTopology(options.name, world, { webhooks: WEBHOOKS, uid: await uidOf(world) });
    const { pushes: _count, ...rest } = options;
    return await play({ ...rest, plan, world, topology, senders, api });
  } finally {
    await topology?.stop();
    await between.senders?.stop();
    await world?.stop();
    await between.api?.stop();
  }
}

interface Run extends Omit<ChaosOptions, "pushes"> {
  readonly plan: Plan;
  readonly world: World;
  readonly topology: Topology;
  readonly senders: Senders;
  readonly api: Api;
}

async function play(run: Run): Promise<Result> {
  const { plan, world, topology, senders, api, say } = run;
  const pushes: Push[] = [];
  const faults = new Map<string, number>();
  const tick = async (): Promise<void> => {
    const acknowledged = pushes.filter((push) => push.acknowledged).length;
    const counts = `${pushes.length} of ${plan.pushes.length} pushes, ${acknowledged} acknowledged, ${sum(faults.values())} of ${plan.faults.length} faults`;
    say(`${counts}, ${api.patches.length} nudges; ${mebibytes(await topology.memory())}`);
  };
  const ticker = setInterval(() => void tick(), SAY_MS);
  const missing: string[] = [];
  const step = (what: string, work: Promise<unknown>) =>
    work.catch((error: unknown) => void missing.push(`${what}: ${error instanceof Error ? error.message : String(error)}`));
  try {
    await pushAll({ plan, registry: world.registry.host, senders, pushes, begun: faultsOf(run, faults, step) });
    const lastPush = Date.now();
    run.calm();
    await step("the senders", senders.settled());
    await step("rest", atRest(run));
    await topology.quiet();
    const memory = await topology.memory();
    const queue = await topology.openQueue();
    const remains = await remainsOf(queue);
    await queue.close();
    const findings = await audit({ overrides: () => world.cluster.overrides(), resolve: world.resolve }, remains);
    const overrides = await world.cluster.overrides();
    const named = [...remains.open, ...remains.buried];
    const lost = lostOf({ pushes, patches: api.patches, overrides, named, wrong: findings.wrong });
    if (remains.unreadable > 0) missing.push(`${remains.unreadable} records that nobody can read`);
    for (const { name, topologies } of FAULTS)
      if (topologies.includes(run.name) && !faults.has(name)) missing.push(`never happened: ${name}`);
    for (const status of senders.answers.keys()) if (!EXPECTED.has(status)) missing.push(`the relay answered ${status}`);
    const taken = api.patches.filter(({ status }) => status === 200);
    const result: Result = {
      pushes: pushes.length,
      acknowledged: pushes.filter((push) => push.acknowledged).length,
      faults,
      answers: senders.answers,
      patches: [...plan.kinds.keys()].map((name) => taken.filter(({ module }) => module === name).length),
      lastMs: (taken.at(-1)?.at ?? lastPush) - lastPush,
      lost,
      overrides: { right: findings.right.length, named: findings.named.length, wrong: findings.wrong.length },
      open: remains.open.length,
      letters: counted(remains.reasons.map((text) => text.slice(0, text.indexOf(":")))),
      needless: remains.buried.filter(({ kind, module }) => kind === "confirm" && findings.right.includes(module)).length,
      memory,
      missing,
    };
    if (lost.length > 0 || missing.length > 0) await keepFindings(run, { ...result, pushes, patches: api.patches, plan });
    return result;
  } catch (error) {
    await keepFindings(run, { pushes, patches: api.patches, plan, missing });
    throw error;
  } finally {
    clearInterval(ticker);
  }
}

/** Every push is of this relay's modules: 200 would call it none of ours, 4xx refuse it. 503 and no answer are what faults do. */
const EXPECTED: ReadonlySet<string> = new Set(["202", "503", "none"]);

/** Faults of one target wait for one another, and pushes wait for them, so that all of them happen among pushes. */
function faultsOf(run: Run, made: Map<string, number>, step: (what: string, work: Promise<unknown>) => Promise<unknown>) {
  const stage: Stage = { ...run, cluster: run.world.cluster };
  const busy = new Map<string, Promise<unknown>>();
  const coming = [...run.plan.faults];
  return async (pushed: number): Promise<void> => {
    for (const { name, ms } of coming.splice(0, coming.filter(({ after }) => after <= pushed).length)) {
      const fault = FAULTS.find((each) => each.name === name);
      if (!fault) throw new Error(`no fault ${name}`);
      await busy.get(fault.target);
      busy.set(
        fault.target,
        step(
          name,
          fault.run(stage, ms).then(() => made.set(name, (made.get(name) ?? 0) + 1)),
        ),
      );
    }
    if (pushed === Infinity) await Promise.all(busy.values());
  };
}

/** No open record, and every override follows its tag, as far as it ever will. */
async function atRest({ topology, world }: Run): Promise<void> {
  const queue = await topology.openQueue();
  try {
    for (let left = Infinity; left > 0;)
      left = await eventually(
        `one of ${left} records less`,
        async () => {
          const { records } = await queue.depth();
          return records < left ? records : null;
        },
        REST_MS,
      );
    const followed = async () =>
      (await behind({ overrides: () => world.cluster.overrides(), resolve: world.resolve })) === null ? true : null;
    await eventually("every override follows its tag", followed, FOLLOWED_MS).catch(() => null); // the ledger says which does not, and why
  } finally {
    await queue.close();
  }
}

async function uidOf({ cluster: { kube } }: World): Promise<string> {
  const { metadata } = await kube.config(kube.adminToken).makeApiClient(CoreV1Api).readNamespace({ name: "kube-system" });
  if (!metadata?.uid) throw new Error("a namespace without a UID");
  return metadata.uid;
}

async function keepFindings({ findings, world, name, seed, say }: Run, ledger: object): Promise<void> {
  const folder = join(findings, `${name}-${seed}`);
  await mkdir(folder, { recursive: true });
  for (const file of await readdir(world.folder)) if (file.endsWith(".log")) await copyFile(join(world.folder, file), join(folder, file));
  const plain = (_key: string, value: unknown) => (value instanceof Map || value instanceof Set ? [...value] : value);
  await writeFile(join(folder, "ledger.json"), JSON.stringify(ledger, plain, 1));
  say(`what was found lies in ${folder}`);
}

function counted(texts: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const text of texts) counts.set(text, (counts.get(text) ?? 0) + 1);
  return counts;
}

const sum = (numbers: Iterable<number>) => [...numbers].reduce((total, each) => total + each, 0);
