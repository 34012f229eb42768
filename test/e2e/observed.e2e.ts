/**
 * infra/cluster/monitoring from `kubectl apply -k` to an alert: the real API server with the operator's own resource definitions, the real operator,
 * and a real Prometheus by the configuration and the rules that the operator made for it. Stand-ins: a pod is a process here, whose status we write as
 * a kubelet would, and which we find for Prometheus; Deckhouse's schemas, and its hook that makes a PrometheusRule of a CustomPrometheusRules, are
 * ours. Network policies are stored and not enforced; Grafana is in no package registry.
 */
import { CoreV1Api, type KubernetesObject } from "@kubernetes/client-node";
import { cp, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { parse } from "yaml";
import * as z from "zod";
import { alertsOf } from "../support/monitoring.ts";
import { freePort } from "./parts/child.ts";
import { applyMonitoringCrds } from "./parts/crds.ts";
import { type Kubectl, openKubectl } from "./parts/kubectl.ts";
import { type Prometheus, startPrometheus } from "./parts/prometheus.ts";
import { startOperator } from "./parts/prometheus-operator.ts";
import { type RelayProcess, serveRelay } from "./relay.ts";
import { eventually } from "./wait.ts";
import { startWorld, type World } from "./world.ts";

const INFRA = join(import.meta.dirname, "../../infra");
const NAMESPACE = "mpo-relay";
const STRICT = "--validate=strict";
const WATCHED = "prometheus.deckhouse.io/monitor-watcher-enabled";

let world: World;
let kubectl: Kubectl;
/** infra/ as far as it is applied, with the secret that serve asks for. */
let folder: string;
const stops: (() => Promise<void>)[] = [];

beforeAll(async () => {
  world = await startWorld({ modules: ["echo"], silent: true, seeded: true });
  stops.push(() => world.stop());
  const { kube } = world.cluster;
  const opened = await openKubectl(kube);
  stops.push(opened.close);
  kubectl = opened.kubectl;
  await applyMonitoringCrds(kube);
  folder = join(world.folder, "infra");
  for (const each of ["cluster", "monitoring"]) await cp(join(INFRA, each), join(folder, each), { recursive: true });
  await writeFile(join(folder, "cluster/serve/registry.secret"), "0123456789abcdef0123456789abcdef");
  await kubectl("apply", "-k", join(folder, "cluster/serve"), STRICT);
  const operator = await startOperator(kube);
  stops.push(operator.stop);
}, 240_000);
afterAll(async () => {
  for (const stop of stops.toReversed()) await stop();
});

const overlay = (name: string) => join(folder, "cluster/monitoring", name);
const get = async <T extends z.ZodType>(schema: T, ...what: readonly string[]): Promise<z.infer<T>> =>
  schema.parse(JSON.parse(await kubectl("get", "-o", "json", ...what)));

/** A Prometheus as somebody else's cluster has one. */
interface Theirs {
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly name: string;
  readonly selectors: object;
}
const byRelease = { matchLabels: { release: "kube-prometheus-stack" } };
const SETUPS: Readonly<Record<string, Theirs>> = {
  // As kube-prometheus-stack makes it: by its own release's label, in all namespaces.
  operator: {
    namespace: "monitoring",
    labels: {},
    name: "k8s",
    selectors: { podMonitorSelector: byRelease, podMonitorNamespaceSelector: {}, ruleSelector: byRelease, ruleNamespaceSelector: {} },
  },
  // https://github.com/deckhouse/deckhouse/blob/main/modules/300-prometheus/templates/prometheus/prometheus.yaml
  deckhouse: {
    namespace: "d8-monitoring",
    labels: { "prometheus.deckhouse.io/rules-watcher-enabled": "true", [WATCHED]: "true" },
    name: "main",
    selectors: {
      podMonitorSelector: { matchLabels: { prometheus: "main" } },
      podMonitorNamespaceSelector: { matchLabels: { [WATCHED]: "true" } },
      ruleSelector: { matchLabels: { component: "rules", prometheus: "main" } },
      ruleNamespaceSelector: { matchLabels: { "prometheus.deckhouse.io/rules-watcher-enabled": "true" } },
    },
  },
};
const objectsOf = ({ namespace, labels, name, selectors }: Theirs): (KubernetesObject & { spec?: object })[] => [
  { apiVersion: "v1", kind: "Namespace", metadata: { name: namespace, labels } },
  {
    apiVersion: "monitoring.coreos.com/v1",
    kind: "Prometheus",
    metadata: { name, namespace },
    // Debian's version, which then runs by it.
    spec: { version: "v2.42.0", replicas: 1, scrapeInterval: "1s", evaluationInterval: "1s", ...selectors },
  },
];

describe.each(Object.entries(SETUPS))("kubectl apply -k infra/cluster/monitoring/%s", (setup, theirs) => {
  beforeAll(async () => {
    await world.cluster.kube.apply(objectsOf(theirs));
    await kubectl("apply", "-k", overlay(setup), STRICT);
  });
  afterAll(async () => {
    await kubectl("delete", "-k", overlay(setup));
    await kubectl("-n", theirs.namespace, "delete", "prometheus", theirs.name);
  });

  test("is taken field by field; a second time nothing changes", async () => {
    const again = (await kubectl("apply", "-k", overlay(setup), STRICT)).trim().split("\n");
    expect(again.length).toBe(4);
    expect(again.filter((line) => !line.endsWith(" unchanged"))).toEqual([]);
  });

  test.each([
    ["a rule", `${setup}/rules.yaml`, "expr:", "expression:", 'unknown field "spec.groups[0].rules[0].expression"'],
    ["the PodMonitor", "scrape/pod-monitor.yaml", "podMetricsEndpoints:", "podMetricEndpoints:", 'unknown field "spec.podMetricEndpoints"'],
  ])("with a misspelt field of %s is refused", async (_what, file, right, misspelt, why) => {
    const wrong = join(world.folder, `misspelt-${setup}`);
    await cp(folder, wrong, { recursive: true });
    const path = join(wrong, "cluster/monitoring", file);
    const text = await readFile(path, "utf8");
    expect(text).toContain(right);
    await writeFile(path, text.replace(right, misspelt));
    await expect(kubectl("apply", "-k", join(wrong, "cluster/monitoring", setup), STRICT, "--dry-run=server")).rejects.toThrow(why);
  });

  test("selects as the line of metrics.md shows", async () => {
    const [, template = ""] = /jsonpath='([^']+)'/.exec(await readFile(join(INFRA, "metrics.md"), "utf8")) ?? [];
    const { podMonitorSelector, ruleSelector } = z
      .looseObject({ podMonitorSelector: z.unknown(), ruleSelector: z.unknown() })
      .parse(theirs.selectors);
    const shown = await kubectl("get", "prometheuses", "-A", "-o", `jsonpath=${template}`);
    expect(shown).toBe(`${theirs.namespace} ${JSON.stringify(podMonitorSelector)} ${JSON.stringify(ruleSelector)}\n`);
  });

  test("brings the dashboard as it stands in infra/monitoring, to where Grafana gets it from", async () => {
    const dashboard = await readFile(join(INFRA, "monitoring/dashboard.json"), "utf8");
    const maps = async () =>
      (
        await get(
          z.object({ items: z.array(z.looseObject({ metadata: z.looseObject({ name: z.string() }) })) }),
          "configmaps",
          "-n",
          NAMESPACE,
        )
      ).items;
    if (setup === "operator") {
      const map = z.looseObject({
        metadata: z.looseObject({ labels: z.record(z.string(), z.string()) }),
        data: z.record(z.string(), z.string()),
      });
      const { metadata, data } = await get(map, "configmap", "mpo-relay-dashboard", "-n", NAMESPACE);
      expect(metadata.labels).toMatchObject({ grafana_dashboard: "1" });
      expect(data).toEqual({ "dashboard.json": dashboard });
    } else {
      const definition = z.looseObject({ spec: z.object({ folder: z.string(), definition: z.string() }) });
      const { spec } = await get(definition, "grafanadashboarddefinitions", NAMESPACE);
      expect(spec).toEqual({ folder: "Applications", definition: dashboard });
      expect((await maps()).map(({ metadata }) => metadata.name)).not.toContain("mpo-relay-dashboard");
    }
  });

  test("lets that Prometheus alone to /metrics, and everybody to the webhooks as before", async () => {
    const policy = z.looseObject({ spec: z.looseObject({ ingress: z.array(z.unknown()).default([]) }) });
    const { items } = await get(z.object({ items: z.array(policy) }), "networkpolicies", "-n", NAMESPACE);
    const prometheus = {
      namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": theirs.namespace } },
      podSelector: { matchLabels: { "app.kubernetes.io/name": "prometheus" } },
    };
    const letIn = items.flatMap(({ spec }) => spec.ingress);
    expect(letIn).toHaveLength(2);
    expect(letIn).toContainEqual({ ports: [{ port: "http", protocol: "TCP" }] });
    expect(letIn).toContainEqual({ from: [prometheus], ports: [{ port: "metrics", protocol: "TCP" }] });
    // The label is the operator's, on each pod of a Prometheus.
    const set = z.looseObject({
      spec: z.looseObject({ template: z.looseObject({ metadata: z.looseObject({ labels: z.record(z.string(), z.string()) }) }) }),
    });
    const { spec } = await eventually("the operator made a StatefulSet", () =>
      get(set, "statefulset", `prometheus-${theirs.name}`, "-n", theirs.namespace),
    );
    expect(spec.template.metadata.labels).toMatchObject(prometheus.podSelector.matchLabels);
  });

  test("a refused call becomes an alert of that Prometheus, and a relay that is gone another", async () => {
    if (setup === "deckhouse") await asDeckhouse();
    const { relay, port } = await startRelay(setup);
    await runPod(`relay-${setup}`, port);
    const prometheus = await runPrometheus(theirs);

    const target = z.object({ labels: z.record(z.string(), z.string()), health: z.string() });
    const targets = z.object({ data: z.object({ activeTargets: z.array(target) }) });
    const up = await eventually("Prometheus scrapes the pod", async () => {
      const [one, ...more] = targets.parse(await prometheus.get("targets?state=active")).data.activeTargets;
      expect(more).toEqual([]);
      return one?.health === "up" ? one : null;
    });
    expect(up.labels).toMatchObject({
      job: "mpo-relay/mpo-relay",
      namespace: NAMESPACE,
      pod: `relay-${setup}`,
      instance: `127.0.0.1:${port}`,
    });

    const rule = z.object({ name: z.string(), type: z.string(), health: z.string() });
    const rules = z.object({ data: z.object({ groups: z.array(z.object({ rules: z.array(rule) })) }) });
    const loaded = await eventually("each rule was looked at", async () => {
      const all = rules.parse(await prometheus.get("rules")).data.groups.flatMap((group) => group.rules);
      return all.some(({ health }) => health === "unknown") ? null : all;
    });
    expect(loaded.filter(({ health }) => health !== "ok")).toEqual([]);
    expect(
      loaded
        .filter(({ type }) => type === "alerting")
        .map(({ name }) => name)
        .toSorted(),
    ).toEqual(
      alertsOf()
        .map(({ alert }) => alert)
        .toSorted(),
    );

    expect((await fetch(`${world.relayUrl}/hooks/registry`, { method: "POST", body: "{}" })).status).toBe(401);
    const fired = await eventually(
      "MpoRelayAuthFailures fires",
      async () => (await prometheus.firing()).find(({ alertname }) => alertname === "MpoRelayAuthFailures") ?? null,
    );
    expect(fired).toMatchObject({
      webhook: "registry",
      severity: "warning",
      ...(setup === "deckhouse" && { severity_level: "6", tier: "cluster" }),
    });

    await relay.stop();
    const down = await eventually(
      "MpoRelayDown waits for its five minutes",
      async () =>
        (await prometheus.firing("pending")).find(({ alertname, job }) => alertname === "MpoRelayDown" && job !== undefined) ?? null,
    );
    expect(down).toMatchObject({ job: "mpo-relay/mpo-relay", severity: "critical" });
  });
});

