/** Cloudflare's own runtime of Workers: https://github.com/cloudflare/workerd */
import { readFileSync } from "node:fs";
import { copyFile, readdir, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import type { Part } from "./cache.ts";
import { hashOf, install } from "./cache.ts";
import { freePort, run, serve, temporaryFolder } from "./child.ts";

const FILES = ["package.json", "package-lock.json"].map((name) => join(import.meta.dirname, "workerd", name));
export const workerd: Part = {
  name: "workerd",
  version: hashOf(...FILES.map((file) => readFileSync(file))),
  cost: "a few seconds and 160 MB",
  build: async (folder) => {
    for (const file of FILES) await copyFile(file, join(folder, basename(file)));
    await run("npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund"], { cwd: folder });
  },
};

export interface WorkerOptions {
  /** Absolute path of the bundle, one ES module. */
  readonly bundle: string;
  /** https://developers.cloudflare.com/workers/configuration/compatibility-dates/ */
  readonly compatibilityDate: string;
  /** Variables and secrets alike: texts. */
  readonly bindings: Readonly<Record<string, string>>;
  /** Variables that are JSON, as an object in wrangler's file is. */
  readonly json?: Readonly<Record<string, object>>;
}
export interface Worker {
  readonly url: string;
  /** What runtime and Worker have written. */
  output(): Promise<string>;
  stop(): Promise<void>;
}

/** One Worker on loopback, which may call loopback. Throws with what it wrote where its start fails. */
export async function startWorker({ bundle, compatibilityDate, bindings, json = {} }: WorkerOptions): Promise<Worker> {
  const folder = await temporaryFolder("workerd");
  await copyFile(bundle, join(folder.path, "edge.mjs"));
  const port = await freePort();
  const bound = [
    ...Object.entries(bindings).map(([name, text]) => `(name = ${quoted(name)}, text = ${quoted(text)})`),
    ...Object.entries(json).map(([name, value]) => `(name = ${quoted(name)}, json = ${quoted(JSON.stringify(value))})`),
  ];
  await writeFile(
    join(folder.path, "config.capnp"),
    `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "edge", worker = (
      modules = [(name = "edge.mjs", esModule = embed "edge.mjs")],
      compatibilityDate = ${quoted(compatibilityDate)},
      compatibilityFlags = ["nodejs_compat"],
      bindings = [${bound.join(", ")}],
    )),
    (name = "internet", network = (allow = ["public", "private"])),
  ],
  sockets = [(name = "http", address = "127.0.0.1:${port}", http = (), service = "edge")],
);
`,
    { mode: 0o600 },
  );
  const url = `http://127.0.0.1:${port}`;
  const service = await serve({
    name: "workerd",
    command: await programIn(await install(workerd)),
    args: ["serve", "config.capnp"],
    cwd: folder.path,
    log: join(folder.path, "log"),
    ready: async () => (await fetch(`${url}/healthz`)).ok,
  }).catch(async (error: unknown) => {
    await folder.remove();
    throw error;
  });
  return {
    url,
    output: () => service.output(),
    stop: async () => {
      await service.stop();
      await folder.remove();
    },
  };
}

/** The package of this machine's kind holds the program; a shim of Node would only start it. */
async function programIn(folder: string): Promise<string> {
  const packages = join(folder, "node_modules/@cloudflare");
  const [name] = await readdir(packages);
  if (name === undefined) throw new Error(`workerd: no program for ${process.platform} ${process.arch}`);
  return join(packages, name, "bin/workerd");
}

/** Cap'n Proto's texts escape as JSON's do: https://capnproto.org/language.html#literals */
const quoted = (text: string) => JSON.stringify(text);
