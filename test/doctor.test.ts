/** `mpo-relay doctor`: each finding planted and found; of a set-up that is well, none. */
import { readdirSync, readFileSync } from "node:fs";
import { readFile, rm, writeFile } from "node:fs/promises";
import { X509Certificate } from "node:crypto";
import { join } from "node:path";
import { exportJWK, generateKeyPair } from "jose";
import { generate } from "selfsigned";
import { stringify } from "yaml";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { aheadMs } from "../src/cli/doctor/clock.ts";
import { type Check, ok } from "../src/cli/doctor/finding.ts";
import { doctorCommand } from "../src/cli/doctor/index.ts";
import { runChecks } from "../src/cli/doctor/run.ts";
import { nudgeAnnotations } from "../src/nudge.ts";
import { roomFindings } from "../src/cli/doctor/volumes.ts";
import { type Certificates, makeCertificates } from "../src/sandbox/kubernetes/certificates.ts";
import { runCommand } from "./support/cli.ts";
import { type Clinic, type Finding, MPO, openClinic, tokenOf } from "./support/doctor.ts";
import { listen } from "./support/image.ts";
import { requestOf } from "./support/relay.ts";

const DAY = 24 * 3600;
const endOf = (certificate: string) => Date.parse(new X509Certificate(certificate).validTo);
/** For so many days more than {@link other}. */
const lasting = async (days: number) =>
  (await generate([{ name: "commonName", value: "later" }], { keyType: "ec", notAfterDate: new Date(endOf(other.ca) + days * DAY * 1000) }))
    .cert;
let other: Certificates;
const KUBERNETES = "clusters.dev.kubernetes";
let clinic: Clinic;
beforeAll(async () => {
  clinic = await openClinic();
  other = await makeCertificates();
});
beforeEach(() => clinic.reset());
afterAll(() => clinic.close());

/** The API server knows no such token: beside what is planted, it refuses. */
const REFUSED = { level: "error", code: "CLUSTER_UNAUTHORIZED", where: KUBERNETES };

describe("of a set-up that is well", () => {
  it("nothing is found, each part is named, and progress goes to stderr", async () => {
    const { exitCode, wrong, findings, err } = await clinic.examine();
    expect(wrong).toEqual([]);
    expect(exitCode).toBe(0);
    const named = [
      "configuration",
      "secrets",
      "clusters.dev.queue",
      "unparsed",
      "queues",
      KUBERNETES,
      "clusters.dev",
      "sources[0].registry",
      "journal",
    ];
    expect([...new Set(findings.map(({ where }) => where))]).toEqual([...named, "webhooks.registry"]);
    expect(err).toMatch(/^looking at 10 things; each ends within 20 s\n(?: +\d+ of 10 {2}.+: ok\n?){10}$/);
  });

  it("nothing is written, at the API server and in the queue's folder", async () => {
    const files = ["queue.db", "journal.db"].map((name) => join(clinic.folder, "queue", name));
    const state = async () => [
      JSON.stringify(clinic.api.store.list(MPO)),
      ...(await Promise.all(files.map(async (file) => (await readFile(file)).toString("base64")))),
    ];
    const before = await state();
    await clinic.examine();
    expect(await state()).toEqual(before);
  });

  it("is said in words, with what is wrong at the end", async () => {
    await clinic.examine();
    clinic.api.store.patch(MPO, "echo", { spec: { scanInterval: "15s" } });
    const { out, exitCode } = await runCommand(doctorCommand, ["--config", join(clinic.folder, "examined.json")]);
    expect(exitCode).toBe(0);
    expect(out).toMatch(/^ok {7}configuration: .*examined\.json is in order\n/);
    expect(out).toMatch(
      /\n\nwarning {2}clusters\.dev: .*echo \(15s\) {2}\[POLLING\]\n {9}→ .*mpo-relay adopt --cluster dev --config .*\n\n0 errors, 1 warning$/,
    );
  });
});

it("a configuration with problems ends with 2, each problem told, also as JSON", async () => {
  const file = join(clinic.folder, "bad.yaml");
  await writeFile(file, "clusters: { dev: { queue: nonsense } }\n");
  const told = await runCommand(doctorCommand, ["--config", file]);
  expect(told).toMatchObject({ exitCode: 2, out: "" });
  expect(told.err).toContain("clusters.dev.queue: not a queue");
  const json = await runCommand(doctorCommand, ["--config", file, "--json"]);
  expect(json.exitCode).toBe(2);
  expect(JSON.parse(json.out)).toMatchObject({ ok: false, problems: [{ path: "clusters.dev.queue" }] });
});