test("without the namespace's label Deckhouse's Prometheus does not look for the PodMonitor", async () => {
  const theirs = { ...(SETUPS["deckhouse"] ?? expect.unreachable()), name: "labels" };
  await world.cluster.kube.apply(objectsOf(theirs));
  await kubectl("apply", "-k", overlay("deckhouse"));
  const jobs = async () =>
    z
      .looseObject({ scrape_configs: z.array(z.looseObject({ job_name: z.string() })) })
      .parse(await configOf(theirs))
      .scrape_configs.map(({ job_name }) => job_name);
  const job = "podMonitor/mpo-relay/mpo-relay/0";
  await eventually("the job is there", async () => ((await jobs()).includes(job) ? true : null));
  await kubectl("label", "namespace", NAMESPACE, `${WATCHED}-`);
  await eventually("the job is gone", async () => ((await jobs()).includes(job) ? null : true));
});

/** What Deckhouse's hook does: https://github.com/deckhouse/deckhouse/blob/main/modules/300-prometheus/hooks/custom_rules.go */
async function asDeckhouse(): Promise<void> {
  const { spec } = await get(z.looseObject({ spec: z.looseObject({}) }), "customprometheusrules", NAMESPACE);
  const metadata = { name: `d8-custom-${NAMESPACE}`, namespace: "d8-monitoring", labels: { prometheus: "main", component: "rules" } };
  const rule: KubernetesObject & { spec: object } = { apiVersion: "monitoring.coreos.com/v1", kind: "PrometheusRule", metadata, spec };
  await world.cluster.kube.apply([rule]);
}

