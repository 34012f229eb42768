/** After a rescan: which ModuleRelease appeared, and what it waits for. Reads, and writes nothing: whether it is installed, and when, is not ours to say. */
import type { Channels, ModuleRelease } from "./cluster/channels.ts";
import type { RenewRequest } from "./event.ts";
import { CLOCKS_DIFFER_MS, RELEASE_LAST_LOOK } from "./limits.ts";
import { type Detail, type Outcome, RelayError } from "./outcome.ts";
import type { RenewContext } from "./renew.ts";

interface ReleaseContext extends Pick<RenewContext, "now" | "tuning"> {
  readonly channels: Channels;
}

/** Throws RelayError for what the cluster cannot do now. */
export async function followRelease(record: RenewRequest, context: ReleaseContext): Promise<Outcome> {
  const { look } = record;
  if (!look) throw new RelayError("MALFORMED", "a record about releases that does not say since when");
  const all = (await context.channels.releases(record.module)).toSorted(byAge);
  const release = all.findLast(({ createdAt }) => isOf(record, createdAt));
  const { looksMs } = context.tuning;
  const lastStep = Math.min(RELEASE_LAST_LOOK, looksMs.length - 1);
  const isLast = look.step >= lastStep;
  if (release && OVER.has(release.phase))
    return { kind: "done", code: "SUPERSEDED", detail: { ...detailOf(release), why: `it is ${release.phase}` } };
  if (release?.phase === "Deployed") return { kind: "done", code: "RELEASE_DEPLOYED", detail: detailOf(release) };
  // one that says why it waits may only be about to begin: it is asked twice
  const isWaiting = release && (isLast || (look.step >= 1 && release.message !== ""));
  if (isWaiting) return { kind: "done", code: "RELEASE_PENDING", detail: { ...detailOf(release), why: whyWaits(release) } };
  if (isLast) return { kind: "done", code: "NO_RELEASE", detail: { newest: all.at(-1)?.name ?? null, why: NONE } };
  const seconds = ((looksMs[look.step + 1] ?? 0) - (looksMs[look.step] ?? 0)) / 1000;
  const why = release ? `${release.name} is ${release.phase || "new"}` : "no new ModuleRelease yet";
  return { kind: "deferred", seconds, why, next: { ...record, attempt: 0, refusedSince: null, look: { ...look, step: look.step + 1 } } };
}

const NONE =
  "no new ModuleRelease: the module is not enabled, follows another channel or another source, or has this version already (`kubectl get modulereleases -l module=NAME`)";
/** Phases after which nothing comes. */
const OVER: ReadonlySet<string> = new Set(["Superseded", "Skipped", "Terminated"]);

/** Made after the push, whoever's scan it was that saw it: Deckhouse's own may have come first. Kubernetes writes whole seconds. */
function isOf({ pushedAt, receivedAt }: RenewRequest, createdAt: string): boolean {
  const pushed = Math.min(Date.parse(pushedAt ?? receivedAt), Date.parse(receivedAt));
  return Date.parse(createdAt) + 1000 > pushed - CLOCKS_DIFFER_MS;
}

/** Of releases that one scan made, step by step, the last version is the one of the channel. */
const byAge = (a: ModuleRelease, b: ModuleRelease) =>
  Date.parse(a.createdAt) - Date.parse(b.createdAt) || a.version.localeCompare(b.version, "en", { numeric: true });

const detailOf = ({ name, version, phase, message, policy, applyAfter }: ModuleRelease): Detail => ({
  release: name,
  version,
  phase,
  message,
  policy,
  applyAfter,
});

/** Deckhouse's own words, and what a person can do where it waits for one. */
function whyWaits({ name, phase, message, policy, applyAfter }: ModuleRelease): string {
  const by = policy === null ? "the platform's update settings" : `the update policy ${policy}`;
  if (/approv/i.test(message)) return `${message}; by ${by}: kubectl annotate modulerelease ${name} modules.deckhouse.io/approved=true`;
  if (message !== "") return `${message}; by ${by}`;
  return `it is ${phase || "not looked at yet"}${applyAfter === null ? "" : `, not before ${applyAfter}`}; by ${by}`;
}
