/** What the SQS adapter needs of the service, in the relay's own words: sqs.ts fulfils it with the SDK. */

/** A message as received. `attributes` are a dead letter's. */
export interface Message {
  readonly id: string;
  readonly receipt: string;
  readonly body: string;
  readonly receiveCount: number;
  /** ms since 1970. */
  readonly sentAt: number;
  readonly attributes: Readonly<Record<string, string>>;
}

export interface Outgoing {
  readonly body: string;
  /** Whole seconds. */
  readonly delaySeconds: number;
  readonly attributes?: Readonly<Record<string, string>>;
}

/** One queue. Every method throws RelayError QUEUE_UNAVAILABLE that names what failed and the SDK's error name, nothing else. */
export interface Wire {
  /** At most ten, of at most 256 KiB together. Gives the indexes of those that were not stored. `timeoutMs`: one attempt of that length. */
  send(messages: readonly Outgoing[], timeoutMs?: number): Promise<number[]>;
  /** At most ten; whole seconds. */
  receive(options: { max: number; waitSeconds: number; visibilitySeconds: number }): Promise<Message[]>;
  /** At most ten receipts. Gives the indexes of those that were not deleted and may still be there. */
  remove(receipts: readonly string[]): Promise<number[]>;
  /** At most ten receipts. Gives the indexes of those that were not changed and may still be there. */
  hide(receipts: readonly string[], seconds: number): Promise<number[]>;
  attributes(): Promise<Readonly<Record<string, string>>>;
  /** The URL of another queue of the same service. */
  urlOf(queue: { account: string; name: string }): Promise<string>;
  /** The same service, another queue. */
  at(url: string): Wire;
  close(): void;
}