/** `serve` by a configuration of this machine, with the port of its /metrics. */
async function startRelay(name: string): Promise<{ relay: RelayProcess; port: number }> {
  const port = await freePort();
  const config = await world.writeConfig(`${name}.yaml`, {
    queue: `embedded:./${name}-data`,
    edge: true,
    consumer: true,
    more: { admin: `127.0.0.1:${port}`, unparsed: `embedded:./${name}-data` },
  });
  const relay = await serveRelay({ config, log: join(world.folder, `${name}.log`), url: world.relayUrl });
  onTestFinished(() => relay.stop());
  return { relay, port };
}

const containers = z.tuple([
  z.looseObject({ name: z.string(), ports: z.array(z.looseObject({ name: z.string(), containerPort: z.int() })) }),
]);
const deployment = z.looseObject({
  spec: z.looseObject({
    template: z.looseObject({ metadata: z.looseObject({ labels: z.record(z.string(), z.string()) }), spec: z.looseObject({ containers }) }),
  }),
});
/** A pod of serve's Deployment, as the controllers would make it and the kubelet tell of it: here it is at 127.0.0.1. */
async function runPod(name: string, port: number): Promise<void> {
  const { template } = (await get(deployment, "deployment", "mpo-relay", "-n", NAMESPACE)).spec;
  for (const each of template.spec.containers[0].ports) if (each.name === "metrics") each.containerPort = port;
  const api = world.cluster.kube.config(world.cluster.kube.adminToken).makeApiClient(CoreV1Api);
  const pod: KubernetesObject & { spec: object } = {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, namespace: NAMESPACE, labels: template.metadata.labels },
    spec: template.spec,
  };
  await world.cluster.kube.apply([pod]);
  const status = { phase: "Running", podIP: "127.0.0.1", podIPs: [{ ip: "127.0.0.1" }], conditions: [{ type: "Ready", status: "True" }] };
  await api.patchNamespacedPodStatus({ name, namespace: NAMESPACE, body: [{ op: "add", path: "/status", value: status }] });
  onTestFinished(async () => void (await kubectl("-n", NAMESPACE, "delete", "pod", name, "--force", "--grace-period=0")));
}

