/** `mpo-relay renew <module>`: nudges an override now, with nothing but a kubeconfig, and follows it. */
import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { Command, Option } from "commander";
import type { Override, Overrides } from "../cluster/overrides.ts";
import type { KubernetesConfig } from "../config.ts";
import { nudgeAnnotations, nudgeOf } from "../nudge.ts";
import { RelayError } from "../outcome.ts";
import { createSecretReader } from "../secrets.ts";
import { duration } from "./duration.ts";
import { progressOf, unchanged } from "./follow.ts";
import { Failure, messageOf, oneLine, type Terminal } from "./terminal.ts";

interface Options {
  context?: string;
  kubeconfig?: string;
  wait?: true;
  timeout: number;
  json?: true;
}
/** What `--json` prints at the end. `outcome` NUDGED without --wait, then PICKED_UP, UNCHANGED, REFUSED or SUPERSEDED as in the log. */
interface Result {
  readonly module: string;
  readonly tag: string;
  readonly key: string;
  readonly outcome: "NUDGED" | "PICKED_UP" | "UNCHANGED" | "REFUSED" | "SUPERSEDED";
  readonly before: string | null;
  readonly digest: string | null;
  readonly message: string;
  readonly ms: number;
}

const LOOK_EVERY_MS = 1000;
/** No webhook can have this name, so that no push is ever taken for covered by a nudge by hand. */
const BY_HAND = "(mpo-relay renew)";

export type OpenCluster = (options: { cluster: string; kubernetes: KubernetesConfig }) => Promise<Overrides>;

const openByKubeconfig: OpenCluster = async (options) => {
  const { openKubernetes } = await import("../cluster/kubernetes.ts");
  return openKubernetes({ ...options, readSecret: createSecretReader() });
};

export function renewCommand(terminal: Terminal, open: OpenCluster = openByKubeconfig, lookEveryMs = LOOK_EVERY_MS): Command {
  return new Command("renew")
    .summary("nudge an override now, with your own kubeconfig")
    .description(
      "Makes Deckhouse look at once whether the override's tag names another image. Needs no relay and no configuration:\n" +
        "only get and patch on modulepulloverrides by your own kubeconfig.",
    )
    .argument("<module>", "the module's name, which is the name of its ModulePullOverride")
    .option("--context <name>", "context of the kubeconfig (default: its current one)")
    .option("--kubeconfig <file>", "kubeconfig (default: KUBECONFIG, then ~/.kube/config)")
    .option("--wait", "follow it: until the new image is picked up, or Deckhouse says why not")
    .addOption(
      new Option("--timeout <duration>", "how long to follow it, for example 30s or 10m").default(120_000, "2m").argParser(duration),
    )
    .option("--json", "print one JSON object on stdout at the end")
    .addHelpText(
      "after",
      "\nExit codes: 0 nudged, picked up, or nothing to do; 1 not; 2 wrong call.\n\nExample:\n  crane push image.tar registry.example.com/modules/echo:main && mpo-relay renew echo --wait",
    )
    .action(async (module: string, options: Options) => {
      const kubeconfig = options.kubeconfig === undefined ? null : ({ kind: "path", path: options.kubeconfig } as const);
      const kubernetes: KubernetesConfig = { kind: "kubeconfig", kubeconfig, context: options.context ?? null };
      const overrides = await open({ cluster: options.context ?? "the current context", kubernetes });
      try {
        await renew(module, overrides, options, { ...terminal, lookEveryMs });
      } finally {
        overrides.close();
      }
    });
}

type Follower = Terminal & { readonly lookEveryMs: number };

