/**
 * Tried as the one on call: each cause is real, exactly its alarm fires (log, /metrics, and alert in a real Prometheus), the commands of its
 * page are taken from the runbook and typed as they stand, and it ends green. `ONCALL_MINUTES=10` for a longer run without any trouble.
 */
import { rm, unlink, writeFile, readFile, mkdir } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { encode } from "../../src/event.ts";
import { openFolder } from "../../src/queue/folder.ts";
import { expressions, selectorsIn } from "../support/monitoring.ts";
import { requestOf } from "../support/relay.ts";
import { SOURCE } from "./cluster.ts";
import { adminOf } from "./intervals.ts";
import { type Desk, openDesk, PIPELINES, PUSHED, REGISTRY } from "./oncall.ts";
import { say } from "./parts/cache.ts";
import { rescanRights } from "./parts/crds.ts";
import { eventually } from "./wait.ts";

const MINUTES = Number(process.env["ONCALL_MINUTES"] ?? 2);
const modules = [PUSHED, "other", "third"];
const NAMESPACE = "mpo-relay";
const DLQ_WAITS = /^\[0\] [\s\S]*waiting, and tried again by themselves/;
const APPLIED = /^\[0\] [\s\S]*(?:created|configured|unchanged)/;
const ANOTHER = "11111111-1111-4111-8111-111111111111";
/** The last look comes long after the stand-in of Deckhouse looks at all again: an upgrade, or a load of its own, holds it. */
const CALM = { cooldown: "100ms", looks: ["500ms", "1s", "2s", "5s", "10s", "20s", "60s"] };
const SWEEPING = { sweep: "15s", ...CALM };

let desk: Desk;
beforeAll(async () => {
  desk = await openDesk({ modules, version: "v1alpha1", quiet: true, seeded: true, tuning: CALM });
}, 180_000);
afterAll(async () => {
  const rows = [...desk.done].map(([code, { followed }]) => `${code} (${followed})`);
  say(`on call: ${desk.done.size} codes fired for real, page followed (commands): ${rows.join(", ")}`);
  await desk.stop();
});

const push = () => desk.world.crane.push(desk.world.image(PUSHED));
const queueOf = async () => {
  const path = /queue: embedded:(\S+)/.exec(await readFile(join(desk.world.folder, "relay.yaml"), "utf8"))?.[1] ?? "";
  return openFolder(join(desk.world.folder, path), "dev");
};
async function store(body: string): Promise<void> {
  const queue = await queueOf();
  try {
    await queue.send([{ body }]);
  } finally {
    await queue.close();
  }
}
const emptied = (command: string) =>
  eventually(command, async () => {
    await desk.shell(command);
    return (await desk.shell("mpo-relay dlq list")).startsWith("[0]") ? true : null;
  });

test(`a clean system fires nothing in ${MINUTES} minutes of normal traffic, and has every metric of rules and dashboard`, async () => {
  const relay = await desk.serve({ lookUp: true, more: { tuning: SWEEPING } });
  await desk.expectPickedUp();
  const until = Date.now() + MINUTES * 60_000;
  let pushes = 1;
  while (Date.now() < until) {
    await desk.world.crane.push(desk.world.image(modules[pushes % modules.length] ?? PUSHED));
    pushes += 1;
    await sleep(1_500);
  }
  await desk.expectPickedUp();
  expect((await relay.lines()).filter(({ alarm }) => alarm !== undefined)).toEqual([]);
  expect(await desk.counted()).toEqual({});
  expect(await desk.firing()).toEqual([]);
  const text = await desk.metrics();
  const series = text.split("\n").filter((line) => !line.startsWith("#"));
  for (const { name, matchers } of expressions().flatMap(({ expr }) => selectorsIn(expr)))
    for (const { label } of [{ label: "" }, ...matchers])
      expect(
        series.some((line) => line.startsWith(`${name}{`) && (label === "" || line.includes(`${label}="`))),
        `${name} ${label}`,
      ).toBe(true);
  say(`on call: ${pushes} pushes in ${MINUTES} min without an alarm; ${series.length} series, ${text.length} bytes a scrape`);
}, 900_000);

