/** The pushes of a run, into the real registry. */
import { setTimeout as sleep } from "node:timers/promises";
import { pushImage } from "../../src/sandbox/registry-client.ts";
import { OCI_MANIFEST } from "../../src/sandbox/registry-manifest.ts";
import type { Push } from "./ledger.ts";
import type { Plan } from "./plan.ts";
import { PATH, type Senders, TAG } from "./senders.ts";

const LANES = 4;

export interface Pusher {
  readonly plan: Plan;
  /** `127.0.0.1:<port>` */
  readonly registry: string;
  readonly senders: Pick<Senders, "expect">;
  /** Each push as it stands in the registry. */
  readonly pushes: Push[];
  /** Told how many were begun before each one, and awaited; at the end told `Infinity`. */
  readonly begun: (count: number) => Promise<void>;
}

/** Pushes of one module follow one another; a few modules are pushed at once. */
export async function pushAll({ plan, registry, senders, pushes, begun }: Pusher): Promise<void> {
  const last = new Map<string, Promise<void>>();
  const images = new Map<string, string[]>();
  const inHand = new Set<Promise<void>>();
  const url = `http://${registry}`;
  for (const { module, back, pauseMs, fate } of plan.pushes) {
    await sleep(pauseMs);
    while (inHand.size >= LANES) await Promise.race(inHand);
    const before = images.get(module) ?? [];
    images.set(module, before);
    const earlier = last.get(module);
    const one = (async () => {
      await earlier;
      const again = back === null ? undefined : before[Math.floor(back * before.length)];
      const digest = again ?? (await pushImage(url, `${PATH}/${module}`, TAG));
      if (again === undefined) before.push(digest);
      else await retag(url, `${PATH}/${module}`, again, TAG);
      const push: Push = { module, digest, sentAt: null, acknowledged: false, keys: new Set() };
      pushes.push(push);
      senders.expect({ push, fate, kind: plan.kinds.get(module) ?? "distribution" });
    })();
    last.set(module, one);
    const held = one.finally(() => inHand.delete(held));
    inHand.add(held);
    await begun(pushes.length);
  }
  await Promise.all(inHand);
  await begun(Infinity);
}

/** Lets the tag go back to an image that is there: as A, B, A does it. The registry tells of it as of any push. */
async function retag(url: string, repository: string, digest: string, tag: string): Promise<void> {
  const manifest = (reference: string) => `${url}/v2/${repository}/manifests/${reference}`;
  const got = await fetch(manifest(digest), { headers: { accept: OCI_MANIFEST } });
  const body = await got.arrayBuffer();
  const put = await fetch(manifest(tag), { method: "PUT", headers: { "content-type": OCI_MANIFEST }, body });
  if (!got.ok || put.status !== 201) throw new Error(`the registry answered ${got.status} and ${put.status} to a tag that moves back`);
}
