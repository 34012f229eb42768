import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type LoadResult, loadConfig, resolveQueue, resolveSqs } from "../src/config.ts";
import { readDuration, readRepo, readSize, readUntil } from "../src/config/forms.ts";
import { Refusal } from "../src/config/problem.ts";

let folder: string;
beforeAll(async () => void (folder = await mkdtemp(join(tmpdir(), "config-"))));
afterAll(async () => rm(folder, { recursive: true }));

const now = new Date("2026-06-01T00:00:00Z");

async function load(text: string, name = "relay.yaml"): Promise<LoadResult> {
  const file = join(folder, name);
  await writeFile(file, text);
  return loadConfig({ file, env: {}, now });
}

async function loaded(text: string, name?: string) {
  const result = await load(text, name);
  if (!result.ok) throw new Error(JSON.stringify(result.problems));
  return result;
}

/** `path: message (hint)` of every problem. */
async function problems(text: string, name?: string): Promise<string[]> {
  const result = await load(text, name);
  return result.ok ? [] : result.problems.map(({ path, message, hint }) => `${path}: ${message}${hint === null ? "" : ` (${hint})`}`);
}

const MINIMAL = {
  webhooks: { prod: { provider: "harbor", secret: "env:S" } },
  sources: [{ repo: "r.example.com/m" }],
  clusters: { dev: { queue: "embedded:" } },
};
type Tree = Record<string, unknown>;
/** The minimal file with parts replaced; `part` is merged one level deep into webhooks.prod, clusters.dev, sources[0]. */
const withWebhook = (part: Tree) => JSON.stringify({ ...MINIMAL, webhooks: { prod: { ...MINIMAL.webhooks.prod, ...part } } });
const withSource = (part: Tree) => JSON.stringify({ ...MINIMAL, sources: [{ ...MINIMAL.sources[0], ...part }] });
const withCluster = (part: Tree) => JSON.stringify({ ...MINIMAL, clusters: { dev: { ...MINIMAL.clusters.dev, ...part } } });
const JOBS: Tree = { issuer: "https://gitlab.example.com", audience: "mpo-relay", subject: "project_path:modules/*" };
const withJobs = (oidc: Tree | null, part: Tree = {}) =>
  withWebhook({ provider: "generic", auth: "oidc", secret: undefined, oidc, ...part });
const withQueue = (part: Tree, rest: Tree = {}) =>
  JSON.stringify({ ...MINIMAL, webhooks: { ecr: { provider: "ecr", queue: "env:Q", ...part } }, ...rest });
const withTop = (part: Tree) => JSON.stringify({ ...MINIMAL, ...part });
/** Of a form that leaves unreadable deliveries without a place. */
const withOtherQueue = (cluster: Tree) => withTop({ unparsed: "embedded:", clusters: { dev: cluster } });
const UID = "6f1c1b52-0f6a-4c2e-9b1d-1c2d3e4f5a6b";
const PLAIN: Tree = { listen: "127.0.0.1:8443" };
/** A hub that lends the queue of `dev`. */
const lending = (part: Tree, hub = PLAIN) => withTop({ hub, clusters: { dev: { ...MINIMAL.clusters.dev, hubToken: "env:T", ...part } } });

