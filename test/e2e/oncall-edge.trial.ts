/**
 * Tried as the one on call: each cause is real, exactly its alarm fires (log, /metrics, and alert in a real Prometheus), the commands of its
 * page are taken from the runbook and typed as they stand, and it ends green. Here: what senders, secrets and the registry can do.
 */
import { readFile, unlink } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { openTrial, SWEEPING, unverifiedToken } from "./oncall-shared.ts";
import { PIPELINES, PUSHED, REGISTRY } from "./oncall.ts";
import { freePort } from "./parts/child.ts";
import { eventually } from "./wait.ts";

const { desk, push, emptied } = openTrial();

describe("deliveries", () => {
  test("UNPARSED and UNPARSED_FULL: what cannot be read, and no room for more", async () => {
    await desk().serve({ more: { limits: { unparsed: 1 } } });
    const list = /^\[3\] [\s\S]*UNPARSED/;
    await desk().incident({
      code: "UNPARSED",
      cause: async () => expect(await desk().post("pipelines", "{")).toBe(202),
      says: [list],
      green: async () => {},
    });
    await desk().incident({
      code: "UNPARSED_FULL",
      also: ["UNPARSED"],
      cause: async () => expect(await desk().post("pipelines", "{{")).toBe(202),
      says: [list, /^\[0\]/],
      remedy: () => emptied("mpo-relay dlq purge --cluster unparsed --all --yes"),
    });
  });

  test("TOO_LARGE: more than a mebibyte, from whoever it is", async () => {
    await desk().serve({ lookUp: true });
    await desk().incident({
      code: "TOO_LARGE",
      cause: async () => expect(await desk().post("registry", "x".repeat(2 * 1024 * 1024), {})).toBe(413),
      says: [/^\[0\] [\s\S]*reason="TOO_LARGE"\} 1/, /^\[0\]/],
    });
  });

  test("NO_MEMORY: callers who send and never end", async () => {
    await desk().serve();
    const { hostname, port } = new URL(desk().world.relayUrl);
    const sockets = Array.from({ length: 65 }, () => connect(Number(port), hostname));
    const head = `POST /hooks/registry HTTP/1.1\r\nhost: relay\r\ncontent-length: ${1024 * 1024}\r\n\r\n`;
    await desk().incident({
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
    const file = join(desk().world.folder, "webhook.secret");
    const secret = await readFile(file, "utf8");
    await desk().serve();
    await desk().expectPickedUp(); // whatever the registry had to tell is told
    await unlink(file);
    await desk().incident({
      code: "SECRET_MISSING",
      cause: () => desk().serve(),
      says: [/^\[1\] [\s\S]*webhook\.secret/],
      remedy: () => desk().write("webhook.secret", secret),
    });
  });

  test("INTERNAL: a secret's file is taken away while it runs", async () => {
    const file = join(desk().world.folder, "webhook.secret");
    const secret = await readFile(file, "utf8");
    await desk().serve();
    await desk().expectPickedUp();
    await desk().incident({
      code: "INTERNAL",
      cause: async () => {
        await unlink(file);
        await sleep(1_500); // the file is believed for a second
        await push();
      },
      says: [/^\[0\] [\s\S]*webhook\.secret/, /^\[0\]/],
      remedy: () => desk().write("webhook.secret", secret),
    });
  });

  test("OLD_SECRET: the registry was not told the new one", async () => {
    await desk().write("new.secret", "another-secret-of-32-characters-");
    const rotating = { ...REGISTRY, secret: "file:new.secret", previousSecret: "file:webhook.secret" };
    await desk().serve({ webhooks: { registry: rotating, pipelines: PIPELINES } });
    await desk().incident({ code: "OLD_SECRET", cause: push, says: [/^\[0\] [\s\S]*Authorization/] });
  });

  test("OLD_SECRET_MISSING: the previous one is gone", async () => {
    const rotating = { ...REGISTRY, previousSecret: "file:previous.secret" };
    await desk().serve({ webhooks: { registry: rotating, pipelines: PIPELINES } });
    await desk().incident({
      code: "OLD_SECRET_MISSING",
      cause: push,
      says: [/^\[1\] [\s\S]*previous\.secret/],
      remedy: () => desk().write("previous.secret", "the-one-before-of-32-characters-"),
    });
  });

  test("MpoRelayAuthFailures: the registry has another secret", async () => {
    await desk().serve();
    const file = join(desk().world.folder, "webhook.secret");
    const secret = await readFile(file, "utf8");
    await desk().write("webhook.secret", "a-secret-that-nobody-told-the-registry");
    await sleep(1_500); // the file is believed for a second
    await push();
    await eventually("the alert", async () =>
      (await desk().firing()).some(({ alertname }) => alertname === "MpoRelayAuthFailures") ? true : null,
    );
    expect(await desk().follow("MpoRelayAuthFailures")).toEqual([
      expect.stringMatching(/^\[0\] [\s\S]*202|^\[0\] [\s\S]*queued/),
      expect.stringMatching(/^\[0\] [\s\S]*Authorization/),
    ]);
    await desk().write("webhook.secret", secret);
    await sleep(1_500);
    await desk().expectPickedUp();
    expect(await desk().alarms()).toEqual([]);
  });

  test("A push does not arrive: it is of another tag than the override follows, and nothing rings", async () => {
    await desk().serve({ lookUp: true });
    const { crane, image } = desk().world;
    await crane.push(image(PUSHED).replace(/:main$/, ":elsewhere"));
    const page = "A push does not arrive";
    const answer = /^\[0\] [\s\S]*echo:elsewhere .*TAG_DIFFERS .*follows main/;
    await eventually("the page's history tells", async () => (answer.test((await desk().follow(page))[0] ?? "") ? true : null));
    expect(await desk().follow(page)).toEqual([
      expect.stringMatching(answer),
      expect.stringMatching(/^\[\d\] [\s\S]*echo/),
      expect.stringMatching(/^\[\d\] [\s\S]*configuration/),
    ]);
    expect(await desk().alarms()).toEqual([]);
    await desk().expectPickedUp();
  });

  test("KEYS_UNAVAILABLE: an issuer cannot be reached", async () => {
    const oidc = { issuer: `https://127.0.0.1:${await freePort()}`, audience: "mpo-relay", subject: "project_path:group/*" };
    await desk().serve({ webhooks: { registry: REGISTRY, jobs: { provider: "generic", auth: "oidc", oidc } } });
    const token = unverifiedToken(oidc);
    await desk().incident({
      code: "KEYS_UNAVAILABLE",
      cause: async () => expect(await desk().post("jobs", "{}", { authorization: `Bearer ${token}` })).toBe(503),
      says: [/^\[1\] [\s\S]*keys of the tokens' issuer cannot be had/],
    });
  });
});

describe("the registry", () => {
  test("REGISTRY_UNAVAILABLE: it is away, and the sweep notices", async () => {
    await desk().serve({ lookUp: true, more: { tuning: { ...SWEEPING, sweep: "2s" } } });
    await desk().incident({
      code: "REGISTRY_UNAVAILABLE",
      cause: () => desk().world.registry.pause(),
      says: [/^\[1\]/, /^\[\d\]/],
      remedy: () => desk().world.registry.restart(),
      green: async () => {
        await eventually("a sweep is answered", async () =>
          (await desk().relay().lines()).at(-1)?.outcome === "SWEPT" && (await desk().shell("mpo-relay sweep --dry-run")).startsWith("[0]")
            ? true
            : null,
        );
      },
    });
  });

  test("WEBHOOK_SILENT: it no longer tells of pushes", async () => {
    await desk().serve({ lookUp: true, more: { tuning: SWEEPING } });
    await desk().expectPickedUp();
    await sleep(3_000);
    await desk().world.setNotifying(false);
    await desk().incident({
      code: "WEBHOOK_SILENT",
      cause: push,
      says: [/^\[0\]/, /^\[0\] [\s\S]*Authorization/, /^\[\d\]/],
      remedy: () => desk().world.setNotifying(true),
      green: async () => {
        await sleep(3_000);
        await desk().expectPickedUp();
        await eventually("it is heard", async () =>
          (await desk().relay().lines()).some(({ outcome }) => outcome === "WEBHOOK_HEARD") ? true : null,
        );
      },
    });
  });
});