describe("the API server", () => {
  beforeEach(() => desk.serve());

  test("API_VERSION_GONE: the resource definition changes its version", () =>
    desk.incident({
      code: "API_VERSION_GONE",
      cause: async () => {
        await desk.expectPickedUp();
        await desk.world.cluster.upgrade();
        await push();
      },
      says: [/^\[0\] v1alpha2/, /^\[0\]/],
    }));

  test("CLUSTER_UNREACHABLE: it is killed", () =>
    desk.incident({
      code: "CLUSTER_UNREACHABLE",
      may: ["CLUSTER_ERROR"], // what an API server answers while it starts
      cause: async () => {
        await desk.world.cluster.kube.kill();
        await push();
      },
      says: [/^\[1\] [\s\S]*refused/, DLQ_WAITS],
      remedy: async () => {
        expect(await desk.metrics()).toContain(`mpo_relay_circuit_open{cluster="dev"} 1`);
        await desk.world.cluster.kube.start();
      },
    }));

  test("CLUSTER_UNAUTHORIZED: its account is gone, and its token with it", () =>
    desk.incident({
      code: "CLUSTER_UNAUTHORIZED",
      cause: async () => {
        await desk.expectPickedUp();
        await desk.kubectl("delete", "serviceaccount", "mpo-relay", "-n", NAMESPACE);
        await eventually("it is refused", async () => {
          await push(); // the API server knows a token for some seconds after its end
          await sleep(1_000);
          return (await desk.alarms()).length > 0 ? true : null;
        });
      },
      says: [/^\[1\] [\s\S]*NotFound/, APPLIED, /^\[0\]/],
    }));

  test("FORBIDDEN: the binding is deleted", () =>
    desk.incident({
      code: "FORBIDDEN",
      cause: async () => {
        await desk.kubectl("delete", "clusterrolebinding", "mpo-relay");
        await sleep(1_000);
        await push();
      },
      says: [/^\[1\] [\s\S]*no/, APPLIED],
    }));

  test("EVENTS_UNAVAILABLE: the role for Events is deleted", () =>
    desk.incident({
      code: "EVENTS_UNAVAILABLE",
      cause: async () => {
        await desk.kubectl("delete", "role", "mpo-relay-events", "-n", "default");
        await sleep(1_000);
        await push();
      },
      says: [/^\[1\] [\s\S]*no/, APPLIED],
    }));

  test("FORBIDDEN_BY_POLICY: an admission policy denies the patch", () =>
    desk.incident({
      code: "FORBIDDEN_BY_POLICY",
      cause: async () => {
        await deny("false");
        await eventually("it is refused", async () => {
          await push(); // a policy takes a moment
          await sleep(1_000);
          return (await desk.alarms()).length > 0 ? true : null;
        });
      },
      says: [/^\[3\] [\s\S]*FORBIDDEN_BY_POLICY/, /^\[0\] [\s\S]*oncall/],
      remedy: async () => {
        await allow();
        await emptied("mpo-relay dlq redrive --code FORBIDDEN_BY_POLICY --wait --timeout 20s");
      },
    }));

  test("SCAN_INTERVAL: a policy keeps the interval as it is", async () => {
    await adminOf(desk.world.cluster).patch(PUSHED, { spec: { scanInterval: "10m" } });
    await desk.serve({ cluster: { adopt: "12h" } });
    await desk.incident({
      code: "SCAN_INTERVAL",
      cause: async () => {
        await deny("object.spec.scanInterval == oldObject.spec.scanInterval");
        await sleep(2_000);
        await push();
      },
      says: [/^\[0\] /, /^\[0\] [\s\S]*yes/],
      remedy: allow,
      green: async () => {
        await desk.expectPickedUp();
        await eventually("it is adopted", async () => ((await adminOf(desk.world.cluster).read(PUSHED)).interval === "12h" ? true : null));
      },
    });
  });

  test("OTHER_CLUSTER: the configuration means another one", () =>
    desk.incident({
      code: "OTHER_CLUSTER",
      cause: async () => {
        await desk.serve({ cluster: { uid: ANOTHER } });
        await push();
      },
      says: [/^\[0\] [0-9a-f-]{36}/, /^\[0\]/],
      remedy: async () => {
        const uid = (await desk.shell("kubectl get namespace kube-system -o jsonpath='{.metadata.uid}'")).slice("[0] ".length);
        const file = join(desk.world.folder, "relay.yaml");
        await writeFile(file, (await readFile(file, "utf8")).replace(ANOTHER, uid));
        await desk.again();
      },
    }));

  test("RESCAN_REFUSED: a channel moves, and the right to scan was never given", async () => {
    const repo = desk.world.image("plain").replace("/plain:main", "");
    await desk.serve({ more: { sources: [{ repo, name: SOURCE, rescan: true }] } });
    const move = () => desk.world.crane.push(`${repo}/plain/release:stable`);
    await desk.incident({
      code: "RESCAN_REFUSED",
      cause: move,
      says: [/^\[1\] [\s\S]*no/, APPLIED],
      remedy: async () => desk.world.cluster.kube.apply(await rescanRights(SOURCE)), // the name is written where the page says
      green: async () => {
        await move();
        await eventually("it scans", async () =>
          (await desk.relay().lines()).some(({ outcome }) => outcome === "RESCANNED") ? true : null,
        );
      },
    });
  });

  test("CLUSTER_UNVERIFIED: its UID cannot be read", async () => {
    const uid = (await desk.kubectl("get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}")).trim();
    const patch = JSON.stringify([{ op: "remove", path: "/rules/2" }]);
    await desk.kubectl("patch", "clusterrole", "mpo-relay", "--type=json", "-p", patch);
    await sleep(1_000);
    await desk.incident({
      code: "CLUSTER_UNVERIFIED",
      cause: () => desk.serve({ cluster: { uid } }),
      says: [/^\[1\] [\s\S]*no/, APPLIED],
    });
  });
});