describe("a good file", () => {
  it("may let in whom an issuer knows", async () => {
    const { config } = await loaded(withJobs({ ...JOBS, keys: "file:keys.json" }));
    expect(config.webhooks["prod"]).toMatchObject({
      secret: null,
      oidc: {
        issuer: JOBS["issuer"],
        audience: "mpo-relay",
        email: null,
        subject: [JOBS["subject"]],
        keys: { kind: "file", path: join(folder, "keys.json") },
      },
    });
    const google = await loaded(withWebhook({ provider: "gar", secret: undefined, oidc: { audience: "x", email: "a@example.com" } }));
    expect(google.config.webhooks["prod"]?.oidc).toEqual({ issuer: null, audience: "x", email: "a@example.com", subject: [], keys: null });
    for (const [issuer, keys] of [
      ["http://gitlab.internal", "file:keys.json"],
      ["http://127.0.0.1:8080", null],
      ["https://x.example.com", "https://x.example.com/keys"],
    ])
      await loaded(withJobs({ ...JOBS, issuer, keys }));
    await loaded(withJobs({ ...JOBS, subject: ["repo:organisation/repository:ref:refs/heads/main", "system:serviceaccount:ci:*"] }));
  });

  it("may take a webhook's deliveries from an SQS queue", async () => {
    const { config, warnings } = await loaded(
      withQueue({
        queue: "https://sqs.eu-central-1.amazonaws.com/1/ecr",
        endpoint: "http://localhost:9324",
        sources: ["r.example.com/m"],
        host: "r.example.com",
      }),
    );
    expect(warnings).toEqual([]);
    const queue = { kind: "sqs", url: "https://sqs.eu-central-1.amazonaws.com/1/ecr", region: null, endpoint: "http://localhost:9324" };
    expect(config.webhooks["ecr"]).toMatchObject({ secret: null, insecure: false, queue });
    const named = (await loaded(withQueue({ region: "eu-central-1" }))).config.webhooks["ecr"]?.queue;
    expect(named).toEqual({ kind: "env", name: "Q", region: "eu-central-1", endpoint: null });
    expect(named && resolveSqs(named, { Q: queue.url })).toEqual({ ...queue, region: "eu-central-1", endpoint: null });
    expect(() => named && resolveSqs(named, { Q: "hub:https://hub.example.com" })).toThrow(
      "the variable Q must hold the URL of an SQS queue",
    );
  });

  it("writes out every default", async () => {
    const { config, warnings } = await loaded(`
webhooks:
  prod: { provider: harbor, secret: env:HARBOR_SECRET }
sources:
  - repo: registry.example.com/deckhouse/modules
clusters:
  dev: { queue: "embedded:" }
`);
    expect(warnings).toEqual([]);
    expect(config).toEqual({
      webhooks: {
        prod: {
          provider: "harbor",
          auth: null,
          secret: { kind: "env", name: "HARBOR_SECRET" },
          previousSecret: null,
          previousSecretUntil: null,
          username: null,
          host: null,
          sources: null,
          maxBody: null,
          insecure: false,
          oidc: null,
          queue: null,
        },
      },
      sources: [
        {
          repo: "registry.example.com/deckhouse/modules",
          name: null,
          noise: "drop",
          aliases: [],
          modules: ["*"],
          clusters: ["dev"],
          rescan: false,
          registry: null,
        },
      ],
      clusters: {
        dev: {
          queue: { kind: "embedded", folder: join(folder, "data") },
          deadLetters: null,
          kubernetes: null,
          hub: null,
          uid: null,
          events: true,
          adopt: null,
          lambda: { maximumConcurrency: 2, vpc: null },
        },
      },
      admin: null,
      hub: null,
      unparsed: { kind: "embedded", folder: join(folder, "data") },
      journal: { kind: "embedded", folder: join(folder, "data") },
      listen: { host: "0.0.0.0", port: 8080 },
      limits: { body: 1024 ** 2, unparsed: 1000 },
      tuning: { cooldownMs: 5000, looksMs: [10_000, 30_000, 90_000, 300_000, 900_000, 3_600_000], patchesPerSecond: 50, sweepMs: 300_000 },
    });
  });

  it("writes the journal where it says", async () => {
    const journal = async (text: string) =>
      (await loaded(`{ clusters: { dev: { queue: "embedded:" } }, journal: "${text}" }`)).config.journal;
    expect(await journal("embedded:../j")).toEqual({ kind: "embedded", folder: join(folder, "../j") });
    expect(await journal("dynamodb:mpo-relay.Journal_1")).toEqual({ kind: "dynamodb", table: "mpo-relay.Journal_1" });
    expect(await journal("env:JOURNAL")).toEqual({ kind: "env", name: "JOURNAL" });
  });

  it.each<[string, string, unknown]>([
    ["at the hub, where all queues are there", 'queue: "hub:https://hub.example.com", hubToken: file:t', { kind: "hub" }],
    ["nowhere, beside SQS", 'queue: "https://sqs.eu-central-1.amazonaws.com/1/dev"', null],
  ])("keeps the journal %s", async (_where, cluster, journal) => {
    expect((await loaded(`clusters: { dev: { ${cluster} } }`)).config.journal).toEqual(journal);
    expect((await loaded(`{ clusters: { dev: { ${cluster} } }, journal: off }`)).config.journal).toBeNull();
  });

  it("takes everything that can be written", async () => {
    const { config } = await loaded(`
webhooks:
  prod: { provider: generic, auth: token, host: Registry.Example.COM:443, secret: file:secrets/prod, previousSecret: env:OLD, previousSecretUntil: 2026-12-31, username: relay, sources: [test, "b.example.com:5000/x"], maxBody: 64KiB }
sources:
  - { repo: https://A.example.com:443/Modules/, name: test, noise: keep, aliases: [a.corp:8443/d8], modules: ["echo*"], clusters: [stage] }
  - { repo: b.example.com:5000/x }
clusters:
  dev: { queue: "https://sqs.eu-central-1.amazonaws.com/1/dev", deadLetters: "env:DEAD", region: eu-central-1, endpoint: "http://localhost:9324", kubernetes: { inCluster: true } }
  stage: { queue: "embedded:../q", hubToken: env:STAGE, previousHubToken: env:STAGE_OLD, previousHubTokenUntil: 2026-12-31, kubernetes: { context: stage } }
  prod: { queue: "hub:https://hub.example.com/", hubToken: file:token, hubCa: env:HUB_CA, events: false, uid: 6F1C1B52-0F6A-4C2E-9B1D-1C2D3E4F5A6B, lambda: { maximumConcurrency: 4, vpc: { securityGroupIds: [sg-0a1b2c3d], subnetIds: [subnet-1a2b3c4d5e6f70819, subnet-0c1b2c3d] } }, kubernetes: { server: "https://10.0.0.1:6443", ca: file:ca.crt, token: env:TOKEN } }
unparsed: env:UNPARSED
listen: 127.0.0.1:9000
hub: { listen: 8444, certificate: file:hub.crt, key: file:hub.key }
limits: { body: 2MiB, unparsed: 5 }
tuning: { cooldown: 500ms, looks: [1s, 1m], patchesPerSecond: 0.5, sweep: off }
`);
    expect(config.webhooks["prod"]).toMatchObject({
      auth: "token",
      host: "registry.example.com",
      secret: { kind: "file", path: join(folder, "secrets/prod") },
      previousSecretUntil: "2027-01-01T00:00:00.000Z",
      sources: ["test", "b.example.com:5000/x"],
      maxBody: 65_536,
    });
    expect(config.sources).toMatchObject([
      { repo: "a.example.com/modules", noise: "keep", aliases: ["a.corp:8443/d8"], clusters: ["stage"] },
      { repo: "b.example.com:5000/x", clusters: ["dev", "stage", "prod"] },
    ]);
    const place = { region: "eu-central-1", endpoint: "http://localhost:9324" };
    const lambda = { maximumConcurrency: 2, vpc: null };
    expect(config.clusters).toEqual({
      dev: {
        queue: { kind: "sqs", url: "https://sqs.eu-central-1.amazonaws.com/1/dev", ...place },
        deadLetters: { kind: "env", name: "DEAD", ...place },
        kubernetes: { kind: "inCluster" },
        hub: null,
        uid: null,
        events: true,
        adopt: null,
        lambda,
      },
      stage: {
        queue: { kind: "embedded", folder: join(folder, "../q") },
        deadLetters: null,
        kubernetes: { kind: "kubeconfig", kubeconfig: null, context: "stage" },
        hub: {
          token: { kind: "env", name: "STAGE" },
          previousToken: { kind: "env", name: "STAGE_OLD" },
          previousTokenUntil: "2027-01-01T00:00:00.000Z",
          ca: null,
        },
        uid: null,
        events: true,
        adopt: null,
        lambda,
      },
      prod: {
        queue: { kind: "hub", url: "https://hub.example.com" },
        deadLetters: null,
        kubernetes: {
          kind: "server",
          server: "https://10.0.0.1:6443",
          ca: { kind: "file", path: join(folder, "ca.crt") },
          token: { kind: "env", name: "TOKEN" },
        },
        hub: {
          token: { kind: "file", path: join(folder, "token") },
          previousToken: null,
          previousTokenUntil: null,
          ca: { kind: "env", name: "HUB_CA" },
        },
        events: false,
        adopt: null,
        lambda: {
          maximumConcurrency: 4,
          vpc: { securityGroupIds: ["sg-0a1b2c3d"], subnetIds: ["subnet-1a2b3c4d5e6f70819", "subnet-0c1b2c3d"] },
        },
        uid: "6f1c1b52-0f6a-4c2e-9b1d-1c2d3e4f5a6b",
      },
    });
    expect(config.hub).toEqual({
      listen: { host: "0.0.0.0", port: 8444 },
      tls: { certificate: { kind: "file", path: join(folder, "hub.crt") }, key: { kind: "file", path: join(folder, "hub.key") } },
    });
    expect(config.unparsed).toEqual({ kind: "env", name: "UNPARSED", region: null, endpoint: null });
    expect(config.listen).toEqual({ host: "127.0.0.1", port: 9000 });
    expect(config.limits).toEqual({ body: 2 * 1024 ** 2, unparsed: 5 });
    expect(config.tuning).toEqual({ cooldownMs: 500, looksMs: [1000, 60_000], patchesPerSecond: 0.5, sweepMs: 0 });
  });

  it("of a worker has neither webhooks nor sources", async () => {
    const { config } = await loaded(
      `{ "clusters": { "dev": { "queue": "env:QUEUE_URL", "kubernetes": { "inCluster": true } } } }`,
      "relay.json",
    );
    expect(config).toMatchObject({ webhooks: {}, sources: [], unparsed: null });
  });

  it.each([
    [{ kubeconfig: "kube/dev" }, { kubeconfig: { kind: "path", path: "kube/dev" }, context: null }],
    [
      { kubeconfig: "file:kube/dev", context: "dev" },
      { kubeconfig: { kind: "file", path: "kube/dev" }, context: "dev" },
    ],
    [{ kubeconfig: "env:KUBE" }, { kubeconfig: { kind: "env", name: "KUBE" }, context: null }],
  ])("reads the kubeconfig of %j", async (kubernetes, expected) => {
    const { config } = await loaded(withCluster({ kubernetes }));
    const ref = "path" in expected.kubeconfig ? { ...expected.kubeconfig, path: join(folder, "kube/dev") } : expected.kubeconfig;
    expect(config.clusters["dev"]?.kubernetes).toEqual({ kind: "kubeconfig", ...expected, kubeconfig: ref });
  });

  it.each([
    [9000, { host: "0.0.0.0", port: 9000 }],
    [":0", { host: "0.0.0.0", port: 0 }],
    ["[::1]:80", { host: "::1", port: 80 }],
    [{ host: "localhost" }, { host: "localhost", port: 8080 }],
  ])("listens on %j", async (listen, expected) => {
    expect((await loaded(withTop({ listen }))).config.listen).toEqual(expected);
  });

  it.each([
    [9000, { host: "127.0.0.1", port: 9000 }],
    [":9000", { host: "127.0.0.1", port: 9000 }],
    [{}, { host: "127.0.0.1", port: 9090 }],
    ["0.0.0.0:9090", { host: "0.0.0.0", port: 9090 }],
  ])("serves metrics to this machine alone, unless %j says more", async (admin, expected) => {
    expect((await loaded(withTop({ admin }))).config.admin).toEqual(expected);
  });

  it("narrows a webhook by a source's repo in any spelling", async () => {
    expect(await problems(withWebhook({ sources: ["https://R.example.com:443/m/"] }))).toEqual([]);
  });
});

