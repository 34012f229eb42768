/** The queue's volume as it should not be: read-only, full from the start, full while the relay runs, owned by another. Real file systems, of a mount namespace each. */
import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeEach, expect, onTestFinished, test } from "vitest";
import * as z from "zod";
import { freePort, run, temporaryFolder } from "./parts/child.ts";
import { serveRelay } from "./relay.ts";
import { eventually } from "./wait.ts";

const CLI = join(import.meta.dirname, "../../dist/cli.js");
const SECRET = "0123456789abcdef0123456789abcdef";
const MEBIBYTE = 1024 * 1024;

let folder: string;
let url: string;
let config: string;
let volume: string;

beforeEach(async () => {
  const made = await temporaryFolder("volume");
  onTestFinished(() => made.remove());
  folder = made.path;
  volume = join(folder, "volume");
  await mkdir(volume);
  const port = await freePort();
  url = `http://127.0.0.1:${port}`;
  config = join(folder, "relay.json");
  await writeFile(join(folder, "pipelines.secret"), SECRET, { mode: 0o600 });
  const relay = {
    webhooks: { pipelines: { provider: "generic", auth: "token", secret: "file:pipelines.secret" } },
    sources: [{ repo: "registry.example.com/modules", name: "test" }],
    clusters: { this: { queue: "embedded:./volume" } },
    journal: "off",
    listen: { host: "127.0.0.1", port },
  };
  await writeFile(config, JSON.stringify(relay));
});

/** A command that finds a volume of 1 MiB there, prepared by a shell's lines. */
const within = (prepare: string) => {
  const script = `mount -t tmpfs -o size=1m none "$0" && { ${prepare}\n} >&2 && exec "$@"`;
  return { command: "unshare", args: ["--mount", "--map-root-user", "sh", "-c", script, volume] };
};
const FILL = 'head -c 1M /dev/zero > "$0/lost+found" || true';
/** `serve` ran here before, for as long as it needs to make its files. */
const USED = `"${process.execPath}" "${CLI}" serve --config "$1" & until [ -e "$0/queue.marker" ]; do sleep 0.1; done; kill $!; wait $! || true`;

async function refused(prepare: string): Promise<string> {
  const { command, args } = within(prepare.replaceAll("$1", config));
  return run(command, [...args, process.execPath, CLI, "serve", "--config", config]).then(
    () => expect.unreachable("it started"),
    (error: unknown) => String(error),
  );
}

test.each([
  ["a new one that is read-only", 'mount -o remount,ro "$0"', "its file system is read-only. Mount it writable"],
  ["a used one that is read-only", `${USED}; mount -o remount,ro "$0"`, "its file system is read-only. Mount it writable"],
  ["a new one that is full", FILL, "its volume is full. Free some space or enlarge the volume"],
  ["a used one that is full", `${USED}; ${FILL}`, "its volume is full. Free some space or enlarge the volume"],
])("%s is refused at the start, with what to do", async (_what, prepare, why) => {
  expect(await refused(prepare)).toContain(`queue folder ${volume}: ${why}`);
});

async function push(nth: number): Promise<number> {
  const body = JSON.stringify({ repository: `registry.example.com/modules/module-${nth}`, tag: "main" });
  const headers = { authorization: `Bearer ${SECRET}`, "content-type": "application/json" };
  return (await fetch(`${url}/hooks/pipelines`, { method: "POST", headers, body })).status;
}

test("full while it runs: 503, then all goes on, and what was acknowledged is there", async () => {
  const { command, args } = within("true");
  const relay = await serveRelay({ config, log: join(folder, "log"), url, under: { by: [command, ...args], env: {} } });
  onTestFinished(() => relay.stop());
  const filler = join(`/proc/${relay.pid}/root`, volume, "filler");
  const answers = [await push(0), await push(1)];
  expect(answers).toEqual([202, 202]);
  await writeFile(filler, Buffer.alloc(MEBIBYTE)).catch((error: NodeJS.ErrnoException) => expect(error.code).toBe("ENOSPC"));
  for (let nth = 2; answers.at(-1) === 202 && nth < 1000; nth++) answers.push(await push(nth));
  expect(answers.at(-1)).toBe(503);
  await eventually("readiness says so", async () => ((await fetch(`${url}/readyz`)).status === 503 ? true : null));
  expect((await fetch(`${url}/healthz`)).status).toBe(200);
  const acknowledged = () => answers.filter((status) => status === 202).length;
  expect(await waiting(relay.pid)).toEqual([{ cluster: "this", records: acknowledged() }]);
  await rm(filler);
  answers.push(await push(1000));
  expect(answers.at(-1)).toBe(202);
  expect(await waiting(relay.pid)).toEqual([{ cluster: "this", records: acknowledged() }]);
});

/** As `dlq list` tells it beside the relay. */
async function waiting(pid: number) {
  const inside = ["--user", "--mount", "--preserve-credentials", "--target", String(pid)];
  const list = await run("nsenter", [...inside, process.execPath, CLI, "dlq", "list", "--json", "--config", config]);
  return z.object({ waiting: z.array(z.object({ cluster: z.string(), records: z.number() })) }).parse(JSON.parse(list)).waiting;
}

test("a second serve on it is refused", async () => {
  const relay = await serveRelay({ config, log: join(folder, "log"), url });
  onTestFinished(() => relay.stop());
  await expect(run(process.execPath, [CLI, "serve", "--config", config])).rejects.toThrow(
    "is in use by another process. Stop the other mpo-relay",
  );
});

test.each([
  ["half full", 'head -c 524288 /dev/zero > "$0/lost+found"', "error VOLUME_FULL"], // of a MiB, which is next to nothing
  ["full", FILL, "error VOLUME_FULL"],
])("doctor says of a volume that is %s how much is left", async (_what, prepare, expected) => {
  const { command, args } = within(`${USED.replaceAll("$1", config)}; ${prepare}`);
  const report = z.object({ findings: z.array(z.object({ level: z.string(), code: z.string(), what: z.string() })) });
  const text = await run(command, [
    ...args,
    "sh",
    "-c",
    '"$0" "$@" || true',
    process.execPath,
    CLI,
    "doctor",
    "--config",
    config,
    "--json",
  ]);
  const { findings } = report.parse(JSON.parse(text));
  expect(findings.map(({ level, code }) => `${level} ${code}`)).toContain(expected);
  expect(findings.find(({ code }) => code === "VOLUME_FULL")?.what).toMatch(/^0 MiB of 1 MiB \(\d+ %\) free on the volume of/);
});