describe("configuration and secrets", () => {
  it("warnings of the configuration are told", async () => {
    clinic.config["tuning"] = { cooldown: "5s", looks: ["1s", "2s", "3s"] };
    expect((await clinic.examine()).wrong).toMatchObject([{ level: "warning", code: "CONFIGURATION", where: "tuning.looks" }]);
  });

  it("what cannot be read, by file and by variable, and what is short", async () => {
    clinic.config.webhooks = {
      registry: { provider: "distribution", secret: "file:absent.secret" },
      second: { provider: "distribution", secret: "env:NOT_SET" },
      third: { provider: "distribution", secret: "env:SHORT" },
    };
    clinic.secrets.push("sh0rt-1");
    const { wrong } = await clinic.examine({ env: { SHORT: "sh0rt-1" } });
    expect(wrong.filter(({ code }) => code.startsWith("SECRET"))).toMatchObject([
      { level: "error", code: "SECRET_UNREADABLE", where: "webhooks.registry.secret", what: expect.stringContaining("ENOENT") },
      { level: "error", code: "SECRET_UNREADABLE", where: "webhooks.second.secret", todo: expect.stringContaining("NOT_SET") },
      { level: "warning", code: "SECRET_SHORT", where: "webhooks.third.secret", what: expect.stringContaining("7 characters") },
    ]);
  });

  it.each<[string, string, (pair: { cert: string; key: string }) => void | string, number, RegExp]>([
    ["one that ends soon", "warning", () => {}, -5 * DAY, /ends in 5 d/],
    ["one that has ended", "error", () => {}, 5 * DAY, /ended 5 d ago: no worker/],
    ["what is none", "error", (pair) => (pair.cert = "no certificate"), -100 * DAY, /is none/],
    ["one with another's key", "error", (pair) => (pair.key = other.key), -100 * DAY, /key beside .* is that of another/],
    ["one with a key that is none", "error", (pair) => (pair.key = "no key"), -100 * DAY, /key beside .* cannot be read/],
    ["one whose chain was forgotten behind it is none the worse", "ok", () => {}, -100 * DAY, /^$/],
  ])("the hub's certificate: %s", async (_what, level, spoil, afterItsEnd, what) => {
    const { cert, key } = await makeCertificates();
    const pair = { cert, key };
    spoil(pair);
    await clinic.write("hub.crt", pair.cert);
    await clinic.write("hub.key", pair.key);
    await clinic.write("hub.token", "a-hub-token-of-good-length");
    clinic.config["hub"] = { listen: "127.0.0.1:0", certificate: "file:hub.crt", key: "file:hub.key" };
    clinic.config.clusters = { dev: { queue: "embedded:./queue", hubToken: "file:hub.token" } };
    const { wrong } = await clinic.examine({ now: () => new Date(endOf(cert) + afterItsEnd * 1000) });
    expect(wrong.filter(({ where }) => where.startsWith("hub"))).toMatchObject(
      level === "ok" ? [] : [{ level, code: "HUB_CERTIFICATE", where: "hub.certificate", what: expect.stringMatching(what) }],
    );
  });

  it("authorities: of a hub and of a registry, one that has ended beside one of today is fine", async () => {
    await clinic.write("old.crt", other.ca);
    await clinic.write("none.crt", "nothing of that kind");
    await clinic.write("hub.token", "a-hub-token-of-good-length");
    clinic.config = { ...clinic.config, webhooks: {}, journal: "off" };
    clinic.config.clusters = { dev: { queue: "hub:https://localhost:1", hubToken: "file:hub.token", hubCa: "file:old.crt" } };
    Object.assign(clinic.config.sources[0] ?? {}, { registry: { ca: "file:none.crt" } });
    const certificates = async (afterItsEnd: number) =>
      (await clinic.examine({ now: () => new Date(endOf(other.ca) + afterItsEnd * 1000) })).wrong.filter(
        ({ code }) => code === "CERTIFICATE",
      );
    const none = { level: "error", where: "sources[0].registry.ca", what: expect.stringContaining("is none") };
    expect(await certificates(2 * DAY)).toMatchObject([
      { level: "error", where: "clusters.dev.hubCa", what: expect.stringContaining("ended 2 d ago") },
      none,
    ]);
    expect(await certificates(-DAY)).toMatchObject([{ level: "warning", where: "clusters.dev.hubCa" }, none]);
    await clinic.write("old.crt", `${other.ca}\n${await lasting(30)}`);
    expect(await certificates(2 * DAY)).toMatchObject([none]);
  });
});

