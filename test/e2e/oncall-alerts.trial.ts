/**
 * Tried as the one on call: alerts that are no alarm of the log. Each cause is real, its alert fires in a real Prometheus, the commands of its
 * page are typed as they stand, and it ends. Nobody waits half an hour here: the rules are the shipped ones with their times in seconds.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, describe, expect, test } from "vitest";
import { DLQ_WAITS, openTrial, SWEEPING, unverifiedToken } from "./oncall-shared.ts";
import { PIPELINES, PUSHED, REGISTRY } from "./oncall.ts";
import { say } from "./parts/cache.ts";
import { eventually } from "./wait.ts";

const RULES = join(import.meta.dirname, "../../infra/monitoring/rules.yml");
const folder = mkdtempSync(join(tmpdir(), "mpo-relay-e2e-rules-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const rules = join(folder, "rules.yml");
writeFileSync(rules, hurried(readFileSync(RULES, "utf8")));

const { desk, push, emptied, apply } = openTrial({ rules });

/** What lasts for minutes lasts for seconds; what is looked at over twenty minutes is over as soon as the last scrapes no longer hold it. */
function hurried(text: string): string {
  return text
    .replaceAll(/for: \d+m/g, "for: 3s")
    .replaceAll("> 1800", "> 5")
    .replaceAll("> 500", "> 300")
    .replaceAll(/\[(?:8|15|20)m\]/g, "[20s]")
    .replaceAll("offset 20m", "offset 20s");
}

/** `increase` sees nothing of what came before a process's first scrape. */
const SCRAPED_MS = 3_000;

interface Trouble {
  readonly alert: string;
  readonly labels?: Record<string, string>;
  cause(): Promise<unknown>;
  /** What the page's commands say, in their order: `[exit code] output`. */
  readonly says: readonly RegExp[];
  remedy(): Promise<unknown>;
}

async function trouble({ alert, labels = {}, cause, says, remedy }: Trouble): Promise<void> {
  const isFiring = async () => {
    const matching = (await desk().firing()).filter(({ alertname }) => alertname === alert);
    return matching.some((each) => Object.entries(labels).every(([name, value]) => each[name] === value));
  };
  await sleep(SCRAPED_MS);
  await cause();
  await eventually(`${alert} fires`, async () => ((await isFiring()) ? true : null));
  const said = await desk().follow(alert);
  expect(said, JSON.stringify(said)).toHaveLength(says.length);
  for (const [index, pattern] of says.entries()) expect(said[index], alert).toMatch(pattern);
  await remedy();
  await eventually(`${alert} ends`, async () => ((await isFiring()) ? null : true));
  await desk().expectPickedUp();
  say(`on call: ${alert} fired, ${said.length} commands of its page, over`);
}

/** A push that a pipeline tells of. */
const announced = (repository: string, tag: string, number = 0) => ({
  repository,
  tag,
  digest: `sha256:${String(number).padStart(64, "0")}`,
});

describe("what comes", () => {
  test("MpoRelayUnknownWebhook: the registry has an old address", async () => {
    await desk().serve({ lookUp: true });
    await trouble({
      alert: "MpoRelayUnknownWebhook",
      cause: async () => expect(await desk().post("its-old-name", "{}")).toBe(404),
      says: [/^\[0\] [\s\S]*\/hooks\/registry/, /^\[[03]\]/],
      remedy: async () => {},
    });
  });

  test("MpoRelayUnknownHost: the registry calls itself by another name", async () => {
    await desk().serve({ lookUp: true });
    await trouble({
      alert: "MpoRelayUnknownHost",
      labels: { webhook: "pipelines" },
      cause: async () => {
        const path = desk()
          .world.image(PUSHED)
          .replace(/^[^/]+/, "another.example.com")
          .replace(/:main$/, "");
        expect(await desk().post("pipelines", JSON.stringify(announced(path, "1", 1)))).toBe(200);
      },
      says: [/^\[0\]/, /^\[[03]\]/],
      remedy: async () => {},
    });
  });

  test("MpoRelayDeliveriesFailed: an issuer cannot be reached", async () => {
    const oidc = { issuer: "https://127.0.0.1:1", audience: "mpo-relay", subject: "project_path:group/*" };
    await desk().serve({ webhooks: { registry: REGISTRY, pipelines: PIPELINES, jobs: { provider: "generic", auth: "oidc", oidc } } });
    const token = unverifiedToken(oidc);
    await trouble({
      alert: "MpoRelayDeliveriesFailed",
      labels: { webhook: "jobs", reason: "KEYS_UNAVAILABLE" },
      cause: async () => expect(await desk().post("jobs", "{}", { authorization: `Bearer ${token}` })).toBe(503),
      says: [/^\[0\]/, /^\[0\]/],
      remedy: async () => {},
    });
  });
});

