/** The built program with a reader that goes away. `npm test` builds dist/ first. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, it } from "vitest";
import * as z from "zod";

const PROGRAM = fileURLToPath(new URL("../dist/cli.js", import.meta.url));
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "mpo-relay-test-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

it("a service that lost the reader of its log ends with an error, so that it is started again", async () => {
  const config = {
    webhooks: { registry: { provider: "distribution", insecure: true } },
    sources: [{ repo: "registry.example.com/deckhouse/modules" }],
    clusters: { dev: { queue: `embedded:${folder}` } },
    listen: "127.0.0.1:0",
  };
  const env = { ...process.env, MPO_RELAY_CONFIG: JSON.stringify(config) };
  const serve = spawn(process.execPath, [PROGRAM, "serve"], { env, stdio: ["ignore", "pipe", "ignore"] });
  const ended = once(serve, "exit");
  const [started] = await once(serve.stdout, "data");
  const { port } = z.object({ port: z.int() }).parse(JSON.parse(String(started)));
  serve.stdout.destroy();
  await fetch(`http://127.0.0.1:${port}/hooks/registry`, { method: "POST", body: "{}" }).catch(() => {}); // a line that nobody reads
  expect(await ended).toEqual([1, null]);
});