describe("the keys of a webhook's issuer", () => {
  const webhook = (keys: string) => {
    const oidc = { issuer: "https://gitlab.example.com", audience: "mpo-relay", subject: ["project_path:modules/*"], keys };
    clinic.config.webhooks = { registry: clinic.config.webhooks["registry"] ?? {}, ci: { provider: "generic", auth: "oidc", oidc } };
  };
  const found = async () => {
    const { wrong, findings } = await clinic.examine();
    expect(wrong.filter(({ where }) => where !== "webhooks.ci.oidc").map(({ code }) => code)).toEqual(["WEBHOOK_NEVER_CALLED"]);
    return findings.filter(({ where }) => where === "webhooks.ci.oidc");
  };
  const keySet = async (alg: string) => {
    const { publicKey } = await generateKeyPair(alg, { extractable: true });
    return JSON.stringify({ keys: [{ ...(await exportJWK(publicKey)), kid: "one", use: "sig", alg }] });
  };

  it("in a file: read, of a kind that is not taken, and what is no key set, of which nothing is quoted", async () => {
    await clinic.write("keys.json", await keySet("RS256"));
    webhook("file:keys.json");
    expect(await found()).toMatchObject([{ level: "ok", what: expect.stringMatching(/^1 key of its issuer in file:/) }]);
    await clinic.write("keys.json", await keySet("ES256"));
    const unavailable = { level: "error", code: "KEYS_UNAVAILABLE" };
    expect(await found()).toMatchObject([{ ...unavailable, what: expect.stringContaining("holds 1 key, and none") }]);
    clinic.secrets.push("not-for-anybody");
    await clinic.write("keys.json", "not-for-anybody: else");
    expect(await found()).toMatchObject([{ ...unavailable, what: expect.stringContaining("no key set") }]);
  });

  it("at an address: there, gone, and nobody answers", async () => {
    const keys = await keySet("RS256");
    let status = 200;
    const host = await listen((_request, response) => void response.writeHead(status, { "content-type": "application/json" }).end(keys));
    webhook(`http://${host}/keys`);
    expect(await found()).toMatchObject([{ level: "ok" }]);
    status = 404;
    expect(await found()).toMatchObject([{ code: "KEYS_UNAVAILABLE", todo: expect.stringContaining("give the keys as a file") }]);
    webhook("http://127.0.0.1:2/keys");
    expect(await found()).toMatchObject([{ code: "KEYS_UNAVAILABLE", what: expect.stringContaining("ECONNREFUSED") }]);
  });
});

it("/metrics that lies open is told, and not where it is loopback, or in a pod", async () => {
  clinic.config["admin"] = { host: "0.0.0.0", port: 9090 };
  expect((await clinic.examine()).wrong).toMatchObject([
    { level: "warning", code: "ADMIN_OPEN", where: "admin", todo: expect.stringContaining("`admin: 9090`") },
  ]);
  expect((await clinic.examine({ env: { KUBERNETES_SERVICE_HOST: "10.0.0.1" } })).wrong).toEqual([]);
  clinic.config["admin"] = 9090;
  expect((await clinic.examine()).wrong).toEqual([]);
});

it("what the running relay did not take, by its own counts", async () => {
  const series = (webhook: string, decision: string, reason: string, count: number) =>
    `mpo_relay_deliveries_total{webhook="${webhook}",decision="${decision}",reason="${reason}"} ${count}`;
  let lines: string[] = [];
  const host = await listen((_request, response) => void response.end(["# HELP", ...lines, ""].join("\n")));
  clinic.config["admin"] = Number(host.split(":")[1]);
  const found = async (...now: string[]) => {
    lines = now;
    return (await clinic.examine()).wrong.map(({ level, code, where }) => `${level} ${code} ${where}`);
  };
  const [refused, taken] = [
    series("registry", "refused", "AUTH_FAILED", 3),
    (count: number) => series("registry", "queued", "QUEUED", count),
  ];
  expect(await found(series("registry", "refused", "AUTH_FAILED", 0), taken(1))).toEqual([]);
  expect(await found(refused, taken(0))).toEqual(["error DELIVERIES_REFUSED webhooks.registry"]);
  expect(await found(refused, taken(1))).toEqual(["warning DELIVERIES_REFUSED webhooks.registry"]);
  const others = [series("other", "refused", "UNKNOWN_WEBHOOK", 1), series("registry", "skipped", "UNKNOWN_HOST", 1)];
  expect(await found(...others)).toEqual(["warning UNKNOWN_HOST webhooks.registry", "warning DELIVERIES_REFUSED webhooks"]);
  const [lost, zero] = [series("(other)", "refused", "UNKNOWN_WEBHOOK", 2), series("registry", "refused", "AUTH_FAILED", 0)];
  expect(await found(lost, zero)).toEqual(["error DELIVERIES_REFUSED webhooks"]);
  expect(await found(lost, zero, taken(1))).toEqual(["warning DELIVERIES_REFUSED webhooks"]);
  const foreign = series("registry", "skipped", "OTHER_REPOSITORY", 4);
  expect(await found(foreign, taken(0))).toEqual(["warning OTHER_REPOSITORY webhooks.registry"]);
  expect(await found(foreign, taken(1))).toEqual([]); // of a registry that tells of all its repositories
  expect((await clinic.examine()).findings).toContainEqual(
    expect.objectContaining({
      level: "ok",
      where: "webhooks.registry",
      what: expect.stringMatching(/^since the relay started 4 pushes lay below no source, 1 did/),
    }),
  );
  clinic.config["admin"] = 2; // nobody
  expect(await found(refused)).toEqual([]);
});

