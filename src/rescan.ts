/**
 * A release channel moved: Deckhouse is made to scan the module's source now, and not up to three minutes later. Nothing is touched but the spelling
 * of the source's scan interval: no release, no approval, no window. Why this way: infra/decisions/0013-release-channels.md.
 */
import type { Channels, ModuleSource } from "./cluster/channels.ts";
import { unlessChanged } from "./conflict.ts";
import { encode, type RenewRequest } from "./event.ts";
import { CLOCKS_DIFFER_MS, MAX_DELAY_SECONDS, RESCAN_EVERY_MS } from "./limits.ts";
import { type Detail, type Outcome, RelayError, toRelayError } from "./outcome.ts";
import type { RenewContext } from "./renew.ts";
import { respell, USUAL_INTERVAL } from "./respell.ts";

export interface RescanContext extends RenewContext {
  readonly channels: Channels;
}

/** Throws RelayError for what the cluster or the queue cannot do now. */
export async function rescan(request: RenewRequest, context: RescanContext): Promise<Outcome> {
  const override = await context.overrides.get(request.module);
  if (override) return { kind: "skipped", reason: "OVERRIDDEN", detail: { follows: override.imageTag, why: OVERRIDDEN } };
  try {
    return await unlessChanged(() => rescanOnce(request, context), "the ModuleSource");
  } catch (thrown) {
    const { code, message } = toRelayError(thrown);
    if (REFUSED.has(code)) return { kind: "skipped", reason: "RESCAN_REFUSED", detail: { source: request.source, why: message } };
    throw thrown;
  }
}

const OVERRIDDEN = "the module has a ModulePullOverride, so Deckhouse does not look at its channels";
const UNSUPPORTED =
  "this Deckhouse has no spec.scanInterval (it came with v1.75), so nothing makes it scan without side effects; it does so every 3 minutes";
/** What waiting mends only where a person does something, and by then Deckhouse has long scanned by itself. */
const REFUSED: ReadonlySet<string> = new Set(["FORBIDDEN", "FORBIDDEN_BY_POLICY", "INVALID"]);

async function rescanOnce(request: RenewRequest, context: RescanContext): Promise<Outcome> {
  if (request.source === null) throw new RelayError("MALFORMED", "a rescan that names no source");
  const source = await context.channels.source(request.source);
  if (!source) return { kind: "skipped", reason: "NO_SOURCE", detail: { source: request.source } };

  const scannedAt = Date.parse(source.rescannedAt ?? "");
  const isPast = scannedAt <= context.now().getTime() + CLOCKS_DIFFER_MS; // by a clock that is ahead it would cover what comes tomorrow
  if (isPast && scannedAt > Date.parse(request.receivedAt) + CLOCKS_DIFFER_MS)
    return followed(request, new Date(scannedAt), context, { shared: true });
  const age = context.now().getTime() - scannedAt;
  // by a clock that is ahead, maybe by days, nobody would wait so long
  if (Math.abs(age) < RESCAN_EVERY_MS) {
    return { kind: "deferred", seconds: (RESCAN_EVERY_MS - age) / 1000, why: `${source.name} was made to scan less than a minute ago` };
  }

  const next = respell(source.scanInterval ?? USUAL_INTERVAL);
  if (next === null) return unsupported(source, `its scanInterval "${source.scanInterval}" has no second spelling that is known`);
  await context.pace();
  const patchedAt = context.now();
  const patched = await context.channels.respell(source, next);
  if (!patched) return { kind: "skipped", reason: "NO_SOURCE", detail: { source: source.name } };
  if (patched.scanInterval !== next) return unsupported(source, UNSUPPORTED);
  return followed(request, patchedAt, context, { shared: false, scanInterval: next });
}

const unsupported = ({ name }: ModuleSource, why: string): Outcome => ({
  kind: "skipped",
  reason: "RESCAN_UNSUPPORTED",
  detail: { source: name, why },
});

/** Stores the record of the first look at the module's releases. */
async function followed(request: RenewRequest, scannedAt: Date, context: RescanContext, detail: Detail): Promise<Outcome> {
  const patchedAt = scannedAt.toISOString();
  const look = { step: 0, digest: null, message: null, updatedAt: null, patchedAt };
  const record: RenewRequest = { ...request, attempt: 0, notBefore: null, refusedSince: null, look };
  await context.send([{ body: encode(record), delaySeconds: Math.min(MAX_DELAY_SECONDS, (context.tuning.looksMs[0] ?? 0) / 1000) }]);
  return { kind: "done", code: "RESCANNED", detail: { source: request.source, rescannedAt: patchedAt, ...detail } };
}
