/** A registry's events from a queue with real parts: what EventBridge would write into ElasticMQ becomes a renewed override. */
import { join } from "node:path";
import { GetQueueAttributesCommand, SendMessageCommand, SQSClient } from "@aws-sdk/client-sqs";
import { expect, onTestFinished, test } from "vitest";
import { ELASTICMQ_ENV, startElasticMq } from "./parts/elasticmq.ts";
import { serveRelay } from "./relay.ts";
import { eventually } from "./wait.ts";
import { startWorld } from "./world.ts";

/** https://docs.aws.amazon.com/AmazonECR/latest/userguide/ecr-eventbridge.html */
function eventOf(id: string, digest: string): string {
  const detail = {
    result: "SUCCESS",
    "repository-name": "deckhouse/modules/echo",
    "image-digest": digest,
    "action-type": "PUSH",
    "image-tag": "main",
  };
  const time = new Date().toISOString().replace(/\.\d+/, "");
  const common = { account: "123456789012", region: "eu-central-1", time, resources: [] };
  return JSON.stringify({ version: "0", id, "detail-type": "ECR Image Action", source: "aws.ecr", ...common, detail });
}

test("ECR's raw event in ElasticMQ renews the override, also one that came while no relay ran, or that came twice", async () => {
  const world = await startWorld({ modules: ["echo"] });
  onTestFinished(() => world.stop());
  const queues = await startElasticMq();
  onTestFinished(() => queues.stop());
  const { url } = await queues.createQueue("ecr");
  const credentials = { accessKeyId: ELASTICMQ_ENV.AWS_ACCESS_KEY_ID, secretAccessKey: ELASTICMQ_ENV.AWS_SECRET_ACCESS_KEY };
  const client = new SQSClient({ endpoint: queues.endpoint, region: ELASTICMQ_ENV.AWS_REGION, credentials });
  onTestFinished(() => client.destroy());
  const put = (MessageBody: string) => client.send(new SendMessageCommand({ QueueUrl: url, MessageBody }));

  const webhooks = { ecr: { provider: "ecr", queue: url, host: world.registry.host } };
  const config = await world.writeConfig("relay.yaml", { queue: "embedded:./data", edge: true, consumer: true, webhooks });
  const first = await world.crane.push(world.image("echo"));
  await put(eventOf("first", first));
  const relay = await serveRelay({ config, log: join(world.folder, "relay.log"), url: world.relayUrl });
  onTestFinished(() => relay.stop());

  const linesOf = async (outcome: string, digest: string) =>
    (await relay.lines()).filter((line) => line.outcome === outcome && line["digest"] === digest);
  const pickedUp = (digest: string) =>
    eventually(`${digest} is reported as picked up`, async () => (await linesOf("PICKED_UP", digest))[0] ?? null);
  await pickedUp(first);

  const second = await world.crane.push(world.image("echo"));
  await Promise.all([put(eventOf("second", second)), put(eventOf("second", second)), put("this is no event")]);
  const { key } = await pickedUp(second);
  const override = await world.cluster.override("echo");
  expect(override.metadata.annotations).toMatchObject({ "mpo-relay/key": key, "mpo-relay/digest": second });
  expect(override.status).toMatchObject({ imageDigest: second, message: "Ready" });

  const counts = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"] as const;
  await eventually("every message is acknowledged", async () => {
    const { Attributes = {} } = await client.send(new GetQueueAttributesCommand({ QueueUrl: url, AttributeNames: [...counts] }));
    return counts.every((name) => Attributes[name] === "0") ? true : null;
  });
  const queued = await linesOf("QUEUED", second);
  expect(queued.map((line) => line["key"])).toEqual([key, key]);
  expect(await linesOf("NUDGED", second)).toHaveLength(1);
  expect((await relay.lines()).filter(({ outcome }) => outcome === "UNPARSED")).toHaveLength(1);
  expect((await fetch(`${world.relayUrl}/hooks/ecr`, { method: "POST", body: eventOf("third", second) })).status).toBe(404);
  await relay.stop("SIGTERM");
  expect((await relay.lines()).at(-1)).toMatchObject({ event: "process", outcome: "STOPPED" });
});
