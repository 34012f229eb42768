import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import manifest from "../package.json" with { type: "json" };
import { mpoRelay } from "./support/cli.ts";

const DIGEST = `sha256:${"a".repeat(64)}`;
const SECRET = "a-secret-of-good-length";
let folder: string;
let config: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "cli-"));
  config = await file(
    "relay.yaml",
    `webhooks:
  ci: { provider: generic, auth: token, secret: env:CI_SECRET, maxBody: 1KiB }
sources: [{ repo: r.example.com/m }]
clusters: { dev: { queue: "embedded:" }, stage: { queue: "env:STAGE_QUEUE", kubernetes: { inCluster: true } } }
`,
  );
});
afterAll(async () => rm(folder, { recursive: true }));

async function file(name: string, text: string): Promise<string> {
  await writeFile(join(folder, name), text);
  return join(folder, name);
}

describe("the program", () => {
  it("lists every command, and each has its help", async () => {
    const { out, exitCode } = await mpoRelay(["--help"]);
    expect(exitCode).toBe(0);
    for (const command of ["serve", "worker", "sandbox", "check", "webhook", "send", "announce", "explain", "history", "dlq", "renew"]) {
      expect(out).toMatch(new RegExp(`^  ${command} `, "m"));
      const help = await mpoRelay([command, "--help"]);
      expect(help).toMatchObject({ exitCode: 0, err: "", out: expect.stringContaining(`Usage: mpo-relay ${command}`) });
    }
  });

  it("tells its version", async () => {
    expect(await mpoRelay(["--version"])).toEqual({ exitCode: 0, out: manifest.version, err: "" });
  });

  it.each([
    [["bogus"], "unknown command 'bogus'"],
    [["check", "--bogus"], "unknown option '--bogus'"],
    [["explain"], "required option"],
    [["renew"], "missing required argument 'module'"],
    [["renew", "echo", "--timeout", "soon"], "Write 30s, 10m, 12h or 7d."],
    [["dlq", "list", "--limit", "0"], "A whole number, please."],
    [["dlq", "redrive"], "which ones? Name ids, --code, --module or --all"],
    [["worker"], "required option '--cluster <name...>'"],
  ])("%j is a wrong call: 2", async (args, text) => {
    expect(await mpoRelay(args)).toMatchObject({ exitCode: 2, out: "", err: expect.stringContaining(text) });
  });

  it.each([
    [["--cluster", "nope"], 'no cluster "nope" in the configuration; known: dev, stage'],
    [["--cluster", "dev"], "clusters.dev has no kubernetes"],
  ])("worker %j is refused before anything starts", async (args, text) => {
    expect(await mpoRelay(["worker", "--config", config, ...args])).toMatchObject({ exitCode: 2, err: expect.stringContaining(text) });
  });

  it("names a configuration that is not there", async () => {
    const { exitCode, err } = await mpoRelay(["serve", "--config", join(folder, "nowhere.yaml")]);
    expect(exitCode).toBe(2);
    expect(err).toContain("nowhere.yaml has 1 problem:\n  is not there");
    expect(err).toContain("--config FILE");
  });
});

describe("check", () => {
  it("says what it read", async () => {
    const env = { CI_SECRET: SECRET, STAGE_QUEUE: "https://sqs.eu-central-1.amazonaws.com/1/q" };
    const { exitCode, out, err } = await mpoRelay(["check", "--config", config], env);
    expect({ exitCode, err }).toEqual({ exitCode: 0, err: "" });
    expect(out).toContain("is in order");
    expect(out).toContain("POST /hooks/ci (generic)");
    expect(out).toContain("r.example.com/m → dev, stage");
  });

  it("warns of a short secret and of what cannot be read here, and prints no value", async () => {
    const { exitCode, err } = await mpoRelay(["check", "--config", config], { CI_SECRET: "hunter2" });
    expect(exitCode).toBe(0);
    expect(err).toContain("webhooks.ci.secret: the secret env:CI_SECRET has only 7 characters");
    expect(err).toContain("clusters.stage.queue: the queue's variable STAGE_QUEUE is not set");
    expect(err).not.toContain("hunter2");
    expect((await mpoRelay(["check", "--config", config])).err).toContain("webhooks.ci.secret: the secret env:CI_SECRET is not set");
  });

  it("looks at the references of a source's registry too", async () => {
    const registry = { username: "robot", password: "env:NO_PASSWORD", ca: "file:no-ca.pem" };
    const text = { sources: [{ repo: "r.example.com/m", registry }], clusters: { dev: { queue: "embedded:" } } };
    const { exitCode, err } = await mpoRelay(["check", "--config", await file("registry.json", JSON.stringify(text))]);
    expect(exitCode).toBe(0);
    expect(err).toContain("sources[0].registry.password: the secret env:NO_PASSWORD is not set");
    expect(err).toMatch(/sources\[0\]\.registry\.ca: the secret file:\S+no-ca\.pem cannot be read/);
  });

  it("tells every problem at once on stderr: 2", async () => {
    const bad = await file("bad.yaml", "webhooks: { a: { provider: x, secert: env:S } }\nclusters: {}\n");
    const { exitCode, out, err } = await mpoRelay(["check", "--config", bad]);
    expect({ exitCode, out }).toEqual({ exitCode: 2, out: "" });
    expect(err).toContain("bad.yaml has 5 problems");
    for (const path of ["webhooks.a.provider", "webhooks.a.secert", "webhooks.a.secret", "clusters", "sources"])
      expect(err).toContain(`  ${path}: `);
  });

  it("gives JSON to programs", async () => {
    const good = await mpoRelay(["check", "--config", config, "--json"], { CI_SECRET: SECRET, STAGE_QUEUE: "hub:https://h" });
    expect(JSON.parse(good.out)).toEqual({ ok: true, file: config, problems: [], warnings: [] });
    const bad = await mpoRelay(["check", "--config", await file("bad.json", "{}"), "--json"]);
    expect(bad).toMatchObject({ exitCode: 2, err: "" });
    expect(JSON.parse(bad.out)).toMatchObject({
      ok: false,
      problems: [{ path: "clusters", message: "is missing: expected names, each with keys and values", hint: null }],
    });
  });
});

