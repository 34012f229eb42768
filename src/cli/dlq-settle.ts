/** `dlq redrive` and `dlq purge`: they take dead letters away. Store first, remove second. */
import { encode } from "../event.ts";
import { redriveOf } from "../redrive.ts";
import { sameConfig } from "./configuration.ts";
import { type Call, describe, type DescribedLetter, eachPlace, isSelected } from "./letters.ts";
import { counted, Failure, oneLine } from "./terminal.ts";

interface Settled {
  readonly id: string;
  readonly done: boolean;
  readonly what: string;
}

export async function redrive(call: Call): Promise<void> {
  const { options, terminal } = call;
  const { settled, failed } = await sweep(call, async (letter): Promise<Settled> => {
    const plan = redriveOf(letter, call.config);
    if (plan.kind === "refused") return { id: letter.id, done: false, what: `kept: ${plan.why}` };
    const unknown = plan.requests.find((request) => !Object.hasOwn(call.config.clusters, request.cluster));
    if (unknown) return { id: letter.id, done: false, what: `kept: its cluster "${unknown.cluster}" is not in the configuration` };
    for (const request of options.dryRun ? [] : plan.requests) await call.desk.send(request.cluster, [{ body: encode(request) }]);
    const sent = plan.requests.map(({ module, tag, cluster, nudge }) => `${module}:${tag} to ${cluster} (nudge ${nudge})`);
    return { id: letter.id, done: true, what: sent.length > 0 ? sent.join(", ") : "understood now, and not for us: nothing to send" };
  });
  const done = settled.filter((each) => each.done).length;
  const kept = settled.length - done;
  report(
    call,
    settled,
    failed,
    `${counted(done, "dead letter")} ${options.dryRun ? "would be sent again" : "sent again"}${kept > 0 ? `, ${kept} kept` : ""}`,
  );
  const config = sameConfig(options.config);
  if (!options.json && done > 0) {
    terminal.out(
      options.dryRun
        ? "next: the same without --dry-run"
        : `next: mpo-relay dlq list${config} in some minutes: what still does not take effect comes back`,
    );
  }
  failIf(call, settled, failed, kept > 0 ? `${counted(kept, "dead letter")} could not be sent again` : null);
}

export async function purge(call: Call): Promise<void> {
  const { options, terminal } = call;
  const isReal = options.yes === true && !options.dryRun;
  const { settled, failed } = await sweep(call, (letter) =>
    Promise.resolve({ id: letter.id, done: isReal, what: `${letter.code} ${letter.image ?? `webhook ${letter.webhook ?? "unknown"}`}` }),
  );
  report(call, settled, failed, `${counted(settled.length, "dead letter")} ${isReal ? "removed" : "would be removed"}`);
  if (!isReal && !options.dryRun && settled.length > 0) throw new Failure(2, "nothing was removed", "say --yes to remove them for good");
  if (!isReal && !options.json && settled.length > 0) terminal.out("next: the same with --yes, without --dry-run");
  failIf(call, settled, failed, null);
}

/** Visits every selected letter; what `settle` calls done is removed, unless this is a dry run. */
async function sweep(call: Call, settle: (letter: DescribedLetter) => Promise<Settled>) {
  const settled: Settled[] = [];
  const failed = await eachPlace(call, async (letters, place) => {
    await letters.sweep(async (raw) => {
      const letter = describe(place, raw);
      if (!isSelected(letter, call.selection)) return "keep";
      const result = await settle(letter);
      settled.push(result);
      return result.done && !call.options.dryRun ? "remove" : "keep";
    });
  });
  return { settled, failed };
}

function report({ options, terminal }: Call, settled: readonly Settled[], failed: readonly string[], total: string): void {
  if (options.json) return terminal.out(JSON.stringify({ dryRun: options.dryRun === true, letters: settled, failed }));
  for (const { id, what } of settled) terminal.out(`${id}  ${oneLine(what)}`);
  terminal.out(total);
}

function failIf({ selection }: Call, settled: readonly Settled[], failed: readonly string[], kept: string | null): void {
  const missing = selection.ids.filter((id) => !settled.some((each) => each.id === id));
  if (failed.length > 0)
    throw new Failure(1, `not all queues could be worked on: ${failed.join(", ")}`, "what was not sent again is still a dead letter");
  if (missing.length > 0) throw new Failure(1, `no dead letter ${missing.join(", ")}`, "`mpo-relay dlq list` shows what is there");
  if (kept !== null) throw new Failure(1, kept);
}
