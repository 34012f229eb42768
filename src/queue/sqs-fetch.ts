/**
 * The queue port on SQS without its SDK, for a runtime that has `fetch` and no credential chain: one POST for each call, signed by aws4fetch.
 * The only import of it. https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-making-api-requests-json.html
 */
import { AwsClient } from "aws4fetch";
import * as z from "zod";
import { RelayError } from "../outcome.ts";
import type { SqsOptions } from "./sqs.ts";
import { endpointOf, regionOf } from "./sqs/address.ts";
import { entriesOf, openOf, receiptsOf, receiveOf, toMessage, unstoredOf } from "./sqs/entries.ts";
import { SqsQueue } from "./sqs/queue.ts";
import type { Message, Outgoing, Wire } from "./sqs/wire.ts";

/** Every call ends. A long poll gets its wait on top. */
const PATIENCE_MS = 10_000;

/**
 * Opens no connection yet, and reads the keys (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN) with the first call, which is
 * tried once: whoever calls tries again. Throws RelayError INTERNAL where the URL or the region can't be right.
 */
export function openSqsByFetch({ url, region = null, endpoint = null, deadLettersUrl = null }: SqsOptions, env = process.env): SqsQueue {
  if (!URL.canParse(url)) throw new RelayError("INTERNAL", "the URL of the SQS queue cannot be read");
  const parsed = new URL(url);
  const where = endpointOf(parsed, endpoint, env) ?? (env["AWS_ENDPOINT_URL_SQS"] || env["AWS_ENDPOINT_URL"] || parsed.origin);
  return new SqsQueue(url, new FetchWire(url, callerOf(where, regionOf(parsed, region, env), env)), deadLettersUrl);
}

/** One action; resolves with its output. Throws RelayError QUEUE_UNAVAILABLE that names the action and what failed, and nothing else. */
type Call = <Output extends z.ZodType>(action: string, input: object, output: Output, timeoutMs?: number) => Promise<z.output<Output>>;

function callerOf(endpoint: string, region: string, env: NodeJS.ProcessEnv): Call {
  let client: AwsClient | null = null;
  return async (action, input, output, timeoutMs = PATIENCE_MS) => {
    client ??= clientOf(region, env);
    const headers = { "content-type": "application/x-amz-json-1.0", "x-amz-target": `AmazonSQS.${action}` };
    try {
      const signal = AbortSignal.timeout(timeoutMs);
      const answer = await client.fetch(endpoint, { method: "POST", headers, body: JSON.stringify(input), signal });
      const text = await answer.text();
      if (!answer.ok) throw new Refused(nameOf(text) ?? `HTTP ${answer.status}`);
      return output.parse(JSON.parse(text || "{}"));
    } catch (thrown) {
      throw new RelayError("QUEUE_UNAVAILABLE", `SQS ${action}: ${reasonOf(thrown)}`.slice(0, 200));
    }
  };
}

function clientOf(region: string, env: NodeJS.ProcessEnv): AwsClient {
  const { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey, AWS_SESSION_TOKEN: sessionToken } = env;
  if (!accessKeyId || !secretAccessKey)
    throw new RelayError("QUEUE_UNAVAILABLE", "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not both set");
  return new AwsClient({ accessKeyId, secretAccessKey, ...(sessionToken && { sessionToken }), service: "sqs", region, retries: 0 });
}

class FetchWire implements Wire {
  readonly #url: string;
  readonly #call: Call;

  constructor(url: string, call: Call) {
    this.#url = url;
    this.#call = call;
  }

  async send(messages: readonly Outgoing[], timeoutMs?: number): Promise<number[]> {
    const { Successful } = await this.#call("SendMessageBatch", this.#with({ Entries: entriesOf(messages) }), sent, timeoutMs);
    return unstoredOf(messages.length, Successful);
  }

  async receive(options: { max: number; waitSeconds: number; visibilitySeconds: number }): Promise<Message[]> {
    const limitMs = options.waitSeconds * 1000 + PATIENCE_MS;
    return ((await this.#call("ReceiveMessage", this.#with(receiveOf(options)), received, limitMs)).Messages ?? []).map(toMessage);
  }

  async remove(receipts: readonly string[]): Promise<number[]> {
    return openOf((await this.#call("DeleteMessageBatch", this.#with({ Entries: receiptsOf(receipts, {}) }), batch)).Failed);
  }

  async hide(receipts: readonly string[], seconds: number): Promise<number[]> {
    const Entries = receiptsOf(receipts, { VisibilityTimeout: seconds });
    return openOf((await this.#call("ChangeMessageVisibilityBatch", this.#with({ Entries }), batch)).Failed);
  }

  async attributes(): Promise<Readonly<Record<string, string>>> {
    return (await this.#call("GetQueueAttributes", this.#with({ AttributeNames: ["All"] }), attributes)).Attributes;
  }

  async urlOf({ account, name }: { account: string; name: string }): Promise<string> {
    return (await this.#call("GetQueueUrl", { QueueName: name, QueueOwnerAWSAccountId: account }, address)).QueueUrl;
  }

  at(url: string): Wire {
    return new FetchWire(url, this.#call);
  }

  /** Connections are the runtime's. */
  close(): void {}

  #with(input: object): object {
    return { QueueUrl: this.#url, ...input };
  }
}

const sent = z.object({ Successful: z.array(z.object({ Id: z.string() })).nullish() });
const batch = z.object({ Failed: z.array(z.object({ Id: z.string(), Code: z.string().optional() })).nullish() });
const attributes = z.object({ Attributes: z.record(z.string(), z.string()).default({}) });
const address = z.object({ QueueUrl: z.string() });
const received = z.object({
  Messages: z
    .array(
      z.object({
        MessageId: z.string(),
        ReceiptHandle: z.string(),
        Body: z.string(),
        Attributes: z.record(z.string(), z.string()).optional(),
        MessageAttributes: z.record(z.string(), z.object({ StringValue: z.string().optional() })).optional(),
      }),
    )
    .nullish(),
});

/** By the error's name alone: its text may hold what was sent. */
class Refused extends Error {}
const refusal = z.object({ ["__type"]: z.string().regex(/^[\w.]+(?:#\w+)?$/) }).transform((said) => said["__type"].replace(/^.*#/, ""));

function nameOf(text: string): string | null {
  try {
    return refusal.parse(JSON.parse(text));
  } catch {
    return null;
  }
}

function reasonOf(thrown: unknown): string {
  if (thrown instanceof Refused) return thrown.message;
  if (!(thrown instanceof Error)) return "error";
  const { cause } = thrown;
  const code = cause instanceof Error && "code" in cause && typeof cause.code === "string" ? ` ${cause.code}` : "";
  return `${thrown.name}${code}`;
}
