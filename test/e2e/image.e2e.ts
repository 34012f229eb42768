/**
 * infra/Dockerfile: linted whole; its last stage built over files at hand, run and pushed. Its first stage needs a base image and a registry
 * of packages, which are not to be had here: the same commands run on this machine in its stead.
 */
import { mkdir, readdir, readFile, writeFile, chmod } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import * as z from "zod";
import { say } from "./parts/cache.ts";
import { type Buildah, openBuildah } from "./parts/buildah.ts";
import { freePort, run, serve, temporaryFolder } from "./parts/child.ts";
import { lintDockerfile } from "./parts/hadolint.ts";
import { startRegistry } from "./parts/registry.ts";
import { buildRelayImage, DOCKERFILE } from "./relay-image.ts";
import { eventually } from "./wait.ts";

const SECRET = "0123456789abcdef0123456789abcdef";
const MUST_RUN_AS = 1000;

let folder: string;
let buildah: Buildah;
let image: string;
const stops: (() => Promise<void>)[] = [];

beforeAll(async () => {
  const made = await temporaryFolder("image");
  folder = made.path;
  stops.push(made.remove);
  buildah = await openBuildah();
  stops.push(buildah.close);
  image = await buildRelayImage(buildah, folder);
}, 180_000);
afterAll(async () => {
  for (const stop of stops.toReversed()) await stop();
});

test("hadolint finds nothing, and would", async () => {
  await lintDockerfile(DOCKERFILE);
  const wrong = join(folder, "Dockerfile.wrong");
  await writeFile(wrong, "FROM node\nCMD node dist/cli.js\n");
  await expect(lintDockerfile(wrong)).rejects.toThrow(/DL3006[\s\S]*DL3025/);
});

test("it says how it is run: not root, no shell in between, and how its health is seen", async () => {
  const inspected = z.object({ Docker: z.object({ config: z.looseObject({ User: z.string(), Entrypoint: z.array(z.string()) }) }) });
  const { Docker } = inspected.parse(await buildah.inspect(image));
  expect(Docker.config).toMatchObject({
    User: `${MUST_RUN_AS}:${MUST_RUN_AS}`,
    Entrypoint: ["node", "/opt/mpo-relay/dist/cli.js"],
    Healthcheck: { Test: ["CMD", "node", "/opt/mpo-relay/infra/healthcheck.mjs"] },
  });
});

