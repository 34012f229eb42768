/** infra/cluster and the image, against Kubernetes' restricted standard and what CIS' benchmark asks of workloads and rights (5.1 to 5.7). What the API server makes of it: e2e/in-cluster.e2e.ts. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it, test } from "vitest";
import { parseAllDocuments } from "yaml";
import * as z from "zod";

const root = join(import.meta.dirname, "../infra");
/** What Kustomize or the relay reads, and no API server. */
const OTHERS = /\/(?:kustomization|relay|worker)\.yaml$/;
const object = z.looseObject({ kind: z.string(), metadata: z.looseObject({ name: z.string() }) });
const objects = readdirSync(join(root, "cluster"), { recursive: true, encoding: "utf8" })
  .map((name) => join(root, "cluster", name))
  .filter((path) => path.endsWith(".yaml") && !OTHERS.test(path))
  .flatMap((path) => parseAllDocuments(readFileSync(path, "utf8")).map((document) => object.parse(document.toJS())));
const of = <T extends z.ZodType>(kind: RegExp, schema: T) =>
  objects.filter((each) => kind.test(each.kind)).map((each) => schema.parse(each));

const container = z.looseObject({
  image: z.string(),
  securityContext: z.unknown(),
  resources: z.object({ requests: z.object({ cpu: z.string(), memory: z.string() }), limits: z.object({ memory: z.string() }) }),
  volumeMounts: z.array(z.looseObject({ name: z.string(), readOnly: z.boolean().default(false) })).default([]),
});
const podSpec = z.looseObject({
  serviceAccountName: z.string(),
  automountServiceAccountToken: z.boolean(),
  enableServiceLinks: z.literal(false),
  securityContext: z.looseObject({
    runAsNonRoot: z.literal(true),
    runAsUser: z.int().min(1),
    seccompProfile: z.object({ type: z.literal("RuntimeDefault") }),
  }),
  containers: z.array(container),
  volumes: z.array(z.looseObject({ name: z.string() })).default([]),
});
const template = z.looseObject({ spec: podSpec });
const pods = [
  ...of(/^Deployment$/, z.looseObject({ metadata: z.looseObject({ name: z.string() }), spec: z.looseObject({ template }) })).map(
    ({ metadata, spec }) => [metadata.name, spec.template.spec] as const,
  ),
  ...of(
    /^CronJob$/,
    z.looseObject({
      metadata: z.looseObject({ name: z.string() }),
      spec: z.looseObject({ jobTemplate: z.looseObject({ spec: z.looseObject({ template }) }) }),
    }),
  ).map(({ metadata, spec }) => [metadata.name, spec.jobTemplate.spec.template.spec] as const),
];