/** What the operator wrote for it. */
async function configOf({ namespace, name }: Theirs): Promise<Record<string, unknown>> {
  const secret = z.looseObject({ data: z.object({ "prometheus.yaml.gz": z.base64() }) });
  const { data } = await get(secret, "secret", `prometheus-${name}`, "-n", namespace);
  const text = gunzipSync(Buffer.from(data["prometheus.yaml.gz"], "base64")).toString();
  // As its config-reloader puts in what each pod's environment says.
  return z.looseObject({}).parse(parse(text.replaceAll("$(SHARD)", "0").replaceAll("$(POD_NAME)", `prometheus-${name}-0`)));
}

const discovering = z.looseObject({
  rule_files: z.array(z.string()).min(1),
  scrape_configs: z.tuple([z.looseObject({ job_name: z.string(), kubernetes_sd_configs: z.unknown() })]),
});
/** By the operator's configuration, but for the files, which lie elsewhere, and for discovery, which Debian's Prometheus is built without. */
async function runPrometheus(theirs: Theirs): Promise<Prometheus> {
  const at = join(world.folder, `prometheus-${theirs.name}`);
  await mkdir(at);
  const config = await eventually("the operator has job and rules", async () => discovering.parse(await configOf(theirs)));
  const map = z.looseObject({ data: z.record(z.string(), z.string()) });
  const { data } = await get(map, "configmap", `prometheus-${theirs.name}-rulefiles-0`, "-n", theirs.namespace);
  expect(Object.keys(data)).toHaveLength(1);
  for (const [file, text] of Object.entries(data)) await writeFile(join(at, file), text);
  const [{ kubernetes_sd_configs: discovery, ...scrape }] = config.scrape_configs;
  expect(discovery).toMatchObject([{ role: "pod", namespaces: { names: [NAMESPACE] } }]);
  const prometheus = await startPrometheus({
    config: { ...config, rule_files: [join(at, "*.yaml")], scrape_configs: [{ ...scrape, static_configs: await discovered() }] },
  });
  onTestFinished(() => prometheus.stop());
  return prometheus;
}

