/**
 * infra/module as Deckhouse takes it: settings checked and completed by the OpenAPI schema, templates rendered by helm, and what comes of it given
 * to the real API server. Deckhouse itself and its linter are not here: the API server reads the schema as one of a resource of its own.
 */
import { type KubernetesObject, KubernetesObjectApi, loadYaml } from "@kubernetes/client-node";
import { cp, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parse, stringify } from "yaml";
import * as z from "zod";
import { run, temporaryFolder } from "./parts/child.ts";
import { applyMonitoringCrds, crds, rescanRights, rights } from "./parts/crds.ts";
import { type Helm, type Manifest, objectsIn, openHelm } from "./parts/helm.ts";
import { type KubeApiserver, startKubeApiserver } from "./parts/kube-apiserver.ts";
import { conform } from "./parts/kubeconform.ts";
import { type Kubectl, openKubectl } from "./parts/kubectl.ts";

const ROOT = join(import.meta.dirname, "../..");
const MODULE = join(ROOT, "infra/module");
const CLI = join(ROOT, "dist/cli.js");
const DIGEST = `sha256:${"a".repeat(64)}`;
const REPO = "registry.example.com/deckhouse/modules";
/** What kubeconform knows not: the kinds of the cluster's monitoring. */
const MONITORING = [
  "PodMonitor",
  "PrometheusRule",
  "ClusterObservabilityMetricsRulesGroup",
  "GrafanaDashboardDefinition",
  "ClusterObservabilityDashboard",
];
const STRICT = "--validate=strict";

const SERVE = {
  mode: "Serve",
  webhooks: { registry: { provider: "harbor", secretKey: "registry.secret" } },
  sources: [{ repo: REPO, name: "my-modules" }],
};
const AT_HUB = {
  mode: "Worker",
  cluster: "stage",
  queue: { url: "hub:https://relay.example.com:8443", tokenKey: "hub.token", caKey: "ca.crt" },
};
const ON_SQS = {
  mode: "Worker",
  cluster: "stage",
  replicas: 2,
  journal: "dynamodb:mpo-relay-journal",
  queue: {
    url: "https://sqs.eu-central-1.amazonaws.com/123456789012/mpo-relay-stage",
    deadLetters: "https://sqs.eu-central-1.amazonaws.com/123456789012/mpo-relay-stage-dead",
    region: "eu-central-1",
    endpoint: "https://sqs.example.com",
    awsCredentialsKey: "aws-credentials",
  },
};
const ALL = {
  ...SERVE,
  cluster: "prod",
  secretName: "relay-secrets",
  webhooks: {
    registry: {
      provider: "harbor",
      secretKey: "registry.secret",
      previousSecretKey: "old.secret",
      previousSecretUntil: "2099-01-31",
      sources: ["my-modules"],
      maxBody: "512KiB",
    },
    nexus: { provider: "nexus", secretKey: "nexus.secret", host: "nexus.example.com" },
    "acr.1": { provider: "acr", auth: "token", secretKey: "acr.secret" },
    pipelines: {
      provider: "generic",
      auth: "oidc",
      oidc: {
        issuer: "https://gitlab.example.com",
        audience: "mpo-relay",
        subject: ["project_path:modules/*:*"],
        keys: "https://keys.example.com",
      },
    },
    ecr: {
      provider: "ecr",
      queue: "https://sqs.eu-central-1.amazonaws.com/123456789012/ecr",
      region: "eu-central-1",
      endpoint: "https://sqs.example.com",
    },
  },
  sources: [
    {
      repo: REPO,
      name: "my-modules",
      aliases: ["mirror.example.com/modules"],
      noise: "keep",
      modules: ["echo*"],
      clusters: ["prod"],
      rescan: true,
      registry: { username: "robot", passwordKey: "robot.password", caKey: "registry-ca.crt" },
    },
    { repo: "other.example.com/modules", registry: { dockerConfigKey: "config.json", plainHttp: true } },
    { repo: "third.example.com/modules", name: "third", rescan: true, registry: {} },
  ],
  hub: {
    certificateKey: "hub.crt",
    privateKeyKey: "hub.key",
    serviceType: "LoadBalancer",
    clusters: { stage: { tokenKey: "stage.token", previousTokenKey: "stage-old.token", previousTokenUntil: "2099-01-31" } },
  },
  events: false,
  adopt: "12h",
  uid: "01234567-89ab-cdef-0123-456789abcdef",
  journal: "off",
  tuning: { cooldown: "5s", looks: ["10s", "30s", "90s", "5m", "15m", "1h"], patchesPerSecond: 20, sweep: "10m" },
  limits: { body: "2MiB", unparsed: 500 },
  host: "relay.example.com",
  ingressClass: "internal",
  https: { mode: "CustomCertificate", customCertificate: { secretName: "relay-tls" } },
  storage: { storageClass: "local", size: "4Gi" },
  nodeSelector: { "node-role.deckhouse.io/system": "" },
  tolerations: [{ key: "dedicated.deckhouse.io", operator: "Equal", value: "system", effect: "NoExecute", tolerationSeconds: 60 }],
};
const SETS = { SERVE, AT_HUB, ON_SQS, ALL };

