/** The queue port on any SQS-compatible service. The only import of the SQS SDK. */
import {
  ChangeMessageVisibilityBatchCommand,
  DeleteMessageBatchCommand,
  GetQueueAttributesCommand,
  GetQueueUrlCommand,
  ReceiveMessageCommand,
  SendMessageBatchCommand,
  SQSClient,
} from "@aws-sdk/client-sqs";
import { RelayError } from "../outcome.ts";
import { endpointOf, regionOf } from "./sqs/address.ts";
import { entriesOf, openOf, receiptsOf, receiveOf, toMessage, unstoredOf } from "./sqs/entries.ts";
import { SqsQueue } from "./sqs/queue.ts";
import type { Message, Outgoing, Wire } from "./sqs/wire.ts";

export interface SqsOptions {
  /** The queue's URL. */
  readonly url: string;
  /** Default: from the URL's host, then AWS_REGION; `us-east-1` for services other than AWS. */
  readonly region?: string | null;
  /** Default: AWS_ENDPOINT_URL_SQS or AWS_ENDPOINT_URL, then the URL's origin. */
  readonly endpoint?: string | null;
  /** Where dead letters go. Default: the target of the queue's redrive policy. */
  readonly deadLettersUrl?: string | null;
}

/** Opens no connection yet. Throws RelayError INTERNAL where the URL or the region can't be right. Credentials: the SDK's usual chain. */
export function openSqs({ url, region = null, endpoint = null, deadLettersUrl = null }: SqsOptions): SqsQueue {
  if (!URL.canParse(url)) throw new RelayError("INTERNAL", "the URL of the SQS queue cannot be read");
  const parsed = new URL(url);
  const where = endpointOf(parsed, endpoint, process.env);
  const config = {
    region: regionOf(parsed, region, process.env),
    // Else the SDK would take the URL's host in spite of an endpoint from the environment, and warn on the console.
    useQueueUrlAsEndpoint: false,
    ...(where === null ? {} : { endpoint: where }),
  };
  const client = new SQSClient(config);
  const { credentials, requestHandler } = client.config;
  const once = new SQSClient({ ...config, credentials, requestHandler, maxAttempts: 1 });
  return new SqsQueue(url, new SdkWire(url, client, once), deadLettersUrl);
}

/** Every call ends: the SDK itself sets no limit. A long poll gets its wait on top. */
const PATIENCE_MS = 10_000;

class SdkWire implements Wire {
  readonly #url: string;
  readonly #client: SQSClient;
  /** For callers with a deadline, who retry themselves. */
  readonly #once: SQSClient;

  constructor(url: string, client: SQSClient, once: SQSClient) {
    this.#url = url;
    this.#client = client;
    this.#once = once;
  }

  async send(messages: readonly Outgoing[], timeoutMs?: number): Promise<number[]> {
    const client = timeoutMs === undefined ? this.#client : this.#once;
    const command = new SendMessageBatchCommand({ QueueUrl: this.#url, Entries: entriesOf(messages) });
    const { Successful } = await named("SendMessageBatch", () => client.send(command, within(timeoutMs ?? PATIENCE_MS)));
    return unstoredOf(messages.length, Successful);
  }

  async receive(options: { max: number; waitSeconds: number; visibilitySeconds: number }): Promise<Message[]> {
    const command = new ReceiveMessageCommand({ QueueUrl: this.#url, ...receiveOf(options) });
    const limit = within(options.waitSeconds * 1000 + PATIENCE_MS);
    const { Messages } = await named("ReceiveMessage", () => this.#client.send(command, limit));
    return (Messages ?? []).map(toMessage);
  }

  async remove(receipts: readonly string[]): Promise<number[]> {
    const Entries = receiptsOf(receipts, {});
    const command = new DeleteMessageBatchCommand({ QueueUrl: this.#url, Entries });
    const { Failed } = await named("DeleteMessageBatch", () => this.#client.send(command, within(PATIENCE_MS)));
    return openOf(Failed);
  }

  async hide(receipts: readonly string[], seconds: number): Promise<number[]> {
    const Entries = receiptsOf(receipts, { VisibilityTimeout: seconds });
    const command = new ChangeMessageVisibilityBatchCommand({ QueueUrl: this.#url, Entries });
    const { Failed } = await named("ChangeMessageVisibilityBatch", () => this.#client.send(command, within(PATIENCE_MS)));
    return openOf(Failed);
  }

  async attributes(): Promise<Readonly<Record<string, string>>> {
    const command = new GetQueueAttributesCommand({ QueueUrl: this.#url, AttributeNames: ["All"] });
    const { Attributes } = await named("GetQueueAttributes", () => this.#client.send(command, within(PATIENCE_MS)));
    return Attributes ?? {};
  }

  async urlOf({ account, name }: { account: string; name: string }): Promise<string> {
    const command = new GetQueueUrlCommand({ QueueName: name, QueueOwnerAWSAccountId: account });
    const { QueueUrl } = await named("GetQueueUrl", () => this.#client.send(command, within(PATIENCE_MS)));
    if (QueueUrl === undefined) throw new RelayError("QUEUE_UNAVAILABLE", "SQS GetQueueUrl: no URL in the answer");
    return QueueUrl;
  }

  at(url: string): Wire {
    return new SdkWire(url, this.#client, this.#once);
  }

  close(): void {
    this.#client.destroy();
  }
}

function within(ms: number): { abortSignal: AbortSignal } {
  return { abortSignal: AbortSignal.timeout(ms) };
}

/** An error of the SDK by its name alone: its text may hold what was sent. */
async function named<T>(what: string, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (thrown) {
    const name = thrown instanceof Error ? thrown.name : "error";
    const code = thrown instanceof Error && "code" in thrown && typeof thrown.code === "string" ? ` ${thrown.code}` : "";
    throw new RelayError("QUEUE_UNAVAILABLE", `SQS ${what}: ${name}${code}`.slice(0, 200));
  }
}
