/**
 * Registries whose notifications are instance-wide, as Distribution sends them: one event per request, one request at a time per
 * registry, each given up after a second and sent again later, and all that come meanwhile wait in the registry's memory.
 * https://distribution.github.io/distribution/about/notifications/#endpoint-configuration (timeout, threshold, backoff)
 */
import { randomBytes, randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { Agent, request } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";

const TIMEOUT_MS = 1000;
const BACKOFF_MS = 1000;
const HOST = "registry.example.com";
/** What the relay is for; all other repositories are other teams'. */
export const SOURCE = `${HOST}/deckhouse/modules`;
/** Captured from a registry, and how many of a hundred noise events are such: mostly pulls. */
const NOISE: readonly (readonly [name: string, weight: number])[] = [
  ["ignored-blob-pull-2.8.2", 35],
  ["ignored-manifest-pull-2.8.2", 15],
  ["ignored-manifest-pull-3.1.2", 10],
  ["ignored-manifest-head-3.1.2", 5],
  ["ignored-blob-push-2.8.2", 10],
  ["ignored-blob-mount-2.8.2", 5],
  ["ignored-manifest-delete-2.8.2", 2],
  ["push-tagged-manifest-2.8.2", 13], // another team's
  ["push-index-3.1.2", 5],
];
const PUSH = "push-tagged-manifest-2.8.2";

export interface Sent {
  readonly body: string;
  /** The digest where it is a push that must arrive; null: noise. */
  readonly digest: string | null;
}

/** Makes events out of captured ones: ids, times and digests are new, and so is the repository. */
export async function openTemplates() {
  const read = async (name: string) => eventOf(JSON.parse(await readFile(`test/fixtures/distribution/${name}.body`, "utf8")));
  const noise = await Promise.all(
    NOISE.map(async ([name, weight]) => {
      const event = await read(name);
      return Array.from({ length: weight }, () => event);
    }),
  );
  const all = noise.flat();
  const push = await read(PUSH);
  let nth = 0;
  const digest = () => `sha256:${randomBytes(32).toString("hex")}`;
  return {
    noise(): Sent {
      const team = `team-${nth % 40}/app-${nth % 7}`;
      const event = all[(nth++ * 37) % all.length]; // 37 and 100 have no common divisor: each in its turn
      return { body: bodyOf(event, team, digest(), "latest"), digest: null };
    },
    push(module: string): Sent {
      const pushed = digest();
      return { body: bodyOf(push, `deckhouse/modules/${module}`, pushed, "main"), digest: pushed };
    },
  };
}

type Fields = Readonly<Record<string, unknown>>;
const fields = (value: unknown): Fields => (typeof value === "object" && value !== null ? Object.fromEntries(Object.entries(value)) : {});

function eventOf(notification: unknown): Fields {
  const list: unknown = fields(notification)["events"];
  return fields(Array.isArray(list) ? list[0] : null);
}

function bodyOf(event: Fields = {}, repository: string, digest: string, tag: string): string {
  const target = fields(event["target"]);
  const kind = String(target["url"]).includes("/blobs/") ? "blobs" : "manifests";
  const named = {
    ...target,
    digest,
    repository,
    url: `https://${HOST}/v2/${repository}/${kind}/${digest}`,
    ...("tag" in target && { tag }),
  };
  const asked = { ...fields(event["request"]), host: HOST };
  return JSON.stringify({
    events: [{ ...event, id: randomUUID(), timestamp: new Date().toISOString(), target: named, request: asked }],
  });
}

export interface Told {
  readonly noise: number;
  /** Digests of the pushes that were acknowledged. */
  readonly pushes: readonly string[];
  /** Answers that did not come within the sender's timeout, and others than 2xx; each was sent again. */
  readonly late: number;
  readonly refused: number;
  /** Milliseconds, one per answer. */
  readonly times: readonly number[];
  /** The most events that waited in one registry's memory. */
  readonly waiting: number;
}

/** One registry; events go out in the order of `tell`. */
export function openRegistry(url: string, secret: string) {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const queue: Sent[] = [];
  const told = { noise: 0, pushes: [] as string[], late: 0, refused: 0, times: [] as number[], waiting: 0 };
  let last = Promise.resolve();

  const deliver = async (event: Sent): Promise<void> => {
    for (;;) {
      const began = performance.now();
      const status = await post(agent, url, secret, event.body);
      if (status === null) told.late++;
      else {
        told.times.push(performance.now() - began);
        if (status >= 200 && status < 300) break;
        told.refused++;
      }
      await sleep(BACKOFF_MS);
    }
    if (event.digest === null) told.noise++;
    else told.pushes.push(event.digest);
  };
  return {
    tell(event: Sent): void {
      queue.push(event);
      told.waiting = Math.max(told.waiting, queue.length);
      last = last.then(() => deliver(event)).then(() => void queue.shift());
    },
    /** Everything told so far has been acknowledged. */
    async close(): Promise<Told> {
      await last;
      agent.destroy();
      return told;
    },
  };
}

/** The status; null where none came in time, or the connection failed. */
function post(agent: Agent, url: string, secret: string, body: string): Promise<number | null> {
  const headers = {
    authorization: `Bearer ${secret}`,
    "content-type": "application/vnd.docker.distribution.events.v1+json",
    "content-length": Buffer.byteLength(body),
    "user-agent": "Go-http-client/1.1",
  };
  return new Promise((resolve) => {
    const call = request(url, { method: "POST", agent, headers, signal: AbortSignal.timeout(TIMEOUT_MS) }, (response) => {
      response.resume();
      response.once("end", () => resolve(response.statusCode ?? null));
      response.once("error", () => resolve(null));
    });
    call.once("error", () => resolve(null));
    call.end(body);
  });
}
