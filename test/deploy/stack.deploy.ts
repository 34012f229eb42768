/**
 * One stack's life on the stand-in, by the scripts that an operator runs: refused, deployed, used, deployed again, another cluster, one less,
 * removed. The tests go on from each other, in their order.
 */
import { DescribeStacksCommand } from "@aws-sdk/client-cloudformation";
import { DescribeAlarmsCommand, ListDashboardsCommand } from "@aws-sdk/client-cloudwatch";
import { DescribeLogGroupsCommand } from "@aws-sdk/client-cloudwatch-logs";
import { ListTablesCommand, ScanCommand } from "@aws-sdk/client-dynamodb";
import { ListRolesCommand, PutRolePolicyCommand } from "@aws-sdk/client-iam";
import { ListFunctionsCommand } from "@aws-sdk/client-lambda";
import { ListBucketsCommand } from "@aws-sdk/client-s3";
import {
  GetQueueAttributesCommand,
  ListQueuesCommand,
  PurgeQueueCommand,
  ReceiveMessageCommand,
  SendMessageCommand,
} from "@aws-sdk/client-sqs";
import { PutParameterCommand } from "@aws-sdk/client-ssm";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import * as z from "zod";
import type { DeployedStack } from "../../infra/deploy/stack.ts";
import { MAX_RECEIVE_COUNT } from "../../infra/template/queues.ts";
import { type KubernetesApi, startKubernetesApi } from "../../src/sandbox/kubernetes-api.ts";
import type { Lambda } from "../e2e/parts/lambda-emulator.ts";
import { notificationOf, urlEvent } from "../support/lambda-events.ts";
import { type Account, type Clients, clientsOf, readAccount } from "./account.ts";
import { poll, startDeployed } from "./lambda.ts";
import { copyProject, type Project } from "./project.ts";
import { caOf, relayYaml, SECRET, tokenOf } from "./relay.ts";
import { type StandIn, startStandIn } from "./stand-in.ts";

const STACK = "mpo-relay-dev";
const WEBHOOK_SECRET = "a-webhooks-secret-of-the-deployment";
const TOKEN = "a-clusters-token-of-the-deployment";
const MPO = "modulepulloverrides";
const NOW = ["--settle", "0"]; // nobody else sends here

let standIn: StandIn;
let clients: Clients;
let api: KubernetesApi;
let project: Project;
let stack: DeployedStack;
let account: Account;

beforeAll(async () => {
  [standIn, api, project] = await Promise.all([startStandIn(), startKubernetesApi({ token: TOKEN }), copyProject()]);
  clients = clientsOf(standIn);
  for (const name of ["echo", "other"]) api.store.create(MPO, { metadata: { name }, spec: { imageTag: "main" } });
  await project.configure(relayYaml({ clusters: ["dev"], api: api.url }));
});
afterAll(async () => {
  for (const client of Object.values(clients ?? {})) client.destroy();
  await Promise.all([standIn?.stop(), api?.close(), project?.remove()]);
});

const script = (name: string, args: readonly string[] = [], env: Readonly<Record<string, string>> = standIn.env) =>
  project.npm(name, ["--stage", "dev", ...args], env);