let kube: KubeApiserver;
let kubectl: Kubectl;
let helm: Helm;
let folder: string;
const stops: (() => Promise<void>)[] = [];

beforeAll(async () => {
  const made = await temporaryFolder("module");
  folder = made.path;
  stops.push(made.remove);
  kube = await startKubeApiserver();
  stops.push(() => kube.stop());
  const opened = await openKubectl(kube);
  kubectl = opened.kubectl;
  stops.push(opened.close);
  helm = await openHelm();
  await kube.apply([...(await crds("v1alpha2")), await settingsCrd()]);
  await kube.served("module.example.com", "v1", "settings");
  await applyMonitoringCrds(kube);
}, 120_000);
afterAll(async () => {
  for (const stop of stops.toReversed()) await stop();
});

/** The module's schema as the API server takes one, which is stricter than Deckhouse: structural, and with no words of others. */
async function settingsCrd(): Promise<KubernetesObject> {
  const schema: unknown = parse(await readFile(join(MODULE, "openapi/config-values.yaml"), "utf8"));
  const definition = {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: "settings.module.example.com" },
    spec: {
      group: "module.example.com",
      scope: "Cluster",
      names: { plural: "settings", singular: "settings", kind: "Settings" },
      versions: [
        {
          name: "v1",
          served: true,
          storage: true,
          schema: { openAPIV3Schema: { type: "object", required: ["settings"], properties: { settings: schema } } },
        },
      ],
    },
  };
  return loadYaml(stringify(definition)); // the client drops each `default` and `enum` that it did not read itself
}

let files = 0;
const fileOf = async (text: string): Promise<string> => {
  const file = join(folder, `${files++}.yaml`);
  await writeFile(file, text);
  return file;
};

const completed = z.object({ settings: z.looseObject({}) });
/** The settings with their defaults, as templates get them. Throws with what the schema refuses. */
async function complete(settings: object): Promise<Record<string, unknown>> {
  const object = { apiVersion: "module.example.com/v1", kind: "Settings", metadata: { name: "mpo-relay" }, settings };
  const answer = await kubectl("create", "-f", await fileOf(JSON.stringify(object)), STRICT, "--dry-run=server", "-o", "json");
  return completed.parse(JSON.parse(answer)).settings;
}

