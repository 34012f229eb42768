/** The deployed functions, run from the deployed zips under AWS's runtime interface emulator, each with its own role's rights. */
import { join } from "node:path";
import { writeFile } from "node:fs/promises";
import { GetObjectCommand } from "@aws-sdk/client-s3";
import { ChangeMessageVisibilityCommand, DeleteMessageCommand, ReceiveMessageCommand, SQSClient } from "@aws-sdk/client-sqs";
import { AssumeRoleCommand } from "@aws-sdk/client-sts";
import * as z from "zod";
import { run, temporaryFolder } from "../e2e/parts/child.ts";
import { type Lambda, startLambda } from "../e2e/parts/lambda-emulator.ts";
import { batchOf } from "../support/lambda-events.ts";
import type { Account, Clients } from "./account.ts";
import type { DeployedStack } from "../../infra/deploy/stack.ts";
import { REGION } from "./relay.ts";
import type { StandIn } from "./stand-in.ts";

interface Deployment {
  readonly standIn: StandIn;
  readonly clients: Clients;
  readonly stack: DeployedStack;
  readonly account: Account;
}

const configuration = z.object({
  FunctionName: z.string(),
  Handler: z.string(),
  Role: z.string(),
  Timeout: z.number(),
  Environment: z.object({ Variables: z.record(z.string(), z.string()) }),
});
const code = z.object({ Code: z.object({ S3Bucket: z.unknown(), S3Key: z.string() }) });

/** `id` is the function's logical id. The zip comes from where CloudFormation got it. */
export async function startDeployed({ standIn, clients, stack, account }: Deployment, id: string): Promise<Lambda> {
  const { FunctionName, Handler, Role, Timeout, Environment } = configuration.parse(account[id]);
  const { S3Key } = code.parse(stack.template.Resources[id]?.Properties).Code;
  const { Body } = await clients.files.send(new GetObjectCommand({ Bucket: stack.ids.get("ServerlessDeploymentBucket"), Key: S3Key }));
  const folder = await temporaryFolder(FunctionName);
  const zip = join(folder.path, "code.zip");
  await writeFile(zip, (await Body?.transformToByteArray()) ?? "");
  await run("python3", ["-m", "zipfile", "-e", zip, folder.path]);
  const lambda = await startLambda({
    root: folder.path,
    bundle: join(folder.path, Handler.replace(/\.handler$/, ".mjs")),
    timeoutSeconds: Timeout,
    env: { ...standIn.env, AWS_REGION: REGION, ...(await credentialsOf(clients, Role)), ...NO_WARNING, ...Environment.Variables },
  });
  const stop = async () => {
    await lambda.stop();
    await folder.remove();
  };
  return { ...lambda, stop };
}

/** About Node 20, on which the functions do not run in AWS. */
const NO_WARNING = { AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: "true" };

/** Temporary ones, as a function gets them. */
async function credentialsOf({ tokens }: Clients, RoleArn: string) {
  const { Credentials } = await tokens.send(new AssumeRoleCommand({ RoleArn, RoleSessionName: "deployed" }));
  return {
    AWS_ACCESS_KEY_ID: Credentials?.AccessKeyId ?? "",
    AWS_SECRET_ACCESS_KEY: Credentials?.SecretAccessKey ?? "",
    AWS_SESSION_TOKEN: Credentials?.SessionToken ?? "",
  };
}

const mapping = z.object({ BatchSize: z.number(), EventSourceArn: z.string(), FunctionResponseTypes: z.array(z.string()) });
const failures = z.object({ batchItemFailures: z.array(z.object({ itemIdentifier: z.string() })) });

export interface Polled {
  /** Bodies. */
  readonly taken: readonly string[];
  readonly givenBack: readonly string[];
}

/**
 * What Lambda does for an event source mapping: takes a batch by the function's role, invokes, deletes what did not fail.
 * What failed shows again at once, and not after its visibility timeout.
 */
export async function poll(
  { standIn, clients, account }: Deployment,
  ids: { mapping: string; function: string; queueUrl: string },
  lambda: Lambda,
): Promise<Polled> {
  const { BatchSize, FunctionResponseTypes } = mapping.parse(account[ids.mapping]);
  const { Role } = configuration.parse(account[ids.function]);
  const credentials = await credentialsOf(clients, Role);
  const queues = new SQSClient({
    region: REGION,
    endpoint: standIn.endpoint,
    useQueueUrlAsEndpoint: false,
    credentials: {
      accessKeyId: credentials.AWS_ACCESS_KEY_ID,
      secretAccessKey: credentials.AWS_SECRET_ACCESS_KEY,
      sessionToken: credentials.AWS_SESSION_TOKEN,
    },
  });
  const { queueUrl: QueueUrl } = ids;
  try {
    const { Messages = [] } = await queues.send(
      new ReceiveMessageCommand({ QueueUrl, MaxNumberOfMessages: BatchSize, MessageSystemAttributeNames: ["All"] }),
    );
    if (Messages.length === 0) return { taken: [], givenBack: [] };
    const records = Messages.map(({ MessageId = "", ReceiptHandle = "", Body = "", Attributes = {} }) => ({
      id: MessageId,
      receipt: ReceiptHandle,
      body: Body,
      receiveCount: Number(Attributes["ApproximateReceiveCount"]),
      sentAt: new Date(Number(Attributes["SentTimestamp"])).toISOString(),
    }));
    const answer = await lambda.invoke(batchOf(records));
    const failed = FunctionResponseTypes.includes("ReportBatchItemFailures")
      ? new Set(failures.parse(answer).batchItemFailures.map(({ itemIdentifier }) => itemIdentifier))
      : new Set<string>();
    for (const { id, receipt: ReceiptHandle } of records) {
      if (failed.has(id)) await clients.queues.send(new ChangeMessageVisibilityCommand({ QueueUrl, ReceiptHandle, VisibilityTimeout: 0 }));
      else await queues.send(new DeleteMessageCommand({ QueueUrl, ReceiptHandle }));
    }
    const bodies = (hasFailed: boolean) => records.filter(({ id }) => failed.has(id) === hasFailed).map(({ body }) => body);
    return { taken: bodies(false), givenBack: bodies(true) };
  } finally {
    queues.destroy();
  }
}