it.each<[string, number, number, string]>([
  ["half of a small one", 0.5, 1, "ok"],
  ["a twentieth of a small one", 0.5, 10, "warning"],
  ["a twentieth of a large one, which is plenty", 50, 1000, "ok"],
  ["less than 100 MiB", 0.09, 0.2, "warning"],
  ["next to nothing", 0.005, 1, "error"],
  ["nothing of nothing", 0, 0, "error"],
])("a queue's volume: %s", (_what, free, size, level) => {
  const GIB = 1024 ** 3;
  const [finding] = roomFindings("clusters.dev.queue", "/data", { free: free * GIB, size: size * GIB });
  expect(finding).toMatchObject({ level, code: level === "ok" ? "OK" : "VOLUME_FULL", where: "clusters.dev.queue" });
});

describe("a cluster", () => {
  it.each<[string, () => unknown, string]>([
    ["that is away", () => clinic.api.stop(), "CLUSTER_UNREACHABLE"],
    ["that hangs", () => clinic.api.faults.next(Infinity, "hang"), "CLUSTER_UNREACHABLE"],
    ["that refuses our token", () => clinic.write("token", "another-token"), "CLUSTER_UNAUTHORIZED"],
    ["that answers 503", () => clinic.api.faults.next(Infinity, "503"), "CLUSTER_ERROR"],
    ["behind a proxy that wants a login", () => clinic.api.faults.next(Infinity, "html"), "CLUSTER_ERROR"],
    ["without the resource", () => clinic.api.setServed([]), "API_VERSION_GONE"],
    ["that is another one", () => clinic.api.setUid("00000000-0000-4000-8000-000000000000"), "OTHER_CLUSTER"],
  ])("%s is told once, and everything else is looked at all the same", async (_what, plant, code) => {
    await plant();
    const { wrong, findings, exitCode } = await clinic.examine();
    expect(exitCode).toBe(1);
    expect(wrong.filter((each) => each.code !== "TOKEN_LONG")).toMatchObject([{ level: "error", code }]);
    expect(findings.filter(({ level }) => level === "ok").map(({ where }) => where)).toEqual(
      expect.arrayContaining(["secrets", "clusters.dev.queue", "sources[0].registry", "journal"]),
    );
  });

  it("whose token cannot be read is told by the secret alone", async () => {
    await rm(join(clinic.folder, "token"));
    const { wrong } = await clinic.examine();
    expect(wrong).toMatchObject([{ code: "SECRET_UNREADABLE", where: `${KUBERNETES}.token` }]);
  });

  it("whose kubeconfig has no such context", async () => {
    await clinic.write("kubeconfig", clinic.api.kubeconfig());
    clinic.config.clusters = { dev: { queue: "embedded:./queue", kubernetes: { kubeconfig: "kubeconfig", context: "absent" } } };
    const { wrong } = await clinic.examine();
    expect(wrong).toMatchObject([{ code: "CLUSTER_UNAUTHORIZED", what: expect.stringContaining('no context "absent"') }]);
  });

  it.each<[string, number, boolean, string[]]>([
    [
      "that ends soon",
      -5 * DAY,
      true,
      ["warning its client certificate ends in 5 d", "warning the authority (CA) of its API server ends in 5 d"],
    ],
    [
      "that has ended",
      2 * DAY,
      true,
      ["error its client certificate ended 2 d ago", "error the authority (CA) of its API server ended 2 d ago"],
    ],
    ["with another's key", -100 * DAY, false, ["error the key beside its client certificate is that of another one"]],
  ])("a client certificate %s, and the authority beside it", async (_what, afterItsEnd, isOwnKey, expected) => {
    const base64 = (text: string) => Buffer.from(text).toString("base64");
    const { ca, cert, key } = await makeCertificates();
    const kubeconfig = {
      "current-context": "dev",
      clusters: [{ name: "dev", cluster: { server: clinic.api.url, "certificate-authority-data": base64(ca) } }],
      users: [{ name: "dev", user: { "client-certificate-data": base64(cert), "client-key-data": base64(isOwnKey ? key : other.key) } }],
      contexts: [{ name: "dev", context: { cluster: "dev", user: "dev" } }],
    };
    await clinic.write("kubeconfig", stringify(kubeconfig));
    clinic.config.clusters = { dev: { queue: "embedded:./queue", kubernetes: { kubeconfig: "kubeconfig" } } };
    const { wrong } = await clinic.examine({ now: () => new Date(endOf(cert) + afterItsEnd * 1000) });
    const certificates = wrong.filter(({ code, where }) => code === "CERTIFICATE" && where === KUBERNETES);
    expect(certificates.map(({ level, what }) => `${level} ${what.split(":")[0]}`).toSorted()).toEqual(expected);
  });

  it.each<[string, { beganAgo?: number; endsIn: number | null }, object[]]>([
    ["of a month", { endsIn: 30 * DAY }, [{ level: "warning", code: "TOKEN_LONG", what: expect.stringContaining("lives for 30 d") }]],
    ["that has ended", { beganAgo: DAY, endsIn: -60 }, [{ level: "error", code: "TOKEN_ENDED" }]],
    ["that ends soon", { beganAgo: 0.9 * DAY, endsIn: 0.1 * DAY }, [{ level: "warning", code: "TOKEN_ENDS" }]],
    [
      "without an end",
      { endsIn: null },
      [{ level: "warning", code: "TOKEN_LONG", what: expect.stringContaining("does not say when it ends") }],
    ],
    ["of a day, rounded up", { endsIn: DAY + 7 }, []],
  ])("a token %s", async (_what, life, expected) => {
    const token = await tokenOf(life);
    clinic.secrets.push(token);
    await clinic.write("token", token);
    expect((await clinic.examine()).wrong).toMatchObject([REFUSED, ...expected]);
  });

  it.each<[number, string]>([
    [-60, "warning"],
    [60, "warning"],
    [-3600, "error"],
  ])("a clock %i s from ours, its and the registry's", async (seconds, level) => {
    const { wrong } = await clinic.examine({ now: () => new Date(Date.now() + seconds * 1000) });
    const side = seconds < 0 ? "ahead of" : "behind";
    expect(wrong).toMatchObject([
      { level, code: "CLOCK_SKEW", where: KUBERNETES, what: expect.stringContaining(side) },
      { level, code: "CLOCK_SKEW", where: "sources[0].registry", what: expect.stringContaining(side) },
    ]);
  });
});