const HTTPS = { mode: "CertManager", certManager: { clusterIssuerName: "letsencrypt" } };
/** What Deckhouse lays beside the settings. */
async function valuesOf(
  settings: object,
  global: { https?: object; enabledModules?: readonly string[]; apiVersions?: readonly string[] } = {},
): Promise<object> {
  const { https = HTTPS, enabledModules = ["cert-manager", "operator-prometheus-crd", "prometheus-crd"], apiVersions = [] } = global;
  return {
    global: {
      enabledModules,
      discovery: { apiVersions },
      modulesImages: { digests: { mpoRelay: { mpoRelay: DIGEST } } },
      modules: { publicDomainTemplate: "%s.apps.example.com", ingressClass: "nginx", https },
    },
    mpoRelay: {
      ...(await complete(settings)),
      internal: {},
      registry: { base: `${REPO}/`, dockercfg: Buffer.from("{}").toString("base64") },
    },
  };
}
const render = async (settings: object, global: Parameters<typeof valuesOf>[1] = {}, chart = MODULE): Promise<string> =>
  helm.template(chart, await valuesOf(settings, global));
const named = (objects: readonly Manifest[], kind: string, name?: string): Manifest => {
  const found = objects.filter((each) => each.kind === kind && (name === undefined || each.metadata.name === name));
  const [one] = found;
  if (one === undefined || found.length > 1) throw new Error(`${found.length} of ${kind} ${name ?? ""}`);
  return one;
};

describe("the schema of settings", () => {
  test("fills in what is usual", async () => {
    expect(await complete(SERVE)).toMatchObject({
      cluster: "this",
      secretName: "mpo-relay",
      events: true,
      replicas: 1,
      storage: { size: "1Gi" },
    });
  });

  test.each<[string, object, RegExp]>([
    ["no mode", { webhooks: SERVE.webhooks, sources: SERVE.sources }, /settings\.mode: Required/],
    ["another mode", { ...SERVE, mode: "serve" }, /Unsupported value: "serve"/],
    ["Serve without sources", { ...SERVE, sources: undefined }, /settings\.sources: Required/],
    ["Worker without a queue", { mode: "Worker" }, /must validate one and only one schema/],
    ["a word for a number", { ...AT_HUB, replicas: "two" }, /settings\.replicas: Invalid value: "string"/],
    ["no worker at all", { ...AT_HUB, replicas: 0 }, /replicas: Invalid value: 0/],
    ["a misspelt setting", { ...SERVE, secretNames: "mine" }, /unknown field "settings\.secretNames"/],
    [
      "a secret itself",
      { ...SERVE, webhooks: { registry: { provider: "harbor", secret: "0123" } } },
      /unknown field "settings\.webhooks\.registry\.secret"/,
    ],
    ["a path for a key", { ...SERVE, webhooks: { registry: { provider: "harbor", secretKey: "../token" } } }, /secretKey: Invalid value/],
    ["an unencrypted queue", { ...AT_HUB, queue: { url: "hub:http://relay.example.com" } }, /queue\.url: Invalid value/],
    [
      "a hub that lends nothing",
      { ...SERVE, hub: { certificateKey: "a", privateKeyKey: "b", clusters: {} } },
      /hub\.clusters: Invalid value/,
    ],
    ["a size without a unit", { ...SERVE, storage: { size: "5" } }, /storage\.size: Invalid value/],
  ])("refuses %s", async (_what, settings, why) => {
    await expect(complete(settings)).rejects.toThrow(why);
  });
});

const deployed = z.looseObject({
  kind: z.string(),
  spec: z.looseObject({
    replicas: z.int(),
    template: z.looseObject({
      metadata: z.looseObject({ annotations: z.record(z.string(), z.string()).default({}), labels: z.record(z.string(), z.string()) }),
      spec: z.looseObject({
        containers: z.tuple([
          z.looseObject({
            image: z.string(),
            args: z.array(z.string()),
            resources: z.looseObject({ requests: z.looseObject({}), limits: z.looseObject({}) }),
          }),
        ]),
        securityContext: z.looseObject({}),
        volumes: z.array(z.looseObject({ name: z.string() })),
      }),
    }),
  }),
});
const deploymentIn = (objects: readonly Manifest[]) => deployed.parse(named(objects, "Deployment"));
const configIn = (objects: readonly Manifest[]) =>
  z.object({ data: z.object({ "relay.yaml": z.string() }) }).parse(named(objects, "ConfigMap")).data["relay.yaml"];

