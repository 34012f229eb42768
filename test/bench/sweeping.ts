/** A sweep over 500 overrides below five registries that want a token each time: how long, how many requests, and whether memory stays flat. */
import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import type { Override } from "../../src/cluster/overrides.ts";
import type { SourceConfig } from "../../src/config.ts";
import { createRegistry } from "../../src/registries.ts";
import { http } from "../../src/registry/http.ts";
import { sweep } from "../../src/sweep.ts";
import { overrideOf, source } from "../support/relay.ts";
import type { Figure } from "./figures.ts";
import type { Options } from "./world.ts";

const REGISTRIES = 5;
const OVERRIDES = 500;
const SWEEPS_A_DAY = 288;
/** Every 15 s a ping, a token and a manifest. */
const POLLING_A_DAY = 17_280;
/** A real one is 5 minutes or more away from the last: tokens are over by then. */
const TOKEN_SECONDS = 11;
const PAUSE_MS = 1_100;

export async function sweeping({ quick }: Options): Promise<Figure[]> {
  const servers = await Promise.all(Array.from({ length: REGISTRIES }, startTokenRegistry));
  const requests = new Map<string, number>();
  try {
    const sources = servers.map(({ host }, nth): SourceConfig => ({
      ...source,
      name: `source-${nth}`,
      repo: `${host}/modules`,
      modules: [`of-${nth}-*`],
      registry: { username: null, password: null, dockerConfig: null, ca: null, plainHttp: true },
    }));
    const overrides = Array.from({ length: OVERRIDES }, (_, nth): Override => {
      const name = `of-${nth % REGISTRIES}-module-${nth}`;
      return overrideOf({ name, status: { message: "Ready", imageDigest: digestOf(name), updatedAt: null } });
    });
    const registry = createRegistry(
      sources,
      async () => "",
      (request) => {
        const what = request.url.pathname === "/token" ? "token" : "HEAD";
        requests.set(what, (requests.get(what) ?? 0) + 1);
        return http(request);
      },
    );
    const round = async () => {
      requests.clear();
      const started = performance.now();
      const { rows } = await sweep({
        cluster: "dev",
        sources,
        overrides: { list: async () => overrides, state: async () => null },
        registry,
        now: () => new Date(),
      });
      if (rows.some(({ state }) => state !== "polling"))
        throw new Error(`not current: ${JSON.stringify(rows.find(({ state }) => state !== "polling"))}`);
      const ms = performance.now() - started;
      const made = { all: (requests.get("HEAD") ?? 0) + (requests.get("token") ?? 0), tokens: requests.get("token") ?? 0 };
      await sleep(PAUSE_MS);
      return { ms, ...made, rss: process.memoryUsage.rss() / 1024 ** 2 };
    };
    const first = await round();
    const later = [await round()];
    for (let left = quick ? 3 : 20; left > 0; left--) later.push(await round());
    const [before, last] = [later[0] ?? first, later.at(-1) ?? first];
    const perDay = (last.all / OVERRIDES) * SWEEPS_A_DAY;
    const part = "sweeping";
    return [
      { part, name: `first sweep of ${OVERRIDES} overrides, ${REGISTRIES} registries`, value: first.ms, unit: "ms" },
      { part, name: "later sweeps, slowest", value: Math.max(...later.map(({ ms }) => ms)), unit: "ms" },
      { part, name: "requests of the first sweep", value: first.all, unit: "" },
      { part, name: "requests of a later one, tokens over", value: last.all, unit: "" },
      { part, name: "of them for tokens", value: last.tokens, unit: "" },
      {
        part,
        name: "requests per override and day",
        value: perDay,
        unit: "",
        baseline: { of: "polling every 15 s", value: POLLING_A_DAY },
        targets: [{ of: "ratio", max: 0.02 }],
      },
      {
        part,
        name: `memory after ${later.length} sweeps`,
        value: last.rss,
        unit: "MB",
        baseline: { of: "after two", value: before.rss },
        targets: [{ of: "ratio", max: 1.3 }],
      },
    ];
  } finally {
    for (const { server } of servers) server.close();
  }
}

const digestOf = (text: string) => `sha256:${createHash("sha256").update(text).digest("hex")}`;

/** Every tag of a repository names the digest of the module's name; without a token for the repository nothing is told. */
async function startTokenRegistry(): Promise<{ server: Server; host: string }> {
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? "", `http://${request.headers.host}`);
    if (url.pathname === "/token") {
      const token = Buffer.from(JSON.stringify(url.searchParams.getAll("scope"))).toString("base64");
      return response.end(JSON.stringify({ token, expires_in: TOKEN_SECONDS }));
    }
    const [, repository = ""] = /^\/v2\/(.*)\/manifests\//.exec(url.pathname) ?? [];
    const token = Buffer.from(request.headers.authorization?.replace("Bearer ", "") ?? "", "base64").toString();
    if (!token.includes(`"repository:${repository}:pull"`)) {
      return response.writeHead(401, { "www-authenticate": `Bearer realm="http://${request.headers.host}/token",service="s"` }).end();
    }
    const headers = {
      "content-type": "application/vnd.oci.image.manifest.v1+json",
      "docker-content-digest": digestOf(repository.slice(repository.lastIndexOf("/") + 1)),
    };
    return response.writeHead(200, headers).end();
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  return { server, host: `127.0.0.1:${typeof address === "object" && address ? address.port : 0}` };
}
