/**
 * AWS's own Lambda runtime interface emulator: https://github.com/aws/aws-lambda-runtime-interface-emulator
 * It comes out of the wheel of aws-sam-cli, the one package that carries its programs.
 */
import { rm } from "node:fs/promises";
import { basename, dirname, extname, join } from "node:path";
import type { Part } from "./cache.ts";
import { install } from "./cache.ts";
import { freePort, run, serve, temporaryFolder } from "./child.ts";

const VERSION = "1.170.0";
const ARCHITECTURE = process.arch === "arm64" ? "arm64" : "x86_64";
const RUNTIME = join(import.meta.dirname, "lambda-emulator/runtime.mjs");
const UNPACK = `import glob, os, sys, zipfile
folder, member = sys.argv[1:]
with zipfile.ZipFile(glob.glob(folder + "/aws_sam_cli-*.whl")[0]) as wheel, open(folder + "/emulator", "wb") as program:
    program.write(wheel.read(member))
os.chmod(folder + "/emulator", 0o755)
`;
export const lambdaEmulator: Part = {
  name: "lambda-emulator",
  version: VERSION,
  cost: "a few seconds and 8 MB",
  build: async (folder) => {
    const wheel = ["download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", folder, `aws-sam-cli==${VERSION}`];
    await run("python3", ["-m", "pip", "--disable-pip-version-check", ...wheel]);
    await run("python3", ["-c", UNPACK, folder, `samcli/local/rapid/aws-lambda-rie-${ARCHITECTURE}`]);
    await rm(join(folder, `aws_sam_cli-${VERSION}-py3-none-any.whl`), { force: true });
  },
};

export interface LambdaOptions {
  /** Absolute path of the bundle, an ES module that exports `handler`. */
  readonly bundle: string;
  /** Where its zip would be unpacked: paths of its configuration start here. Default: the bundle's folder. */
  readonly root?: string;
  readonly env: Readonly<Record<string, string>>;
  readonly timeoutSeconds?: number;
}
export interface Lambda {
  /** Invokes with the event and resolves with the result; throws with the function's error or a timeout. One at a time: the emulator takes no two. */
  invoke(event: unknown): Promise<unknown>;
  /** What function and emulator have written. */
  output(): Promise<string>;
  stop(): Promise<void>;
}

/** One function under the emulator, as the managed Node runtime would start it. */
export async function startLambda({ bundle, root = dirname(bundle), env, timeoutSeconds = 10 }: LambdaOptions): Promise<Lambda> {
  const program = join(await install(lambdaEmulator), "emulator");
  const folder = await temporaryFolder("lambda");
  const address = `127.0.0.1:${await freePort()}`;
  const name = basename(bundle, extname(bundle));
  const flags = {
    "log-level": "error",
    "runtime-interface-emulator-address": address,
    "runtime-api-address": `127.0.0.1:${await freePort()}`,
  };
  const service = await serve({
    name: "lambda-emulator",
    command: program,
    args: [...Object.entries(flags).flatMap(([flag, value]) => [`--${flag}`, value]), process.execPath, RUNTIME, bundle],
    cwd: root,
    env: {
      PATH: process.env["PATH"],
      AWS_REGION: "eu-west-1",
      AWS_LAMBDA_FUNCTION_NAME: name,
      AWS_LAMBDA_FUNCTION_TIMEOUT: String(timeoutSeconds),
      AWS_LAMBDA_FUNCTION_MEMORY_SIZE: "256",
      LAMBDA_TASK_ROOT: root,
      ...env,
    },
    log: join(folder.path, "log"),
    ready: async () => (await fetch(`http://${address}/`)).status > 0,
  });
  let last: Promise<unknown> = Promise.resolve();
  const invoke = (event: unknown): Promise<unknown> => {
    const next = last.catch(() => undefined).then(() => call(address, event));
    last = next;
    return next;
  };
  return {
    invoke,
    output: () => service.output(),
    stop: async () => {
      await service.stop();
      await folder.remove();
    },
  };
}

// The emulator answers 200 whatever happened; an error shows in the body alone.
async function call(address: string, event: unknown): Promise<unknown> {
  const answer = await fetch(`http://${address}/2015-03-31/functions/function/invocations`, {
    method: "POST",
    body: JSON.stringify(event),
  });
  const text = await answer.text();
  if (!answer.ok || text.includes("Task timed out")) throw new Error(`lambda: ${answer.status} ${text.slice(0, 500)}`);
  const result: unknown = text === "" ? null : JSON.parse(text);
  if (typeof result === "object" && result !== null && "errorType" in result) throw new Error(`lambda: ${text.slice(0, 500)}`);
  return result;
}