describe("explain", () => {
  const push = { repository: "r.example.com/m/echo", tag: "main", digest: DIGEST, time: "2026-06-01T11:59:59Z", id: "42" };
  const event = {
    host: "r.example.com",
    repository: "m/echo",
    tag: "main",
    digest: DIGEST,
    mediaType: null,
    actor: null,
    time: "2026-06-01T11:59:59.000Z",
    id: "42",
  };

  async function explain(body: string, args: string[] = [], env: NodeJS.ProcessEnv = { CI_SECRET: SECRET }) {
    const said = await mpoRelay(["explain", "--config", config, "--webhook", "ci", "--body", await file("body", body), ...args], env);
    return { ...said, json: (): unknown => JSON.parse(said.out) };
  }
  const bearer = ["--header", `Authorization: Bearer ${SECRET}`];

  it("gives the public contract, and nothing beside it", async () => {
    const said = await explain(JSON.stringify([push, { ...push, repository: "r.example.com/other/x" }]), [...bearer, "--json"]);
    expect(said).toMatchObject({ exitCode: 0, err: "" });
    const key = expect.stringMatching(/^[0-9a-f]{32}$/);
    const renew = { kind: "renew", module: "echo", tag: "main", digest: DIGEST, key };
    expect(said.json()).toEqual({
      answer: { status: 202, decision: "queued", reason: null, headers: {}, body: { decision: "queued", reason: null, key } },
      events: [event, { ...event, repository: "other/x", id: expect.any(String) }],
      requests: [
        { cluster: "dev", ...renew },
        { cluster: "stage", ...renew },
      ],
      skipped: [{ repository: "other/x", tag: "main", reason: "OTHER_REPOSITORY" }],
    });
  });

  it("says that a release channel would be scanned, or what is missing for it", async () => {
    const channel = JSON.stringify([{ ...push, repository: "r.example.com/m/echo/release", tag: "alpha" }]);
    const off = await explain(channel, bearer);
    expect(off.out).toContain("m/echo/release:alpha: RESCAN_OFF (rescan: true at the source r.example.com/m would scan it now)");
    const text = await readFile(config, "utf8");
    const rescanned = await file("rescan.yaml", text.replace("repo: r.example.com/m", "name: mine, rescan: true, repo: r.example.com/m"));
    const on = await explain(channel, [...bearer, "--config", rescanned]);
    expect(on.out).toMatch(/rescan {3}source mine, for module echo, tag alpha, in cluster dev \(key [0-9a-f]{32}\)/);
  });

  const nothing = { events: [], requests: [], skipped: [] };
  const refused = (status: number, reason: string, headers = {}) => ({
    answer: { status, decision: "refused", reason, headers },
    ...nothing,
  });
  it.each<[string, string[], unknown]>([
    ["no signature", [], refused(401, "AUTH_FAILED")],
    ["a wrong secret", ["--header", "Authorization: Bearer wrong"], refused(401, "AUTH_FAILED")],
    ["two signatures", [...bearer, ...bearer], refused(401, "AUTH_FAILED")],
    ["another method", [...bearer, "--method", "get"], refused(405, "METHOD", { allow: "POST" })],
    ["another webhook", [...bearer, "--webhook", "nope"], refused(404, "UNKNOWN_WEBHOOK")],
  ])("answers %s: exit code 0", async (_, args, expected) => {
    const said = await explain(JSON.stringify(push), [...args, "--json"]);
    expect(said.exitCode).toBe(0);
    expect(said.json()).toEqual(expected);
  });

  it("answers a body over the limit before it looks at it", async () => {
    const said = await explain("x".repeat(1025), [...bearer, "--json"]);
    expect(said.json()).toMatchObject({
      answer: { status: 413, decision: "refused", reason: "TOO_LARGE", headers: { connection: "close" } },
      ...nothing,
    });
  });

  it("takes a secret of the path by reference, and nothing else", async () => {
    const quay = await file(
      "quay.json",
      JSON.stringify({ repository: "m/echo", docker_url: "r.example.com/m/echo", updated_tags: ["main"] }),
    );
    const webhooks = { ci: { provider: "quay", secret: "env:CI_SECRET" } };
    const sources = [{ repo: "r.example.com/m" }];
    const path = await file("quay-relay.json", JSON.stringify({ webhooks, sources, clusters: { dev: { queue: "embedded:" } } }));
    const status = async (args: string[]) => {
      const said = await mpoRelay(["explain", "--config", path, "--webhook", "ci", "--body", quay, "--json", ...args], {
        CI_SECRET: SECRET,
        WRONG: "wrong-horse-battery",
      });
      return said.exitCode === 0 ? JSON.parse(said.out).answer.status : said.err;
    };
    expect(await status([])).toBe(401);
    expect(await status(["--path-secret", "env:WRONG"])).toBe(401);
    expect(await status(["--path-secret", "env:CI_SECRET"])).toBe(202);
    const said = await status(["--path-secret", SECRET]);
    expect(said).toContain("by reference");
    expect(said).not.toContain(SECRET);
  });

  it("needs no secret with --no-auth", async () => {
    const said = await explain(JSON.stringify(push), ["--no-auth", "--json"], {});
    expect(said.json()).toMatchObject({ answer: { status: 202 } });
  });

  it("calls a secret that it cannot read a matter of the configuration: 2", async () => {
    const said = await explain(JSON.stringify(push), bearer, {});
    expect(said).toMatchObject({ exitCode: 2, out: "", err: expect.stringContaining("webhooks.ci: the secret env:CI_SECRET is not set") });
  });

  it("says why a delivery could not be read", async () => {
    const said = await explain("{", ["--no-auth", "--json"]);
    expect(said.json()).toMatchObject({ answer: { status: 202, decision: "unparsed", reason: "UNPARSED" }, ...nothing });
    expect(said.err).toContain("could not be read: ");
  });

  it("speaks to people without --json", async () => {
    const { out } = await explain(JSON.stringify({ ...push, repository: "r.example.com/m/echo" }), bearer);
    expect(out).toContain("POST /hooks/ci → 202 queued");
    expect(out).toContain(`push     r.example.com/m/echo:main ${DIGEST}`);
    expect(out).toContain("renew    module echo, tag main, in cluster dev");
  });

  it("answers 1 for a body that cannot be read", async () => {
    const said = await mpoRelay(["explain", "--config", config, "--webhook", "ci", "--body", join(folder, "nowhere")]);
    expect(said).toMatchObject({ exitCode: 1, out: "", err: expect.stringContaining("cannot read the body") });
  });

  it("answers 2 for a header without a colon, and does not show it", async () => {
    const said = await explain("{}", ["--header", "Bearer hunter2"]);
    expect(said).toMatchObject({ exitCode: 2, out: "", err: expect.not.stringContaining("hunter2") });
  });

  it("answers 2 for the configuration, on stderr alone", async () => {
    const bad = await file(
      "unknown.json",
      JSON.stringify({
        webhooks: { ci: { provider: "x", secret: "env:S" } },
        sources: [{ repo: "r.example.com/m" }],
        clusters: { dev: { queue: "embedded:" } },
      }),
    );
    const said = await mpoRelay(["explain", "--config", bad, "--webhook", "ci", "--body", bad, "--json"]);
    expect(said).toMatchObject({
      exitCode: 2,
      out: "",
      err: expect.stringContaining('unknown provider "x"; known: '),
    });
  });
});

describe("the built program", () => {
  const node = promisify(execFile);
  const bin = join(import.meta.dirname, "../dist/cli.js");

  it("runs by itself and is quiet on stdout but for its answer", async () => {
    expect((await node(process.execPath, [bin, "--version"])).stdout).toBe(`${manifest.version}\n`);
    const body = await file("body.json", JSON.stringify({ repository: "r.example.com/m/echo", tag: "main" }));
    const { stdout } = await node(process.execPath, [
      bin,
      "explain",
      "--config",
      config,
      "--webhook",
      "ci",
      "--body",
      body,
      "--no-auth",
      "--json",
    ]);
    expect(JSON.parse(stdout)).toMatchObject({ answer: { status: 202 }, requests: [{ cluster: "dev" }, { cluster: "stage" }] });
  });

  it("ends with 2 and an empty stdout for a wrong configuration", async () => {
    const bad = await file("empty.json", "{}");
    await expect(node(process.execPath, [bin, "check", "--config", bad])).rejects.toMatchObject({
      code: 2,
      stdout: "",
      stderr: expect.stringContaining("clusters: "),
    });
  });
});
