/** The shapes of SQS's actions, as both ways to call them share them: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_Operations.html */
import type { Message, Outgoing } from "./wire.ts";

/** Entries of SendMessageBatch; an entry's id is its index. */
export function entriesOf(messages: readonly Outgoing[]) {
  return messages.map(({ body, delaySeconds, attributes = {} }, index) => ({
    Id: String(index),
    MessageBody: body,
    DelaySeconds: delaySeconds,
    MessageAttributes: Object.fromEntries(
      Object.entries(attributes).map(([name, value]) => [name, { DataType: "String", StringValue: value }]),
    ),
  }));
}

/** Entries of DeleteMessageBatch, and with `more` of ChangeMessageVisibilityBatch. */
export function receiptsOf<More extends object>(receipts: readonly string[], more: More) {
  return receipts.map((ReceiptHandle, index) => ({ Id: String(index), ReceiptHandle, ...more }));
}

/** Input of ReceiveMessage. */
export function receiveOf({ max, waitSeconds, visibilitySeconds }: { max: number; waitSeconds: number; visibilitySeconds: number }) {
  return {
    MaxNumberOfMessages: max,
    WaitTimeSeconds: waitSeconds,
    VisibilityTimeout: visibilitySeconds,
    MessageSystemAttributeNames: ["ApproximateReceiveCount" as const, "SentTimestamp" as const],
    MessageAttributeNames: ["All"],
  };
}

type Told = readonly { Id?: string | undefined; Code?: string | undefined }[] | null | undefined;

/** Indexes of so many entries that are not named as stored: an answer that names none, a proxy's own maybe, has stored none. */
export function unstoredOf(entries: number, successful: Told): number[] {
  const stored = new Set((successful ?? []).map(({ Id }) => Id));
  return Array.from({ length: entries }, (_, index) => index).filter((index) => !stored.has(String(index)));
}

/** A receipt that no longer counts is no failure: somebody settled the record before, or holds it now. */
const SETTLED = /(?:ReceiptHandleIsInvalid|InvalidParameterValue|MessageNotInflight)$/;

/** Indexes of receipts whose records may still be there. One that is overlooked comes again. */
export function openOf(failed: Told): number[] {
  return (failed ?? []).filter(({ Code }) => !SETTLED.test(Code ?? "")).map(({ Id }) => Number(Id));
}

interface Received {
  MessageId?: string | undefined;
  ReceiptHandle?: string | undefined;
  Body?: string | undefined;
  Attributes?: Readonly<Record<string, string | undefined>> | undefined;
  MessageAttributes?: Readonly<Record<string, { StringValue?: string | undefined }>> | undefined;
}

/** A message of ReceiveMessage's output. */
export function toMessage({ MessageId, ReceiptHandle, Body, Attributes = {}, MessageAttributes = {} }: Received): Message {
  return {
    id: MessageId ?? "",
    receipt: ReceiptHandle ?? "",
    body: Body ?? "",
    receiveCount: Number(Attributes["ApproximateReceiveCount"] ?? 1),
    sentAt: Number(Attributes["SentTimestamp"] ?? Date.now()),
    attributes: Object.fromEntries(Object.entries(MessageAttributes).map(([name, { StringValue = "" }]) => [name, StringValue])),
  };
}
