/** `mpo-relay sandbox`, which is `npm start`: the whole path on this machine, with nothing to configure. */
import { Command, Option } from "commander";
import { type EraName, ERAS, eraOf } from "../sandbox/deckhouse-eras.ts";
import type { News, Sandbox } from "../sandbox/sandbox.ts";
import { Failure, messageOf } from "./terminal.ts";
import { sandboxText } from "./sandbox-text.ts";

const FOLDER = ".sandbox";
const PORTS = { registry: 5000, relay: 8080 };
const PATIENCE_MS = 30_000;
/** After a signal everything is over within two seconds, whatever hangs. */
const END_MS = 1_500;

export function sandboxCommand(): Command {
  return new Command("sandbox")
    .summary("everything on this machine, nothing to configure")
    .description(
      "Brings up the relay with its embedded queue, and stand-ins for a registry, a Kubernetes API and a Deckhouse; pushes an image and\n" +
        "shows how it arrives. Then it stays up for pushes of your own. Everything listens on loopback and writes to ./.sandbox alone.",
    )
    .option("--once", "end when the first push is picked up: exit code 0; 1 where that takes more than 30 s")
    .option("--json", "print JSON lines; the last one of a push has the outcome PICKED_UP")
    .addOption(new Option("--era <era>", "the Deckhouse that the stand-in behaves like").choices(ERAS).default("e3" satisfies EraName))
    .addHelpText("after", `\nEras:\n${ERAS.map((era) => `  ${era}  Deckhouse ${eraOf(era).releases}`).join("\n")}`)
    .addHelpText("after", "\nPorts 5000 (registry) and 8080 (relay) are replaced by free ones where they are taken.")
    .action((options: Options) => runSandbox(options));
}

interface Options {
  readonly once?: true;
  readonly json?: true;
  readonly era: EraName;
}

async function runSandbox(options: Options): Promise<void> {
  const { startSandbox } = await import("../sandbox/sandbox.ts");
  const text = sandboxText({ staysUp: options.once !== true });
  const write = (line: string) => void process.stdout.write(`${line}\n`);
  const watch = watcher((news) => {
    const line = options.json ? JSON.stringify(news) : text(news);
    if (line !== null) write(line);
  });
  const signal = nextSignal();
  void signal.then(() => setTimeout(() => process.exit(options.once ? 1 : 0), END_MS).unref());
  const up = await Promise.race([startSandbox({ folder: FOLDER, ports: PORTS, era: options.era, tell: watch.tell }), signal]);
  if (typeof up === "string") process.exit(options.once ? 1 : 0); // half started: there is nothing in hand yet
  const first = firstPush(up, watch).catch((error: unknown) => {
    if (options.json) write(JSON.stringify({ event: "failed", reason: messageOf(error) }));
    if (options.once || !options.json) process.stderr.write(`error: ${messageOf(error)}\n`);
    return "failed" as const;
  });
  const end = options.once ? await Promise.race([first, signal]) : await signal; // without --once it stays up, so that one can look
  await up.stop();
  if (end === "failed") throw new Failure(1);
  if (options.once && end !== null) throw new Failure(1, `stopped by ${end} before the first push was picked up`);
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
