/** `dlq redrive`: sends dead letters again. Store first, remove second; then, with --wait, follow each to its outcome. */
import { encode, type RenewRequest } from "../../event.ts";
import { createPace } from "../../pace.ts";
import { redriveOf } from "../../redrive.ts";
import { sameConfig } from "../configuration.ts";
import { counted, Failure, oneLine, span } from "../terminal.ts";
import { type Ending, followRedriven, type Sent } from "./follow.ts";
import { type Call, type DescribedLetter, failUnlessAll, incompleteText, type Settled, type Unseen, visit } from "./letters.ts";
import { createLooker, type Looker } from "./overrides.ts";

const LOOK_EVERY_MS = 1000;

export async function redrive(call: Call): Promise<void> {
  const { options, terminal } = call;
  const looker = createLooker(call.config);
  try {
    const { settled, sent, unseen } = await sendAgain(call, looker);
    const done = settled.filter((each) => each.done).length;
    const kept = settled.length - done;
    if (!options.json) {
      const what = options.dryRun ? "would be sent again" : "sent again";
      terminal.out(`${counted(done, "dead letter")} ${what}${kept > 0 ? `, ${kept} kept` : ""}`);
      for (const text of [stoppedText(unseen), incompleteText(unseen)]) if (text !== null) terminal.out(text);
    }
    const endings = options.wait && sent.length > 0 ? await follow(call, sent, looker) : [];
    if (options.json) {
      terminal.out(JSON.stringify({ dryRun: options.dryRun === true, letters: settled, failed: unseen.failed, outcomes: endings }));
    } else if (done > 0 && !options.wait) {
      const config = sameConfig(options.config);
      terminal.out(
        options.dryRun
          ? "next: the same without --dry-run"
          : `next: mpo-relay dlq list${config} in some minutes: what still does not take effect comes back`,
      );
    }
    failUnlessAll(call, settled, unseen);
    if (kept > 0) throw new Failure(1, `${counted(kept, "dead letter")} could not be sent again`);
    const unwell = endings.filter(({ isWell }) => !isWell).length;
    if (unwell > 0) throw new Failure(1, `${unwell} of ${counted(endings.length, "record")} did not take effect, as far as is known`);
  } finally {
    looker.close();
  }
}

async function sendAgain(call: Call, looker: Looker) {
  const { options, terminal } = call;
  const pace = createPace(options.rate);
  const settled: Settled[] = [];
  const sent: Sent[] = [];
  const unseen = await visit(call, async (letter) => {
    const { requests, ...result } = planOf(letter, call);
    for (const request of options.dryRun ? [] : requests) {
      const before = options.wait ? await looker.get(request.cluster, request.module).catch(() => null) : null;
      await pace();
      const at = terminal.now(); // what the consumer makes of it is later, however fast
      await call.desk.send(request.cluster, [{ body: encode(request) }]);
      await call.acts.note(request, "REDRIVEN", at, { nudge: request.nudge, code: letter.code });
      sent.push({ id: letter.id, request, before });
    }
    settled.push(result);
    if (!options.json) terminal.out(`${result.id}  ${oneLine(result.what)}`);
    return result.done && !options.dryRun ? "remove" : "keep";
  });
  return { settled, sent, unseen };
}

function planOf(letter: DescribedLetter, { config }: Call): Settled & { requests: readonly RenewRequest[] } {
  const kept = (why: string) => ({ id: letter.id, done: false, what: `kept: ${why}`, requests: [] });
  const plan = redriveOf(letter, config);
  if (plan.kind === "refused") return kept(plan.why);
  const unknown = plan.requests.find((request) => !Object.hasOwn(config.clusters, request.cluster));
  if (unknown) return kept(`its cluster "${unknown.cluster}" is not in the configuration`);
  const sent = plan.requests.map(({ module, tag, cluster, nudge }) => `${module}:${tag} to ${cluster} (nudge ${nudge})`);
  const what = sent.length > 0 ? sent.join(", ") : "understood now, and not for us: nothing to send";
  return { id: letter.id, done: true, what, requests: plan.requests };
}

async function follow({ desk, options, terminal, interrupted }: Call, sent: readonly Sent[], looker: Looker): Promise<Ending[]> {
  const say = options.json ? () => {} : (text: string) => terminal.out(oneLine(text));
  const started = terminal.now().getTime();
  terminal.err(`following ${counted(sent.length, "record")} for up to ${span(options.timeout)}; Ctrl-C ends the looking, and nothing else`);
  const endings = await followRedriven(sent, {
    looker,
    desk,
    now: () => terminal.now(),
    timeoutMs: options.timeout,
    lookEveryMs: LOOK_EVERY_MS,
    signal: interrupted,
    tell: ({ id, outcome, text }) => say(`${id}  ${outcome} after ${span(terminal.now().getTime() - started)}: ${text}`),
  });
  for (const { id, text } of endings.filter(({ outcome }) => outcome === "UNKNOWN")) say(`${id}  not known yet: ${text}`);
  const counts = new Map<string, number>();
  for (const { outcome } of endings) counts.set(outcome, (counts.get(outcome) ?? 0) + 1);
  say([...counts].map(([outcome, count]) => `${count} ${outcome}`).join(", "));
  return endings;
}

function stoppedText({ isStopped, cut }: Unseen): string | null {
  if (isStopped) return "stopped before the end: what is not named here is still a dead letter";
  return cut.length > 0 ? `more in ${cut.join(", ")} (--limit)` : null;
}