async function renew(module: string, overrides: Overrides, options: Options, terminal: Follower): Promise<void> {
  const started = terminal.now().getTime();
  const { before, key } = await nudge(module, overrides, terminal);
  const tell = options.json ? () => {} : (text: string) => terminal.out(oneLine(text));
  const { imageTag: tag, status } = before;
  const end = (outcome: Result["outcome"], digest: string | null, message: string) => {
    const result: Result = {
      module,
      tag,
      key,
      outcome,
      before: status.imageDigest,
      digest,
      message,
      ms: terminal.now().getTime() - started,
    };
    if (options.json) terminal.out(JSON.stringify(result));
  };
  tell(`${module}:${tag} ran ${status.imageDigest ?? "no image"}${status.message === "" ? "" : ` (${status.message})`}`);
  tell(`nudged, key ${key}`);
  if (!options.wait) {
    tell(`next: kubectl get mpo ${module} -w, or mpo-relay renew ${module} --wait`);
    return end("NUDGED", status.imageDigest, status.message);
  }

  const seconds = () => Math.round((terminal.now().getTime() - started) / 1000);
  const { progress, last } = await follow(before, overrides, options.timeout, terminal);
  if (progress.kind === "picked-up") {
    tell(
      progress.digest === status.imageDigest
        ? `ready again with ${progress.digest} after ${seconds()} s`
        : `picked up ${progress.digest} after ${seconds()} s`,
    );
    return end("PICKED_UP", progress.digest, last.status.message);
  }
  if (progress.kind === "refused") {
    end("REFUSED", last.status.imageDigest, progress.message);
    throw new Failure(1, `Deckhouse says: ${oneLine(progress.message)}`, progress.advice);
  }
  if (progress.kind === "moved") {
    end("SUPERSEDED", last.status.imageDigest, progress.message);
    throw new Failure(1, progress.message);
  }
  const { isFine, text } = unchanged(last, seconds());
  end("UNCHANGED", last.status.imageDigest, last.status.message);
  if (!isFine) throw new Failure(1, text);
  tell(text);
}

/** The relay's own marks, so that a relay in the same cluster sees what was done. Somebody else's write meanwhile: read again, three times. */
async function nudge(module: string, overrides: Overrides, terminal: Terminal): Promise<{ before: Override; key: string }> {
  const key = randomBytes(16).toString("hex");
  for (let tries = 1; ; tries++) {
    const before = await overrides.get(module);
    if (!before) throw new Failure(1, ...(await notThere(module, overrides)));
    const now = terminal.now();
    const request = { key, digest: null, index: false, webhook: BY_HAND, pushedAt: null, receivedAt: now.toISOString() };
    try {
      const patched = await overrides.annotate(before, nudgeAnnotations(request, 0, nudgeOf(before), now));
      if (patched) return { before, key };
    } catch (error) {
      if (!(error instanceof RelayError) || error.code !== "CONFLICT" || tries === 3) throw error;
    }
  }
}

async function notThere(module: string, overrides: Overrides): Promise<string[]> {
  const others = await overrides.list().catch(() => []); // listing is a right of its own
  const names = others.map((each) => each.name).join(", ");
  return [
    `there is no ModulePullOverride "${module}" in ${overrides.cluster}`,
    names === "" ? "`kubectl get mpo` shows those that there are" : `there are: ${names}`,
  ];
}

/** Looks again and again until something is known or the time is over. A look that fails is told, and repeated. */
async function follow(before: Override, overrides: Overrides, timeoutMs: number, terminal: Follower) {
  const started = terminal.now().getTime();
  let last = before;
  let trouble = "";
  for (;;) {
    const elapsed = terminal.now().getTime() - started;
    try {
      const seen = await overrides.get(before.name);
      const progress = progressOf(before, seen, elapsed);
      last = seen ?? last;
      if (progress.kind !== "waiting" || elapsed >= timeoutMs) return { progress, last };
    } catch (error) {
      if (elapsed >= timeoutMs) throw error;
      if (messageOf(error) !== trouble) terminal.err(`cannot look now: ${messageOf(error)}`);
      trouble = messageOf(error);
    }
    await sleep(terminal.lookEveryMs);
  }
}