describe("where it comes from", () => {
  it("is inline JSON in MPO_RELAY_CONFIG", async () => {
    const result = await loadConfig({ env: { MPO_RELAY_CONFIG: JSON.stringify(MINIMAL) } });
    expect(result).toMatchObject({ ok: true, file: "MPO_RELAY_CONFIG" });
  });

  it("is a path in MPO_RELAY_CONFIG, after --config", async () => {
    await load(JSON.stringify(MINIMAL), "one.json");
    await load(JSON.stringify(MINIMAL), "two.yaml");
    const env = { MPO_RELAY_CONFIG: join(folder, "one.json") };
    expect(await loadConfig({ env })).toMatchObject({ ok: true, file: join(folder, "one.json") });
    expect(await loadConfig({ env, file: join(folder, "two.yaml") })).toMatchObject({ ok: true, file: join(folder, "two.yaml") });
  });

  it("is named where it is not there, or cannot be read", async () => {
    expect(await loadConfig({ file: folder, env: {} })).toMatchObject({ ok: false, problems: [{ message: "cannot be read (EISDIR)" }] });
    const result = await loadConfig({ file: join(folder, "nowhere.yaml"), env: {} });
    expect(result).toMatchObject({
      ok: false,
      file: join(folder, "nowhere.yaml"),
      problems: [{ path: "", message: "is not there", hint: expect.stringContaining("--config FILE") }],
    });
  });
});