const put = (Name: string, Value: string) => clients.parameters.send(new PutParameterCommand({ Name, Value, Type: "SecureString" }));
async function look() {
  ({ stack, account } = await readAccount(clients, STACK));
}
const urlOf = (id: string) => stack.ids.get(id) ?? expect.fail(`no ${id}`);
const arnOf = (id: string) => z.object({ QueueArn: z.string() }).parse(account[id]).QueueArn;
/** Names of all that costs something or holds something. */
async function everything(): Promise<string[]> {
  const { MetricAlarms = [] } = await clients.metrics.send(new DescribeAlarmsCommand());
  const { DashboardEntries = [] } = await clients.metrics.send(new ListDashboardsCommand());
  const [{ Buckets = [] }, { Functions = [] }, { QueueUrls = [] }, { Roles = [] }, { TableNames = [] }] = await Promise.all([
    clients.files.send(new ListBucketsCommand()),
    clients.functions.send(new ListFunctionsCommand()),
    clients.queues.send(new ListQueuesCommand()),
    clients.identities.send(new ListRolesCommand()),
    clients.tables.send(new ListTablesCommand()),
  ]);
  const names = [
    Buckets.map(({ Name = "" }) => Name),
    Functions.map(({ FunctionName = "" }) => FunctionName),
    MetricAlarms.map(({ AlarmName = "" }) => AlarmName),
    DashboardEntries.map(({ DashboardName = "" }) => DashboardName),
  ];
  return [...names.flat(), ...Roles.map(({ RoleName = "" }) => RoleName), ...QueueUrls.map(nameOf), ...TableNames].toSorted();
}
/** The stand-in lists queues by another host than CloudFormation does. */
const nameOf = (url: string) => url.split("/").at(-1) ?? "";
async function recordsIn(QueueUrl: string): Promise<number> {
  const { Attributes = {} } = await clients.queues.send(new GetQueueAttributesCommand({ QueueUrl, AttributeNames: ["All"] }));
  const counters = Object.entries(Attributes).filter(([name]) => name.startsWith("ApproximateNumberOfMessages"));
  return counters.reduce((sum, [, count]) => sum + Number(count), 0);
}

describe("before anything is created, deploy is refused", () => {
  afterEach(async () => expect(await everything()).toEqual([]));

  test("without credentials, with a wrong stage and a wrong relay.yaml: every reason at once", async () => {
    const wrong = relayYaml({ clusters: ["dev"], api: api.url });
    await project.configure({
      ...wrong,
      unparsed: "embedded:./data",
      webhooks: { registry: { provider: "distribution", secret: "env:SECRET" } },
    });
    const { AWS_ACCESS_KEY_ID: _key, AWS_SECRET_ACCESS_KEY: _secret, ...nobody } = standIn.env;
    const { code, stderr } = await project.npm("deploy", ["--stage", "Dev_1"], nobody);
    await project.configure(wrong);
    expect(code).toBe(2);
    expect(stderr).toContain("refused; nothing was changed:");
    expect(stderr).toContain("--stage: a stage has small letters");
    expect(stderr).toContain("credentials: AWS takes none (CredentialsProviderError)");
    expect(stderr).toContain("unparsed: embedded needs a disk that lasts");
    expect(stderr).toContain("webhooks.registry.secret: a function shows its variables");
  });

  test("with secrets that are not there: each with its place and its name", async () => {
    await put(tokenOf("dev"), TOKEN);
    const { code, stderr } = await script("deploy");
    expect(code).toBe(2);
    expect(stderr).toContain(`webhooks.registry.secret: there is no parameter ${SECRET}`);
    expect(stderr).toContain(`clusters.dev.kubernetes.ca: there is no parameter ${caOf("dev")}`);
    expect(stderr).not.toContain(`parameter ${tokenOf("dev")}`);
  });

  test("with a relay.yaml that cannot be read", async () => {
    await project.configure({ clusters: { dev: { queue: "nonsense" } } });
    const { code, stderr } = await script("deploy");
    await project.configure(relayYaml({ clusters: ["dev"], api: api.url }));
    expect(code).toBe(2);
    expect(stderr).toContain("clusters.dev.queue:");
  });
});