describe("what waits", () => {
  test("MpoRelayDeadLetters: what was announced is not what the tag names", async () => {
    await desk().serve({ more: { tuning: { cooldown: "100ms", looks: ["300ms", "600ms", "1s", "2s", "3s"] } } });
    const image = desk()
      .world.image("third")
      .replace(/:main$/, "");
    await trouble({
      alert: "MpoRelayDeadLetters",
      labels: { cluster: "dev" },
      cause: async () => expect(await desk().post("pipelines", JSON.stringify(announced(image, "main")))).toBe(202),
      says: [/^\[3\] [\s\S]*UNCONFIRMED/],
      remedy: async () => {
        await emptied("mpo-relay dlq purge --code UNCONFIRMED --yes");
        await desk().serve(); // which looks for longer
      },
    });
  });

  test("MpoRelayCircuitOpen and MpoRelayQueueStuck: the API server is gone", async () => {
    await desk().serve();
    await trouble({
      alert: "MpoRelayCircuitOpen",
      labels: { cluster: "dev" },
      cause: async () => {
        await desk().world.cluster.kube.kill();
        await push();
      },
      says: [/^\[1\]/, DLQ_WAITS],
      remedy: () =>
        trouble({
          alert: "MpoRelayQueueStuck",
          labels: { cluster: "dev" },
          cause: async () => {},
          says: [DLQ_WAITS, /^\[1\]/],
          remedy: () => desk().world.cluster.kube.start(),
        }),
    });
  });

  test("MpoRelayQueueGrowing: a pipeline pushes in a loop, and nobody takes it", async () => {
    await desk().serve();
    const image = desk()
      .world.image("third")
      .replace(/:main$/, "");
    const stop = new AbortController();
    let pushing = Promise.resolve();
    await trouble({
      alert: "MpoRelayQueueGrowing",
      labels: { cluster: "dev" },
      cause: async () => {
        await desk().world.cluster.kube.kill();
        pushing = (async () => {
          for (let nth = 1; !stop.signal.aborted; nth += 1) {
            const list = Array.from({ length: 20 }, (_, each) => announced(image, String(nth * 20 + each), nth * 20 + each));
            expect(await desk().post("pipelines", JSON.stringify(list))).toBe(202);
            await sleep(500);
          }
        })();
      },
      says: [DLQ_WAITS, /^\[0\]/],
      remedy: async () => {
        stop.abort();
        await pushing;
        await desk().world.cluster.kube.start();
      },
    });
  });
});

describe("what is not there", () => {
  test("MpoRelayDown: the relay has ended", async () => {
    await desk().serve();
    await desk().expectPickedUp();
    await trouble({
      alert: "MpoRelayDown",
      labels: { job: "mpo-relay" },
      cause: () => desk().rest(),
      says: [/^\[0\]/, /^\[\d+\] [\s\S]*curl/, /^\[7\]/],
      remedy: () => desk().again(),
    });
  });

  test("MpoRelayOverridesBehind: Deckhouse deploys, and cannot write that it did", async () => {
    await desk().serve({ lookUp: true, more: { tuning: { ...SWEEPING, sweep: "2s" } } });
    const metadata = { name: "oncall-status" };
    const rule = { apiGroups: ["deckhouse.io"], apiVersions: ["*"], operations: ["UPDATE"], resources: ["modulepulloverrides/status"] };
    const spec = {
      failurePolicy: "Fail",
      matchConstraints: { resourceRules: [rule] },
      validations: [{ expression: "false", reason: "Forbidden", message: "not now" }],
    };
    const apiVersion = "admissionregistration.k8s.io/v1";
    const binding = { policyName: metadata.name, validationActions: ["Deny"] };
    await trouble({
      alert: "MpoRelayOverridesBehind",
      labels: { cluster: "dev" },
      cause: async () => {
        await apply([
          { apiVersion, kind: "ValidatingAdmissionPolicy", metadata, spec },
          { apiVersion, kind: "ValidatingAdmissionPolicyBinding", metadata, spec: binding },
        ]);
        await sleep(2_000); // a policy takes a moment
        await push();
      },
      says: [/^\[3\] [\s\S]*behind/, /^\[0\] [\s\S]*echo/],
      remedy: () => desk().kubectl("delete", "validatingadmissionpolicybinding,validatingadmissionpolicy", metadata.name),
    });
  });
});
