/** `mpo-relay sandbox`, which is `npm start`: the whole path on this machine, with nothing to configure. */
import { Command } from "commander";
import type { News, Sandbox } from "../sandbox/sandbox.ts";
import { Failure, messageOf } from "./terminal.ts";
import { sandboxText } from "./sandbox-text.ts";

const FOLDER = ".sandbox";
const PORTS = { registry: 5000, relay: 8080 };
const PATIENCE_MS = 30_000;
/** After a signal everything is over within two seconds, whatever hangs. */
const END_MS = 1_800;

export function sandboxCommand(): Command {
  return new Command("sandbox")
    .summary("everything on this machine, nothing to configure")
    .description(
      "Brings up the relay with its embedded queue, and stand-ins for a registry, a Kubernetes API and a Deckhouse; pushes an image and\n" +
        "shows how it arrives. Then it stays up for pushes of your own. Everything listens on loopback and writes to ./.sandbox alone.",
    )
    .option("--once", "end when the first push is picked up: exit code 0; 1 where that takes more than 30 s")
    .option("--json", "print JSON lines; the last one of a push has the outcome PICKED_UP")
    .addHelpText("after", "\nPorts 5000 (registry) and 8080 (relay) are replaced by free ones where they are taken.")
    .action((options: { once?: true; json?: true }) => sandbox(options));
}

async function sandbox(options: { once?: true; json?: true }): Promise<void> {
  const { startSandbox } = await import("../sandbox/sandbox.ts");
  const text = sandboxText({ staysUp: options.once !== true });
  const write = (line: string) => void process.stdout.write(`${line}\n`);
  const watch = watcher((news) => {
    const line = options.json ? JSON.stringify(news) : text(news);
    if (line !== null) write(line);
  });
  const signal = nextSignal();
  const starting = startSandbox({ folder: FOLDER, ports: PORTS, tell: watch.tell });
  const up = await Promise.race([starting, signal]);
  if (typeof up === "string") return leave(starting);
  try {
    const first = firstPush(up, watch);
    const end = await Promise.race(options.once ? [first, signal] : [first.then(() => signal), signal]);
    if (options.once && end !== null) throw new Error(`stopped by ${end} before the first push was picked up`);
  } catch (error) {
    if (options.json) write(JSON.stringify({ event: "failed", reason: messageOf(error) }));
    throw new Failure(1, messageOf(error));
  } finally {
    await leave(Promise.resolve(up));
  }
}

/** null once the push is picked up. Rejects with the reason where that takes longer. */
export async function firstPush(sandbox: Pick<Sandbox, "push" | "status">, watch: Watcher, patienceMs = PATIENCE_MS): Promise<null> {
  const late = new Promise<never>((_, reject) => {
    setTimeout(() => {
      reject(
        new Error(
          `the first push was not picked up within ${patienceMs / 1000} s; ${watch.last()}; the override's status: ${sandbox.status()}`,
        ),
      );
    }, patienceMs).unref();
  });
  await Promise.race([sandbox.push().then((digest) => watch.pickedUp(digest)), late]);
  return null;
}

async function leave(starting: Promise<Sandbox>): Promise<void> {
  setTimeout(() => process.exit(process.exitCode ?? 0), END_MS).unref();
  await starting.then((up) => up.stop());
}

function nextSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    for (const name of ["SIGINT", "SIGTERM"] as const) process.on(name, resolve);
  });
}

interface Watcher {
  readonly tell: (news: News) => void;
  pickedUp(digest: string): Promise<void>;
  /** How far the newest push came. */
  last(): string;
}

/** Hands all news on, and knows which digests were picked up. */
export function watcher(next: (news: News) => void): Watcher {
  const digests = new Set<string | null>();
  let last = "no delivery came";
  let wake: () => void = () => undefined;
  return {
    tell(news) {
      next(news);
      if (news.event !== "push") return;
      last = `it came to ${news.outcome}${news.why === undefined ? "" : ` (${news.why})`}`;
      if (news.outcome === "PICKED_UP") digests.add(news.digest);
      wake();
    },
    async pickedUp(digest) {
      while (!digests.has(digest)) await new Promise<void>((resolve) => (wake = resolve));
    },
    last: () => last,
  };
}