describe("a file that is no data", () => {
  it.each([
    ["relay.json", `{\n  "webhooks": {,\n}`, ": not valid JSON"],
    ["relay.yaml", "clusters:\n  dev: {}\n  dev: {}\n", ": not valid YAML, line 3: this key stands there twice"],
    ["relay.yaml", "clusters:\n\tdev: {}\n", ": not valid YAML, line 2: a tab cannot indent in YAML"],
    ["relay.yaml", "clusters: {}\n---\nclusters: {}\n", ": not valid YAML, line 2: a second document begins; the configuration is one"],
    ["relay.yaml", "clusters: !Ref x\n", ": not valid YAML, line 1: tags (!name) have no meaning here"],
    ["relay.yaml", "", ": expected keys with values, not nothing"],
    ["relay.yaml", "hello", ": expected keys with values, not a text"],
    ["relay.json", "[]", ": expected keys with values, not a list"],
  ])("%s %j", async (name, text, problem) => {
    expect((await problems(text, name)).join()).toContain(problem);
  });

  it("does not show the text around a mistake, which can be a secret", async () => {
    for (const [name, text] of [
      ["relay.json", `{"secret": "hunter2-hunter2" x}`],
      ["relay.yaml", `secret: "hunter2-hunter2" x`],
    ] as const) {
      const told = await problems(text, name);
      expect(told).toHaveLength(1);
      expect(told.join()).not.toContain("hunter2");
    }
  });

  it("survives aliases that grow without bound", async () => {
    const rows = Array.from({ length: 9 }, (_, i) => `a${i + 1}: &a${i + 1} [${Array(9).fill(`*a${i}`).join(", ")}]`);
    expect(await problems(`a0: &a0 [x, x]\n${rows.join("\n")}\n`)).toEqual([": not valid YAML: its aliases do not resolve"]);
  });

  it("is not confused by names of JavaScript's own", async () => {
    const text = `{"webhooks":{"__proto__":{"provider":"harbor"},"prod":{"provider":"constructor","secret":"env:S"}},"sources":[{"repo":"r.example.com/m"}],"clusters":{"dev":{"queue":"embedded:"}}}`;
    expect((await problems(text, "relay.json")).join("\n")).toContain(`webhooks.prod.provider: unknown provider "constructor"`);
  });
});

