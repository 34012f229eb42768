/** Runs the command line in this process and keeps what it says. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Command } from "commander";
import { run } from "../../src/cli/program.ts";
import { Failure, type Terminal } from "../../src/cli/terminal.ts";
import { type KubernetesApi, startKubernetesApi } from "../../src/sandbox/kubernetes-api.ts";

export interface Said {
  readonly exitCode: number;
  readonly out: string;
  readonly err: string;
}

export const NOW = new Date("2026-06-01T12:00:00.000Z");

/** `ask`: somebody sits in front of it. */
export async function mpoRelay(args: readonly string[], env: NodeJS.ProcessEnv = {}, now = NOW, ask?: Terminal["ask"]): Promise<Said> {
  const [out, err]: [string[], string[]] = [[], []];
  const said = { out: (text: string) => void out.push(text), err: (text: string) => void err.push(text) };
  const exitCode = await run(args, { ...said, env, now: () => now, ...(ask && { ask }) });
  return { exitCode, out: out.join("\n"), err: err.join("\n") };
}

/** Runs one command alone, on the real clock unless `person` brings another. What it throws must be a Failure. */
export async function runCommand(
  create: (terminal: Terminal) => Command,
  args: readonly string[],
  person: Partial<Terminal> = {},
): Promise<Said & { readonly failure: Failure | null }> {
  const [out, err]: [string[], string[]] = [[], []];
  const terminal: Terminal = {
    out: (text) => void out.push(text),
    err: (text) => void err.push(text),
    env: {},
    now: () => new Date(),
    ...person,
  };
  const failure: unknown = await create(terminal)
    .parseAsync(args, { from: "user" })
    .then(
      () => null,
      (thrown: unknown) => thrown,
    );
  if (failure !== null && !(failure instanceof Failure)) throw failure instanceof Error ? failure : new Error("not a Failure");
  return {
    failure,
    exitCode: failure?.exitCode ?? 0,
    out: out.join("\n"),
    err: [...err, ...(failure ? [failure.message] : [])].join("\n"),
  };
}

/** A folder, an API server, and in the folder the kubeconfig of a user who may get and patch overrides there. */
export async function startApiFor(
  user: string,
): Promise<{ folder: string; api: KubernetesApi; kubeconfig: string; close(): Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), "mpo-relay-cli-"));
  const api = await startKubernetesApi({ token: "token-of-the-administrator" });
  const kubeconfig = join(folder, "kubeconfig");
  await writeFile(kubeconfig, api.kubeconfig(api.grant(user, ["get", "patch"])));
  const close = async () => {
    await api.close();
    await rm(folder, { recursive: true });
  };
  return { folder, api, kubeconfig, close };
}