describe("a container of it", () => {
  let port: number;
  let container: string;
  const mounts = () => ({ [join(folder, "config")]: "/etc/mpo-relay", [join(folder, "data")]: "/var/lib/mpo-relay" });
  const inside = (...command: readonly string[]) => {
    const { by, env } = buildah.running(container, mounts());
    const [program = "", ...args] = [...by, ...command];
    return { program, args, env };
  };
  const exec = async (...command: readonly string[]) => {
    const { program, args, env } = inside(...command);
    return run(program, args, { env });
  };

  beforeAll(async () => {
    port = await freePort();
    await mkdir(join(folder, "config"));
    await mkdir(join(folder, "data"));
    await chmod(folder, 0o755);
    await chmod(join(folder, "data"), 0o777); // as fsGroup would
    const config = {
      webhooks: { pipelines: { provider: "generic", auth: "token", secret: "file:pipelines.secret" } },
      sources: [{ repo: "registry.example.com/modules", name: "my-modules" }],
      clusters: { this: { queue: "embedded:/var/lib/mpo-relay" } },
      listen: { host: "127.0.0.1", port },
    };
    await writeFile(join(folder, "config/relay.yaml"), JSON.stringify(config));
    await writeFile(join(folder, "config/pipelines.secret"), SECRET);
    container = await buildah.from(image);
  });

  test("has the licences of what it is made of, and of the bundles the program's alone", async () => {
    const read = (file: string) => exec("node", "-p", `fs.readFileSync("/opt/mpo-relay/${file}", "utf8")`);
    expect(await read("LICENSE")).toContain(await readFile(join(import.meta.dirname, "../../LICENSE"), "utf8"));
    expect(await read("dist/THIRD-PARTY.txt")).toContain("@kubernetes/client-node@");
    const held: unknown = JSON.parse(await exec("node", "-p", 'JSON.stringify(fs.readdirSync("/opt/mpo-relay/dist"))'));
    expect(held).toEqual(["THIRD-PARTY.txt", "chunks", "cli.js"]);
  });

  test("takes pushes as its own user, `mpo-relay dlq` works beside it, and SIGTERM ends it with nothing lost", async () => {
    const { program, args, env } = inside("node", "/opt/mpo-relay/dist/cli.js", "serve", "--config", "/etc/mpo-relay/relay.yaml");
    const url = `http://127.0.0.1:${port}`;
    const ready = async () => (await fetch(`${url}/readyz`)).ok;
    const relay = await serve({ name: "the container", command: program, args, env, log: join(folder, "log"), ready });
    onTestFinished(() => relay.stop());
    const pid = await nodeUnder(relay.pid);
    expect(await readFile(`/proc/${pid}/status`, "utf8")).toMatch(new RegExp(`^Uid:\\s${MUST_RUN_AS}\\s`, "m"));

    const healthy = ["env", `MPO_RELAY_PORT=${port}`, "node", "/opt/mpo-relay/infra/healthcheck.mjs"];
    await exec(...healthy);
    const headers = { authorization: `Bearer ${SECRET}`, "content-type": "application/json" };
    const post = async (body: object) => {
      const answer = await fetch(`${url}/hooks/pipelines`, { method: "POST", headers, body: JSON.stringify(body) });
      return z.object({ decision: z.string() }).parse(await answer.json()).decision;
    };
    expect(await post({ repository: "registry.example.com/modules/echo", tag: "main" })).toBe("queued");
    expect(await post({ nothing: "that can be read" })).toBe("unparsed");
    const letters = "mpo-relay dlq list --config /etc/mpo-relay/relay.yaml; test $? -eq 3"; // there are some
    expect(await exec("sh", "-c", letters)).toContain("UNPARSED");

    process.kill(pid, "SIGTERM");
    await eventually("the container has ended", async () => (relay.alive() ? null : true));
    expect(await relay.output()).toContain('"outcome":"STOPPED"');
    await expect(exec(...healthy)).rejects.toThrow();
    expect(await exec("sh", "-c", letters)).toContain("UNPARSED");
  });
});

test("it is pushed to a registry, where it takes little room beside its base", async () => {
  const registry = await startRegistry({ hooks: [] });
  onTestFinished(() => registry.stop());
  await buildah.push(image, `${registry.host}/mpo-relay:0.1.0`);
  expect(await registry.resolve("mpo-relay", "0.1.0")).toMatch(/^sha256:/);
  const layer = z.object({ size: z.number() });
  const headers = { accept: "application/vnd.docker.distribution.manifest.v2+json" };
  const manifest = await (await fetch(`http://${registry.host}/v2/mpo-relay/manifests/0.1.0`, { headers })).json();
  const [base, ...own] = z
    .object({ layers: z.array(layer) })
    .parse(manifest)
    .layers.map(({ size }) => size / 1e6);
  const ours = own.reduce((sum, size) => sum + size, 0);
  say(`the image: ${ours.toFixed(1)} MB compressed over a base of ${base?.toFixed(1)} MB (this machine's Node alone)`);
  expect(ours).toBeLessThan(40);
});

/** The program that buildah runs for us: of its children's children the last. In a real container it would be process 1. */
async function nodeUnder(pid: number): Promise<number> {
  const ids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const stats = await Promise.all(ids.map((id) => readFile(`/proc/${id}/stat`, "utf8").catch(() => "")));
  const children = new Map(
    stats.flatMap((text) => {
      const [, id, parent] = /^(\d+) \(.*\) \S (\d+) /s.exec(text) ?? [];
      return id === undefined ? [] : [[Number(parent), Number(id)] as const];
    }),
  );
  let last = pid;
  for (let next = children.get(last); next !== undefined; next = children.get(last)) last = next;
  return last;
}