describe("each problem, with its path and a hint", () => {
  it.each<[string, string, string]>([
    // webhooks
    ["provider", withWebhook({ provider: "habor" }), 'webhooks.prod.provider: unknown provider "habor"; known: '],
    ["no provider", withTop({ webhooks: { prod: { secret: "env:S" } } }), "webhooks.prod.provider: is missing: expected a text"],
    ["unknown key", withWebhook({ secert: "env:S" }), 'webhooks.prod.secert: unknown key (did you mean "secret"?)'],
    [
      "one consumer alone",
      withCluster({ lambda: { maximumConcurrency: 1 } }),
      "clusters.dev.lambda.maximumConcurrency: Lambda allows no fewer than 2",
    ],
    [
      "a VPC without subnets",
      withCluster({ lambda: { vpc: { securityGroupIds: ["sg-0a1b2c3d"], subnetIds: [] } } }),
      "clusters.dev.lambda.vpc.subnetIds: names none",
    ],
    [
      "a security group by its name",
      withCluster({ lambda: { vpc: { securityGroupIds: ["default"], subnetIds: ["subnet-0a1b2c3d"] } } }),
      "clusters.dev.lambda.vpc.securityGroupIds[0]: not a security group's id: sg-…",
    ],
    ["unknown key, top", withTop({ cluster: {} }), 'cluster: unknown key (did you mean "clusters"?)'],
    [
      "unknown key, far",
      withTop({ tuning: { bananas: 1 } }),
      "tuning.bananas: unknown key (known: cooldown, looks, patchesPerSecond, sweep)",
    ],
    [
      "name",
      withTop({ webhooks: { "a/b": { provider: "harbor", secret: "env:S" } } }),
      'webhooks."a/b": a name has letters, digits, - _ . and at most 63 characters',
    ],
    ["auth", withWebhook({ auth: "hmac" }), "webhooks.prod.auth: harbor does not authenticate in this way (known: "],
    ["auth oidc", withWebhook({ auth: "oidc" }), "webhooks.prod.auth: harbor does not authenticate in this way"],
    ["oidc", withWebhook({ oidc: { audience: "x" } }), "webhooks.prod.oidc: this webhook authenticates by token"],
    [
      "oidc at a provider that can",
      withWebhook({ provider: "generic", oidc: JOBS }),
      "this webhook authenticates by standard-webhooks (write auth: oidc)",
    ],
    ["oidc without a block", withJobs(null), "webhooks.prod.oidc: whose tokens to take is not said"],
    [
      "oidc and a secret",
      withWebhook({ provider: "generic", auth: "oidc", oidc: JOBS }),
      "webhooks.prod.secret: tokens of an issuer need no secret",
    ],
    ["oidc and insecure", withJobs(JOBS, { insecure: true }), "webhooks.prod.insecure: tokens of an issuer need no secret"],
    ["oidc without an issuer", withJobs({ ...JOBS, issuer: null }), "webhooks.prod.oidc.issuer: is missing"],
    [
      "oidc over http",
      withJobs({ ...JOBS, issuer: "http://gitlab.example.com" }),
      "webhooks.prod.oidc.issuer: its keys would come over plain http",
    ],
    ["oidc without an audience", withJobs({ ...JOBS, audience: undefined }), "webhooks.prod.oidc.audience: is missing: expected a text"],
    ["oidc without a subject", withJobs({ ...JOBS, subject: [] }), "webhooks.prod.oidc.subject: is missing"],
    ...["*", "repo:*", "repo:organisation*", "*:modules/echo", "?:a/b:c", "project_path:?/x"].map((subject): [string, string, string] => [
      `oidc with the subject ${subject}`,
      withJobs({ ...JOBS, subject: ["project_path:modules/*", subject] }),
      "webhooks.prod.oidc.subject: lets strangers in",
    ]),
    ["oidc keys by value", withJobs({ ...JOBS, keys: '{"keys": []}' }), "webhooks.prod.oidc.keys: not a place of keys (write file:PATH"],
    ["oidc keys over http", withJobs({ ...JOBS, keys: "http://gitlab.example.com/keys" }), "webhooks.prod.oidc.keys: keys over plain http"],
    [
      "oidc, unknown key",
      withJobs({ ...JOBS, emial: "x" }),
      "webhooks.prod.oidc.emial: unknown key (known: issuer, audience, email, subject, keys)",
    ],
    [
      "gar without an e-mail",
      withWebhook({ provider: "gar", secret: undefined, oidc: { audience: "x" } }),
      "webhooks.prod.oidc.email: is missing",
    ],
    [
      "gar with an issuer",
      withWebhook({ provider: "gar", secret: undefined, oidc: { ...JOBS, email: "a@example.com" } }),
      "webhooks.prod.oidc.issuer: this provider has its own issuer",
    ],
    ["gar with a secret alone", withWebhook({ provider: "gar" }), "webhooks.prod.oidc: whose tokens to take is not said"],
    [
      "no secret",
      withTop({ webhooks: { prod: { provider: "harbor" } } }),
      "webhooks.prod.secret: a webhook needs a secret (write secret: env:NAME",
    ],
    ["secret null", withWebhook({ secret: null }), "webhooks.prod.secret: a webhook needs a secret"],
    [
      "insecure and secret",
      withWebhook({ insecure: true }),
      "webhooks.prod.insecure: there is a secret, and insecure: true says there is none",
    ],
    ["ssm", withWebhook({ secret: "ssm:a b" }), "webhooks.prod.secret: not a parameter's name (write ssm:/path/name"],
    ["env name", withWebhook({ secret: "env:a b" }), "webhooks.prod.secret: env: needs the name of a variable"],
    [
      "previous alone",
      withTop({ webhooks: { prod: { provider: "harbor", insecure: true, previousSecret: "env:S" } } }),
      "webhooks.prod.previousSecret: a previous secret without a current one",
    ],
    ["until alone", withWebhook({ previousSecretUntil: "2026-12-31" }), "webhooks.prod.previousSecretUntil: there is no previousSecret"],
    [
      "until",
      withWebhook({ previousSecret: "env:O", previousSecretUntil: "soon" }),
      "webhooks.prod.previousSecretUntil: not a date (write 2026-12-31",
    ],
    ["host", withWebhook({ host: "https://x/" }), "webhooks.prod.host: not a host"],
    [
      "webhook sources",
      withWebhook({ sources: ["tset"] }),
      "webhooks.prod.sources[0]: no source has this name or repo (known: r.example.com/m)",
    ],
    ["maxBody", withWebhook({ maxBody: "big" }), "webhooks.prod.maxBody: expected a number of bytes, or a size such as 512KiB"],
    // webhooks with a queue
    ...["embedded:", "hub:https://hub.example.com", "redis://x", "https://sqs.amazonaws.com"].map((queue): [string, string, string] => [
      `webhook queue ${queue}`,
      withQueue({ queue }),
      "webhooks.ecr.queue: not an SQS queue (deliveries come from SQS alone: write the queue's URL, or env:NAME that holds it)",
    ]),
    ["webhook queue, no text", withQueue({ queue: 5 }), "webhooks.ecr.queue: expected a text, not a number"],
    ...Object.entries({
      secret: "env:S",
      previousSecret: "env:S",
      previousSecretUntil: "2026-12-31",
      insecure: true,
      auth: "basic",
      username: "me",
      maxBody: 5,
      oidc: { audience: "x" },
    }).map(([key, value]): [string, string, string] => [
      `webhook queue and ${key}`,
      withQueue({ [key]: value }),
      `webhooks.ecr.${key}: has no meaning for deliveries from a queue (take it out: whoever may send to the queue is let in`,
    ]),
    [
      "region without a queue",
      withWebhook({ region: "x" }),
      "webhooks.prod.region: there is no queue that it could be of (take it out, or",
    ],
    [
      "endpoint without a queue",
      withJobs(JOBS, { endpoint: "https://x" }),
      "webhooks.prod.endpoint: there is no queue that it could be of",
    ],
    [
      "webhook queue of a cluster",
      withQueue({}, { clusters: { dev: { queue: "env:Q" } }, unparsed: "env:U" }),
      "webhooks.ecr.queue: the same queue as clusters.dev (a webhook's deliveries need a queue of their own)",
    ],
    [
      "webhook queue of another webhook",
      withTop({ webhooks: { a: { provider: "ecr", queue: "env:Q" }, b: { provider: "ecr", queue: "env:Q" } } }),
      "webhooks.b.queue: the same queue as webhooks.a",
    ],
    [
      "webhook queue for the unread",
      withQueue({}, { unparsed: "env:Q" }),
      "unparsed: the queue of webhooks.ecr: letters there would be taken for records",
    ],
    [
      "webhook queue for dead letters",
      withQueue({}, { clusters: { dev: { queue: "env:D", deadLetters: "env:Q" } }, unparsed: "env:U" }),
      "clusters.dev.deadLetters: the queue of webhooks.ecr: letters there would be taken for records",
    ],
    // sources
    ["no sources", withTop({ sources: [] }), "sources: there are webhooks and no source: no push could match"],
    ["repo", withSource({ repo: "modules" }), "sources[0].repo: not a repository (write host/path"],
    ["repo with tag", withSource({ repo: "r.example.com/m:tag" }), "sources[0].repo: not a repository"],
    ["alias", withSource({ aliases: ["x y"] }), "sources[0].aliases[0]: not a repository"],
    [
      "alias of itself",
      withSource({ aliases: ["https://R.example.com/m"] }),
      "sources[0].aliases[0]: the same repository as sources[0].repo",
    ],
    [
      "same repo",
      withTop({ sources: [{ repo: "r.example.com/m" }, { repo: "r.example.com:443/m/" }] }),
      "sources[1].repo: the same repository as sources[0].repo",
    ],
    [
      "same name",
      withTop({
        sources: [
          { repo: "r.example.com/a", name: "t" },
          { repo: "r.example.com/b", name: "t" },
        ],
      }),
      "sources[1].name: another source has this name",
    ],
    [
      "a rescan of a source without a name",
      withTop({ sources: [{ repo: "r.example.com/a", rescan: true }] }),
      "sources[0].name: is needed for rescan: it is the ModuleSource that is scanned (kubectl get modulesources shows the names)",
    ],
    ["a rescan that is neither on nor off", withSource({ rescan: "yes" }), "sources[0].rescan: expected true or false"],
    ["noise", withSource({ noise: "maybe" }), 'sources[0].noise: expected one of "drop"|"keep"'],
    ["source cluster", withSource({ clusters: ["de"] }), 'sources[0].clusters[0]: no cluster has this name (did you mean "dev"?)'],
    [
      "a webhook narrowed to nothing",
      withWebhook({ sources: [] }),
      "webhooks.prod.sources: names no source, so no push of this webhook could match",
    ],
    ["no modules", withSource({ modules: [] }), "sources[0].modules: names no module: leave it out to take all"],
    // clusters
    ["no clusters", withTop({ clusters: {} }), "clusters: there is no cluster"],
    ["clusters missing", withTop({ clusters: undefined }), "clusters: is missing: expected names, each with keys and values"],
    ["cluster unparsed", withTop({ clusters: { unparsed: { queue: "embedded:" } } }), "clusters.unparsed: this name is taken"],
    ["no queue", withTop({ clusters: { dev: {} } }), "clusters.dev.queue: is missing: expected a text"],
    ["queue", withCluster({ queue: "redis://x" }), "clusters.dev.queue: not a queue (write embedded:"],
    ["queue without path", withCluster({ queue: "https://sqs.amazonaws.com" }), "clusters.dev.queue: not a queue"],
    [
      "queue credential",
      withCluster({ queue: "https://user:hunter2@sqs.example.com/q" }),
      "clusters.dev.queue: a URL here holds no credential",
    ],
    ["journal", withTop({ journal: "hub:https://hub.example.com" }), "journal: not a journal"],
    ["journal's table", withTop({ journal: "dynamodb:arn:aws:dynamodb:eu-central-1:1:table/j" }), "journal: not a table's name"],
    ["journal's variable", withTop({ journal: "env:A-B" }), "journal: env: needs the name of a variable"],
    ["hub", withCluster({ queue: "hub:nowhere" }), "clusters.dev.queue: not a URL"],
    ["hub path", withCluster({ queue: "hub:https://hub.example.com/dev" }), "clusters.dev.queue: a hub's address ends with its port"],
    [
      "hub over plain http",
      withCluster({ queue: "hub:http://hub.example.com:8443", hubToken: "env:T" }),
      "clusters.dev.queue: over plain http anybody on the way reads the token (write hub:https://",
    ],
    [
      "hub without token",
      withOtherQueue({ queue: "hub:https://h" }),
      "clusters.dev.hubToken: a hub asks for a token (write hubToken: file:PATH",
    ],
    [
      "hub and two tokens",
      withOtherQueue({ queue: "hub:https://h", hubToken: "env:A", previousHubToken: "env:B" }),
      "clusters.dev.previousHubToken: whoever borrows shows one token",
    ],
    [
      "token of no hub",
      withOtherQueue({ queue: "https://sqs.example.com/q", hubToken: "env:T" }),
      "clusters.dev.hubToken: this queue is at no hub",
    ],
    ["lent without hub", withCluster({ hubToken: "env:T" }), "clusters.dev.hubToken: there is no hub that lends this queue (write hub:"],
    ["lent with a CA", lending({ hubCa: "env:CA" }), "clusters.dev.hubCa: this queue is lent from here"],
    ["previous token alone", withCluster({ previousHubToken: "env:T" }), "clusters.dev.previousHubToken: a previous secret without"],
    [
      "one token for two",
      withTop({
        hub: PLAIN,
        clusters: { dev: { queue: "embedded:", hubToken: "env:T" }, stage: { queue: "embedded:", hubToken: "env:T" } },
      }),
      "clusters.stage.hubToken: the token of clusters.dev too",
    ],
    ["hub for nobody", lending({ hubToken: null }), "hub: lends nothing (give a cluster with an embedded queue a hubToken"],
    ["hub in the open", lending({}, { listen: 8443 }), "hub.certificate: beyond loopback a hub speaks TLS alone"],
    ["hub by default", lending({}, {}), "hub.certificate: beyond loopback a hub speaks TLS alone"],
    ["hub without key", lending({}, { certificate: "env:C" }), "hub.key: certificate and key go together"],
    ["unparsed at a hub", withTop({ unparsed: "hub:https://h" }), "unparsed: a hub lends the queues of clusters alone"],
    [
      "uid",
      withCluster({ uid: "dev", kubernetes: { inCluster: true } }),
      "clusters.dev.uid: not a UID (write what this prints: kubectl get namespace",
    ],
    ["uid without kubernetes", withCluster({ uid: UID }), "clusters.dev.uid: there is no `kubernetes` whose cluster could be compared"],
    [
      "queue fifo",
      withCluster({ queue: "https://sqs.eu-west-1.amazonaws.com/1/dev.fifo" }),
      "clusters.dev.queue: a FIFO queue delays no single record, and one that waits would hold up all behind it (write the URL of a standard",
    ],
    [
      "source for no cluster",
      withTop({ sources: [{ repo: "registry.example.com/modules", clusters: [] }] }),
      "sources[0].clusters: names no cluster: leave it out to take all",
    ],
    ["queue env", withCluster({ queue: "env:" }), "clusters.dev.queue: env: needs the name of a variable"],
    [
      "same queue",
      withTop({ unparsed: "env:U", clusters: { a: { queue: "env:Q" }, b: { queue: "env:Q" } } }),
      "clusters.b.queue: the same queue as clusters.a",
    ],
    ["unparsed", withTop({ clusters: { a: { queue: "env:Q" } } }), "unparsed: deliveries that cannot be read need a place"],
    // kubernetes
    [
      "kubernetes empty",
      withCluster({ kubernetes: {} }),
      "clusters.dev.kubernetes: names no way to the API server (write inCluster: true;",
    ],
    ["kubernetes two", withCluster({ kubernetes: { inCluster: true, context: "x" } }), "clusters.dev.kubernetes: names more than one way"],
    [
      "kubernetes server over http",
      withCluster({ kubernetes: { server: "http://kube.example.com", token: "env:T" } }),
      "clusters.dev.kubernetes.server: over plain http anybody on the way reads the token (write https://…; http only for 127.0.0.1)",
    ],
    ["kubernetes server", withCluster({ kubernetes: { server: "https://x" } }), "clusters.dev.kubernetes: server and token go together"],
    [
      "inCluster false",
      withCluster({ kubernetes: { inCluster: false } }),
      "clusters.dev.kubernetes.inCluster: only true has a meaning here",
    ],
    [
      "kubeconfig ssm",
      withCluster({ kubernetes: { kubeconfig: "ssm:" } }),
      "clusters.dev.kubernetes.kubeconfig: a secret stands here only by reference",
    ],
    [
      "kubeconfig inline",
      withCluster({ kubernetes: { kubeconfig: "apiVersion: v1\nusers: []" } }),
      "clusters.dev.kubernetes.kubeconfig: a kubeconfig stands here only by reference",
    ],
    // the rest
    ["listen", withTop({ listen: "8080x" }), "listen: expected a port, host:port, or { host, port }"],
    ["admin", withTop({ admin: true }), "admin: expected a port, host:port, or { host, port }"],
    [
      "cooldown",
      withTop({ tuning: { cooldown: "5 seconds" } }),
      "tuning.cooldown: not a duration (write a number with its unit: 500ms, 5s, 5m or 1h)",
    ],
    ["cooldown number", withTop({ tuning: { cooldown: 5 } }), "tuning.cooldown: expected a text, not a number"],
    ["sweep", withTop({ tuning: { sweep: "1ms" } }), "tuning.sweep: too often"],
    ["looks", withTop({ tuning: { looks: ["30s", "10s"] } }), "tuning.looks: the looks must grow"],
    ["limits", withTop({ limits: { body: 0 } }), "limits.body: expected number to be >=1"],
  ])("%s", async (_, text, expected) => {
    const told = await problems(text, "relay.json");
    expect(told).toHaveLength(1);
    expect(told[0]).toContain(expected);
  });

  it("tells all at once, fields and rules between them", async () => {
    const told = await problems(`
webhooks:
  a: { provider: nexsus, secert: env:S }
  b: { provider: harbor, secret: hunter2-hunter2-hunter2, sources: [nope] }
sources: [{ repo: nohost, clusters: [prod] }]
clusters: { dev: { queue: wherever } }
tuning: { cooldown: 5 }
`);
    expect(told.map((line) => line.split(":")[0]).toSorted((a, b) => (a ?? "").localeCompare(b ?? ""))).toEqual([
      "clusters.dev.queue",
      "sources[0].clusters[0]",
      "sources[0].repo",
      "tuning.cooldown",
      "webhooks.a.provider",
      "webhooks.a.secert",
      "webhooks.a.secret",
      "webhooks.b.secret",
      "webhooks.b.sources[0]",
    ]);
  });

  it("never prints a secret that was written where a reference belongs", async () => {
    for (const part of [
      { secret: "hunter2-hunter2" },
      { secret: "env:hunter2-hunter2" },
      { secret: 22222222 },
      { previousSecret: "plain:hunter2" },
    ]) {
      const told = (await problems(withWebhook(part))).join("\n");
      expect(told).not.toBe("");
      expect(told).not.toMatch(/hunter2|22222222/);
    }
    expect((await problems(withCluster({ queue: "https://user:hunter2@sqs.example.com/q" }))).join()).not.toContain("hunter2");
  });
});