describe("the queue", () => {
  test("MALFORMED: somebody else writes into it", async () => {
    await desk.serve();
    await desk.incident({
      code: "MALFORMED",
      cause: () => store("not ours"),
      says: [/^\[3\] [\s\S]*MALFORMED/],
      remedy: () => emptied("mpo-relay dlq purge --code MALFORMED --yes"),
    });
  });

  test("WRONG_CLUSTER: an edge means another queue", async () => {
    await desk.serve();
    await desk.incident({
      code: "WRONG_CLUSTER",
      cause: () => store(encode(requestOf({ cluster: "stage" }))),
      says: [/^\[3\] [\s\S]*WRONG_CLUSTER/, /^\[0\]/],
      remedy: () => emptied("mpo-relay dlq purge --code WRONG_CLUSTER --yes"),
    });
  });

  test("WORKER_TOO_OLD: an edge was updated first", async () => {
    await desk.serve();
    await desk.incident({
      code: "WORKER_TOO_OLD",
      cause: () => store(JSON.stringify({ ...requestOf(), v: 2 })),
      says: [/^\[0\] \d+\.\d+/, DLQ_WAITS],
    });
  });

  test("LAST_RECEIVE: a consumer dies of a record, eight times", async () => {
    await desk.serve();
    await desk.relay().stop("SIGTERM");
    const queue = await queueOf();
    await queue.send([{ body: encode(requestOf({ module: PUSHED })) }]);
    for (let times = 0; times < 8; times += 1) {
      const [record] = await queue.receive({ max: 1, waitSeconds: 5, visibilitySeconds: 30 });
      if (record) await queue.extend(record, 0);
    }
    await queue.close();
    await desk.incident({
      code: "LAST_RECEIVE",
      cause: () => desk.again(),
      says: [/^\[3\] [\s\S]*LAST_RECEIVE/, /^\[0\]/],
      remedy: () => emptied("mpo-relay dlq purge --code LAST_RECEIVE --yes"),
    });
  });

  test("UNCONFIRMED: what was announced is not what the tag names", async () => {
    await desk.serve({ more: { tuning: { cooldown: "100ms", looks: ["300ms", "600ms", "1s", "2s", "3s"] } } });
    const image = desk.world.image("third").replace(/:main$/, "");
    const body = JSON.stringify({ repository: image, tag: "main", digest: `sha256:${"0".repeat(64)}` });
    await desk.incident({
      code: "UNCONFIRMED",
      cause: async () => expect(await desk.post("pipelines", body)).toBe(202),
      says: [/^\[3\] [\s\S]*UNCONFIRMED/, /^\[1\]/, /^\[\d\]/],
      remedy: async () => {
        await emptied("mpo-relay dlq purge --code UNCONFIRMED --yes");
        await desk.serve(); // which looks for longer
      },
    });
  });

  test.each(["QUEUE_UNAVAILABLE", "JOURNAL_UNAVAILABLE"])("%s: its volume is full", async (code) => {
    const { folder } = desk.world;
    const volume = join(folder, `volume-${code}`);
    await mkdir(volume);
    const script = `mount -t tmpfs -o size=1m none "$0" && exec "$@"`;
    const under = { by: ["unshare", "--mount", "--map-root-user", "sh", "-c", script, volume], env: {} };
    const on = `embedded:./volume-${code}`;
    await desk.serve(code === "QUEUE_UNAVAILABLE" ? { queue: on, more: { unparsed: on, journal: "off" } } : { more: { journal: on } }, {
      under,
    });
    await desk.expectPickedUp();
    const filler = join(`/proc/${desk.relay().pid}/root`, volume, "filler");
    await desk.incident({
      code,
      cause: async () => {
        await writeFile(filler, Buffer.alloc(1024 * 1024)).catch((error: NodeJS.ErrnoException) => expect(error.code).toBe("ENOSPC"));
        const padding = "x".repeat(20_000);
        await eventually("it is full", async () => {
          await desk.post(
            "pipelines",
            JSON.stringify({ repository: desk.world.image("other").replace(/:main$/, ""), tag: "elsewhere", padding }),
          );
          return (await desk.alarms()).length > 0 ? true : null;
        });
      },
      says: [/^\[\d\]/, /^\[0\] [\s\S]*%/],
      remedy: () => rm(filler),
    });
  });
});

