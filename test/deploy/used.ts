/** The deployed edge and consumer of the cluster dev at work, each with its own role's rights. */
import { ScanCommand } from "@aws-sdk/client-dynamodb";
import { PutRolePolicyCommand } from "@aws-sdk/client-iam";
import { ReceiveMessageCommand, SendMessageCommand } from "@aws-sdk/client-sqs";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import * as z from "zod";
import { MAX_RECEIVE_COUNT } from "../../infra/template/queues.ts";
import type { Lambda } from "../e2e/parts/lambda-emulator.ts";
import { notificationOf, urlEvent } from "../support/lambda-events.ts";
import { waited } from "../support/wait.ts";
import { poll, startDeployed } from "./lambda.ts";
import { MPO, TOKEN, WEBHOOK_SECRET, type World } from "./world.ts";

export function testWhatIsDeployed(world: () => World): void {
  let edge: Lambda;
  let consumer: Lambda;
  const ids = () => ({
    mapping: "ConsumerDevEventSourceMappingSQSQueueDev",
    function: "ConsumerDevLambdaFunction",
    queueUrl: world().urlOf("QueueDev"),
  });
  const take = () => poll(world(), ids(), consumer);
  const deliver = (body: string) => edge.invoke(urlEvent(body, { secret: WEBHOOK_SECRET }));
  const annotationsOf = (name: string) => world().api.store.get(MPO, name)?.metadata.annotations ?? {};
  const dlq = async (...args: string[]) => {
    const variables = {
      DEV_QUEUE: world().urlOf("QueueDev"),
      MPO_RELAY_UNPARSED: world().urlOf("UnparsedQueue"),
      MPO_RELAY_JOURNAL: world().urlOf("Journal"),
    };
    return world().project.node(["dist/cli.js", "dlq", ...args], { ...world().standIn.env, ...variables });
  };
  const letter = z.object({ code: z.string(), body: z.string() });
  const letters = async () => {
    const { stdout, stderr } = await dlq("export", "--cluster", "dev");
    const lines = stdout.split("\n").filter(Boolean);
    expect(stderr).not.toContain("cannot");
    return lines.map((line) => letter.parse(JSON.parse(line)));
  };

  beforeAll(async () => {
    [edge, consumer] = await Promise.all([
      startDeployed(world(), "EdgeLambdaFunction"),
      startDeployed(world(), "ConsumerDevLambdaFunction"),
    ]);
  });
  afterAll(async () => {
    await Promise.all([edge?.stop(), consumer?.stop()]);
  });

  test("answers a push, with the secret from the store, and stores it", async () => {
    const since = performance.now();
    const answer = await deliver(notificationOf("echo"));
    console.log(`edge: first answer after a cold start, secret read: ${Math.round(performance.now() - since)} ms`);
    expect(answer).toMatchObject({ statusCode: 202, body: expect.stringContaining('"decision":"queued"') });
    expect(await edge.invoke(urlEvent(notificationOf("echo"), { secret: "another-secret-altogether" }))).toMatchObject({ statusCode: 401 });
    expect(await world().recordsIn(world().urlOf("QueueDev"))).toBe(1);
  });

  test("takes it, and patches the override", async () => {
    await due("echo");
    const since = performance.now();
    const { taken, givenBack } = await take();
    console.log(`consumer: first batch after a cold start, token and certificate read: ${Math.round(performance.now() - since)} ms`);
    expect(givenBack).toEqual([]);
    expect(taken).toHaveLength(1);
    expect(annotationsOf("echo")).toMatchObject({ "mpo-relay/key": z.object({ key: z.string() }).parse(JSON.parse(taken[0] ?? "")).key });
    expect(await world().recordsIn(world().urlOf("QueueDev"))).toBe(1); // the look that comes later
  });

  test("applies one that was received in vain for days, and counts that run where the others are written down", async () => {
    expect(await deliver(notificationOf("other"))).toMatchObject({ statusCode: 202 });
    await due("other");
    await receiveInVain('"module":"other"', 200);
    const { taken, givenBack } = await take();
    expect(givenBack).toEqual([]);
    expect(taken).toContainEqual(expect.stringContaining('"module":"other"'));
    expect(annotationsOf("other")).toHaveProperty("mpo-relay/key");
    const { Items = [] } = await world().clients.tables.send(new ScanCommand({ TableName: world().urlOf("Journal") }));
    expect(Items.map(({ sort }) => sort?.S)).toContain("runs");
  });

  test("buries a malformed record with its reason", async () => {
    await send("no record at all");
    expect((await take()).taken).toContain("no record at all"); // a look that is due may be beside it
    expect(await letters()).toEqual([{ code: "MALFORMED", body: "no record at all" }]);
  });

  test("gives back one that it may not bury, until SQS moves it after days", async () => {
    const role = z.string().parse(world().account["ConsumerDevRole"]?.["arn"]).split("/").at(-1);
    const policies = z.object({
      policies: z.record(z.string(), z.object({ Statement: z.array(z.looseObject({ Resource: z.unknown() })) }).loose()),
    });
    const [[name, document] = expect.fail("no policy")] = Object.entries(policies.parse(world().account["ConsumerDevRole"]).policies);
    const withoutIt = { ...document, Statement: document.Statement.filter(({ Resource }) => Resource !== world().arnOf("DeadLettersDev")) };
    expect(withoutIt.Statement).toHaveLength(document.Statement.length - 1);
    const allow = (PolicyDocument: unknown) =>
      world().clients.identities.send(
        new PutRolePolicyCommand({ RoleName: role, PolicyName: name, PolicyDocument: JSON.stringify(PolicyDocument) }),
      );
    await allow(withoutIt);
    await send("nor is this one");
    await receiveInVain("nor is this one", MAX_RECEIVE_COUNT - 10);
    let attempts = 0;
    while ((await take()).givenBack.includes("nor is this one")) attempts += 1;
    await allow(document);
    expect(attempts).toBe(10);
    expect((await letters()).map(({ body }) => body).toSorted()).toEqual(["no record at all", "nor is this one"]);
    const { stdout, code } = await dlq("list", "--cluster", "dev");
    expect(code).toBe(3);
    expect(stdout).toContain("MALFORMED");
  });

  test("writes no secret into a log, and keeps its journal", async () => {
    const written = (await edge.output()) + (await consumer.output());
    for (const secret of [WEBHOOK_SECRET, TOKEN]) expect(written).not.toContain(secret);
    expect(written).not.toMatch(/"JOURNAL_UNAVAILABLE","why":"(?!no answer within \d+ ms")/); // which a busy machine may be
    const { Items = [] } = await world().clients.tables.send(new ScanCommand({ TableName: world().urlOf("Journal") }));
    expect(new Set(Items.map(({ sort }) => sort?.S))).toEqual(new Set(["dev QUEUED", "dev NUDGED", "runs"]));
  });

  /** A push to Distribution waits a second, for its tag. */
  const due = (module: string) => vi.waitFor(() => receiveInVain(`"module":"${module}"`, 1), waited);
  /** As Lambda does for a consumer that is throttled. Each time a record is hidden for six minutes; here it is not. */
  async function receiveInVain(text: string, times: number) {
    const command = new ReceiveMessageCommand({ QueueUrl: world().urlOf("QueueDev"), VisibilityTimeout: 0, MaxNumberOfMessages: 10 });
    for (let time = 0; time < times; time++) {
      const { Messages = [] } = await world().clients.queues.send(command);
      expect(Messages.filter(({ Body = "" }) => Body.includes(text))).toHaveLength(1);
    }
  }
  const send = (MessageBody: string) =>
    world().clients.queues.send(new SendMessageCommand({ QueueUrl: world().urlOf("QueueDev"), MessageBody }));
}