/** The claim of another set of settings, which cannot become this one's; nobody is here who would take its finalizer away. */
async function forgetVolume(): Promise<void> {
  const claims = await kubectl("get", "pvc", "-A", "-o", "name");
  for (const claim of claims.split("\n").filter((line) => line !== "")) {
    await kubectl("-n", "mpo-relay", "delete", claim, "--wait=false");
    await kubectl("-n", "mpo-relay", "patch", claim, "--type=merge", "-p", JSON.stringify({ metadata: { finalizers: null } }));
  }
}

describe.each<[string, object]>(Object.entries(SETS))("the templates with %s", (set, settings) => {
  let manifests: string;
  beforeAll(async () => {
    manifests = await render(settings);
    await forgetVolume();
  });

  test("pass helm lint --strict, and fit Kubernetes' schemas", async () => {
    await helm.lint(MODULE, await valuesOf(settings));
    const objects = objectsIn(manifests);
    expect(objects.length).toBeGreaterThan(8);
    expect(await conform(await fileOf(manifests), MONITORING)).toEqual({ valid: objects.length - 4, skipped: 4 });
  });

  test("are taken by the API server, field by field; a second time nothing changes", async () => {
    const file = await fileOf(manifests);
    await kubectl("apply", "-f", file, STRICT);
    await kubectl("apply", "-f", file, STRICT, "--dry-run=server");
    const again = (await kubectl("apply", "-f", file, STRICT)).trim().split("\n");
    expect(again.filter((line) => !line.endsWith(" unchanged"))).toEqual([]);
  });

  test("make a configuration in which the relay finds nothing wrong", async () => {
    const file = await fileOf(configIn(objectsIn(manifests)));
    const told = z.object({ ok: z.boolean(), problems: z.array(z.unknown()), warnings: z.array(z.looseObject({ message: z.string() })) });
    const { ok, problems, warnings } = told.parse(JSON.parse(await run(process.execPath, [CLI, "check", "--json", "--config", file])));
    expect({ ok, problems }).toEqual({ ok: true, problems: [] });
    // The files of the Secret are not here.
    expect(warnings.filter(({ message }) => !message.includes("/run/secrets/mpo-relay/"))).toEqual([]);
  });

  test("mount the Secret that holds what the configuration names, and keep none themselves", async () => {
    const { volumes } = deploymentIn(objectsIn(manifests)).spec.template.spec;
    const secretName = set === "ALL" ? "relay-secrets" : "mpo-relay";
    expect(volumes.find(({ name }) => name === "secrets")).toMatchObject({ secret: { secretName } });
    expect(
      objectsIn(manifests)
        .filter(({ kind }) => kind === "Secret")
        .map(({ metadata }) => metadata.name),
    ).toEqual(["mpo-relay-registry"]);
  });

  test("make a pod that the namespace's standard admits, and refuses when spoilt", async () => {
    await kubectl("apply", "-f", await fileOf(manifests));
    const api = KubernetesObjectApi.makeApiClient(kube.config(kube.adminToken));
    const { metadata, spec } = deploymentIn(objectsIn(manifests)).spec.template;
    const pod = (name: string, changed: object): KubernetesObject & { spec: object } => ({
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name, namespace: "mpo-relay", labels: metadata.labels },
      spec: { ...spec, ...changed },
    });
    const name = set.toLowerCase().replace("_", "-");
    await api.create(pod(name, {}));
    await expect(api.create(pod(`${name}-spoilt`, { securityContext: {} }))).rejects.toThrow("runAsNonRoot != true");
  });
});

