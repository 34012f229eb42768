/** `mpo-relay init`: what it plans of a cluster, and the whole at the sandbox's API server. */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import * as z from "zod";
import { fileText } from "../src/cli/init/file.ts";
import { planOf } from "../src/cli/init/plan.ts";
import type { Survey, SurveyedSource } from "../src/cluster/survey.ts";
import { parseText } from "../src/config/text.ts";
import { loadConfig } from "../src/config.ts";
import { type KubernetesApi, startKubernetesApi } from "../src/sandbox/kubernetes-api.ts";
import { mpoRelay } from "./support/cli.ts";
import { overrideOf } from "./support/relay.ts";

const surveyOf = (part: Partial<Survey> = {}): Survey => ({
  context: "kubernetes-admin@dev",
  server: "https://kube.example.com:6443",
  hasCa: true,
  uid: "00000000-0000-4000-8000-000000000000",
  version: "v1.76.0",
  sources: [],
  overrides: [],
  sourceOf: new Map(),
  missing: [],
  ...part,
});
const ms = (name: string, repo: string, ...modules: readonly string[]): SurveyedSource => ({ name, repo, plainHttp: false, modules });

async function checked(survey: Survey, repos: readonly string[] = []) {
  const plan = planOf(survey, repos);
  const text = fileText(plan, survey);
  const loaded = await loadConfig({ env: { MPO_RELAY_CONFIG: JSON.stringify(await parseText(text, "relay.yaml")) } });
  return { plan, text, problems: loaded.ok ? [] : loaded.problems, config: loaded.ok ? loaded.config : null };
}

describe("the file", () => {
  it.each([
    ["registry.example.com", "distribution"],
    ["registry.example.com:5000", "distribution"],
    ["corp.azurecr.io", "acr"],
    ["123456789012.dkr.ecr.eu-central-1.amazonaws.com", "ecr"],
    ["europe-docker.pkg.dev", "gar"],
    ["ghcr.io", "ghcr"],
    ["cr.yandex", "yandex"],
    ["docker.io", "dockerhub"],
    ["registry.cn-hangzhou.aliyuncs.com", "alibaba"],
    ["quay.io", "quay"],
    ["registry.gitlab.com", "generic"],
  ])("is in order for a source at %s, and takes it for %s", async (host, provider) => {
    const { plan, problems, config } = await checked(surveyOf({ sources: [ms("test", `${host}/deckhouse/modules`)] }));
    expect(problems).toEqual([]);
    expect(plan.webhooks).toMatchObject([{ name: provider, provider, sources: null }]);
    expect(config?.sources).toMatchObject([{ repo: `${host}/deckhouse/modules`, name: "test" }]);
  });

  it("has a webhook for each registry, narrowed to what lies there, and no name that YAML takes for something else", async () => {
    const sources = [
      ms("a", "one.example.com/m"),
      ms("true", "two.example.com/m"),
      ms("0x10", "https://TWO.example.com/n/"),
      ms("1.5", "ghcr.io/m"),
    ];
    const { config, problems } = await checked(surveyOf({ context: "123", sources }));
    expect(problems).toEqual([]);
    expect(Object.entries(config?.webhooks ?? {}).map(([name, { sources: narrowed }]) => [name, narrowed])).toEqual([
      ["distribution", ["a"]],
      ["distribution-2", ["true", "0x10"]],
      ["ghcr", ["1.5"]],
    ]);
    expect(config?.sources.map(({ name }) => name)).toEqual(["a", "true", "0x10", "1.5"]);
    expect(Object.keys(config?.clusters ?? {})).toEqual(["123"]);
  });

  it("leaves out what is no repository, and the second of two at one place", () => {
    const { sources, leftOut } = planOf(
      surveyOf({ sources: [ms("a", "r.example.com/m"), ms("b", "r.example.com/m/"), ms("c", "nonsense")] }),
      ["r.example.com/m", "r.example.com/more"],
    );
    expect(sources.map(({ repo }) => repo)).toEqual(["r.example.com/m", "r.example.com/more"]);
    expect(leftOut).toEqual([expect.stringContaining("same repository as a"), expect.stringContaining("not a repository")]);
  });
});