describe("rights", () => {
  const granted = async (...verbs: ("get" | "list" | "patch")[]) => {
    const token = clinic.api.grant("relay", verbs);
    clinic.secrets.push(token);
    await clinic.write("token", token);
  };
  const missing = (findings: readonly Finding[]) =>
    findings.flatMap(({ code, level, what }) =>
      code === "RIGHT_MISSING" ? [`${level} ${what.replace(/^the relay may not (.*?):.*/, "$1")}`] : [],
    );

  it("that are missing are named, by what they are needed for", async () => {
    await granted("get", "list");
    const first = (await clinic.examine()).wrong;
    expect(missing(first)).toEqual([`error patch ${MPO}.deckhouse.io`, "warning create events in the namespace default"]);
    for (const { todo } of first.filter(({ code }) => code === "RIGHT_MISSING"))
      expect(todo).toMatch(/^kubectl apply -k infra\/cluster\/base; of the Deckhouse module .*kubectl get module mpo-relay/);
    await granted("get", "patch");
    const { wrong, exitCode } = await clinic.examine();
    expect(missing(wrong)).toEqual([`warning list ${MPO}.deckhouse.io`]);
    expect(exitCode).toBe(0);
  });

  it("of a rescan are asked for where a source wants it, and Events not where nobody does", async () => {
    await granted();
    Object.assign(clinic.config.sources[0] ?? {}, { rescan: true });
    Object.assign(clinic.config.clusters["dev"] ?? {}, { events: false });
    expect(missing((await clinic.examine()).wrong)).toEqual([
      `error get ${MPO}.deckhouse.io`,
      `error patch ${MPO}.deckhouse.io`,
      `warning list ${MPO}.deckhouse.io`,
      "warning get modules.deckhouse.io",
      "error get modulesources.deckhouse.io test",
      "error patch modulesources.deckhouse.io test",
      "warning list modulereleases.deckhouse.io",
    ]);
  });

  it("that may not even be asked for", async () => {
    clinic.api.faults.next(Infinity, "403-rbac", { method: "POST" });
    expect((await clinic.examine()).wrong).toMatchObject([{ level: "warning", code: "RIGHTS_UNKNOWN", where: KUBERNETES }]);
  });
});