describe("what is rendered", () => {
  test("pulls the image that the release names, and starts anew when the configuration changes", async () => {
    const before = deploymentIn(objectsIn(await render(SERVE))).spec.template;
    const after = deploymentIn(objectsIn(await render({ ...SERVE, adopt: "6h" }))).spec.template;
    expect(before.spec.containers[0].image).toBe(`${REPO}/mpo-relay@${DIGEST}`);
    expect(before.metadata.annotations["checksum/config"]).toMatch(/^[0-9a-f]{64}$/);
    expect(after.metadata.annotations["checksum/config"]).not.toBe(before.metadata.annotations["checksum/config"]);
  });

  test("gives the rights of infra/cluster, and no others", async () => {
    const rules = z.looseObject({
      kind: z.string(),
      metadata: z.looseObject({ name: z.string(), namespace: z.string().optional() }),
      rules: z.array(z.unknown()),
    });
    const rulesIn = (objects: readonly { readonly kind?: string }[]) =>
      objects
        .filter(({ kind }) => kind === "ClusterRole" || kind === "Role")
        .map((each) => rules.parse(each))
        .map(({ kind, metadata, rules: given }) => ({ kind, name: metadata.name, namespace: metadata.namespace, rules: given }))
        .toSorted((a, b) => a.name.localeCompare(b.name));
    expect(rulesIn(objectsIn(await render(AT_HUB)))).toEqual(rulesIn((await rights()).objects));
    const rescan = { ...SERVE, sources: [{ repo: REPO, name: "theirs", rescan: true }] };
    const both = [...(await rights()).objects, ...(await rescanRights("theirs"))];
    expect(rulesIn(objectsIn(await render(rescan)))).toEqual(rulesIn(both));
    expect(rulesIn(objectsIn(await render(ALL))).map(({ name }) => name)).toEqual(["mpo-relay", "mpo-relay-rescan"]);
  });

  test.each([
    ["serve", SERVE],
    ["worker", AT_HUB],
  ] as const)("%s runs as in infra/cluster", async (overlay, settings) => {
    const theirs = deployed.parse(parse(await readFile(join(ROOT, "infra/cluster", overlay, "deployment.yaml"), "utf8"))).spec.template
      .spec;
    const ours = deploymentIn(objectsIn(await render(settings))).spec.template.spec;
    const { image: _, args, volumeMounts, resources, env: ___, imagePullPolicy: ____, ...container } = ours.containers[0];
    const { image: __, args: theirArgs, volumeMounts: theirMounts, resources: theirResources, env: _____, ...their } = theirs.containers[0];
    expect(container).toEqual(their);
    expect(ours.securityContext).toMatchObject(theirs.securityContext);
    expect(resources.limits).toEqual(theirResources.limits);
    expect(resources.requests).toMatchObject(theirResources.requests);
    expect(args.map((each) => each.replace("relay.yaml", `${overlay}.yaml`))).toEqual(
      theirArgs.map((each) => each.replace("relay.yaml", `${overlay}.yaml`)),
    );
    expect(z.array(z.unknown()).parse(volumeMounts)).toEqual(expect.arrayContaining(z.array(z.unknown()).parse(theirMounts)));
  });

  test.each([
    ["CertManager", undefined, { annotations: { "cert-manager.io/cluster-issuer": "letsencrypt" } }, "mpo-relay-tls"],
    [
      "CertManager",
      { mode: "CertManager", certManager: { clusterIssuerName: "own" } },
      { annotations: { "cert-manager.io/cluster-issuer": "own" } },
      "mpo-relay-tls",
    ],
    ["CustomCertificate", { mode: "CustomCertificate", customCertificate: { secretName: "mine" } }, {}, "mine"],
    ["OnlyInURI", { mode: "OnlyInURI" }, {}, null],
    ["Disabled", { mode: "Disabled" }, {}, null],
  ])("the Ingress with https %s, of the cluster or of the module", async (_mode, https, metadata, secretName) => {
    const ingress = named(objectsIn(await render({ ...SERVE, ...(https && { https }) })), "Ingress");
    expect(ingress.metadata).toMatchObject(metadata);
    const tls = secretName === null ? {} : { tls: [{ hosts: ["mpo-relay.apps.example.com"], secretName }] };
    expect(ingress).toMatchObject({ spec: { ingressClassName: "nginx", rules: [{ host: "mpo-relay.apps.example.com" }], ...tls } });
    expect("tls" in z.looseObject({ spec: z.looseObject({}) }).parse(ingress).spec).toBe(secretName !== null);
  });

  test.each<[string, object, Parameters<typeof valuesOf>[1], RegExp]>([
    [
      "a cluster's own certificate, which nobody copies",
      SERVE,
      { https: { mode: "CustomCertificate", customCertificate: { secretName: "x" } } },
      /name a Secret of the namespace mpo-relay/,
    ],
    ["cert-manager where there is none", SERVE, { enabledModules: [] }, /cert-manager is not enabled/],
    [
      "a rescan of a source without a name",
      { ...SERVE, sources: [{ repo: REPO, rescan: true }] },
      {},
      /rescan needs the ModuleSource's name/,
    ],
    [
      "a lent queue under this cluster's name",
      { ...SERVE, hub: { certificateKey: "c", privateKeyKey: "k", clusters: { this: { tokenKey: "t" } } } },
      {},
      /hub\.clusters\.this: this cluster has that name/,
    ],
  ])("stops at %s, and says so", async (_what, settings, global, why) => {
    await expect(render(settings, global)).rejects.toThrow(why);
  });

  const OBSERVABILITY = {
    enabledModules: ["cert-manager", "prometheus-crd", "operator-prometheus-crd", "observability"],
    apiVersions: ["MetricsRulesGroup", "Dashboard"].map((kind) => `observability.deckhouse.io/v1alpha1/ClusterObservability${kind}`),
  };
  const monitoringIn = async (settings: object, global: Parameters<typeof valuesOf>[1] = {}) =>
    objectsIn(await render(settings, global)).filter(({ kind }) => MONITORING.includes(kind));
  const DEPLOYMENT = "PrometheusRule mpo-relay-deployment";
  const RULES = [DEPLOYMENT, "PrometheusRule mpo-relay-relay"];
  const DASHBOARD = "GrafanaDashboardDefinition mpo-relay";
  test.each<[string, object, Parameters<typeof valuesOf>[1], string[]]>([
    ["all", {}, {}, [...RULES, "PodMonitor mpo-relay", DASHBOARD]],
    ["no rules", { alerts: false }, {}, ["PodMonitor mpo-relay", DASHBOARD]],
    ["no dashboard", { dashboard: false }, {}, [...RULES, "PodMonitor mpo-relay"]],
    ["nothing that asks for what nobody may read", { metrics: false }, {}, [DEPLOYMENT]],
    ["nothing", { metrics: false, alerts: false }, {}, []],
    ["nothing where there is no monitoring", {}, { enabledModules: ["cert-manager"] }, []],
    [
      "the newer kinds where the cluster has them",
      {},
      OBSERVABILITY,
      [
        "ClusterObservabilityMetricsRulesGroup mpo-relay-deployment-0",
        "ClusterObservabilityMetricsRulesGroup mpo-relay-relay-0",
        "PodMonitor mpo-relay",
        DASHBOARD,
        "ClusterObservabilityDashboard mpo-relay",
      ],
    ],
  ])("monitoring is %s", async (_what, settings, global, expected) => {
    const objects = await monitoringIn({ ...SERVE, ...settings }, global);
    expect(objects.map(({ kind, metadata }) => `${kind} ${metadata.name}`).toSorted()).toEqual(expected.toSorted());
  });

  test("the newer kinds are taken by the API server, and the older dashboard is not made one once more", async () => {
    await kubectl("apply", "-f", await fileOf(await render(AT_HUB, OBSERVABILITY)), STRICT);
    const skip = "observability.deckhouse.io/skip-dashboard-conversion";
    const older = async (global: Parameters<typeof valuesOf>[1]) =>
      named(await monitoringIn(AT_HUB, global), "GrafanaDashboardDefinition").metadata.labels;
    expect(await older(OBSERVABILITY)).toHaveProperty([skip]);
    expect(await older({})).not.toHaveProperty([skip]);
  });

  test("dashboards and rules are those of infra/monitoring", async () => {
    const dashboard: unknown = JSON.parse(await readFile(join(ROOT, "infra/monitoring/dashboard.json"), "utf8"));
    const definition = z.looseObject({ spec: z.looseObject({ definition: z.string() }) });
    for (const kind of ["GrafanaDashboardDefinition", "ClusterObservabilityDashboard"])
      expect(JSON.parse(definition.parse(named(await monitoringIn(SERVE, OBSERVABILITY), kind)).spec.definition)).toEqual(dashboard);
    const rule = z.object({ record: z.string().optional(), alert: z.string().optional(), expr: z.string() });
    const group = z.looseObject({ rules: z.array(rule) });
    const { groups } = z.object({ groups: z.array(group) }).parse(parse(await readFile(join(ROOT, "infra/monitoring/rules.yml"), "utf8")));
    const older = named(await monitoringIn(SERVE), "PrometheusRule", "mpo-relay-relay");
    const newer = named(await monitoringIn(SERVE, OBSERVABILITY), "ClusterObservabilityMetricsRulesGroup", "mpo-relay-relay-0");
    expect(z.looseObject({ spec: z.looseObject({ groups: z.array(group) }) }).parse(older).spec.groups).toEqual(groups);
    expect(z.looseObject({ spec: group }).parse(newer).spec.rules).toEqual(groups.flatMap(({ rules }) => rules));
  });
});

