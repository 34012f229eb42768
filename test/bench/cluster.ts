/** A cluster under measurement: a bare client of its API server, a watch of its overrides, and the relay's way in. */
import { readFile, writeFile } from "node:fs/promises";
import { Agent, request } from "node:https";
import type { IncomingMessage } from "node:http";
import { text } from "node:stream/consumers";
import { createInterface } from "node:readline";
import * as z from "zod";
import { TAG } from "./sender.ts";
import { place, start } from "./world.ts";

const OVERRIDES = "/apis/deckhouse.io/v1alpha2/modulepulloverrides";

const override = z.object({
  metadata: z.object({ name: z.string(), resourceVersion: z.string(), annotations: z.record(z.string(), z.string()).default({}) }),
  status: z.object({ imageDigest: z.string().default("") }).prefault({}),
});
export type Seen = z.infer<typeof override>;
const event = z.object({ type: z.string(), object: override });
const listing = z.object({ items: z.array(override) });

export class Cluster {
  readonly server: string;
  readonly ca: string;
  readonly token: string;
  readonly #close: () => Promise<void>;
  readonly #agent: Agent;
  readonly #watches: IncomingMessage[] = [];

  constructor(where: { server: string; ca: string; token: string }, close: () => Promise<void>) {
    this.server = where.server;
    this.ca = where.ca;
    this.token = where.token;
    this.#close = close;
    // One kept connection: the least that a client of the API can do.
    this.#agent = new Agent({ keepAlive: true, maxSockets: 1, ca: where.ca });
  }

  async create(names: readonly string[]): Promise<void> {
    for (const name of names) {
      const spec = { imageTag: TAG, scanInterval: "24h" };
      const body = { apiVersion: "deckhouse.io/v1alpha2", kind: "ModulePullOverride", metadata: { name }, spec };
      await this.#call("POST", OVERRIDES, "application/json", body);
    }
  }

  async get(name: string): Promise<Seen> {
    return override.parse(await this.#call("GET", `${OVERRIDES}/${name}`));
  }

  async list(): Promise<Seen[]> {
    return listing.parse(await this.#call("GET", OVERRIDES)).items;
  }

  /** A JSON merge patch of the override, or of its `/status`. */
  async patch(name: string, patch: object, subresource: "" | "/status" = ""): Promise<void> {
    await this.#call("PATCH", `${OVERRIDES}/${name}${subresource}`, "application/merge-patch+json", patch);
  }

  /** Hands on every override there is, then each one as it changes. Resolves once the watch stands. */
  async watch(changed: (seen: Seen) => void): Promise<void> {
    const response = await this.#open("GET", `${OVERRIDES}?watch=1`, new Agent({ ca: this.ca }));
    this.#watches.push(response);
    const lines = createInterface({ input: response });
    lines.on("line", (line) => changed(event.parse(JSON.parse(line)).object));
    lines.on("error", () => undefined); // it is cut by `close`; were it cut before, the caller's patience ends
  }

  /** The relay's configuration of this cluster, with the files it names. */
  kubernetes(): Promise<object> {
    return kubernetesOf("cluster", this);
  }

  async close(): Promise<void> {
    for (const watch of this.#watches) watch.destroy();
    this.#agent.destroy();
    await this.#close();
  }

  async #call(method: string, path: string, contentType = "", body?: object): Promise<unknown> {
    const response = await this.#open(method, path, this.#agent, contentType, body);
    const answer = await text(response);
    if ((response.statusCode ?? 0) >= 300) throw new Error(`${method} ${path}: ${response.statusCode} ${answer.slice(0, 300)}`);
    return JSON.parse(answer);
  }

  #open(method: string, path: string, agent: Agent, contentType = "", body?: object): Promise<IncomingMessage> {
    const json = body === undefined ? undefined : JSON.stringify(body);
    const content = json === undefined ? {} : { "content-type": contentType, "content-length": Buffer.byteLength(json) };
    const headers = { authorization: `Bearer ${this.token}`, accept: "application/json", ...content };
    return new Promise((resolve, reject) => {
      const call = request(new URL(path, this.server), { method, agent, headers }, resolve);
      call.once("error", reject);
      call.end(json);
    });
  }
}

export async function kubernetesOf(name: string, where: { server: string; ca: string; token: string }): Promise<object> {
  const [ca, token] = [await place(name, "ca.pem"), await place(name, "token")];
  await Promise.all([writeFile(ca, where.ca), writeFile(token, where.token, { mode: 0o600 })]);
  return { server: where.server, ca: `file:${ca}`, token: `file:${token}` };
}

/** The sandbox's stand-in, in a process of its own. */
export async function standIn(): Promise<Cluster> {
  const file = await place("api", `ca-${Date.now()}.pem`);
  const token = "token-of-the-benchmark";
  const api = await start("kubernetes-api", "api.mjs", (port) => [String(port), token, file], {
    profile: false,
    ready: async () => (await readFile(file, "utf8")).includes("END CERTIFICATE"),
  });
  const where = { server: `https://127.0.0.1:${api.port}`, ca: await readFile(file, "utf8"), token };
  return new Cluster(where, () => api.stop());
}

/** The real kube-apiserver over etcd, as in the end-to-end tests. Built at first use. */
export async function realOne(): Promise<Cluster> {
  const { startKubeApiserver } = await import("../e2e/parts/kube-apiserver.ts");
  const { crds } = await import("../e2e/parts/crds.ts");
  const kube = await startKubeApiserver();
  await kube.apply(await crds("v1alpha2"));
  await kube.served("deckhouse.io", "v1alpha2", "modulepulloverrides");
  return new Cluster({ server: kube.server, ca: kube.ca, token: kube.adminToken }, () => kube.stop());
}