describe("deploy", () => {
  test("plan tells that everything is new, and makes nothing", async () => {
    await put(SECRET, WEBHOOK_SECRET);
    await put(caOf("dev"), api.ca);
    const { code, stdout, stderr } = await script("deploy:plan", ["--json"]);
    expect({ code, stderr }).toMatchObject({ code: 0 });
    const plan = planSchema.parse(JSON.parse(stdout));
    expect(plan).toMatchObject({ stack: STACK, exists: false });
    expect(new Set(plan.changes.map(({ what }) => what))).toEqual(new Set(["create"]));
    expect(plan.changes.map(({ id }) => id)).toContain("ConsumerDevLambdaFunction");
    expect(await everything()).toEqual([]);
  });

  test("makes the stack, and nothing is left out but what this stand-in cannot make", async () => {
    const { code, stderr, stdout } = await script("deploy", NOW);
    expect({ code, stderr }).toMatchObject({ code: 0 });
    expect(stdout).toContain(".lambda-url.eu-central-1.on.aws");
    const { Stacks = [] } = await clients.stacks.send(new DescribeStacksCommand({ StackName: STACK }));
    expect(Stacks).toMatchObject([{ StackStatus: "UPDATE_COMPLETE" }]);
    expect(await standIn.skipped()).toEqual(SKIPPED);
    await look();
  });

  test("queues keep for 14 days, hide for six times the consumer's timeout, are encrypted, and take TLS alone", () => {
    for (const id of ["QueueDev", "DeadLettersDev", "UnparsedQueue"]) {
      expect(account[id], id).toMatchObject({ MessageRetentionPeriod: "1209600", SqsManagedSseEnabled: "true", DelaySeconds: "0" });
      expect(JSON.parse(z.object({ Policy: z.string() }).parse(account[id]).Policy), id).toEqual({
        Version: "2012-10-17",
        Statement: [
          {
            Effect: "Deny",
            Principal: "*",
            Action: "sqs:*",
            Resource: arnOf(id),
            Condition: { Bool: { "aws:SecureTransport": "false" } },
          },
        ],
      });
    }
    expect(account["QueueDev"]).toMatchObject({ VisibilityTimeout: "360" });
    expect(JSON.parse(z.object({ RedrivePolicy: z.string() }).parse(account["QueueDev"]).RedrivePolicy)).toEqual({
      deadLetterTargetArn: arnOf("DeadLettersDev"),
      maxReceiveCount: MAX_RECEIVE_COUNT,
    });
  });

  const OF_CLUSTER = { DEV_QUEUE: "QueueDev", MPO_RELAY_JOURNAL: "Journal" };
  test.each<[string, string, string, number, Readonly<Record<string, string>>]>([
    ["EdgeLambdaFunction", "EdgeRole", "edge", 10, { MPO_RELAY_UNPARSED: "UnparsedQueue", MPO_RELAY_JOURNAL: "Journal" }],
    ["ConsumerDevLambdaFunction", "ConsumerDevRole", "consumer", 60, { ...OF_CLUSTER, MPO_RELAY_RUNS: "Journal" }],
    ["SweepDevLambdaFunction", "SweepDevRole", "sweep", 240, OF_CLUSTER],
  ])("%s has its runtime, role and variables, and no secret", (id, role, handler, Timeout, variables) => {
    const own = Object.fromEntries(Object.entries(variables).map(([name, of]) => [name, urlOf(of)]));
    // all clusters' queues by their names: addresses would be too many for 4 KB
    const others = handler === "edge" ? { DEV_QUEUE: nameOf(urlOf("QueueDev")) } : { MPO_RELAY_CLUSTER: "dev" };
    expect(account[id]).toMatchObject({
      Runtime: "nodejs24.x",
      Handler: `dist/lambda/${handler}.handler`,
      Role: account[role]?.["arn"],
      Timeout,
      MemorySize: 512,
      Environment: expect.objectContaining({ Variables: { MPO_RELAY_CONFIG: "dist/lambda/relay.json", ...own, ...others } }),
    });
    const shown = JSON.stringify(account[id]);
    for (const secret of [WEBHOOK_SECRET, TOKEN, api.ca]) expect(shown).not.toContain(secret);
  });

  test("the trigger gives back single records, and runs two consumers at most", () => {
    expect(account["ConsumerDevEventSourceMappingSQSQueueDev"]).toMatchObject({
      EventSourceArn: arnOf("QueueDev"),
      FunctionArn: account["ConsumerDevLambdaFunction"]?.["FunctionArn"],
      FunctionResponseTypes: ["ReportBatchItemFailures"],
      BatchSize: 10,
      ScalingConfig: { MaximumConcurrency: 2 },
      State: "Enabled",
    });
  });

  test("roles allow what the template says, with the ARNs of what was made", () => {
    const journal = account["Journal"]?.["TableArn"];
    const parameter = (name: string) => `arn:aws:ssm:eu-central-1:123456789012:parameter${name}`;
    const logs = (name: string) => ({
      Effect: "Allow",
      Action: ["logs:CreateLogStream", "logs:PutLogEvents"],
      Resource: expect.stringContaining(`:log-group:/aws/lambda/${STACK}-${name}`),
    });
    const allow = (Action: string[], Resource: unknown) => ({ Effect: "Allow", Action, Resource });
    const secrets = allow(["ssm:GetParameter"], [parameter(caOf("dev")), parameter(tokenOf("dev"))]);
    const statements = (id: string) =>
      z.object({ policies: z.record(z.string(), z.object({ Statement: z.array(z.unknown()) })) }).parse(account[id]).policies;
    expect(statements("EdgeRole")).toMatchObject({
      edge: {
        Statement: [
          allow(["sqs:SendMessage", "sqs:GetQueueAttributes"], [arnOf("QueueDev"), arnOf("UnparsedQueue")]),
          allow(["dynamodb:UpdateItem", "dynamodb:Query"], journal),
          allow(["ssm:GetParameter"], [parameter(SECRET)]),
          logs("edge"),
        ],
      },
    });
    expect(statements("ConsumerDevRole")).toMatchObject({
      consumerDev: {
        Statement: [
          allow(["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:SendMessage"], arnOf("QueueDev")),
          allow(["sqs:SendMessage", "sqs:GetQueueUrl"], arnOf("DeadLettersDev")),
          allow(["dynamodb:UpdateItem"], journal),
          secrets,
          logs("consumerDev"),
        ],
      },
    });
    expect(statements("SweepDevRole")).toMatchObject({
      sweepDev: {
        Statement: [allow(["sqs:SendMessage"], arnOf("QueueDev")), allow(["dynamodb:UpdateItem"], journal), secrets, logs("sweepDev")],
      },
    });
    const roles = Object.entries(account).filter(([, attributes]) => "trust" in attributes);
    expect(roles.map(([id]) => id).toSorted()).toEqual(["ConsumerDevRole", "EdgeRole", "SweepDevRole"]);
    for (const [id, attributes] of roles)
      expect(attributes, id).toMatchObject({
        trust: { Statement: [{ Effect: "Allow", Principal: { Service: "lambda.amazonaws.com" }, Action: "sts:AssumeRole" }] },
        attached: [],
      });
  });

  test("the edge's URL is for anybody, logs are forgotten after 30 days, the sweep has its clock, the journal its table", () => {
    expect(account["EdgeLambdaFunctionUrl"]).toMatchObject({ AuthType: "NONE", InvokeMode: "BUFFERED" });
    for (const id of ["EdgeLogGroup", "ConsumerDevLogGroup", "SweepDevLogGroup"])
      expect(account[id], id).toMatchObject({ retentionInDays: 30 });
    const rules = Object.values(account).filter((attributes) => "ScheduleExpression" in attributes);
    expect(rules).toMatchObject([
      { ScheduleExpression: "rate(5 minutes)", State: "ENABLED", targets: [account["SweepDevLambdaFunction"]?.["FunctionArn"]] },
    ]);
    expect(account["Journal"]).toMatchObject({
      BillingModeSummary: { BillingMode: "PAY_PER_REQUEST" },
      DeletionProtectionEnabled: true,
      KeySchema: [
        { AttributeName: "key", KeyType: "HASH" },
        { AttributeName: "sort", KeyType: "RANGE" },
      ],
    });
  });

  test("alarms look at what was made, as the template says, and tell nobody without a topic", () => {
    const alarms = Object.entries(stack.template.Resources).filter(([, { Type }]) => Type === "AWS::CloudWatch::Alarm");
    expect(alarms.length).toBeGreaterThan(10);
    for (const [id, { Properties }] of alarms) {
      expect(account[id], id).toMatchObject({ ...resolved.parse(Properties), AlarmActions: [], OKActions: [] });
    }
  });
  const value = z.union([
    z.object({ Ref: z.string() }).transform(({ Ref }) => urlOf(Ref)),
    z.object({ "Fn::GetAtt": z.tuple([z.string(), z.literal("QueueName")]) }).transform((each) => nameOf(urlOf(each["Fn::GetAtt"][0]))),
  ]);
  const Dimensions = z.array(z.object({ Name: z.string(), Value: value }));
  const MetricStat = z.looseObject({ Metric: z.looseObject({ Dimensions }) });
  /** As the template says, with the names of what was made. */
  const resolved = z
    .looseObject({ Dimensions: Dimensions.optional(), Metrics: z.array(z.looseObject({ MetricStat: MetricStat.optional() })).optional() })
    .transform(({ AlarmActions: _whom, OKActions: _too, ...plain }) => plain);

  test("the dashboard shows the queue and the functions by their names", () => {
    const body = z.object({ DashboardBody: z.string() }).parse(account["Dashboard"]).DashboardBody;
    expect(JSON.parse(body)).toMatchObject({ widgets: expect.arrayContaining([expect.objectContaining({ type: "metric" })]) });
    for (const id of ["QueueDev", "DeadLettersDev"]) expect(body).toContain(`"${nameOf(urlOf(id))}"`);
    expect(body).toContain(`"${urlOf("ConsumerDevLambdaFunction")}"`);
    expect(body).not.toContain("${");
  });
});