test("Prometheus alone may read what the relay counts, and nobody with `metrics: false`", async () => {
  const objects = objectsIn(await render(AT_HUB));
  expect(parse(configIn(objects))).toMatchObject({ admin: { host: "0.0.0.0", port: 9090 } });
  const prometheus = {
    namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": "d8-monitoring" } },
    podSelector: { matchLabels: { "app.kubernetes.io/name": "prometheus" } },
  };
  expect(named(objects, "NetworkPolicy", "metrics-in")).toMatchObject({
    spec: { ingress: [{ from: [prometheus], ports: [{ port: "metrics" }] }] },
  });
  const without = objectsIn(await render({ ...AT_HUB, metrics: false }));
  expect(parse(configIn(without))).not.toHaveProperty("admin");
  expect(without.filter(({ kind }) => kind === "NetworkPolicy").map(({ metadata }) => metadata.name)).toEqual(["nobody-in"]);
});

test("a misspelt field in a template is found twice: by kubeconform and by the API server", async () => {
  const chart = join(folder, "misspelt");
  await cp(MODULE, chart, { recursive: true });
  const file = join(chart, "templates/deployment.yaml");
  const text = await readFile(file, "utf8");
  await writeFile(file, text.replace("readOnlyRootFilesystem", "readOnlyRootFileSystem"));
  const manifests = await fileOf(await render(SERVE, {}, chart));
  await expect(conform(manifests, MONITORING)).rejects.toThrow("readOnlyRootFileSystem");
  await expect(kubectl("apply", "-f", manifests, STRICT, "--dry-run=server")).rejects.toThrow("readOnlyRootFileSystem");
});

test("helm lint finds a broken template", async () => {
  const chart = join(folder, "broken");
  await cp(MODULE, chart, { recursive: true });
  await writeFile(join(chart, "templates/more.yaml"), "a: {{ .Values.mpoRelay.nothing.there }}\n");
  const values = await valuesOf(SERVE);
  await expect(helm.lint(chart, values)).rejects.toThrow("nil pointer evaluating");
});

test("what is kept when the module goes is not protected from its owner", async () => {
  const objects = objectsIn(await render(SERVE));
  const kept = objects.filter(({ metadata }) => metadata.annotations?.["helm.sh/resource-policy"] === "keep");
  expect(new Set(kept.map(({ kind }) => kind))).toEqual(new Set(["Namespace", "PersistentVolumeClaim"]));
  const free = objects.filter(({ metadata }) => metadata.labels?.["heritage"] !== "deckhouse");
  expect(free).toEqual(kept);
});
