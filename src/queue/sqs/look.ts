/** What an SQS-compatible service says of a queue: attributes alone, so that no record is hidden from who works on it. */
import { RelayError, toRelayError } from "../../outcome.ts";
import { findLetterQueue, redrivePolicy, total } from "./letters.ts";
import type { Wire } from "./wire.ts";

/** Seconds; null: the service does not say. */
interface Kept {
  readonly records: number;
  readonly retentionSeconds: number | null;
}
export interface SqsLook extends Kept {
  /** After so many receives the service moves a record by itself; null: it never does. */
  readonly maxReceiveCount: number | null;
  /** An error: why its dead letters have no place, or one that cannot be looked at. */
  readonly letters: Kept | RelayError;
}

/** `lettersUrl` null: the target of the queue's redrive policy. Throws RelayError QUEUE_UNAVAILABLE where the queue itself cannot be looked at. */
export async function lookAt(wire: Wire, lettersUrl: string | null): Promise<SqsLook> {
  const attributes = await wire.attributes();
  const policy = redrivePolicy.safeParse(attributes["RedrivePolicy"]);
  const letters = await lettersOf(wire, lettersUrl).catch((thrown: unknown) => toRelayError(thrown, "QUEUE_UNAVAILABLE"));
  return { ...keptBy(attributes), maxReceiveCount: policy.data?.maxReceiveCount ?? null, letters };
}

const lettersOf = async (wire: Wire, url: string | null) => keptBy(await (await findLetterQueue(wire, url)).attributes());

function keptBy(attributes: Readonly<Record<string, string>>): Kept {
  const seconds = Number(attributes["MessageRetentionPeriod"]);
  return { records: total(attributes), retentionSeconds: seconds > 0 ? seconds : null };
}