describe("the pods", () => {
  test("are these, and nothing else makes any", () => {
    expect(pods.map(([name]) => name).toSorted()).toEqual(["mpo-relay", "mpo-relay-token", "mpo-relay-worker"]);
    expect(objects.filter(({ kind }) => /^(?:Pod|StatefulSet|DaemonSet|ReplicaSet|Job)$/.test(kind))).toEqual([]);
  });

  describe.each(pods)("%s", (_name, spec) => {
    it("has nothing of its node: no namespace, no path, no port", () => {
      expect(Object.keys(spec).filter((key) => /^host|^shareProcessNamespace$|^(?:init|ephemeral)Containers$/.test(key))).toEqual([]);
      expect(JSON.stringify(spec)).not.toMatch(/hostPort|hostPath|procMount|privileged"?:true|"add":/);
      const kinds = spec.volumes.flatMap((volume) => Object.keys(volume)).filter((key) => key !== "name");
      expect(kinds.filter((kind) => !["configMap", "secret", "persistentVolumeClaim"].includes(kind))).toEqual([]);
    });

    it("may become nothing more than it is, and write to its queue alone", () => {
      for (const each of spec.containers) {
        expect(each.securityContext).toEqual({
          allowPrivilegeEscalation: false,
          readOnlyRootFilesystem: true,
          capabilities: { drop: ["ALL"] },
        });
        expect(
          each.volumeMounts
            .filter(({ readOnly }) => !readOnly)
            .map(({ name }) => name)
            .filter((name) => name !== "queue"),
        ).toEqual([]);
      }
    });

    it("gives secrets to its own group alone, and names no image that moves by itself", () => {
      const secrets = spec.volumes.filter((volume) => "secret" in volume);
      for (const volume of secrets) expect(volume).toMatchObject({ secret: { defaultMode: 0o440 } });
      expect(spec.containers.filter(({ image }) => image.endsWith(":latest"))).toEqual([]);
    });
  });
});

describe("the namespace", () => {
  it("refuses what is less than restricted, and lets nobody in but to a port that is meant for it", () => {
    const labels = z.looseObject({ metadata: z.looseObject({ labels: z.record(z.string(), z.string()) }) });
    for (const { metadata } of of(/^Namespace$/, labels))
      expect(metadata.labels).toMatchObject({
        "pod-security.kubernetes.io/enforce": "restricted",
        "security.deckhouse.io/pod-policy": "restricted",
      });
    const policy = z.looseObject({
      spec: z.looseObject({ podSelector: z.looseObject({}), policyTypes: z.array(z.string()), ingress: z.array(z.unknown()).default([]) }),
    });
    const all = of(/^NetworkPolicy$/, policy).map(({ spec }) => spec);
    expect(all).toContainEqual({ podSelector: {}, policyTypes: ["Ingress"], ingress: [] });
    const prometheus = {
      namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": "monitoring" } },
      podSelector: { matchLabels: { "app.kubernetes.io/name": "prometheus" } },
    };
    const letIn = all.flatMap(({ ingress }) => ingress);
    expect(letIn).toHaveLength(2);
    expect(letIn).toContainEqual({ ports: [{ protocol: "TCP", port: "http" }] });
    expect(letIn).toContainEqual({ from: [prometheus], ports: [{ protocol: "TCP", port: "metrics" }] });
  });

  it("shows itself by an Ingress with TLS, and by no port of a node", () => {
    const service = z.looseObject({ spec: z.looseObject({ type: z.literal("ClusterIP").default("ClusterIP") }) });
    expect(of(/^Service$/, service)).toHaveLength(1);
    const ingress = z.looseObject({
      spec: z.looseObject({
        tls: z.array(z.object({ hosts: z.array(z.string()), secretName: z.string() })),
        rules: z.array(z.looseObject({ host: z.string() })),
      }),
    });
    for (const { spec } of of(/^Ingress$/, ingress))
      expect(spec.tls.flatMap(({ hosts }) => hosts)).toEqual(spec.rules.map(({ host }) => host));
  });
});

describe("the rights", () => {
  const rule = z.strictObject({
    apiGroups: z.array(z.string()),
    resources: z.array(z.string()),
    resourceNames: z.array(z.string()).default([]),
    verbs: z.array(z.string()),
  });
  const role = z.looseObject({ kind: z.string(), metadata: z.looseObject({ name: z.string() }), rules: z.array(rule) });

  it("are these: no wildcard, no secret, nothing that gives more of them", () => {
    const rights = of(/Role$/, role).flatMap(({ kind, metadata, rules }) =>
      rules.map(({ apiGroups, resources, resourceNames, verbs }) =>
        `${kind} ${metadata.name}: ${verbs.join(",")} ${apiGroups.join()}/${resources.join()} ${resourceNames.join()}`.trim(),
      ),
    );
    expect(rights.toSorted()).toEqual([
      "ClusterRole mpo-relay-rescan: get,patch deckhouse.io/modulesources my-modules",
      "ClusterRole mpo-relay-rescan: list deckhouse.io/modulereleases",
      "ClusterRole mpo-relay: get /namespaces kube-system",
      "ClusterRole mpo-relay: get deckhouse.io/modules",
      "ClusterRole mpo-relay: get,list,patch deckhouse.io/modulepulloverrides",
      "Role mpo-relay-events: create /events",
      "Role mpo-relay-token: create /serviceaccounts/token mpo-relay",
    ]);
  });

  it("are the relay's own accounts', which give no pod a token that does not ask", () => {
    const bound = z.looseObject({
      subjects: z.array(z.object({ kind: z.literal("ServiceAccount"), name: z.string(), namespace: z.literal("mpo-relay") })),
    });
    const account = z.looseObject({ metadata: z.looseObject({ name: z.string() }), automountServiceAccountToken: z.literal(false) });
    const names = of(/^ServiceAccount$/, account).map(({ metadata }) => metadata.name);
    const bindings = of(/RoleBinding$/, bound);
    expect(bindings).toHaveLength(4);
    expect(bindings.flatMap(({ subjects }) => subjects).filter(({ name }) => !names.includes(name))).toEqual([]);
  });
});

test("the image: a base that is known by its content, no script of a package, no root, no shell, and no secret of whoever builds it", () => {
  const lines = readFileSync(join(root, "Dockerfile"), "utf8").split("\n");
  const last = lines.slice(lines.findLastIndex((line) => line.startsWith("FROM ")));
  expect(lines.filter((line) => /\bnpm ci\b/.test(line) && !line.includes("--ignore-scripts"))).toEqual([]);
  expect(lines.filter((line) => /^ADD |curl|wget|SECRET|TOKEN/i.test(line.replace(/^#.*/, "")))).toEqual([]);
  expect(lines.filter((line) => line.startsWith("ARG "))).toEqual([
    expect.stringMatching(/^ARG NODE=docker\.io\/library\/node:24\.\d+\.\d+-bookworm-slim@sha256:[0-9a-f]{64}$/),
  ]);
  expect(lines.filter((line) => /^FROM (?!\$\{NODE\} )/.test(line))).toEqual([]);
  expect(last.filter((line) => /^(?:RUN|USER) /.test(line))).toEqual(["USER 1000:1000"]);
  expect(last.filter((line) => /^(?:ENTRYPOINT|CMD) /.test(line)).every((line) => line.includes("["))).toBe(true);
});
