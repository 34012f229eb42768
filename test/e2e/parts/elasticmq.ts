/** ElasticMQ, a queue server that speaks SQS: https://github.com/softwaremill/elasticmq */
import { CreateQueueCommand, GetQueueAttributesCommand, SQSClient } from "@aws-sdk/client-sqs";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Part } from "./cache.ts";
import { hashOf, install } from "./cache.ts";
import { freePort, run, serve, type Service, temporaryFolder } from "./child.ts";

const POM = join(import.meta.dirname, "elasticmq/pom.xml");
const VERSION = /elasticmq-server[^]*?<version>([\d.]+)</.exec(readFileSync(POM, "utf8"))?.[1];
const COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";
export const elasticmq: Part = {
  name: "elasticmq",
  version: `${VERSION}-${hashOf(readFileSync(POM), COPY)}`,
  cost: "about 10 seconds and 40 MB",
  build: async (folder) => {
    await run("mvn", ["-q", "-B", "-f", POM, COPY, "-DincludeScope=runtime", `-DoutputDirectory=${folder}`]);
  },
};

export interface ElasticMq {
  readonly endpoint: string;
  /** Makes a queue and its dead-letter queue `<name>-dead`, to which a record goes after `maxReceiveCount` receives. */
  createQueue(name: string, options?: { maxReceiveCount?: number }): Promise<{ url: string; deadLetterUrl: string }>;
  /** Starts the server again at the same address over what its disk holds, once the one before has ended. */
  start(): Promise<Service>;
  /** The server that `startElasticMq` or the last `start` gave. */
  service(): Service;
  stop(): Promise<void>;
}
/** ElasticMQ asks for no credentials, the SDK does. */
export const ELASTICMQ_ENV = { AWS_ACCESS_KEY_ID: "none", AWS_SECRET_ACCESS_KEY: "none", AWS_REGION: "elasticmq" } as const;

/**
 * A queue server that holds its queues in memory; `durable`: on disk, so that they outlast a SIGKILL. Without H2's default delay of 500 ms
 * between an answer and its write: https://www.h2database.com/html/commands.html#set_write_delay
 */
export async function startElasticMq({ durable = false } = {}): Promise<ElasticMq> {
  const jars = await install(elasticmq);
  const port = await freePort();
  const endpoint = `http://127.0.0.1:${port}`;
  const folder = await temporaryFolder("elasticmq");
  const settings = {
    "rest-sqs.bind-hostname": "127.0.0.1",
    "rest-sqs.bind-port": port,
    "rest-sqs.sqs-limits": "strict",
    "rest-stats.enabled": false,
    "node-address.host": "127.0.0.1", // what queue URLs name
    "node-address.port": port,
    ...(durable && { "messages-storage.enabled": true, "messages-storage.uri": `jdbc:h2:${join(folder.path, "queues")};WRITE_DELAY=0` }),
  };
  const flags = ["-Xms64m", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"];
  const launch = () =>
    serve({
      name: "elasticmq",
      command: "java",
      args: [
        ...flags,
        ...Object.entries(settings).map(([key, value]) => `-D${key}=${value}`),
        "-cp",
        join(jars, "*"),
        "org.elasticmq.server.Main",
      ],
      cwd: folder.path,
      log: join(folder.path, "log"),
      ready: async () => (await fetch(`${endpoint}/health`)).ok,
    });
  let service = await launch();
  const credentials = { accessKeyId: ELASTICMQ_ENV.AWS_ACCESS_KEY_ID, secretAccessKey: ELASTICMQ_ENV.AWS_SECRET_ACCESS_KEY };
  const client = new SQSClient({ endpoint, region: ELASTICMQ_ENV.AWS_REGION, credentials });
  return {
    endpoint,
    createQueue: async (name, { maxReceiveCount = 1000 } = {}) => {
      const deadLetterUrl = await create(client, `${name}-dead`);
      const attributes = await client.send(new GetQueueAttributesCommand({ QueueUrl: deadLetterUrl, AttributeNames: ["QueueArn"] }));
      const redrive = JSON.stringify({ deadLetterTargetArn: attributes.Attributes?.["QueueArn"], maxReceiveCount });
      return { url: await create(client, name, { RedrivePolicy: redrive }), deadLetterUrl };
    },
    start: async () => (service = await launch()),
    service: () => service,
    stop: async () => {
      client.destroy();
      await service.stop();
      await folder.remove();
    },
  };
}

async function create(client: SQSClient, name: string, attributes: Record<string, string> = {}): Promise<string> {
  const { QueueUrl } = await client.send(new CreateQueueCommand({ QueueName: name, Attributes: attributes }));
  if (QueueUrl === undefined) throw new Error(`elasticmq: no URL for the queue ${name}`);
  return QueueUrl;
}