describe("overrides", () => {
  const create = (name: string, spec: object) =>
    clinic.api.store.create(MPO, { metadata: { name }, spec: { scanInterval: "24h", ...spec } });

  it("that no source of the configuration serves, each with why", async () => {
    Object.assign(clinic.config.sources[0] ?? {}, { modules: ["e*", "werf"] });
    create("elsewhere", { imageTag: "main" });
    clinic.api.store.create("modules", { metadata: { name: "elsewhere" }, properties: { source: "other" } }); // and no phase
    create("left-out", { imageTag: "main" });
    create("werf", { imageTag: `${"a".repeat(56)}-1700000000000` });
    const { wrong, findings } = await clinic.examine();
    expect(wrong.every(({ level, code }) => level === "warning" && code === "OVERRIDE_UNSERVED")).toBe(true);
    expect(wrong.map(({ what }) => what).toSorted()).toEqual([
      "no push renews elsewhere:main: the ModuleSource other is none of `sources`",
      "no push renews left-out:main: no source of the configuration takes this module for this cluster",
      expect.stringMatching(/^no push renews werf:a+-\d+: a tag of this form is werf's own/),
    ]);
    expect(findings).toContainEqual(ok("clusters.dev", "1 of 4 overrides served by a source of the configuration"));
  });

  it("of which nobody says where they come from are not called served", async () => {
    clinic.api.store.delete("modules", "echo");
    const served = async () => {
      const { wrong, findings } = await clinic.examine();
      return [wrong.map(({ level, code }) => `${level} ${code}`).join(), findings.find(({ where }) => where === "clusters.dev")?.what];
    };
    const unsure = [
      "warning OVERRIDE_UNSURE",
      expect.stringMatching(/^0 of 1 override served .*; whether echo comes from one of them nobody says/),
    ];
    expect(await served()).toEqual(unsure);
    Object.assign(clinic.config.sources[0] ?? {}, { name: undefined });
    expect(await served()).toEqual(unsure);
    clinic.api.setServed(["v1alpha1"]);
    clinic.api.store.delete(MPO, "echo");
    create("echo", { imageTag: "main", source: "test" });
    Object.assign(clinic.config.sources[0] ?? {}, { name: "test" });
    expect(await served()).toEqual(["", "1 of 1 override served by a source of the configuration"]);
    clinic.api.setServed(["v1alpha1", "v1alpha2"]);
    clinic.api.store.create("modules", { metadata: { name: "echo" }, properties: { source: "test" } });
    create("second", { imageTag: "main" }); // of one among others it is no trouble
    expect(await served()).toEqual(["", expect.stringMatching(/^1 of 2 overrides served .*; whether second comes/)]);
  });

  it("one of which cannot be read: it is named, and the others are looked at", async () => {
    create("tagless", { imageTag: "main" });
    clinic.api.store.spoil(MPO, "tagless", { imageTag: null });
    create("polled", { imageTag: "main", scanInterval: "15s" });
    clinic.api.store.create("modules", { metadata: { name: "polled" }, properties: { source: "test" } });
    clinic.api.store.patchStatus("modules", "polled", { phase: "Ready" });
    expect((await clinic.examine()).wrong).toMatchObject([
      {
        level: "error",
        code: "OVERRIDE_UNREADABLE",
        what: expect.stringMatching(/tagless .*: spec\.imageTag/),
        todo: expect.stringContaining("kubectl edit mpo tagless"),
      },
      { code: "POLLING", what: expect.stringContaining("polled (15s)") },
    ]);
  });

  it("that the relay adopted, and no source serves any more: by the Module's word, by the newest nudge, and not what is paused", async () => {
    const adopted = (paused: string | null) => ({ "mpo-relay/scan-interval": JSON.stringify({ was: "15s", set: "12h", paused }) });
    const make = (name: string, source: string, annotations: Record<string, string | null>) => {
      clinic.api.store.create(MPO, { metadata: { name }, spec: { imageTag: "main", scanInterval: "12h" } });
      clinic.api.store.patch(MPO, name, { metadata: { annotations } });
      clinic.api.store.create("modules", { metadata: { name }, properties: { source } });
      clinic.api.store.patchStatus("modules", name, { phase: "Ready" });
    };
    make("a", "gone", adopted(null));
    make("b", "test", { ...adopted(null), ...nudgeAnnotations(requestOf({ source: "gone" }), 0, null, new Date()) });
    make("c", "gone", adopted("2026-01-02T03:04:05.000Z"));
    make("d", "test", adopted(null));
    const { wrong } = await clinic.examine();
    expect(wrong.filter(({ code }) => code !== "OVERRIDE_UNSERVED")).toMatchObject([
      {
        level: "error",
        code: "ADOPTED_UNSERVED",
        what: expect.stringContaining("of a (12h), b (12h), and no source"),
        todo: expect.stringMatching(/^mpo-relay restore a b --cluster dev --config /),
      },
    ]);
  });

  it("are not judged by a worker's file, which names no sources", async () => {
    clinic.config = { ...clinic.config, sources: [], webhooks: {} };
    const { wrong, findings } = await clinic.examine();
    expect(wrong).toEqual([]);
    expect(findings).toContainEqual(expect.objectContaining({ where: "clusters.dev", what: expect.stringContaining("names no sources") }));
  });

  it("that Deckhouse polls, and that it never looks at", async () => {
    for (let n = 10; n < 22; n++) create(`m${n}`, { imageTag: "main", scanInterval: "15s" });
    create("never", { imageTag: "main", scanInterval: "0s" });
    expect((await clinic.examine()).wrong).toMatchObject([
      { level: "warning", code: "POLLING", what: expect.stringMatching(/m10 \(15s\), .* and 2 more$/) },
      { level: "warning", code: "POLLING_OFF", what: expect.stringContaining("never (0s)") },
    ]);
  });

  it("whose webhook is silent", async () => {
    const digest = clinic.registry.resolve("deckhouse/modules/echo", "main");
    const request = requestOf({ webhook: "(sweep)", digest, receivedAt: new Date(Date.now() - 3_600_000).toISOString() });
    const annotations = nudgeAnnotations(request, 0, null, new Date(Date.now() - 3_500_000));
    clinic.api.store.patch(MPO, "echo", { metadata: { annotations } });
    expect((await clinic.examine()).wrong).toMatchObject([{ level: "error", code: "WEBHOOK_SILENT", where: "sources test" }]);
  });
});

describe("registries", () => {
  const password = "pass-word-of-the-robot";
  const at = async (status: number, headers: Record<string, string> = {}) => {
    const host = await listen((_request, response) => void response.writeHead(status, headers).end());
    const registry = { plainHttp: true, username: "robot", password: "file:password" };
    clinic.config.sources = [{ repo: `${host}/deckhouse/modules`, name: "test", registry }];
    clinic.secrets.push(password, Buffer.from(`robot:${password}`).toString("base64"));
    await clinic.write("password", password);
  };

  it.each<[string, number, string, string]>([
    ["refuses the password", 401, "REGISTRY_REFUSED", "compare user and password"],
    ["lets us not pull", 403, "REGISTRY_REFUSED", "may pull"],
    ["is broken", 503, "REGISTRY_UNAVAILABLE", "look at the registry"],
    ["is busy", 429, "REGISTRY_UNAVAILABLE", "wait a while"],
  ])("one that %s", async (_what, status, code, todo) => {
    await at(status, { "www-authenticate": 'Basic realm="test"' });
    const { wrong } = await clinic.examine();
    const what = expect.stringContaining(String(status));
    expect(wrong).toMatchObject([{ level: "error", code, where: "sources[0].registry", what, todo: expect.stringContaining(todo) }]);
  });

  it("one that is away, and one that nobody can be asked at", async () => {
    Object.assign(clinic.config.sources[0] ?? {}, { repo: "localhost:1/deckhouse/modules" });
    clinic.config.sources.push({ repo: "registry.example.com/other", name: "other" });
    expect((await clinic.examine()).wrong).toMatchObject([
      { level: "error", code: "REGISTRY_UNAVAILABLE", where: "sources[0].registry" },
      { level: "warning", code: "NOT_SWEPT", where: "sources[1]" },
    ]);
  });

  it("one that does not hold what overrides follow: is it the right repo?", async () => {
    Object.assign(clinic.config.sources[0] ?? {}, { repo: `localhost:${clinic.registry.port}/deckhouse/module` });
    expect((await clinic.examine()).wrong).toMatchObject([
      {
        level: "warning",
        code: "IMAGE_MISSING",
        where: "sources[0].registry",
        what: expect.stringContaining("there is no echo:main"),
        todo: expect.stringContaining("kubectl get modulesource test"),
      },
    ]);
  });

  it("an empty one is no finding: it let us in", async () => {
    clinic.api.store.delete(MPO, "echo");
    Object.assign(clinic.config.sources[0] ?? {}, { repo: `localhost:${clinic.registry.port}/nothing/yet` });
    expect((await clinic.examine()).wrong).toEqual([]);
  });
});

describe("the journal", () => {
  it("has heard of each webhook, or not", async () => {
    clinic.config.webhooks["silent"] = { provider: "distribution", secret: "file:webhook.secret" };
    expect((await clinic.examine()).wrong).toMatchObject([
      { level: "warning", code: "WEBHOOK_NEVER_CALLED", where: "webhooks.silent", todo: expect.stringContaining("mpo-relay send silent") },
    ]);
  });

  it("that cannot be read", async () => {
    await clinic.write("journal.db", "this is no database, whatever its name says; ".repeat(100));
    clinic.config["journal"] = "embedded:.";
    expect((await clinic.examine()).wrong).toMatchObject([{ level: "warning", code: "JOURNAL_UNAVAILABLE", where: "journal" }]);
  });

  it("whose table's variable is not set, and one that is switched off", async () => {
    clinic.config["journal"] = "env:MPO_RELAY_JOURNAL";
    expect((await clinic.examine()).wrong).toMatchObject([
      { level: "error", code: "VARIABLE_UNSET", where: "journal", todo: expect.stringContaining("MPO_RELAY_JOURNAL") },
    ]);
    clinic.config["journal"] = "off";
    expect((await clinic.examine()).wrong).toEqual([]);
  });
});

describe("checks", () => {
  const well: Check = { name: "well", run: async () => [ok("here", "is well")] };
  it("that hang or fail keep none of the others from running", async () => {
    const told: string[] = [];
    const hanging: Check = { name: "hanging", run: () => new Promise(() => {}) };
    const failing: Check = {
      name: "failing",
      run: async () => {
        throw new Error("boom\n\u001b[31m");
      },
    };
    const findings = await runChecks([hanging, failing, well], {
      limitMs: 20,
      progress: ({ name }, _findings, done) => void told.push(`${done} ${name}`),
    });
    expect(findings).toMatchObject([
      { level: "error", code: "CHECK_TIMED_OUT", where: "hanging" },
      { level: "error", code: "CHECK_FAILED", where: "failing", what: "boom [31m" },
      ok("here", "is well"),
    ]);
    expect(told.at(-1)).toBe("3 hanging");
    expect(told.toSorted().map((each) => each.split(" ")[0])).toEqual(["1", "2", "3"]);
  });
});

it.each<[string, string | null, number, number, number]>([
  ["the same second", "Mon, 30 Nov 2026 12:00:00 GMT", 200, 300, 0],
  ["the end of its second", "Mon, 30 Nov 2026 12:00:00 GMT", 999, 999, 0],
  ["ahead", "Mon, 30 Nov 2026 12:00:10 GMT", 0, 500, 9500],
  ["behind", "Mon, 30 Nov 2026 12:00:00 GMT", 11_000, 12_000, -10_000],
  ["an answer that took long", "Mon, 30 Nov 2026 12:00:05 GMT", 0, 8000, 0],
  ["no date", null, 0, 0, 0],
  ["no date that can be read", "yesterday", 0, 0, 0],
])("clocks: %s", (_what, date, sent, answered, expected) => {
  const start = Date.parse("2026-11-30T12:00:00Z");
  expect(aheadMs({ date, sentAt: start + sent, answeredAt: start + answered })).toBe(expected);
});

it("each code that it can give has its row in infra/doctor.md, and no row is left of one that went", () => {
  const folder = join(import.meta.dirname, "../src/cli/doctor");
  const text = readdirSync(folder)
    .map((name) => readFileSync(join(folder, name), "utf8"))
    .join("\n");
  const given = new Set(
    [...text.matchAll(/\b(?:(?:failure|warning)\(|code:)\s*(?:[\w.]+ \? )?"([A-Z_]+)"(?: : "([A-Z_]+)")?/g)].flatMap(([, a, b]) => [a, b]),
  );
  const passedOn = ["QUEUE_REFUSED", "CLUSTER_UNREACHABLE", "CLUSTER_ERROR", "CLUSTER_BUSY", "FORBIDDEN"]; // as an adapter threw them
  const page = readFileSync(join(import.meta.dirname, "../infra/doctor.md"), "utf8");
  const rows = [...page.matchAll(/^\| (`[A-Z_]+`.*?) \|/gm)].flatMap(([, cell = ""]) =>
    [...cell.matchAll(/`([A-Z_]+)`/g)].map(([, code]) => code),
  );
  const wanted = [...given, ...passedOn].flatMap((code) => (code === undefined || code === "OK" ? [] : code));
  expect(rows).toHaveLength(new Set(rows).size);
  expect(new Set(rows)).toEqual(new Set(wanted));
});