const running = z.looseObject({
  metadata: z.looseObject({ name: z.string(), labels: z.record(z.string(), z.string()) }),
  spec: z.looseObject({ containers }),
  status: z.looseObject({ phase: z.string(), podIP: z.string() }),
});
/** As Prometheus finds pods, one target for each port of a container: https://prometheus.io/docs/prometheus/latest/configuration/configuration/#pod */
async function discovered(): Promise<object[]> {
  const { items } = await get(z.object({ items: z.array(running) }), "pods", "-n", NAMESPACE);
  return items.flatMap(({ metadata, spec, status }) => {
    const labels = Object.entries(metadata.labels).flatMap(([label, value]) => {
      const name = label.replaceAll(/[^a-zA-Z0-9_]/g, "_");
      return [
        [`label_${name}`, value],
        [`labelpresent_${name}`, "true"],
      ];
    });
    const [container] = spec.containers;
    return container.ports.map((port) => {
      const told = {
        name: metadata.name,
        ip: status.podIP,
        phase: status.phase,
        ready: "true",
        container_name: container.name,
        container_port_name: port.name,
        container_port_number: String(port.containerPort),
        ...Object.fromEntries(labels),
      };
      const ofPod = Object.entries(told).map(([name, value]) => [`__meta_kubernetes_pod_${name}`, value]);
      return {
        targets: [`${status.podIP}:${port.containerPort}`],
        labels: { __meta_kubernetes_namespace: NAMESPACE, ...Object.fromEntries(ofPod) },
      };
    });
  });
}