describe("an override", () => {
  const [a, b] = [ms("a", "a.example.com/m", "echo"), ms("b", "b.example.com/m", "echo", "other")];
  const judged = (override: Parameters<typeof overrideOf>[0], part: Partial<Survey> = {}, repos: readonly string[] = []) =>
    planOf(surveyOf({ sources: [a, b], overrides: [overrideOf(override)], ...part }), repos).overrides[0];

  it.each([
    ["names its source", { source: "b" }, {}, true, "pushes below b.example.com/m"],
    ["has a Module that names it", {}, { sourceOf: new Map([["echo", "a"]]) }, true, "pushes below a.example.com/m"],
    ["lies in one source alone", { name: "other" }, {}, true, "pushes below b.example.com/m"],
    ["lies in two", {}, {}, true, "not known; pushes below a.example.com/m or b.example.com/m"],
    ["lies in none that says so", { name: "new" }, {}, true, "not known; pushes below a.example.com/m or b.example.com/m"],
    ["has the only source there is", { name: "new" }, { sources: [a] }, true, "a.example.com/m, the only source"],
    ["has a source that is gone", { source: "c" }, {}, false, "the repository of its source c is not known"],
    ["is of a part of Deckhouse", {}, { sourceOf: new Map([["echo", "Embedded"]]) }, false, "part of Deckhouse"],
    ["has no source at all", {}, { sources: null }, false, "no source is known"],
    ["has a name that no module can have", { name: "modules" }, {}, false, "no module can have this name"],
    [
      "pulls through the cluster's own address",
      {},
      { sources: [ms("a", "registry.d8-system.svc:5001/m")] },
      false,
      "Write that into aliases",
    ],
    ["follows a tag like werf's", { imageTag: "a".repeat(56) }, { sources: [a] }, true, "noise: keep"],
    ["follows a release", { imageTag: "v1.2.3" }, {}, true, "hardly ever moves"],
    ["is not polled at all", { scanInterval: "0s" }, {}, true, "write 24h"],
    ["is in trouble", { status: { message: "The module disabled", imageDigest: null, updatedAt: null } }, {}, true, "The module disabled"],
  ] as const)("that %s", (_what, override, part, served, why) => {
    expect(judged(override, part)).toMatchObject({ served, why: expect.stringContaining(why) });
  });

  it("may come from a repository that only the person knows", () => {
    expect(judged({ source: "secret" }, { sources: null }, ["c.example.com/m"])).toMatchObject({
      served: true,
      why: "if its source secret is c.example.com/m",
    });
  });

  it("with a tag like werf's makes its source keep those", async () => {
    const { config } = await checked(surveyOf({ sources: [a, b], overrides: [overrideOf({ source: "a", imageTag: "a".repeat(56) })] }));
    expect(config?.sources.map(({ noise }) => noise)).toEqual(["keep", "drop"]);
  });
});