describe("deliveries", () => {
  test("UNPARSED and UNPARSED_FULL: what cannot be read, and no room for more", async () => {
    await desk.serve({ more: { limits: { unparsed: 1 } } });
    const list = /^\[3\] [\s\S]*UNPARSED/;
    await desk.incident({
      code: "UNPARSED",
      cause: async () => expect(await desk.post("pipelines", "{")).toBe(202),
      says: [list],
      green: async () => {},
    });
    await desk.incident({
      code: "UNPARSED_FULL",
      also: ["UNPARSED"],
      cause: async () => expect(await desk.post("pipelines", "{{")).toBe(202),
      says: [list, /^\[0\]/],
      remedy: () => emptied("mpo-relay dlq purge --cluster unparsed --all --yes"),
    });
  });

  test("TOO_LARGE: more than a mebibyte, from whoever it is", async () => {
    await desk.serve({ lookUp: true });
    await desk.incident({
      code: "TOO_LARGE",
      cause: async () => expect(await desk.post("registry", "x".repeat(2 * 1024 * 1024), {})).toBe(413),
      says: [/^\[0\] [\s\S]*reason="TOO_LARGE"\} 1/, /^\[0\]/],
    });
  });

  test("NO_MEMORY: callers who send and never end", async () => {
    await desk.serve();
    const { hostname, port } = new URL(desk.world.relayUrl);
    const sockets = Array.from({ length: 65 }, () => connect(Number(port), hostname));
    const head = `POST /hooks/registry HTTP/1.1\r\nhost: relay\r\ncontent-length: ${1024 * 1024}\r\n\r\n`;
    await desk.incident({
      code: "NO_MEMORY",
      cause: async () => {
        for (const socket of sockets) {
          socket.on("error", () => {});
          socket.write(head + "x".repeat(1024 * 1024 - 1));
        }
      },
      says: [/^\[0\] [\s\S]*reason="NO_MEMORY"\} [1-9]/],
      remedy: async () => sockets.forEach((socket) => socket.destroy()),
    });
  });

  test("SECRET_MISSING: its file is not there at the start", async () => {
    const file = join(desk.world.folder, "webhook.secret");
    const secret = await readFile(file, "utf8");
    await desk.serve();
    await unlink(file);
    await desk.incident({
      code: "SECRET_MISSING",
      cause: () => desk.serve(),
      says: [/^\[0\] [\s\S]*webhook\.secret/, /^\[0\] [\s\S]*relay\.yaml/],
      remedy: () => writeFile(file, secret, { mode: 0o600 }),
    });
  });

  test("OLD_SECRET: the registry was not told the new one", async () => {
    const { folder } = desk.world;
    await writeFile(join(folder, "new.secret"), "another-secret-of-32-characters-", { mode: 0o600 });
    const rotating = { ...REGISTRY, secret: "file:new.secret", previousSecret: "file:webhook.secret" };
    await desk.serve({ webhooks: { registry: rotating, pipelines: PIPELINES } });
    await desk.incident({ code: "OLD_SECRET", cause: push, says: [/^\[0\] [\s\S]*Authorization/] });
  });

  test("OLD_SECRET_MISSING: the previous one is gone", async () => {
    const file = join(desk.world.folder, "previous.secret");
    const rotating = { ...REGISTRY, previousSecret: "file:previous.secret" };
    await desk.serve({ webhooks: { registry: rotating, pipelines: PIPELINES } });
    await desk.incident({
      code: "OLD_SECRET_MISSING",
      cause: push,
      says: [/^\[0\] [\s\S]*previous\.secret/, /^\[0\]/],
      remedy: () => writeFile(file, "the-one-before-of-32-characters-", { mode: 0o600 }),
    });
  });

  test("MpoRelayAuthFailures: the registry has another secret", async () => {
    await desk.serve();
    const file = join(desk.world.folder, "webhook.secret");
    const secret = await readFile(file, "utf8");
    await writeFile(file, "a-secret-that-nobody-told-the-registry", { mode: 0o600 });
    await sleep(1_500); // the file is believed for a second
    await push();
    await eventually("the alert", async () =>
      (await desk.firing()).some(({ alertname }) => alertname === "MpoRelayAuthFailures") ? true : null,
    );
    expect(await desk.follow("MpoRelayAuthFailures")).toEqual([
      expect.stringMatching(/^\[0\] [\s\S]*202|^\[0\] [\s\S]*queued/),
      expect.stringMatching(/^\[0\] [\s\S]*Authorization/),
    ]);
    await writeFile(file, secret, { mode: 0o600 });
    await sleep(1_500);
    await desk.expectPickedUp();
    expect(await desk.alarms()).toEqual([]);
  });

  test("KEYS_UNAVAILABLE: an issuer cannot be reached", async () => {
    const oidc = { issuer: "https://127.0.0.1:1", audience: "mpo-relay", subject: "project_path:group/*" };
    await desk.serve({ webhooks: { registry: REGISTRY, jobs: { provider: "generic", auth: "oidc", oidc } } });
    const part = (text: object) => Buffer.from(JSON.stringify(text)).toString("base64url");
    const claims = { iss: oidc.issuer, aud: "mpo-relay", sub: "project_path:group/a", exp: Math.floor(Date.now() / 1000) + 600 };
    const token = `${part({ alg: "RS256", kid: "a" })}.${part(claims)}.${"a".repeat(342)}`;
    await desk.incident({
      code: "KEYS_UNAVAILABLE",
      cause: async () => expect(await desk.post("jobs", "{}", { authorization: `Bearer ${token}` })).toBe(503),
      says: [/^\[7\]/, /^\[0\]/],
    });
  });
});