describe("a warning", () => {
  it.each([
    ["an open webhook", { secret: null, insecure: true }, "webhooks.prod.insecure", "anybody who reaches this webhook can nudge overrides"],
    [
      "a previous secret that is over",
      { previousSecret: "env:O", previousSecretUntil: "2026-05-30" },
      "webhooks.prod.previousSecretUntil",
      "is over",
    ],
  ])("for %s", async (_, part, path, message) => {
    const { warnings } = await loaded(withWebhook(part));
    expect(warnings).toEqual([{ path, message: expect.stringContaining(message), hint: expect.any(String) }]);
  });

  it("for overrides that are adopted while nobody looks whether their webhook is silent", async () => {
    const kubernetes = { inCluster: true };
    const adopting = async (sources: object[], more: object = {}, cluster: object = { kubernetes }) => {
      const clusters = { dev: { queue: "embedded:", adopt: "12h", ...cluster } };
      const { warnings } = await loaded(JSON.stringify({ webhooks: {}, sources, clusters, listen: "127.0.0.1:0", ...more }));
      return warnings.map(({ path, message }) => `${path}: ${message}`);
    };
    const [asked, blind] = [
      { repo: "r.example.com/a", registry: {} },
      { repo: "r.example.com/b", name: "b" },
    ];
    expect(await adopting([asked])).toEqual([]);
    expect(await adopting([asked, blind], {}, { kubernetes, adopt: undefined })).toEqual([]);
    expect(await adopting([asked, blind], {}, {})).toEqual([]); // consumed elsewhere
    expect(await adopting([asked, { ...blind, clusters: ["dev"] }])).toEqual([expect.stringMatching(/^clusters\.dev\.adopt: .*below b/)]);
    expect(await adopting([])).toEqual([expect.stringContaining("names no source")]);
    expect(await adopting([asked], { tuning: { sweep: "off" } })).toEqual([expect.stringContaining("tuning.sweep is off")]);
  });

  it("for looks that end while another push may still be held back", async () => {
    const tuned = async (tuning: object) => (await loaded(withTop({ tuning }))).warnings;
    expect(await tuned({ looks: ["10s", "9m"] })).toEqual([
      {
        path: "tuning.looks",
        message: expect.stringContaining("dead letter"),
        hint: expect.stringContaining("after 600 s"),
      },
    ]);
    expect(await tuned({ looks: ["10s", "10m"] })).toEqual([]);
    expect(await tuned({ cooldown: "4s", looks: ["10s", "9m"] })).toEqual([]);
  });

  it("for a queue that is lent and consumed, and for a token that is over", async () => {
    const rotated = { previousHubToken: "env:OLD", previousHubTokenUntil: "2026-05-01" };
    const { warnings } = await loaded(lending({ kubernetes: { inCluster: true }, ...rotated }));
    expect(warnings.map(({ path, message }) => `${path}: ${message}`)).toEqual([
      "clusters.dev.previousHubTokenUntil: is over: the previous secret no longer counts",
      "clusters.dev.kubernetes: this queue is lent, and consumed here too",
    ]);
  });
});