describe("at a cluster", () => {
  const HUSH = "aHVzaC1odXNo";
  let folder = "";
  let api: KubernetesApi;
  let kubeconfig = "";
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "mpo-relay-init-"));
    api = await startKubernetesApi({ token: "token-of-the-administrator" });
    const registry = {
      repo: "registry.example.com/deckhouse/modules",
      scheme: "HTTPS",
      dockerCfg: HUSH,
      login: HUSH,
      password: HUSH,
      ca: HUSH,
    };
    api.store.create("modulesources", { metadata: { name: "test" }, spec: { registry } });
    api.store.create("modules", { metadata: { name: "echo" }, properties: { source: "test" } });
    api.store.create("modulepulloverrides", { metadata: { name: "echo" }, spec: { imageTag: "main" } });
    kubeconfig = join(folder, "kubeconfig");
    await writeFile(kubeconfig, api.kubeconfig());
  });
  afterAll(async () => {
    await api.close();
    await rm(folder, { recursive: true });
  });
  const init = (out: string, ...more: readonly string[]) =>
    mpoRelay(["init", "--kubeconfig", kubeconfig, "--out", join(folder, out), ...more]);

  it("writes a file that is in order, the rights, and what to paste; and nothing of a credential", async () => {
    const { exitCode, out, err } = await init("relay.yaml", "--url", "https://relay.corp.example");
    expect([exitCode, err]).toEqual([0, expect.stringContaining("next: mpo-relay check")]);
    expect(out).toMatch(/^echo +main +yes +pushes below registry\.example\.com\/deckhouse\/modules$/m);
    expect(out).toMatch(/kind: ClusterRole\n/);
    expect(out).toContain("https://relay.corp.example/hooks/distribution");
    const text = await readFile(join(folder, "relay.yaml"), "utf8");
    expect(text).toContain(`uid: `);
    expect(out + err + text).not.toContain(HUSH);
    expect(out + err + text).not.toContain("token-of-the-administrator");
    expect(await mpoRelay(["check", "--config", join(folder, "relay.yaml")])).toMatchObject({ exitCode: 0 });
  });

  it("writes over nothing that it was not told to", async () => {
    await writeFile(join(folder, "mine.yaml"), "mine");
    expect(await init("mine.yaml")).toMatchObject({ exitCode: 2, err: expect.stringContaining("--force") });
    expect(await readFile(join(folder, "mine.yaml"), "utf8")).toBe("mine");
    expect(await init("mine.yaml", "--force")).toMatchObject({ exitCode: 0 });
    expect(await readFile(join(folder, "mine.yaml"), "utf8")).toContain("webhooks:");
    expect(await init("no/such/folder.yaml")).toMatchObject({ exitCode: 2, err: expect.stringContaining("cannot write") });
  });

  it("says all of it as JSON", async () => {
    const { out } = await init("json.yaml", "--json");
    const said = z.looseObject({ rights: z.string() }).parse(JSON.parse(out));
    expect(said).toMatchObject({
      uid: api.uid,
      missing: [],
      sources: [{ repo: "registry.example.com/deckhouse/modules", name: "test" }],
      overrides: [{ module: "echo", tag: "main", served: true }],
      registries: [{ webhook: "distribution", text: expect.stringContaining("/hooks/distribution") }],
    });
    expect(out).not.toContain(HUSH);
  });

  it("goes on without rights where it can, and names the verb", async () => {
    const poor = join(folder, "poor");
    await writeFile(poor, api.kubeconfig(api.grant("poor", ["get"])));
    const call = (...more: readonly string[]) => mpoRelay(["init", "--kubeconfig", poor, "--out", join(folder, "poor.yaml"), ...more]);
    expect(await call()).toMatchObject({
      exitCode: 1,
      err: expect.stringMatching(/lack list on modulesources\.deckhouse\.io[\s\S]*--repo host\/path/),
    });
    expect(await call("--repo", "registry.example.com/m")).toMatchObject({
      exitCode: 0,
      err: expect.stringContaining("list on modulepulloverrides"),
    });
    expect(await readFile(join(folder, "poor.yaml"), "utf8")).toContain("repo: registry.example.com/m");
  });

  it("says why where it cannot ask", async () => {
    expect(await init("x.yaml", "--context", "nowhere")).toMatchObject({
      exitCode: 2,
      err: expect.stringContaining('no context "nowhere"'),
    });
    expect(await init("x.yaml", "--repo", "x y")).toMatchObject({ exitCode: 2, err: expect.stringContaining("not a repository") });
    expect(await init("x.txt")).toMatchObject({ exitCode: 2 });
    api.faults.next(1, "500");
    expect(await init("x.yaml")).toMatchObject({ exitCode: 1, err: expect.stringContaining("does kubectl reach this cluster?") });
    api.faults.clear();
  });
});
