/** The registry that CONTRIBUTING.md invents, put into a copy of the project by what stands there and nothing else. */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import * as z from "zod";
import { HEAVY_MS } from "./support/wait.ts";

const run = promisify(execFile);
const root = join(import.meta.dirname, "..");
const copy = mkdtempSync(join(tmpdir(), "mpo-relay-contributing-"));
const SECRET = "r0123456789abcdef0123456789abcdef";
const config = {
  webhooks: { acme: { provider: "acme", secret: "env:ACME_SECRET" } },
  sources: [{ repo: "acme.example/modules" }],
  clusters: { dev: { queue: "embedded:./data" } },
  listen: { host: "127.0.0.1", port: 0 },
};
const env = { ...process.env, ACME_SECRET: SECRET, MPO_RELAY_CONFIG: "" };
const node = (...args: readonly string[]) => run(process.execPath, [...args], { cwd: copy, env });
const relay = (...args: readonly string[]) => node("dist/cli.js", ...args, "--config", "relay.json");

/** The files that the page shows: their paths stand behind the language. */
const written = [...readFileSync(join(root, "CONTRIBUTING.md"), "utf8").matchAll(/^```\w+ (\S+)\n([\s\S]*?)^```$/gm)].map(
  ([, path = "", text = ""]) => ({ path, text }),
);

beforeAll(async () => {
  for (const part of ["src", "functions", "infra", "test", "package.json", "tsconfig.json", "vitest.config.ts"])
    cpSync(join(root, part), join(copy, part), { recursive: true, filter: (path) => basename(path) !== "node_modules" });
  symlinkSync(join(root, "node_modules"), join(copy, "node_modules"));
  for (const { path, text } of written) {
    mkdirSync(dirname(join(copy, path)), { recursive: true });
    writeFileSync(join(copy, path), text);
  }
  const table = join(copy, "src/providers/index.ts");
  const rows = readFileSync(table, "utf8").replace("const table = {", 'import { acme } from "./acme.ts";\nconst table = {\n  acme,');
  writeFileSync(table, rows);
  writeFileSync(join(copy, "relay.json"), JSON.stringify(config));
  await node("infra/build.mjs");
}, HEAVY_MS);
afterAll(() => rmSync(copy, { recursive: true, force: true }));

test("three things are enough: a file, a row, a folder of fixtures", () => {
  expect([...new Set(written.map(({ path }) => path.replace(/(fixtures\/\w+)\/.*/, "$1")))]).toEqual([
    "src/providers/acme.ts",
    "test/fixtures/acme",
  ]);
});

test(
  "it has the right types, and passes the contract of every registry",
  async () => {
    await node("node_modules/typescript/bin/tsc", "--noEmit");
    const { stdout } = await node("node_modules/vitest/vitest.mjs", "run", "test/providers.test.ts", "-t", "^acme ", "--reporter=json");
    const { numPassedTests, numFailedTests } = z.object({ numPassedTests: z.int(), numFailedTests: z.int() }).parse(JSON.parse(stdout));
    expect(numFailedTests).toBe(0);
    expect(numPassedTests).toBeGreaterThan(20);
  },
  HEAVY_MS,
);

test("`explain` reads it", async () => {
  const body = "test/fixtures/acme/push-a-tag.body";
  const { stdout } = await relay("explain", "--webhook", "acme", "--body", body, "--no-auth", "--json");
  expect(JSON.parse(stdout)).toMatchObject({
    answer: { status: 202 },
    requests: [{ cluster: "dev", module: "echo", tag: "main" }],
  });
});

test("`webhook` tells what to paste", async () => {
  const { stdout } = await relay("webhook", "acme", "--url", "https://relay.example.com", "--show-secret");
  expect(stdout).toContain("# acme: Acme, infra/registries/acme.md");
  expect(stdout).toMatch(/^URL +https:\/\/relay\.example\.com\/hooks\/acme$/m);
  expect(stdout).toMatch(/^Signs by +HMAC-SHA256 of the body, hex: x-acme-signature: sha256=…$/m);
  expect(stdout).toContain(SECRET);
});

test(
  "`send` is taken by a relay that runs",
  async () => {
    const serving = spawn(process.execPath, ["dist/cli.js", "serve", "--config", "relay.json"], { cwd: copy, env });
    const ended = new Promise((resolve) => serving.once("exit", resolve));
    try {
      const { stdout } = await relay("send", "acme", "--url", `http://127.0.0.1:${await portOf(serving)}`, "--timeout", "0s", "--json");
      expect(JSON.parse(stdout)).toMatchObject({ webhook: "acme", status: 202, decision: "queued" });
    } finally {
      serving.kill("SIGTERM");
      await ended;
    }
  },
  HEAVY_MS,
);

const started = z.object({ outcome: z.literal("STARTED"), port: z.int() });
async function portOf({ stdout }: ChildProcess): Promise<number> {
  if (!stdout) throw new Error("no log");
  for await (const line of createInterface({ input: stdout })) {
    const read = started.safeParse(JSON.parse(line));
    if (read.success) return read.data.port;
  }
  throw new Error("the relay did not start");
}