describe("resolveQueue", () => {
  const form = { kind: "env", name: "QUEUE_URL", region: "eu", endpoint: null } as const;

  it("reads the variable in the process that needs it", () => {
    const env = { QUEUE_URL: " https://sqs.eu.amazonaws.com/1/dev\n" };
    expect(resolveQueue(form, env)).toEqual({ kind: "sqs", url: "https://sqs.eu.amazonaws.com/1/dev", region: "eu", endpoint: null });
    expect(resolveQueue(form, { QUEUE_URL: "hub:https://hub.example.com" })).toEqual({ kind: "hub", url: "https://hub.example.com" });
    expect(resolveQueue({ kind: "embedded", folder: "/d" }, {})).toEqual({ kind: "embedded", folder: "/d" });
  });

  it("names the variable, never its value", () => {
    expect(() => resolveQueue(form, {})).toThrow("the queue's variable QUEUE_URL is not set in this process");
    expect(() => resolveQueue(form, { QUEUE_URL: "https://u:hunter2@sqs/q" })).toThrow(
      /^the variable QUEUE_URL: a URL here holds no credential; (?!.*hunter2)/,
    );
  });
});

describe("forms", () => {
  const value = <T>(read: T | Refusal) => (read instanceof Refusal ? null : read);

  it.each([
    ["5s", 5000],
    ["500ms", 500],
    ["1.5m", 90_000],
    ["1h", 3_600_000],
    ["5", null],
    ["5S", null],
    ["-5s", null],
    ["1d", null],
    ["", null],
  ])("duration %j is %j ms", (text, expected) => expect(value(readDuration(text))).toBe(expected));

  it.each([
    ["1MiB", 1_048_576],
    ["100B", 100],
    ["1kB", 1000],
    ["1GB", null],
    ["5toString", null],
  ])("size %j is %j bytes", (text, expected) => expect(value(readSize(text))).toBe(expected));

  it.each([
    ["registry.example.com/a/b", "registry.example.com/a/b"],
    ["localhost:5000/deckhouse/modules", "localhost:5000/deckhouse/modules"],
    ["localhost/x", "localhost/x"],
    ["HTTPS://Registry.Example.com:443/A/b//", "registry.example.com/a/b"],
    ["http://r.example.com:80/a", "r.example.com/a"],
    ["r.example.com", "r.example.com"],
    ["[::1]:5000/a", "[::1]:5000/a"],
    ["10.0.0.1:5000/a_b/c--d/e.f", "10.0.0.1:5000/a_b/c--d/e.f"],
    ["library/alpine", null],
    ["r.example.com//a", null],
    ["r.example.com/a:tag", null],
    ["r.example.com/a@sha256:00", null],
    ["user@r.example.com/a", null],
    ["", null],
  ])("repository %j is %j", (text, expected) => expect(value(readRepo(text))).toBe(expected));

  it.each([
    ["2026-12-31", "2027-01-01T00:00:00.000Z"],
    ["2026-12-31T12:00:00+03:00", "2026-12-31T09:00:00.000Z"],
    ["2026-13-01", null],
    ["2026", null],
    ["tomorrow", null],
  ])("until %j ends at %j", (text, expected) => expect(value(readUntil(text))).toBe(expected));
});

