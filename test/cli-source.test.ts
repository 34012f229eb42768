/** `mpo-relay source` at the sandbox's registry and API server, and at registries that misbehave. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import * as z from "zod";
import { type KubernetesApi, startKubernetesApi } from "../src/sandbox/kubernetes-api.ts";
import { type Registry, startRegistry } from "../src/sandbox/registry.ts";
import { mpoRelay } from "./support/cli.ts";
import { listen, push } from "./support/image.ts";

const ECHO = "deckhouse/modules/echo";
const werfTag = `${"a".repeat(56)}-1700000000000`;
let folder = "";
let api: KubernetesApi;
let registry: Registry;
let [repo, config, digest] = ["", "", ""];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "mpo-relay-source-"));
  registry = await startRegistry({ port: 0, notify: null, log: () => undefined });
  api = await startKubernetesApi({ token: "token-of-the-administrator" });
  repo = `localhost:${registry.port}/deckhouse/modules`;
  const host = `localhost:${registry.port}`;
  digest = await push(
    host,
    ECHO,
    "main",
    { "old.txt": "1", "images_digests.json": "{}" },
    {
      ".wh.old.txt": "",
      "module.yaml": "name: echo\nstage: \u001b[31mGeneral\n",
      "images_digests.json": JSON.stringify({ server: `sha256:${"1".repeat(64)}`, echo: { client: `sha256:${"2".repeat(64)}` } }),
      "templates/deployment.yaml": "x".repeat(3000),
    },
  );
  await push(host, ECHO, werfTag, { a: "1" });
  for (const tag of ["v1.0.0", "stable", "alpha"]) await push(host, `${ECHO}/release`, tag, { "version.json": '{"version":"v1.0.0"}' });
  await push(host, `${ECHO}/release`, "beta", { "changelog.yaml": "" });
  for (const module of ["echo", "hello-world"]) await push(host, "deckhouse/modules", module, { marker: module });
  api.store.create("modulepulloverrides", { metadata: { name: "echo" }, spec: { imageTag: "main", scanInterval: "24h" } });
  api.store.patchStatus("modulepulloverrides", "echo", { message: "Ready", imageDigest: digest });
  await writeFile(join(folder, "kubeconfig"), api.kubeconfig(api.grant("relay", ["get", "patch"])));
  config = join(folder, "relay.yaml");
  await writeFile(
    config,
    JSON.stringify({
      webhooks: {
        registry: { provider: "distribution", insecure: true },
        other: { provider: "harbor", insecure: true, sources: ["elsewhere"] },
      },
      sources: [
        { repo, name: "test", aliases: ["registry.example.com/m"] },
        { repo: "registry.example.com/other", name: "elsewhere" },
      ],
      clusters: {
        dev: { queue: "embedded:./data", kubernetes: { kubeconfig: "file:./kubeconfig" } },
        away: { queue: "https://sqs.example.com/1/q" },
      },
    }),
  );
});
afterAll(async () => {
  await registry.close();
  await api.close();
  await rm(folder, { recursive: true });
});

const source = (...args: readonly string[]) => mpoRelay(["source", ...args, "--config", config]);
const answer = z.looseObject({
  repo: z.string(),
  overrides: z.array(z.unknown()),
  webhooks: z.array(z.unknown()),
  unseen: z.array(z.unknown()),
});
const jsonOf = ({ out }: { out: string }) => answer.parse(JSON.parse(out));

describe("a source", () => {
  it("shows its modules, and who lives from them, with no more rights than the relay has", async () => {
    const { exitCode, out, err } = await source("test");
    expect(exitCode).toBe(0);
    expect(out).toBe(
      `${repo} (source test): 2 modules\n\nwebhooks: registry (distribution)\n\nMODULE       OVERRIDES\necho         dev: main\nhello-world  -`,
    );
    expect(err).toContain("warning: overrides of the cluster away are not shown: it has no `kubernetes`");
    expect(err).toContain("next: mpo-relay source test echo");
    expect(jsonOf(await source("test", "--json"))).toMatchObject({
      repo,
      name: "test",
      modules: ["echo", "hello-world"],
      tags: ["echo", "hello-world"],
      webhooks: [{ name: "registry", provider: "distribution" }],
      overrides: [{ cluster: "dev", module: "echo", tag: "main", digest, message: "Ready" }],
    });
  });

  it("is found by its repo and its aliases, and needs no configuration", async () => {
    for (const name of [repo, `http://${repo}/`, "registry.example.com/m"])
      expect(jsonOf(await source(name, "--json"))).toMatchObject({ repo, name: "test" });
    expect(jsonOf(await mpoRelay(["source", repo, "--json"]))).toMatchObject({
      repo,
      name: null,
      modules: ["echo", "hello-world"],
      overrides: [],
    });
  });

  it("that nobody knows is told with those that are known", async () => {
    expect(await source("tst")).toMatchObject({ exitCode: 2, err: expect.stringContaining('did you mean "test"?') });
    expect(await mpoRelay(["source", "test"])).toMatchObject({ exitCode: 2, err: expect.stringContaining("no relay.yaml here") });
    const gone = await source(`${repo}/nothing`);
    expect(gone).toMatchObject({ exitCode: 1, err: expect.stringContaining("there is no repository") });
  });
});

describe("a module", () => {
  it("shows its tags, releases, and the version in each channel", async () => {
    const { out } = await source("test", "echo");
    expect(out).toContain(`${repo}/echo (source test): 1 tag, 1 release`);
    expect(out).toMatch(/^alpha +v1\.0\.0 +sha256:[0-9a-f]{64}$/m);
    expect(out).toMatch(/^beta +\? \(its image has no version\.json with a version\) +sha256:/m);
    expect(out).toMatch(/^dev +main +sha256:[0-9a-f]{64} +Ready$/m);
    expect(out).toContain("and 1 tag of werf's and cosign's own");
    expect(jsonOf(await source("test", "echo", "--json"))).toMatchObject({
      module: "echo",
      tags: [werfTag, "main"],
      releases: ["alpha", "beta", "stable", "v1.0.0"],
      channels: [
        { channel: "alpha", version: "v1.0.0" },
        { channel: "beta", version: null },
        { channel: "stable", version: "v1.0.0", digest: registry.resolve(`${ECHO}/release`, "stable") },
      ],
    });
  });

  it("that is not there is told with those that are", async () => {
    expect(await source("test", "eco")).toMatchObject({ exitCode: 1, err: expect.stringContaining('did you mean "echo"?') });
    expect(await source("test", "echo/other:1")).toMatchObject({ exitCode: 2, err: expect.stringContaining("echo/release:stable") });
  });
});

describe("an image", () => {
  it("shows its files, its module.yaml, its components, and who runs it", async () => {
    const { out } = await source("test", "echo:main");
    expect(out).toContain(`digest   ${digest}`);
    expect(out).toContain("override dev runs it");
    expect(out).toContain("  name: echo\n  stage:  [31mGeneral"); // without the escape that would colour it
    expect(out).toMatch(/^echo\.client +sha256:2+$/m);
    expect(out).toMatch(/^2\.9 KiB +templates\/deployment\.yaml$/m);
    expect(out).not.toContain("old.txt");
    expect(jsonOf(await source("test", `echo@${digest}`, "--json"))).toMatchObject({
      image: `${repo}/echo@${digest}`,
      digest,
      index: null,
      components: { server: `sha256:${"1".repeat(64)}`, "echo.client": `sha256:${"2".repeat(64)}` },
      files: [{ path: "images_digests.json" }, { path: "module.yaml" }, { path: "templates/deployment.yaml", kind: "file", size: 3000 }],
    });
    expect(jsonOf(await source("test", "echo/release:stable", "--json"))).toMatchObject({ version: "v1.0.0", overrides: [] });
  });

  it("whose tag is gone is told, with where to look", async () => {
    expect(await source("test", "echo:gone")).toMatchObject({
      exitCode: 1,
      err: expect.stringContaining(`echo:gone is not there\nwhat is: mpo-relay source test echo`),
    });
  });
});

describe("a registry that does not answer as it should", () => {
  it.each([
    [401, "--docker-config"],
    [403, "where a repository is not there"],
    [429, "wait a while, or log in"],
    [503, "try again"],
  ])("is told of in words, with what to do: %i", async (status, advice) => {
    const host = await listen((_request, response) => response.writeHead(status).end());
    expect(await mpoRelay(["source", `${host}/m`])).toMatchObject({ exitCode: 1, err: expect.stringContaining(advice) });
  });

  it("is told of where nobody is there", async () => {
    const { exitCode, err } = await mpoRelay(["source", "localhost:1/m"]);
    expect([exitCode, err]).toEqual([1, expect.stringMatching(/ECONNREFUSED\n.*can it be reached/)]);
  });

  it("gets the docker config's login, which nothing shows", async () => {
    const seen = new Set<string | undefined>();
    const host = await listen((request, response) => {
      seen.add(request.headers.authorization);
      response.writeHead(401, { "www-authenticate": "Basic realm=r" }).end();
    });
    const file = join(folder, "config.json");
    await writeFile(file, JSON.stringify({ auths: { [host]: { auth: btoa("robot:hush-hush") } } }));
    const { exitCode, out, err } = await mpoRelay(["source", `${host}/m`, "--docker-config", file]);
    expect([exitCode, err]).toEqual([1, expect.stringContaining("is the login right")]);
    expect(seen).toContain(`Basic ${btoa("robot:hush-hush")}`);
    expect(out + err).not.toMatch(/hush|cm9ib3Q/);
    expect(await mpoRelay(["source", `${host}/m`, "--docker-config", join(folder, "none")])).toMatchObject({ exitCode: 2 });
  });

  it("with thousands of tags is told of while it lists them", async () => {
    const names = Array.from({ length: 5000 }, (_, index) => `pr${index}`);
    const host = await listen((request, response) => {
      const url = new URL(request.url ?? "", "http://x");
      if (!url.pathname.includes("/echo/tags")) return response.writeHead(404).end();
      const from = names.indexOf(url.searchParams.get("last") ?? "") + 1;
      const tags = names.slice(from, from + 1000);
      if (from + 1000 < names.length) response.setHeader("link", `<${url.pathname}?n=1000&last=${tags.at(-1)}>; rel="next"`);
      return response.end(JSON.stringify({ tags }));
    });
    const { out, err } = await mpoRelay(["source", `${host}/m`, "echo", "--json"]);
    expect(z.object({ tags: z.array(z.string()) }).parse(JSON.parse(out)).tags).toEqual(names);
    expect(err.split("\n")).toEqual(["2000 tags so far", "3000 tags so far", "4000 tags so far", "5000 tags so far"]);
  });
});

it("without the right to look, a cluster is told of and the rest is shown", async () => {
  api.grant("relay", []);
  const { exitCode, out, err } = await source("test", "echo");
  api.grant("relay", ["get", "patch"]);
  expect([exitCode, out, err]).toEqual([
    0,
    expect.stringContaining("tags:"),
    expect.stringMatching(/cluster dev are not shown: .*cannot get/),
  ]);
});