describe("the registry", () => {
  test("REGISTRY_UNAVAILABLE: it is away, and the sweep notices", async () => {
    await desk.serve({ lookUp: true, more: { tuning: { ...SWEEPING, sweep: "2s" } } });
    await desk.incident({
      code: "REGISTRY_UNAVAILABLE",
      cause: () => desk.world.registry.pause(),
      says: [/^\[1\]/, /^\[\d\]/],
      remedy: () => desk.world.registry.restart(),
      green: async () => {
        await eventually("a sweep is answered", async () =>
          (await desk.relay().lines()).at(-1)?.outcome === "SWEPT" && (await desk.shell("mpo-relay sweep --dry-run")).startsWith("[0]")
            ? true
            : null,
        );
      },
    });
  });

  test("WEBHOOK_SILENT: it no longer tells of pushes", async () => {
    await desk.serve({ lookUp: true, more: { tuning: SWEEPING } });
    await desk.expectPickedUp();
    await sleep(3_000);
    await desk.world.setNotifying(false);
    await desk.incident({
      code: "WEBHOOK_SILENT",
      cause: push,
      says: [/^\[0\]/, /^\[0\] [\s\S]*Authorization/, /^\[\d\]/],
      remedy: () => desk.world.setNotifying(true),
      green: async () => {
        await sleep(3_000);
        await desk.expectPickedUp();
        await eventually("it is heard", async () =>
          (await desk.relay().lines()).some(({ outcome }) => outcome === "WEBHOOK_HEARD") ? true : null,
        );
      },
    });
  });
});

/** A policy that lets the relay's account write an override only where the expression holds: https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/ */
async function deny(expression: string): Promise<void> {
  const metadata = { name: "oncall" };
  const rule = { apiGroups: ["deckhouse.io"], apiVersions: ["*"], operations: ["UPDATE"], resources: ["modulepulloverrides"] };
  const policy = {
    failurePolicy: "Fail",
    matchConstraints: { resourceRules: [rule] },
    matchConditions: [{ name: "relay", expression: "request.userInfo.username == 'system:serviceaccount:mpo-relay:mpo-relay'" }],
    validations: [{ expression, reason: "Forbidden", message: "not by the relay" }],
  };
  const apiVersion = "admissionregistration.k8s.io/v1";
  const binding = { policyName: "oncall", validationActions: ["Deny"] };
  const objects: object[] = [
    { apiVersion, kind: "ValidatingAdmissionPolicy", metadata, spec: policy },
    { apiVersion, kind: "ValidatingAdmissionPolicyBinding", metadata, spec: binding },
  ];
  const file = join(desk.world.folder, "policy.json");
  await writeFile(file, JSON.stringify({ apiVersion: "v1", kind: "List", items: objects }));
  await desk.kubectl("apply", "-f", file);
}
async function allow(): Promise<void> {
  await desk.kubectl("delete", "validatingadmissionpolicybinding,validatingadmissionpolicy", "oncall");
  await sleep(1_000);
}
