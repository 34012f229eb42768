/** The commands about a webhook whose deliveries come from a queue. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type FauxqsServer, startFauxqs } from "fauxqs";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { parse, type ScalarTag } from "yaml";
import * as z from "zod";
import { configOrThrow } from "../src/config.ts";
import { startRelay } from "../src/relay.ts";
import { mpoRelay } from "./support/cli.ts";
import { check as checkTemplate, templateSchema } from "./support/cloudformation.ts";
import { digestOf, fakeObserver } from "./support/relay.ts";
import { waited } from "./support/wait.ts";

const HOST = "210987654321.dkr.ecr.eu-central-1.amazonaws.com";
let server: FauxqsServer;
let folder: string;
let url: string;
let config: string;
let configuration: ReturnType<typeof configurationAt>;

beforeAll(async () => {
  vi.stubEnv("AWS_ACCESS_KEY_ID", "test");
  vi.stubEnv("AWS_SECRET_ACCESS_KEY", "test");
  server = await startFauxqs({ port: 0, logger: false });
  url = server.createQueue("mpo-relay-ecr").queueUrl;
  folder = await mkdtemp(join(tmpdir(), "queue-"));
  configuration = configurationAt(`http://127.0.0.1:${server.port}`);
  config = await file("relay.json", configuration);
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await server.stop();
  await rm(folder, { recursive: true });
});

function configurationAt(endpoint: string) {
  const hook = (provider: string, source: string) => ({
    provider,
    queue: "env:ECR_QUEUE",
    region: "us-east-1",
    endpoint,
    sources: [source],
  });
  return {
    webhooks: {
      ecr: hook("ecr", "ecr"),
      quay: { ...hook("quay", "other"), queue: "https://sqs.eu-central-1.amazonaws.com/1/quay" },
      zot: { ...hook("zot", "other"), queue: "https://sqs.eu-central-1.amazonaws.com/1/zot", host: "other.example.com" },
      harbor: { provider: "harbor", secret: "env:S" },
    },
    sources: [
      { name: "ecr", repo: `${HOST}/deckhouse/modules`, aliases: [`${HOST}/m`] },
      { name: "other", repo: "other.example.com/m" },
    ],
    clusters: { dev: { queue: "embedded:" } },
    listen: "127.0.0.1:0",
  };
}

async function file(name: string, content: unknown): Promise<string> {
  await writeFile(join(folder, name), typeof content === "string" ? content : JSON.stringify(content));
  return join(folder, name);
}
const run = (args: readonly string[], env: NodeJS.ProcessEnv = { ECR_QUEUE: url, S: "a-secret-of-good-length" }) =>
  mpoRelay([...args, "--config", config], env);

describe("check", () => {
  it("says where the deliveries come from", async () => {
    const { exitCode, out, err } = await run(["check"]);
    expect({ exitCode, err }).toEqual({ exitCode: 0, err: "" });
    expect(out).toContain("ecr: queue in env:ECR_QUEUE (ecr)");
    expect(out).toContain("quay: queue at https://sqs.eu-central-1.amazonaws.com/1/quay (quay)");
    expect(out).not.toContain("/hooks/ecr");
  });

  it.each([
    [{}, "webhooks.ecr.queue: the queue's variable ECR_QUEUE is not set"],
    [{ ECR_QUEUE: "hub:https://hub.example.com" }, "webhooks.ecr.queue: the variable ECR_QUEUE must hold the URL of an SQS queue"],
  ])("warns of a variable that cannot be used: %j", async (env, text) => {
    expect((await run(["check"], env)).err).toContain(text);
  });
});

describe("webhook", () => {
  it("prints a template that CloudFormation takes: rule, queue, and a policy for that rule alone", async () => {
    const { exitCode, out, err } = await run(["webhook", "ecr"]);
    expect({ exitCode, err }).toEqual({ exitCode: 0, err: `next: mpo-relay send ecr --config ${config}` });
    const [, text = ""] = /<<'YAML'\n([^]*?)\nYAML\n/.exec(out) ?? [];
    const tag = (name: string, to: (value: string) => unknown): ScalarTag => ({ tag: `!${name}`, resolve: to });
    const customTags = [tag("Ref", (Ref) => ({ Ref })), tag("GetAtt", (path) => ({ "Fn::GetAtt": path.split(".") }))];
    const template = parse(text, { customTags });
    const { problems, values } = await checkTemplate(templateSchema.parse(template));
    expect(problems).toEqual([]);
    expect(values).toBeGreaterThan(15);
    const { Queue, Rule, QueuePolicy } = template.Resources;
    expect(Queue.Properties).toMatchObject({ QueueName: "mpo-relay-ecr", MessageRetentionPeriod: 14 * 24 * 3600 });
    expect(Rule.Properties.EventPattern.detail["repository-name"]).toEqual([{ prefix: "deckhouse/modules/" }, { prefix: "m/" }]);
    expect(Rule.Properties.Targets).toMatchObject([{ Arn: { "Fn::GetAtt": ["Queue", "Arn"] } }]);
    expect(QueuePolicy.Properties.PolicyDocument.Statement).toMatchObject([
      {
        Action: "sqs:SendMessage",
        Principal: { Service: "events.amazonaws.com" },
        Condition: { ArnEquals: { "aws:SourceArn": { "Fn::GetAtt": ["Rule", "Arn"] } } },
      },
    ]);
  });

  it("says of another provider's what belongs into the queue", async () => {
    const { exitCode, out } = await run(["webhook", "quay"]);
    expect(exitCode).toBe(0);
    expect(out).toContain("Queue    https://sqs.eu-central-1.amazonaws.com/1/quay");
    expect(out).toContain("sqs:SendMessage for this sender and nobody else");
  });

  it.each([
    ["with a relay's URL", ["--url", "https://relay.example.com"], {}, "webhooks.ecr takes its deliveries from a queue, and none by HTTP"],
    ["with a secret", ["--new-secret"], {}, "webhooks.ecr has a queue, which needs no secret"],
    ["without its variable", [], { ECR_QUEUE: undefined }, "webhooks.ecr.queue: the queue's variable ECR_QUEUE is not set"],
    ["with a shell in its variable", [], { ECR_QUEUE: "https://sqs.example.com/1/a'$(id)" }, "has characters that no queue's URL has"],
  ])("%s: 2", async (_what, args, env, text) => {
    const said = await run(["webhook", "ecr", ...args], { ECR_QUEUE: url, ...env });
    expect(said).toMatchObject({ exitCode: 2, out: "", err: expect.stringContaining(text) });
  });

  it.each(["webhook", "send"])("%s of a webhook without a queue needs the relay's URL: 2", async (command) => {
    expect(await run([command, "harbor"])).toMatchObject({ exitCode: 2, out: "", err: expect.stringContaining("--url is missing") });
  });
});

describe("send", () => {
  const answer = z.object({ key: z.string(), image: z.string() }).loose();

  it("puts into the queue what a relay takes from there, under the key that it said", async () => {
    const sent = await run(["send", "ecr", "--module", "echo", "--tag", "main", "--digest", digestOf("a"), "--json"]);
    expect({ exitCode: sent.exitCode, err: sent.err }).toEqual({ exitCode: 0, err: "" });
    const { key, image, ...rest } = answer.parse(JSON.parse(sent.out));
    expect(image).toBe(`${HOST}/deckhouse/modules/echo:main`);
    expect(rest).toEqual({ webhook: "ecr", digest: digestOf("a"), status: null, decision: "sent", reason: null, hint: null });

    vi.stubEnv("ECR_QUEUE", url);
    const own = { ...configuration, webhooks: { ecr: configuration.webhooks.ecr } };
    const relayConfig = await configOrThrow({ file: await file("own.json", own) });
    const { observer, lines } = fakeObserver();
    const relay = await startRelay({ config: relayConfig, observer, roles: ["edge"] });
    await vi.waitFor(() => expect(lines.find(({ outcome }) => outcome === "QUEUED")).toMatchObject({ key, image, cluster: "dev" }), waited);
    const stopping = relay.stop();
    await run(["send", "ecr"]); // the poll that is open ends sooner
    await stopping;
  });

  it("speaks to people without --json", async () => {
    const { out } = await run(["send", "ecr"]);
    expect(out).toContain(
      `to ${url}, as Amazon ECR (EventBridge) tells it\n  push  ${HOST}/deckhouse/modules/mpo-relay-test:mpo-relay-test sha256:`,
    );
    expect(out).toMatch(/^sent, key [0-9a-f]{32}$/m);
  });

  it.each([
    ["to a queue that is not there: 1", ["quay"], 1, "is it there, and may this process send to it (sqs:SendMessage)?"],
    ["with a relay's URL: 2", ["ecr", "--url", "https://relay.example.com"], 2, "leave --url out"],
    ["of a sender that needs headers: 2", ["zot"], 2, "zot tells a part of its pushes in headers, and a queue carries none"],
  ])("%s", async (_what, args, exitCode, text) => {
    expect(await run(["send", ...args])).toMatchObject({ exitCode, out: "", err: expect.stringContaining(text) });
  });
});

describe("explain", () => {
  const body = JSON.stringify({
    id: "1",
    "detail-type": "ECR Image Action",
    account: "210987654321",
    region: "eu-central-1",
    detail: { "action-type": "PUSH", result: "SUCCESS", "repository-name": "m/echo", "image-tag": "main" },
  });

  it("takes the body as the queue would bring it", async () => {
    const { exitCode, out } = await run(["explain", "--webhook", "ecr", "--body", await file("body", body)]);
    expect(exitCode).toBe(0);
    expect(out).toContain("a message of the queue of ecr → 202 queued");
    expect(out).toContain("renew    module echo, tag main, in cluster dev");
  });

  it("knows no headers there: 2", async () => {
    const said = await run(["explain", "--webhook", "ecr", "--body", await file("body", body), "--header", "x: y"]);
    expect(said).toMatchObject({ exitCode: 2, out: "", err: expect.stringContaining("its messages are bodies alone") });
  });
});
