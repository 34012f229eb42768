/**
 * Tried as the one on call: each cause is real, exactly its alarm fires (log, /metrics, and alert in a real Prometheus), the commands of its
 * page are taken from the runbook and typed as they stand, and it ends green. Here: what the API server can do.
 */
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:https";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { beforeEach, describe, expect, test } from "vitest";
import * as z from "zod";
import { makeCertificates } from "../../src/sandbox/kubernetes/certificates.ts";
import { SOURCE } from "./cluster.ts";
import { adminOf } from "./intervals.ts";
import { APPLIED, DLQ_WAITS, NAMESPACE, openTrial } from "./oncall-shared.ts";
import { PUSHED } from "./oncall.ts";
import { rescanRights } from "./parts/crds.ts";
import { eventually } from "./wait.ts";

const ANOTHER = "11111111-1111-4111-8111-111111111111";
const { desk, push, emptied, apply, deny, allow } = openTrial();

describe("the API server", () => {
  beforeEach(() => desk().serve());

  test("API_VERSION_GONE: the resource definition changes its version", () =>
    desk().incident({
      code: "API_VERSION_GONE",
      cause: async () => {
        await desk().expectPickedUp();
        await desk().world.cluster.upgrade();
        await push();
      },
      says: [/^\[0\] v1alpha2/, /^\[0\]/],
    }));

  test("CLUSTER_UNREACHABLE: it is killed", () =>
    desk().incident({
      code: "CLUSTER_UNREACHABLE",
      may: ["CLUSTER_ERROR", "FORBIDDEN"], // what an API server answers while it starts, on a busy machine for longer than five seconds
      cause: async () => {
        await desk().world.cluster.kube.kill();
        await push();
      },
      says: [/^\[1\] [\s\S]*refused/, DLQ_WAITS],
      remedy: async () => {
        expect(await desk().metrics()).toContain(`mpo_relay_circuit_open{cluster="dev"} 1`);
        await desk().world.cluster.kube.start();
      },
    }));

  test("CLUSTER_BUSY: what has room in its priority level is taken", async () => {
    const { ca, ...certificate } = await makeCertificates();
    const slow = createServer(certificate, () => {}).listen(0, "127.0.0.1"); // and it never answers
    await once(slow, "listening");
    const { port } = z.object({ port: z.int() }).parse(slow.address());
    const token = await desk().world.cluster.kube.serviceAccountToken(NAMESPACE, "mpo-relay");
    const taking: Promise<unknown>[] = [];
    await desk().incident({
      code: "CLUSTER_BUSY",
      cause: async () => {
        const reviews = {
          apiGroups: ["authentication.k8s.io"],
          apiVersions: ["*"],
          operations: ["CREATE"],
          resources: ["selfsubjectreviews"],
        };
        await apply([
          webhookAt(`https://127.0.0.1:${port}/`, reviews, { failurePolicy: "Ignore", timeoutSeconds: 30 }, ca),
          ...withoutRoom(),
        ]);
        await eventually("it is refused", async () => {
          taking.push(desk().shell(`kubectl auth whoami --token=${token}`)); // webhook and level take a moment
          await sleep(1_000);
          await push();
          await sleep(1_000);
          return (await desk().alarms()).length > 0 ? true : null;
        });
      },
      says: [/^\[0\] [\s\S]*priority_level="oncall"/, DLQ_WAITS],
      remedy: async () => {
        await desk().kubectl("delete", "flowschema,prioritylevelconfiguration,validatingwebhookconfiguration", "oncall");
        slow.closeAllConnections();
        slow.close();
        await Promise.all(taking);
      },
    });
  });

  test("CLUSTER_UNREACHABLE: its etcd is killed, and it gives no answer in time", () =>
    desk().incident({
      code: "CLUSTER_UNREACHABLE",
      may: ["CLUSTER_ERROR"], // what it answers to what it began before
      cause: async () => {
        await desk().world.cluster.kube.etcd.kill();
        await push();
      },
      says: [/^\[1\] [\s\S]*etcd failed/, DLQ_WAITS],
      remedy: () => desk().world.cluster.kube.etcd.start(),
    }));

  test("CLUSTER_ERROR: its etcd is full", () =>
    desk().incident({
      code: "CLUSTER_ERROR",
      cause: async () => {
        const { etcd } = desk().world.cluster.kube;
        await etcd.kill();
        await etcd.start(64 * 1024); // less than it holds
        await push();
        const { why } = await eventually("it is told", async () => (await desk().relay().lines()).find(({ alarm }) => alarm) ?? null);
        expect(why).toContain("database space exceeded");
      },
      says: [/^\[0\] [\s\S]*readyz check passed/, DLQ_WAITS],
      remedy: async () => {
        await desk().world.cluster.kube.etcd.kill();
        await desk().world.cluster.kube.etcd.start();
      },
    }));

  test("CLUSTER_ERROR: an admission webhook does not answer", () =>
    desk().incident({
      code: "CLUSTER_ERROR",
      cause: async () => {
        const overrides = { apiGroups: ["deckhouse.io"], apiVersions: ["*"], operations: ["UPDATE"], resources: ["modulepulloverrides"] };
        await apply([webhookAt("https://127.0.0.1:1/", overrides, { failurePolicy: "Fail" })]);
        await eventually("it is refused", async () => {
          await push(); // a webhook takes a moment
          await sleep(1_000);
          return (await desk().alarms()).length > 0 ? true : null;
        });
        const { why } = (await desk().relay().lines()).findLast(({ alarm }) => alarm === "CLUSTER_ERROR") ?? {};
        expect(why).toContain("failed calling webhook");
      },
      says: [/^\[0\] [\s\S]*readyz check passed/, DLQ_WAITS],
      remedy: () => desk().kubectl("delete", "validatingwebhookconfiguration", "oncall"),
    }));

  test("TOKEN_ENDS: nobody has renewed it", async () => {
    const { kube } = desk().world.cluster;
    const bound = { apiVersion: "v1", kind: "Secret", name: "oncall" };
    await apply([{ apiVersion: "v1", kind: "Secret", metadata: { name: bound.name, namespace: NAMESPACE } }]);
    const now = Math.floor(Date.now() / 1000);
    const given = await kube.serviceAccountToken(NAMESPACE, "mpo-relay", bound);
    const token = await kube.signed(given, { iat: now - 50 * 60, exp: now + 10 * 60 });
    await desk().incident({
      code: "TOKEN_ENDS",
      cause: async () => {
        await desk().write("token", token);
        await desk().serve();
        await desk().expectPickedUp();
      },
      says: [/^\[0\]/, /^\[0\]/],
      green: async () => {
        await desk().kubectl("delete", "secret", bound.name, "-n", NAMESPACE); // and it ends
        const asRelay = `kubectl auth whoami --token=${token}`;
        await eventually("the old token is refused", async () => ((await desk().shell(asRelay)).startsWith("[0]") ? null : true));
        await desk().expectPickedUp();
      },
    });
  });

  test("INVALID: a rule of the resource definition is not kept by the override", () =>
    desk().incident({
      code: "INVALID",
      cause: async () => {
        await desk().expectPickedUp();
        await setRules([{ rule: "self.spec.scanInterval != '24h'", message: "an override scans every 12h" }]);
        await eventually("it is refused", async () => {
          await push(); // a definition takes a moment
          await sleep(1_000);
          return (await desk().alarms()).length > 0 ? true : null;
        });
      },
      says: [/^\[3\] [\s\S]*INVALID[\s\S]*next: mpo-relay dlq show dev\//, /^\[0\] [\s\S]*scanInterval: 24h/],
      remedy: async () => {
        const [next] = /mpo-relay dlq show \S+/.exec(await desk().shell("mpo-relay dlq list --code INVALID")) ?? [];
        expect(await desk().shell(next ?? "")).toContain("an override scans every 12h");
        await adminOf(desk().world.cluster).patch(PUSHED, { spec: { scanInterval: "12h" } });
        await emptied("mpo-relay dlq redrive --code INVALID --wait --timeout 20s");
      },
      green: async () => {
        await desk().expectPickedUp();
        await setRules([]);
        await adminOf(desk().world.cluster).patch(PUSHED, { spec: { scanInterval: "24h" } });
      },
    }));

  test("CLUSTER_UNAUTHORIZED: its account is gone, and its token with it", () =>
    desk().incident({
      code: "CLUSTER_UNAUTHORIZED",
      cause: async () => {
        await desk().expectPickedUp();
        await desk().kubectl("delete", "serviceaccount", "mpo-relay", "-n", NAMESPACE);
        await eventually("it is refused", async () => {
          await push(); // the API server knows a token for some seconds after its end
          await sleep(1_000);
          return (await desk().alarms()).length > 0 ? true : null;
        });
      },
      says: [/^\[1\] [\s\S]*NotFound/, APPLIED, /^\[0\]/],
    }));

  test("FORBIDDEN: the binding is deleted", () =>
    desk().incident({
      code: "FORBIDDEN",
      cause: async () => {
        await desk().kubectl("delete", "clusterrolebinding", "mpo-relay");
        await sleep(1_000);
        await push();
      },
      says: [/^\[1\] [\s\S]*no/, APPLIED],
      remedy: async () => {
        await eventually("the page's way to be sooner", async () =>
          (await desk().shell("mpo-relay renew $MODULE --cluster $CLUSTER --wait")).startsWith("[0]") ? true : null,
        );
      },
    }));

  test("EVENTS_UNAVAILABLE: the role for Events is deleted", () =>
    desk().incident({
      code: "EVENTS_UNAVAILABLE",
      cause: async () => {
        await desk().kubectl("delete", "role", "mpo-relay-events", "-n", "default");
        await sleep(1_000);
        await push();
      },
      says: [/^\[1\] [\s\S]*no/, APPLIED],
    }));

  test("FORBIDDEN_BY_POLICY: an admission policy denies the patch", () =>
    desk().incident({
      code: "FORBIDDEN_BY_POLICY",
      cause: async () => {
        await deny("false");
        await eventually("it is refused", async () => {
          await push(); // a policy takes a moment
          await sleep(1_000);
          return (await desk().alarms()).length > 0 ? true : null;
        });
      },
      says: [/^\[3\] [\s\S]*FORBIDDEN_BY_POLICY/, /^\[0\] [\s\S]*oncall/],
      remedy: async () => {
        await allow();
        await emptied("mpo-relay dlq redrive --code FORBIDDEN_BY_POLICY --wait --timeout 20s");
      },
    }));

  test("SCAN_INTERVAL: a policy keeps the interval as it is", async () => {
    await adminOf(desk().world.cluster).patch(PUSHED, { spec: { scanInterval: "10m" } });
    await desk().serve({ cluster: { adopt: "12h" } });
    await desk().incident({
      code: "SCAN_INTERVAL",
      cause: async () => {
        await deny("object.spec.scanInterval == oldObject.spec.scanInterval");
        await sleep(2_000);
        await push();
      },
      says: [/^\[0\] /, /^\[0\] [\s\S]*yes/],
      remedy: allow,
      green: async () => {
        await desk().expectPickedUp();
        await eventually("it is adopted", async () =>
          (await adminOf(desk().world.cluster).read(PUSHED)).interval === "12h" ? true : null,
        );
      },
    });
  });

  test("OTHER_CLUSTER: the configuration means another one", () =>
    desk().incident({
      code: "OTHER_CLUSTER",
      cause: async () => {
        await desk().serve({ cluster: { uid: ANOTHER } });
        await push();
      },
      says: [/^\[0\] [0-9a-f-]{36}/, /^\[0\]/],
      remedy: async () => {
        const uid = (await desk().shell("kubectl get namespace kube-system -o jsonpath='{.metadata.uid}'")).slice("[0] ".length);
        const file = join(desk().world.folder, "relay.yaml");
        await writeFile(file, (await readFile(file, "utf8")).replace(ANOTHER, uid));
        await desk().again();
      },
    }));

  test("RESCAN_REFUSED: a channel moves, and the right to scan was never given", async () => {
    const repo = desk().world.image("plain").replace("/plain:main", "");
    await desk().serve({ more: { sources: [{ repo, name: SOURCE, rescan: true }] } });
    const move = () => desk().world.crane.push(`${repo}/plain/release:stable`);
    await desk().incident({
      code: "RESCAN_REFUSED",
      cause: move,
      says: [/^\[1\] [\s\S]*no/, APPLIED],
      remedy: async () => desk().world.cluster.kube.apply(await rescanRights(SOURCE)), // the name is written where the page says
      green: async () => {
        await move();
        await eventually("it scans", async () =>
          (await desk().relay().lines()).some(({ outcome }) => outcome === "RESCANNED") ? true : null,
        );
      },
    });
  });

  test("CLUSTER_UNVERIFIED: its UID cannot be read", async () => {
    const uid = (await desk().kubectl("get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}")).trim();
    const patch = JSON.stringify([{ op: "remove", path: "/rules/2" }]);
    await desk().kubectl("patch", "clusterrole", "mpo-relay", "--type=json", "-p", patch);
    await sleep(1_000);
    await desk().incident({
      code: "CLUSTER_UNVERIFIED",
      cause: () => desk().serve({ cluster: { uid } }),
      says: [/^\[1\] [\s\S]*no/, APPLIED],
    });
  });
});

/** One request of the account at a time, and the next is refused: https://kubernetes.io/docs/concepts/cluster-administration/flow-control/ */
function withoutRoom(): object[] {
  const apiVersion = "flowcontrol.apiserver.k8s.io/v1";
  const metadata = { name: "oncall" };
  const limited = { nominalConcurrencyShares: 0, lendablePercent: 0, borrowingLimitPercent: 0, limitResponse: { type: "Reject" } };
  const resources = { verbs: ["*"], apiGroups: ["*"], resources: ["*"], clusterScope: true, namespaces: ["*"] };
  const rule = {
    subjects: [{ kind: "ServiceAccount", serviceAccount: { name: "mpo-relay", namespace: NAMESPACE } }],
    resourceRules: [resources],
    nonResourceRules: [{ verbs: ["*"], nonResourceURLs: ["*"] }],
  };
  return [
    { apiVersion, kind: "PriorityLevelConfiguration", metadata, spec: { type: "Limited", limited } },
    { apiVersion, kind: "FlowSchema", metadata, spec: { priorityLevelConfiguration: metadata, matchingPrecedence: 2, rules: [rule] } },
  ];
}

function webhookAt(url: string, rule: object, how: object, ca?: string): object {
  const clientConfig = { url, ...(ca !== undefined && { caBundle: Buffer.from(ca).toString("base64") }) };
  const webhook = { name: "oncall.example.com", clientConfig, rules: [rule], sideEffects: "None", admissionReviewVersions: ["v1"], ...how };
  const apiVersion = "admissionregistration.k8s.io/v1";
  return { apiVersion, kind: "ValidatingWebhookConfiguration", metadata: { name: "oncall" }, webhooks: [webhook] };
}

/** Of each version of the override's definition: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation-rules */
async function setRules(rules: readonly object[]): Promise<void> {
  const which = ["customresourcedefinition", "modulepulloverrides.deckhouse.io"];
  const versions = (await desk().kubectl("get", ...which, "-o", "jsonpath={.spec.versions[*].name}")).trim().split(" ");
  const patch = versions.map((_, index) => ({
    op: "add",
    path: `/spec/versions/${index}/schema/openAPIV3Schema/x-kubernetes-validations`,
    value: rules,
  }));
  await desk().kubectl("patch", ...which, "--type=json", "-p", JSON.stringify(patch));
}
