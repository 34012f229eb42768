/** What a record may be: the same in every adapter, so that none takes what another would refuse. */
import { MAX_DELAY_SECONDS } from "../limits.ts";
import { RelayError } from "../outcome.ts";
import type { NewRecord } from "./queue.ts";

/** Leaves room for attributes below the 256 KiB that every SQS-compatible service takes. */
const MAX_BODY_BYTES = 200 * 1024;

/** ASCII without the control characters that SQS refuses: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html */
const PLAIN = /^[\t\n\r\u0020-\u007f]*$/;

/**
 * Throws TOO_LARGE, or INTERNAL for text beyond ASCII (see `toAscii` in event.ts) or a delay beyond the longest.
 * The body itself never gets into the error.
 */
export function checkRecord({ body, delaySeconds = 0 }: NewRecord): void {
  checkSize(body);
  if (!PLAIN.test(body)) throw new RelayError("INTERNAL", "a record's body must be ASCII text without control characters");
  if (!(delaySeconds >= 0 && delaySeconds <= MAX_DELAY_SECONDS)) {
    throw new RelayError("INTERNAL", `a delay of ${delaySeconds} s: a queue delays by 0 to ${MAX_DELAY_SECONDS} s`);
  }
}

/** For dead letters, which may hold what others wrote: only their size matters. */
export function checkSize(body: string): void {
  const bytes = Buffer.byteLength(body);
  if (bytes > MAX_BODY_BYTES) {
    throw new RelayError("TOO_LARGE", `a body of ${bytes} bytes is more than a queue takes (${MAX_BODY_BYTES} bytes)`);
  }
}
