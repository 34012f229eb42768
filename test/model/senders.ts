/** Registries of four kinds that tell of a push: real bodies, through the real `receive`, again until they hear a 2xx, and some again after it. */
import type { RelayConfig, WebhookConfig } from "../../src/config.ts";
import { clusterOf } from "../support/relay.ts";
import { decode } from "../../src/event.ts";
import { httpStatus } from "../../src/outcome.ts";
import { type Delivery, receive } from "../../src/receive.ts";
import { CLUSTER, TUNING } from "./consumer.ts";
import type { QueueModel } from "./queue.ts";
import { digestOf, indexDigestOf } from "./registry.ts";
import { dateOf, Process, SECOND, type World } from "./world.ts";

/** What a sender tells beside the image: `full` id, time and digest; `second` whole seconds and digest; `id` id and digest; `bare` nothing. */
export const KINDS = ["full", "second", "id", "bare"] as const;
export type Kind = (typeof KINDS)[number];

export interface Push {
  readonly number: number;
  readonly module: string;
  readonly tag: string;
  readonly content: string;
  readonly isIndex: boolean;
  readonly kind: Kind;
  readonly at: number;
  /** By which the relay knows it; filled when it is acknowledged. */
  readonly keys: Set<string>;
}

const REPO = "registry.test/modules";
const PROVIDERS: Readonly<Record<Kind, string>> = { full: "distribution", second: "harbor", id: "generic", bare: "generic" };
export const CONFIG = configOf();

function configOf(): RelayConfig {
  const common = {
    auth: null,
    secret: null,
    previousSecret: null,
    previousSecretUntil: null,
    username: null,
    insecure: true,
    oidc: null,
    queue: null,
  };
  const webhooks: Record<string, WebhookConfig> = {};
  for (const kind of KINDS) {
    for (const number of [1, 2]) {
      webhooks[`${kind}${number}`] = { ...common, provider: PROVIDERS[kind], host: "registry.test", sources: null, maxBody: null };
    }
  }
  return {
    webhooks,
    sources: [{ repo: REPO, name: "test", noise: "drop", aliases: [], modules: ["*"], clusters: [CLUSTER], rescan: false, registry: null }],
    clusters: { [CLUSTER]: clusterOf({ kind: "embedded", folder: "/nowhere" }) },
    admin: null,
    hub: null,
    journal: null,
    unparsed: null,
    listen: { host: "", port: 0 },
    limits: { body: 1_000_000, unparsed: 100 },
    tuning: TUNING,
  };
}

export class Senders {
  readonly #edgeSkewsMs: readonly [number, ...number[]];
  readonly #world: World;
  readonly #queue: QueueModel;

  constructor(world: World, queue: QueueModel) {
    const { random, faults } = world;
    const skew = () => random.between(-1, 1) * faults.skewMs;
    this.#world = world;
    this.#queue = queue;
    this.#edgeSkewsMs = random.chance(0.3) ? [skew(), skew()] : [skew()];
  }

  /** Tells of a push by one or two webhooks. */
  tell(push: Push, webhooks: 1 | 2): void {
    const { random, faults, timeline } = this.#world;
    for (const number of webhooks === 2 ? [1, 2] : [1]) {
      const webhook = `${push.kind}${number}`;
      const delay = random.chance(0.7)
        ? random.between(20, 500)
        : random.chance(0.7)
          ? random.between(500, 5_000)
          : random.between(5_000, 120_000);
      const send = () => this.#deliver(push, webhook);
      timeline.at(delay, send);
      if (random.chance(faults.double)) timeline.at(delay + random.between(10, 10_000), send);
      if (random.chance(faults.double / 3)) timeline.at(delay + random.between(60 * SECOND, 2_000 * SECOND), send);
    }
  }

  /** The push with the time of the replica that tells of it. */
  #asTold(push: Push): Push {
    return push.number % 2 === 0 ? { ...push, at: push.at - this.#world.faults.replicaBehindMs } : push;
  }

  #deliver(push: Push, webhook: string): void {
    const { random, timeline } = this.#world;
    const again = () => timeline.at(random.between(1 * SECOND, 30 * SECOND), () => this.#deliver(push, webhook));
    const edge = new Process(this.#world, random.pick(this.#edgeSkewsMs), again);
    timeline.wake(() => void this.#receive(push, webhook, edge).then((isOver) => isOver || again()));
  }

  /** False where the sender hears no 2xx. */
  async #receive(push: Push, webhook: string, edge: Process): Promise<boolean> {
    await edge.step();
    const port = this.#queue.portFor(edge);
    const { outcome } = await receive(deliveryOf(this.#asTold(push), webhook), {
      config: CONFIG,
      readSecret: async () => "",
      store: async (records) => {
        for (const batch of records.values()) {
          for (const { body } of batch) push.keys.add(keyOf(body));
          await port.send(batch);
        }
      },
      storeUnparsed: () => Promise.reject(new Error(`not readable: ${webhook}`)),
      observer: { outcome: () => undefined, alarm: () => undefined },
      now: edge.now,
    });
    this.#world.tell?.(
      `edge: push ${push.number} by ${webhook} (${[...push.keys].map((key) => key.slice(0, 6)).join(" ")}): ${outcome.kind}`,
    );
    if (httpStatus(outcome) >= 300) return false;
    await edge.step();
    return !edge.unlucky(this.#world.faults.lostReply);
  }
}

function keyOf(body: string): string {
  const read = decode(body);
  if (read.kind !== "request") throw new Error("the edge stored what no consumer reads");
  return read.request.key;
}

function deliveryOf(push: Push, webhook: string): Delivery {
  const body = Buffer.from(JSON.stringify(bodyOf(push)));
  const headers: Record<string, string> = push.kind === "id" ? { "webhook-id": `push-${push.number}` } : {};
  return { webhook, pathSecret: null, headers, body };
}

function bodyOf({ kind, module, tag, content, isIndex, number, at }: Push): unknown {
  const repository = `modules/${module}`;
  const digest = isIndex ? indexDigestOf(content) : digestOf(content);
  switch (kind) {
    case "full": {
      const mediaType = `application/vnd.oci.image.${isIndex ? "index" : "manifest"}.v1+json`;
      return {
        events: [
          { id: `push-${number}`, timestamp: dateOf(at).toISOString(), action: "push", target: { mediaType, digest, repository, tag } },
        ],
      };
    }
    case "second": {
      const resources = [{ digest, tag, resource_url: `registry.test/${repository}:${tag}` }];
      return {
        type: "PUSH_ARTIFACT",
        occur_at: Math.floor(dateOf(at).getTime() / 1_000),
        event_data: { resources, repository: { repo_full_name: repository } },
      };
    }
    case "id":
      return { repository: `registry.test/${repository}`, tag, digest };
    case "bare":
      return { repository: `registry.test/${repository}`, tag };
  }
}
