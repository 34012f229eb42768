/**
 * Two clusters in one `serve`, every push for both: what the one's API server does must not be seen in the other's
 * push → patched and push → picked up.
 * Before and during, in the same process and run; and what a push costs an API server.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { startKubernetesApi } from "../../src/sandbox/kubernetes-api.ts";
import { type Cluster, kubernetesOf, realOne, standIn } from "./cluster.ts";
import { type Figure, percentile } from "./figures.ts";
import { Gate, type Mode } from "./gate.ts";
import { createPusher, names, patchedMs, pickedUpMs, SHARES, type Took, TUNING } from "./patched.ts";
import { startServe } from "./relay.ts";
import { TAG } from "./sender.ts";
import { type Options, say } from "./world.ts";

const WARM_UP = 50;
const SETTLE_MS = 500;
const UNTIL = [
  ["patched", patchedMs],
  ["picked up", pickedUpMs],
] as const;
const OUTAGES: readonly Mode[] = ["refused", "slow", "hung"];

export async function clusters(options: Options): Promise<Figure[]> {
  const figures = await measure("stand-in", await standIn(), options);
  return options.real ? [...figures, ...(await measure("kube-apiserver", await realOne(), options))] : figures;
}

async function measure(name: string, cluster: Cluster, { quick, profile }: Options): Promise<Figure[]> {
  const total = quick ? 50 : 300;
  const token = "token-of-the-other-cluster";
  const other = await startKubernetesApi({ token });
  const gate = new Gate(other.port);
  await gate.set("open");
  const phases = ["warm", "open", ...OUTAGES] as const;
  const modules = (phase: string) => names(phase, phase === "warm" ? WARM_UP : total);
  try {
    for (const phase of phases) {
      await cluster.create(modules(phase));
      for (const module of modules(phase))
        other.store.create("modulepulloverrides", { metadata: { name: module }, spec: { imageTag: TAG } });
    }
    const others = { other: await kubernetesOf("other", { server: gate.url, ca: other.ca, token }) };
    const relay = await startServe(`serve-two-${name}`, cluster, { tuning: TUNING, profile, others });
    const pusher = await createPusher(cluster, relay.port);
    const samplesOf = async (phase: string) => {
      say(`two clusters, the living one a ${name}, the other: ${phase}`);
      const samples: Took[] = [];
      for (const module of modules(phase)) samples.push(await pusher.push(module));
      await sleep(SETTLE_MS); // the last push's Events are of this phase
      return samples;
    };
    try {
      await samplesOf("warm");
      const asked = other.counters().requests;
      const before = await samplesOf("open");
      const requests = (other.counters().requests - asked) / total;
      const figures: Figure[] = [
        {
          part: "two clusters",
          name: `${name}: API requests per push, its Event included, without looks`,
          unit: "",
          value: requests,
          targets: [{ of: "value", max: 3 }],
        },
      ];
      for (const mode of OUTAGES) {
        await gate.set(mode);
        const during = await samplesOf(mode);
        for (const [until, msOf] of UNTIL) {
          for (const share of SHARES) {
            figures.push({
              part: "two clusters",
              name: `${name}: push → ${until}, the other ${mode}: p${share * 100}`,
              unit: "ms",
              value: percentile(during.map(msOf), share),
              baseline: { of: "before", value: percentile(before.map(msOf), share) },
              ...(share === 0.5 && { targets: [{ of: "ratio", max: 1.5 }] }),
            });
          }
        }
      }
      return figures;
    } finally {
      pusher.close();
      await relay.stop("SIGTERM");
    }
  } finally {
    await gate.close();
    await other.close();
    await cluster.close();
  }
}