describe("any data at all", () => {
  const rows = ["hooks", "env:S", "embedded:", "https://q/x", "r.example.com/m", "5s", "2026-01-01", "__proto__", "constructor"];
  const anything = fc.oneof(fc.jsonValue({ maxDepth: 3 }), fc.constantFrom<fc.JsonValue>(...rows, true, 0, null, {}, []));
  const full = JSON.stringify({
    ...MINIMAL,
    webhooks: {
      prod: {
        ...MINIMAL.webhooks.prod,
        auth: "token",
        previousSecret: "env:O",
        previousSecretUntil: "2026-12-31",
        host: "h.example.com",
        sources: ["n"],
        maxBody: 5,
      },
      ecr: { provider: "ecr", queue: "https://q/y", region: "r", endpoint: "https://e" },
    },
    sources: [{ ...MINIMAL.sources[0], name: "n", aliases: ["b.example.com/x"], modules: ["*"], clusters: ["dev"] }],
    clusters: { dev: { queue: "https://q/x", kubernetes: { server: "https://s", token: "env:T" } } },
    unparsed: "env:U",
    tuning: { looks: ["1s"] },
  });
  /** Every place in the full file, as JSON.parse meets it. */
  let places = 0;
  JSON.parse(full, (_, value: unknown) => (places++, value));

  it("in any place is taken or told, and never thrown over", async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(places - 1), anything, async (place, other) => {
        let at = 0;
        const tree: unknown = JSON.parse(full, (_, value: unknown) => (at++ === place ? other : value));
        const text = JSON.stringify(tree);
        if (!text.startsWith("{")) return;
        const result = await loadConfig({ env: { MPO_RELAY_CONFIG: text }, now });
        expect(result.ok || result.problems.length > 0).toBe(true);
      }),
      { numRuns: 500 },
    );
  });
});