/** Of types that are only linted. */
const SKIPPED = ["AWS::Logs::QueryDefinition", "AWS::S3::BucketPolicy"];

const planSchema = z.object({
  stack: z.string(),
  exists: z.boolean(),
  changes: z.array(z.object({ id: z.string(), type: z.string(), what: z.string(), properties: z.array(z.string()) })),
});

describe("what is deployed", () => {
  let edge: Lambda;
  let consumer: Lambda;
  const ids = () => ({
    mapping: "ConsumerDevEventSourceMappingSQSQueueDev",
    function: "ConsumerDevLambdaFunction",
    queueUrl: urlOf("QueueDev"),
  });
  const take = () => poll({ standIn, clients, stack, account }, ids(), consumer);
  const deliver = (body: string) => edge.invoke(urlEvent(body, { secret: WEBHOOK_SECRET }));
  const annotationsOf = (name: string) => api.store.get(MPO, name)?.metadata.annotations ?? {};
  const dlq = async (...args: string[]) => {
    const variables = { DEV_QUEUE: urlOf("QueueDev"), MPO_RELAY_UNPARSED: urlOf("UnparsedQueue"), MPO_RELAY_JOURNAL: urlOf("Journal") };
    return project.node(["dist/cli.js", "dlq", ...args], { ...standIn.env, ...variables });
  };
  const letter = z.object({ code: z.string(), body: z.string() });
  const letters = async () => {
    const { stdout, stderr } = await dlq("export", "--cluster", "dev");
    const lines = stdout.split("\n").filter(Boolean);
    expect(stderr).not.toContain("cannot");
    return lines.map((line) => letter.parse(JSON.parse(line)));
  };

  beforeAll(async () => {
    const deployment = { standIn, clients, stack, account };
    [edge, consumer] = await Promise.all([
      startDeployed(deployment, "EdgeLambdaFunction"),
      startDeployed(deployment, "ConsumerDevLambdaFunction"),
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
    expect(await recordsIn(urlOf("QueueDev"))).toBe(1);
  });

  test("takes it, and patches the override", async () => {
    const since = performance.now();
    const { taken, givenBack } = await take();
    console.log(`consumer: first batch after a cold start, token and certificate read: ${Math.round(performance.now() - since)} ms`);
    expect(givenBack).toEqual([]);
    expect(taken).toHaveLength(1);
    expect(annotationsOf("echo")).toMatchObject({ "mpo-relay/key": z.object({ key: z.string() }).parse(JSON.parse(taken[0] ?? "")).key });
    expect(await recordsIn(urlOf("QueueDev"))).toBe(1); // the look that comes later
  });

  test("applies one that was received in vain for days, and counts that run where the others are written down", async () => {
    expect(await deliver(notificationOf("other"))).toMatchObject({ statusCode: 202 });
    await receiveInVain('"module":"other"', 200);
    const { taken, givenBack } = await take();
    expect(givenBack).toEqual([]);
    expect(taken).toContainEqual(expect.stringContaining('"module":"other"'));
    expect(annotationsOf("other")).toHaveProperty("mpo-relay/key");
    const { Items = [] } = await clients.tables.send(new ScanCommand({ TableName: urlOf("Journal") }));
    expect(Items.map(({ sort }) => sort?.S)).toContain("runs");
  });

  test("buries a malformed record with its reason", async () => {
    await send("no record at all");
    expect((await take()).taken).toContain("no record at all"); // a look that is due may be beside it
    expect(await letters()).toEqual([{ code: "MALFORMED", body: "no record at all" }]);
  });

  test("gives back one that it may not bury, until SQS moves it after days", async () => {
    const role = roleName("ConsumerDevRole");
    const policies = z.object({
      policies: z.record(z.string(), z.object({ Statement: z.array(z.looseObject({ Resource: z.unknown() })) }).loose()),
    });
    const [[name, document] = expect.fail("no policy")] = Object.entries(policies.parse(account["ConsumerDevRole"]).policies);
    const withoutIt = { ...document, Statement: document.Statement.filter(({ Resource }) => Resource !== arnOf("DeadLettersDev")) };
    expect(withoutIt.Statement).toHaveLength(document.Statement.length - 1);
    const allow = (PolicyDocument: unknown) =>
      clients.identities.send(
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
    const { Items = [] } = await clients.tables.send(new ScanCommand({ TableName: urlOf("Journal") }));
    expect(new Set(Items.map(({ sort }) => sort?.S))).toEqual(new Set(["dev QUEUED", "dev NUDGED", "runs"]));
  });

  /** As Lambda does for a consumer that is throttled. Each time a record is hidden for six minutes; here it is not. */
  async function receiveInVain(text: string, times: number) {
    const command = new ReceiveMessageCommand({ QueueUrl: urlOf("QueueDev"), VisibilityTimeout: 0, MaxNumberOfMessages: 10 });
    for (let time = 0; time < times; time++) {
      const { Messages = [] } = await clients.queues.send(command);
      expect(Messages.filter(({ Body = "" }) => Body.includes(text))).toHaveLength(1);
    }
  }
  const send = (MessageBody: string) => clients.queues.send(new SendMessageCommand({ QueueUrl: urlOf("QueueDev"), MessageBody }));
});

const roleName = (id: string) => z.string().parse(account[id]?.["arn"]).split("/").at(-1);

describe("the next deploy", () => {
  test("of the same changes nothing, and plan says so before", async () => {
    const plan = await script("deploy:plan");
    expect(plan).toMatchObject({ code: 0, stdout: expect.stringContaining("nothing would change") });
    const before = account;
    expect(await script("deploy", NOW)).toMatchObject({ code: 0 });
    await look();
    expect(account).toEqual(before);
  });

  test("of another cluster makes its things, tells the edge, and touches nothing else", async () => {
    await put(caOf("stage-1"), api.ca);
    await put(tokenOf("stage-1"), TOKEN);
    await project.configure(relayYaml({ clusters: ["dev", "stage-1"], api: api.url }));
    const planned = await script("deploy:plan", ["--json"]);
    const { changes } = planSchema.parse(JSON.parse(planned.stdout));
    const of = (what: string) => changes.filter((each) => each.what === what).map(({ id }) => id);
    expect(of("create").filter((id) => !id.includes("Stage1"))).toEqual([]);
    expect(of("create")).toEqual(
      expect.arrayContaining(["QueueStage1", "DeadLettersStage1", "ConsumerStage1LambdaFunction", "SweepStage1Role"]),
    );
    const touched = of("update");
    expect(changes).toHaveLength(of("create").length + touched.length);
    const before = account;
    expect(await script("deploy", NOW)).toMatchObject({ code: 0 });
    await look();
    const changed = Object.keys(account).filter((id) => JSON.stringify(account[id]) !== JSON.stringify(before[id]));
    const others = changed.filter((id) => !id.includes("Stage1"));
    // every zip holds the configuration, in which there is a cluster more
    expect(others.toSorted()).toEqual([
      "ConsumerDevLambdaFunction",
      "Dashboard",
      "EdgeLambdaFunction",
      "EdgeRole",
      "SweepDevLambdaFunction",
    ]);
    // queries go over each function's log; the stand-in has none
    const queries = Object.keys(stack.template.Resources).filter(
      (id) => stack.template.Resources[id]?.Type === "AWS::Logs::QueryDefinition",
    );
    expect(touched.filter((id) => !queries.includes(id)).toSorted()).toEqual(others.toSorted());
    for (const id of ["ConsumerDevLambdaFunction", "SweepDevLambdaFunction"]) {
      const settings = (of: Account) => ({ ...of[id], CodeSha256: "", CodeSize: 0, LastModified: "" });
      expect(settings(account), id).toEqual(settings(before));
    }
    expect(JSON.stringify(account["EdgeRole"])).toContain(arnOf("QueueStage1"));
    expect(JSON.stringify(account["EdgeLambdaFunction"])).toContain(`"${nameOf(urlOf("QueueStage1"))}"`);
    expect(await standIn.skipped()).toEqual(SKIPPED);
  });

  test("without a cluster whose queue holds records is refused, with their number and what to do", async () => {
    await project.configure(relayYaml({ clusters: ["dev"], api: api.url }));
    const send = (id: string) => clients.queues.send(new SendMessageCommand({ QueueUrl: urlOf(id), MessageBody: "{}" }));
    await send("QueueStage1");
    await send("QueueStage1");
    await send("DeadLettersStage1");
    const before = account;
    const { code, stderr } = await script("deploy", NOW);
    expect(code).toBe(2);
    expect(stderr).toContain("clusters.stage-1: taken out, and holds 2 records in its queue and 1 dead letter");
    expect(stderr).toContain(`STAGE_1_QUEUE=${urlOf("QueueStage1")} npx mpo-relay worker --cluster stage-1`);
    expect(stderr).toContain("dlq export --cluster stage-1 > stage-1.jsonl");
    expect(await script("deploy:plan")).toMatchObject({ code: 2, stdout: "" });
    await look();
    expect(account).toEqual(before);
  });

  test("without a cluster whose queue is empty takes its things away, the queues too", async () => {
    const urls = ["QueueStage1", "DeadLettersStage1"].map(urlOf);
    for (const QueueUrl of urls) await clients.queues.send(new PurgeQueueCommand({ QueueUrl }));
    const before = account;
    const { code, stderr } = await script("deploy", NOW);
    expect({ code, stderr }).toMatchObject({ code: 0 });
    await look();
    expect(Object.keys(account).filter((id) => id.includes("Stage1"))).toEqual([]);
    expect(account["QueueDev"]).toEqual(before["QueueDev"]);
    const left = await everything();
    expect(left).toContain(nameOf(urlOf("QueueDev")));
    expect(left.filter((name) => urls.map(nameOf).includes(name))).toEqual([]);
    expect(JSON.stringify(account["EdgeRole"])).not.toContain("Stage1");
  });
});

describe("remove", () => {
  test("does not go on without a yes where nobody can be asked, and shows what would stay", async () => {
    const { code, stderr } = await script("remove", NOW);
    expect(code).toBe(2);
    expect(stderr).toContain("nobody is there to ask: --yes removes without a question; nothing was changed");
    expect(stderr).toContain("DeadLettersDev: 2 records");
    expect(stderr).toContain("Journal (AWS::DynamoDB::Table): kept on purpose");
    const before = account;
    await look();
    expect(account).toEqual(before);
  });

  test("leaves the queues that hold records, the journal, and nothing else", async () => {
    const kept = ["QueueDev", "DeadLettersDev", "Journal"].map((id) => nameOf(urlOf(id)));
    const { code, stderr } = await script("remove", ["--yes", ...NOW]);
    expect({ code, stderr }).toMatchObject({ code: 0 });
    expect(await everything()).toEqual(kept.toSorted());
    const { logGroups = [] } = await clients.logs.send(new DescribeLogGroupsCommand());
    expect(logGroups).toEqual([]);
    expect(await script("remove", ["--yes", ...NOW])).toMatchObject({ code: 0, stderr: expect.stringContaining("nothing to remove") });
  });
});
