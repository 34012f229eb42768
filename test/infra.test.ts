/** What `npx osls package` makes of serverless.yml, offline and without credentials, from a copy that holds no dist/: template, roles, zips. */
import { execFile } from "node:child_process";
import { cp, mkdtemp, readFile, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import * as z from "zod";
import { stackOf } from "../infra/template/index.ts";
import { resourcesOf } from "../infra/template/quotas.ts";
import type { Settings } from "../infra/template/settings.ts";
import { loadConfig, type RelayConfig } from "../src/config.ts";
import { consumerOf, EDGE, inboxOf, lambdaOf, logsOf, roleOf, sweepOf } from "../infra/template/names.ts";
import { MAX_RECEIVES } from "../src/limits.ts";
import { check, type Template, templateSchema } from "./support/cloudformation.ts";
import { rightsOf, rightsOfPolicy } from "./support/iam.ts";
import { DENIED_TO_ITSELF, LARGE, LARGE_SETTINGS } from "./support/stack.ts";

const root = join(import.meta.dirname, "..");
const SMALL_SETTINGS: Settings = { service: "mpo-relay", stage: "dev", http: "url", kmsKeyArn: "", alarmTopic: "" };
async function configOf(from: Parameters<typeof loadConfig>[0]): Promise<RelayConfig> {
  const loaded = await loadConfig(from);
  return loaded.ok ? loaded.config : expect.unreachable("a configuration of this test");
}
const TIMEOUT_MS = 180_000;
const PACKAGED = ".serverless/cloudformation-template-update-stack.json";
let copy = "";
/** Of the example, and of three clusters of which one has no way in from here. */
let small: Template;
let large: Template;
let said = "";
let zips: string[] = [];
let inboxZip: string[] = [];
let kept: { Resources: Record<string, unknown> };

beforeAll(async () => {
  copy = await mkdtemp(join(tmpdir(), "mpo-relay-package-"));
  for (const path of ["functions", "infra", "src", "package.json", "serverless.yml", "tsconfig.json"]) {
    await cp(join(root, path), join(copy, path), { recursive: true });
  }
  await symlink(join(root, "node_modules"), join(copy, "node_modules"));
  const args = Object.entries(LARGE_SETTINGS).flatMap(([name, value]) => ["--param", `${name}=${value}`]);
  await osls(["package", ...args], { MPO_RELAY_CONFIG: JSON.stringify(LARGE) });
  large = templateSchema.parse(JSON.parse(await text(PACKAGED)));
  zips = namesIn(await readFile(join(copy, ".serverless/consumerStage1.zip")));
  inboxZip = namesIn(await readFile(join(copy, ".serverless/inboxEcr.zip")));
  kept = z.object({ Resources: z.record(z.string(), z.unknown()) }).parse(JSON.parse(await text(PACKAGED)));
  said = (await osls(["package"])).stderr;
  small = templateSchema.parse(JSON.parse(await text(PACKAGED)));
}, 2 * TIMEOUT_MS);
afterAll(() => rm(copy, { recursive: true, force: true }));

/** Nothing of this machine's AWS set-up, or of a relay's, reaches what runs in the copy. */
function osls(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const nowhere = join(copy, "none");
  const own = { PATH: process.env["PATH"] ?? "", HOME: nowhere, AWS_CONFIG_FILE: nowhere, AWS_SHARED_CREDENTIALS_FILE: nowhere };
  const command = ["node_modules/osls/bin/serverless.js", ...args];
  return promisify(execFile)(process.execPath, command, { cwd: copy, env: { ...own, AWS_EC2_METADATA_DISABLED: "true", ...env } });
}
const text = (path: string) => readFile(join(copy, path), "utf8");

function properties(name: string, template = large): Readonly<Record<string, unknown>> {
  const resource = template.Resources[name];
  if (!resource) throw new Error(`no ${name} in the template; it has: ${Object.keys(template.Resources).join(", ")}`);
  return resource.Properties;
}
const arnOf = (name: string) => ({ "Fn::GetAtt": [name, "Arn"] });
const typed = (type: RegExp, template = large) =>
  Object.keys(template.Resources).filter((name) => type.test(template.Resources[name]?.Type ?? ""));

describe("the template", () => {
  test.each<[string, () => Template, number]>([
    ["of the example", () => small, 150],
    ["of three clusters, with an HTTP API, a VPC and a key", () => large, 300],
  ])("%s fits CloudFormation's schema", async (_of, template, least) => {
    const { problems, values } = await check(template());
    expect(problems).toEqual([]);
    expect(values).toBeGreaterThan(least);
  });

  test.each<[string, (faulty: Template) => void, RegExp]>([
    [
      "an unknown property",
      (faulty) => plant(faulty, "QueueDev", { VisibilityTimeOut: 360 }),
      /^QueueDev: unknown property VisibilityTimeOut$/,
    ],
    [
      "one further down",
      (faulty) => plant(faulty, "EdgeLambdaFunction", { Environment: { Variable: {} } }),
      /Environment: unknown property Variable$/,
    ],
    [
      "a wrong type",
      (faulty) => plant(faulty, "QueueDev", { MessageRetentionPeriod: "14 days" }),
      /MessageRetentionPeriod: expected integer$/,
    ],
    [
      "a wrong type in a list",
      (faulty) => plant(faulty, "EdgeLambdaFunction", { Architectures: [{}] }),
      /Architectures\.0: expected string$/,
    ],
    ["a value that is not allowed", (faulty) => plant(faulty, "EdgeLambdaFunctionUrl", { AuthType: "OPEN" }), /AuthType: expected string$/],
    [
      "a policy that is no document",
      (faulty) => plant(faulty, "EdgeRole", { AssumeRolePolicyDocument: 1 }),
      /AssumeRolePolicyDocument: fits none of/,
    ],
    [
      "a missing property",
      (faulty) => delete faulty.Resources["EdgeRole"]?.Properties["AssumeRolePolicyDocument"],
      /AssumeRolePolicyDocument is missing$/,
    ],
    [
      "a reference to nothing",
      (faulty) => delete faulty.Resources["DeadLettersDev"],
      /^(?:AlarmDev\w+|ConsumerDevRole|Dashboard|QueueDev|PolicyOfDeadLettersDev|Outputs)\..*: no resource DeadLettersDev$/,
    ],
    [
      "an attribute that is not there",
      (faulty) => plant(faulty, "QueueDev", { QueueName: { "Fn::GetAtt": ["DeadLettersDev", "Url"] } }),
      /no attribute Url$/,
    ],
    [
      "a text that names nothing",
      (faulty) => plant(faulty, "QueueDev", { QueueName: { "Fn::Sub": "${Stage}-queue" } }),
      /no resource Stage$/,
    ],
    ["an order after nothing", (faulty) => faulty.Resources["QueueDev"]?.DependsOn.push("Gone"), /DependsOn: no resource Gone$/],
    [
      "an unknown type",
      (faulty) => (faulty.Resources["Other"] = { Type: "AWS::SQS::Cue", Properties: {}, DependsOn: [] }),
      /unknown type AWS::SQS::Cue$/,
    ],
    ["an output of nothing", (faulty) => (faulty.Outputs["Other"] = { Value: { Ref: "Gone" } }), /^Outputs.*no resource Gone$/],
  ])("with %s does not", async (_name, fault, problem) => {
    const faulty = structuredClone(small);
    fault(faulty);
    const { problems } = await check(faulty);
    expect(problems.length).toBeGreaterThan(0);
    for (const each of problems) expect(each).toMatch(problem);
  });
});

test.each<[string, () => Template, () => Promise<RelayConfig>, Settings]>([
  ["the example", () => small, () => configOf({ file: join(root, "infra/relay.example.yaml") }), SMALL_SETTINGS],
  [
    "three clusters",
    () => large,
    () => configOf({ env: { MPO_RELAY_CONFIG: JSON.stringify(LARGE) } }),
    { ...SMALL_SETTINGS, ...LARGE_SETTINGS },
  ],
])("the template of %s has as many resources as are counted before anything is built", async (_of, template, config, settings) => {
  const { functions, resources } = stackOf(await config(), settings);
  expect(resourcesOf(functions, resources.Resources)).toBe(Object.keys(template().Resources).length);
});

function plant(faulty: Template, name: string, part: Record<string, unknown>) {
  Object.assign(faulty.Resources[name]?.Properties ?? expect.unreachable(`no ${name}`), part);
}

test("the alarms tell the topic that stands on the command line", () => {
  const alarms = typed(/^AWS::CloudWatch::Alarm$/);
  expect(alarms.length).toBeGreaterThan(20);
  for (const name of alarms) expect(properties(name)).toMatchObject({ AlarmActions: [LARGE_SETTINGS.alarmTopic] });
});

describe("the queues", () => {
  const FOURTEEN_DAYS = 14 * 24 * 3600;
  const OF_CLUSTERS = ["DeadLettersDev", "DeadLettersInside", "DeadLettersStage1", "QueueDev", "QueueInside", "QueueStage1"];
  const OF_ECR = ["DeliveriesEcr", "UndeliveredEcr"];
  const ALL = [...OF_CLUSTERS, ...OF_ECR, "UnparsedQueue"].toSorted();

  test("are two for each cluster and each webhook with a queue, and one for what could not be read", () => {
    expect(typed(/^AWS::SQS::Queue$/).toSorted()).toEqual(ALL);
  });

  test("keep records for fourteen days, encrypted, and outlive the stack", () => {
    for (const name of ALL) {
      expect(properties(name), name).toMatchObject({ MessageRetentionPeriod: FOURTEEN_DAYS, SqsManagedSseEnabled: true });
      expect(kept.Resources[name], name).toMatchObject({ DeletionPolicy: "Retain", UpdateReplacePolicy: "Retain" });
    }
  });

  test("take nothing that did not come by TLS, and those of a webhook what the rule sends, and nobody else", () => {
    expect(typed(/^AWS::SQS::QueuePolicy$/).toSorted()).toEqual(ALL.map((name) => `PolicyOf${name}`));
    for (const name of ALL) {
      const Statement = [
        { Effect: "Deny", Principal: "*", Action: "sqs:*", Resource: arnOf(name), Condition: { Bool: { "aws:SecureTransport": "false" } } },
      ];
      const fromRule = {
        Effect: "Allow",
        Principal: { Service: "events.amazonaws.com" },
        Action: "sqs:SendMessage",
        Resource: arnOf(name),
        Condition: { ArnEquals: { "aws:SourceArn": arnOf("PushesEcr") } },
      };
      expect(properties(`PolicyOf${name}`), name).toEqual({
        Queues: [{ Ref: name }],
        PolicyDocument: { Version: "2012-10-17", Statement: OF_ECR.includes(name) ? [...Statement, fromRule] : Statement },
      });
    }
  });

  test.each([
    ["QueueDev", "ConsumerDev"],
    ["QueueStage1", "ConsumerStage1"],
    ["DeliveriesEcr", "InboxEcr"],
  ])("%s hides a record for six times as long as %s may run", (queue, name) => {
    const timeout = z.number().parse(properties(`${name}LambdaFunction`)["Timeout"]);
    expect(properties(queue)["VisibilityTimeout"]).toBeGreaterThanOrEqual(6 * timeout);
  });

  test.each(["Dev", "Stage1", "Inside"])("of %s moves a record only after days in which it was received in vain", (id) => {
    const policy = properties(`Queue${id}`)["RedrivePolicy"];
    expect(policy).toMatchObject({ deadLetterTargetArn: arnOf(`DeadLetters${id}`) });
    const { maxReceiveCount } = z.object({ maxReceiveCount: z.number() }).parse(policy);
    expect(maxReceiveCount).toBeGreaterThan(2 * MAX_RECEIVES); // nor before the relay would bury it
    expect(maxReceiveCount, "the most that SQS takes").toBeLessThanOrEqual(1000);
    expect(maxReceiveCount * Number(properties(`Queue${id}`)["VisibilityTimeout"])).toBeGreaterThan(4 * 24 * 3600);
  });

  test("take no dead letters of others where those would be taken for records", () => {
    for (const name of ["DeliveriesEcr", "QueueDev", "QueueInside", "QueueStage1", "UnparsedQueue"])
      expect(properties(name)["RedriveAllowPolicy"], name).toEqual({ redrivePermission: "denyAll" });
  });
});

describe("ECR's pushes", () => {
  test("of the source's repositories come into the webhook's queue", () => {
    expect(properties("PushesEcr")).toMatchObject({
      State: "ENABLED",
      EventPattern: {
        source: ["aws.ecr"],
        "detail-type": ["ECR Image Action"],
        detail: { "action-type": ["PUSH"], result: ["SUCCESS"], "repository-name": [{ prefix: "deckhouse/modules/" }] },
      },
      Targets: [{ Arn: arnOf("DeliveriesEcr"), DeadLetterConfig: { Arn: arnOf("UndeliveredEcr") } }],
    });
  });

  test("outlast days of an outage there", () => {
    expect(properties("DeliveriesEcr")).toMatchObject({
      RedrivePolicy: { deadLetterTargetArn: arnOf("UndeliveredEcr"), maxReceiveCount: 1000 },
    });
  });

  test("are given back one by one", () => {
    expect(properties("InboxEcrEventSourceMappingSQSDeliveriesEcr")).toMatchObject({
      EventSourceArn: arnOf("DeliveriesEcr"),
      FunctionResponseTypes: ["ReportBatchItemFailures"],
    });
  });
});

describe("the journal's table", () => {
  test("costs nothing while nobody pushes, forgets, is encrypted, and goes with nobody's mistake", () => {
    expect(properties("Journal")).toMatchObject({
      BillingMode: "PAY_PER_REQUEST",
      TimeToLiveSpecification: { AttributeName: "expires", Enabled: true },
      SSESpecification: { SSEEnabled: true },
      DeletionProtectionEnabled: true,
    });
    expect(kept.Resources["Journal"]).toMatchObject({ DeletionPolicy: "Retain", UpdateReplacePolicy: "Retain" });
  });
});

describe("the functions", () => {
  const NAMES = ["ConsumerDev", "ConsumerStage1", "Edge", "InboxEcr", "SweepDev", "SweepStage1"];

  test("are the edge, an inbox for the webhook with a queue, and a consumer and a sweep for each cluster that can be reached", () => {
    expect(typed(/^AWS::Lambda::Function$/).toSorted()).toEqual(NAMES.map((name) => `${name}LambdaFunction`));
    expect(typed(/^AWS::Lambda::EventSourceMapping$/)).toHaveLength(3);
  });

  test("are called as others that build on the stack expect", () => {
    const keys = [EDGE, inboxOf("Ecr"), consumerOf("Dev"), sweepOf("Dev"), consumerOf("Stage1"), sweepOf("Stage1")];
    const expected = keys.flatMap((key) => [lambdaOf(key), logsOf(key), roleOf(key)]);
    expect(Object.keys(large.Resources)).toEqual(expect.arrayContaining(expected));
  });

  test("run on a supported runtime, each under its own role, with a log group that forgets, and tags", () => {
    for (const name of NAMES) {
      expect(properties(`${name}LambdaFunction`), name).toMatchObject({
        Runtime: "nodejs24.x",
        Architectures: ["arm64"],
        Role: arnOf(`${name}Role`),
        Tags: [
          { Key: "service", Value: "mpo-relay" },
          { Key: "stage", Value: "dev" },
        ],
      });
      expect(properties(`${name}LogGroup`)["RetentionInDays"], name).toBeGreaterThan(0);
      expect(properties(`${name}LambdaFunction`), "a throttled push is a lost push").not.toHaveProperty("ReservedConcurrentExecutions");
    }
  });

  test.each([
    ["Dev", 2],
    ["Stage1", 5],
  ])("the consumer of %s gives back single records of a batch", (id, concurrency) => {
    const mapping = properties(`Consumer${id}EventSourceMappingSQSQueue${id}`);
    expect(mapping).toMatchObject({
      EventSourceArn: arnOf(`Queue${id}`),
      FunctionResponseTypes: ["ReportBatchItemFailures"],
      BatchSize: 10,
      ScalingConfig: { MaximumConcurrency: concurrency },
    });
    expect(mapping).not.toHaveProperty("MaximumBatchingWindowInSeconds");
  });

  test.each<[string, () => Template, unknown]>([
    ["every five minutes", () => small, { ScheduleExpression: "rate(5 minutes)", State: "ENABLED" }],
    ["as often as tuning.sweep says", () => large, { ScheduleExpression: "rate(1 minute)", State: "ENABLED" }],
  ])("a sweep comes %s, and ends before the next one begins", (_often, template, schedule) => {
    expect(properties("SweepDevEventsRuleSchedule1", template())).toMatchObject({
      ...z.object({}).loose().parse(schedule),
      Targets: [{ Arn: arnOf("SweepDevLambdaFunction") }],
    });
    const [, minutes] = /(\d+)/.exec(JSON.stringify(schedule)) ?? [];
    expect(properties("SweepDevLambdaFunction", template())["Timeout"]).toBeLessThan(60 * Number(minutes));
  });

  test("of a cluster with a VPC run in it, and the others do not", () => {
    const VpcConfig = { SecurityGroupIds: ["sg-0a1b2c3d"], SubnetIds: ["subnet-0a1b2c3d", "subnet-1a2b3c4d5e6f70819"] };
    for (const name of ["ConsumerStage1", "SweepStage1"]) expect(properties(`${name}LambdaFunction`)).toMatchObject({ VpcConfig });
    for (const name of ["ConsumerDev", "SweepDev", "Edge", "InboxEcr"])
      expect(properties(`${name}LambdaFunction`)).not.toHaveProperty("VpcConfig");
  });

  test("get addresses of what the stack makes, and no secret", () => {
    const CONFIG = { MPO_RELAY_CONFIG: "dist/lambda/relay.json" };
    const at = (resource: string) => ({ Ref: resource });
    const own = { MPO_RELAY_JOURNAL: at("Journal"), ...CONFIG };
    const called = (resource: string) => ({ "Fn::GetAtt": [resource, "QueueName"] }); // all of them by their addresses would be too many for 4 KB
    const queues = { DEV_QUEUE: called("QueueDev"), STAGE_QUEUE: called("QueueStage1"), INSIDE_QUEUE: called("QueueInside") };
    const stores = { ...own, ...queues, MPO_RELAY_UNPARSED: at("UnparsedQueue") };
    expect(variables("Edge")).toEqual(stores);
    expect(variables("InboxEcr")).toEqual({ ...stores, MPO_RELAY_WEBHOOK: "ecr", ECR_QUEUE: at("DeliveriesEcr") });
    const dev = { ...own, MPO_RELAY_CLUSTER: "dev", DEV_QUEUE: at("QueueDev") };
    const stage = { ...own, MPO_RELAY_CLUSTER: "stage-1", STAGE_QUEUE: at("QueueStage1") };
    expect([variables("SweepDev"), variables("SweepStage1")]).toEqual([dev, stage]);
    const runs = { MPO_RELAY_RUNS: at("Journal") };
    expect([variables("ConsumerDev"), variables("ConsumerStage1")]).toEqual([
      { ...dev, ...runs },
      { ...stage, ...runs },
    ]);
  });

  test("are reached by a function URL, or by an HTTP API", () => {
    expect(properties("EdgeLambdaFunctionUrl", small)).toMatchObject({ AuthType: "NONE", TargetFunctionArn: arnOf("EdgeLambdaFunction") });
    expect(typed(/ApiGateway/, small)).toEqual([]);
    expect(properties("HttpApiRouteDefault")).toMatchObject({ RouteKey: "$default" });
    expect(typed(/Lambda::Url/)).toEqual([]);
  });

  function variables(name: string) {
    const environment = z.object({ Variables: z.record(z.string(), z.unknown()) });
    return environment.parse(properties(`${name}LambdaFunction`)["Environment"]).Variables;
  }
});

describe("the roles", () => {
  const each = (resource: string, ...actions: string[]) => actions.map((action) => `${resource}: ${action}`);
  const logs = (name: string) => each(`${name}LogGroup`, "logs:CreateLogStream", "logs:PutLogEvents");
  const parameter = (name: string) => `ssm parameter/${name}: ssm:GetParameter`;
  const key =
    `${LARGE_SETTINGS.kmsKeyArn}: kms:Decrypt if ` +
    JSON.stringify({
      StringEquals: {
        "kms:ViaService": [
          { "Fn::Sub": "ssm.${AWS::Region}.${AWS::URLSuffix}" },
          { "Fn::Sub": "secretsmanager.${AWS::Region}.${AWS::URLSuffix}" },
        ],
      },
    });
  const registries = [parameter("relay/robot"), parameter("relay/registry-ca")];
  const ofDev = [parameter("relay/dev/token"), parameter("relay/dev/ca"), ...registries, key];
  const ofStage = [parameter("relay/stage/kubeconfig"), ...registries, parameter("relay/docker"), key];
  const consumes = (id: string) => [
    ...each(`Queue${id}`, "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:SendMessage"),
    ...each(`DeadLetters${id}`, "sqs:SendMessage", "sqs:GetQueueUrl"),
    ...each("Journal", "dynamodb:UpdateItem"),
  ];
  const sweeps = (id: string) => [...each(`Queue${id}`, "sqs:SendMessage"), ...each("Journal", "dynamodb:UpdateItem")];
  const WRITTEN: Readonly<Record<string, readonly string[]>> = {
    Edge: [
      ...["QueueDev", "QueueStage1", "QueueInside", "UnparsedQueue"].flatMap((queue) =>
        each(queue, "sqs:SendMessage", "sqs:GetQueueAttributes"),
      ),
      ...each("Journal", "dynamodb:UpdateItem", "dynamodb:Query"),
      parameter("relay/registry"),
      parameter("relay/registry-old"),
      parameter("aws/reference/secretsmanager/relay/team"),
      "secretsmanager secret:relay/team-??????: secretsmanager:GetSecretValue",
      key,
    ],
    InboxEcr: [
      ...each("DeliveriesEcr", "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ChangeMessageVisibility"),
      ...["QueueDev", "QueueStage1", "QueueInside"].flatMap((queue) => each(queue, "sqs:SendMessage")),
      ...each("UnparsedQueue", "sqs:SendMessage", "sqs:GetQueueAttributes"),
      ...each("Journal", "dynamodb:UpdateItem"),
    ],
    ConsumerDev: [...consumes("Dev"), ...ofDev],
    SweepDev: [...sweeps("Dev"), ...ofDev],
    ConsumerStage1: [...consumes("Stage1"), ...ofStage, ...DENIED_TO_ITSELF("consumerStage1")],
    SweepStage1: [...sweeps("Stage1"), ...ofStage, ...DENIED_TO_ITSELF("sweepStage1")],
  };

  test.each(Object.keys(WRITTEN))("%s may do this and nothing else", (name) => {
    expect(rightsOf(properties(`${name}Role`))).toEqual([...(WRITTEN[name] ?? []), ...logs(name)].toSorted());
  });

  test("a worker inside its cluster may do this, whoever it runs as", () => {
    const looks = ["sqs:GetQueueAttributes", "sqs:ReceiveMessage", "sqs:ChangeMessageVisibility"];
    expect(rightsOfPolicy(properties("WorkerInsidePolicy"))).toEqual(
      [
        ...each("QueueInside", ...looks, "sqs:DeleteMessage", "sqs:SendMessage"),
        ...each("DeadLettersInside", ...looks, "sqs:GetQueueUrl", "sqs:SendMessage"),
        ...each("Journal", "dynamodb:UpdateItem"),
      ].toSorted(),
    );
  });

  test("there is no other, and no policy beside them", () => {
    const names = Object.keys(WRITTEN).map((name) => `${name}Role`);
    expect(typed(/^AWS::IAM::/).toSorted()).toEqual([...names, "WorkerInsidePolicy"].toSorted());
  });

  test("let somebody read every secret that the configuration names", () => {
    const granted = Object.keys(WRITTEN).flatMap((name) => rightsOf(properties(`${name}Role`)));
    const named = [...JSON.stringify(LARGE).matchAll(/"ssm:\/([^"]+)"/g)].map(([, name = ""]) => name);
    expect(named.length).toBeGreaterThan(8);
    for (const name of named) expect(granted).toContain(parameter(name));
  });

  test.each<[string, unknown]>([
    ["an action with a wildcard", { Effect: "Allow", Action: "sqs:*", Resource: arnOf("QueueDev") }],
    ["any action", { Effect: "Allow", Action: "*", Resource: arnOf("QueueDev") }],
    ["any resource", { Effect: "Allow", Action: "sqs:SendMessage", Resource: "*" }],
    [
      "a resource with a wildcard",
      { Effect: "Allow", Action: "ssm:GetParameter", Resource: { "Fn::Sub": "arn:${AWS::Partition}:ssm:::parameter/*" } },
    ],
    ["all but one action", { Effect: "Allow", NotAction: "sqs:SendMessage", Resource: arnOf("QueueDev") }],
    ["all but one resource", { Effect: "Allow", Action: "sqs:SendMessage", NotResource: arnOf("QueueDev") }],
    ["an ARN of one partition", { Effect: "Allow", Action: "sqs:SendMessage", Resource: { "Fn::Sub": "arn:aws:sqs:::q" } }],
    ["another form of resource", { Effect: "Allow", Action: "sqs:SendMessage", Resource: { Ref: "QueueDev" } }],
  ])("with %s are refused by the reader", (_what, statement) => {
    expect(() => rightsOf(withStatement(statement))).toThrow(z.ZodError);
  });

  test("with a right too many differ from the list", () => {
    const rights = rightsOf(withStatement({ Effect: "Allow", Action: "sqs:PurgeQueue", Resource: arnOf("QueueDev") }));
    expect(rights).toEqual([...(WRITTEN["Edge"] ?? []), ...logs("Edge"), "QueueDev: sqs:PurgeQueue"].toSorted());
  });

  /** The edge's role with one more. */
  function withStatement(statement: unknown) {
    const document = z.object({ PolicyDocument: z.object({ Statement: z.array(z.unknown()) }).loose() }).loose();
    const role = z
      .object({ Policies: z.array(document) })
      .loose()
      .parse(structuredClone(properties("EdgeRole")));
    role.Policies[0]?.PolicyDocument.Statement.push(statement);
    return role;
  }
});

describe("the packages", () => {
  test.each(["edge", "consumerDev", "sweepDev"])("%s.zip holds its own bundle and the configuration", async (key) => {
    const name = key.replace("Dev", "");
    const files = namesIn(await readFile(join(copy, `.serverless/${key}.zip`)));
    expect(files).toContain(`dist/lambda/${name}.mjs`);
    expect(files).toContain("dist/lambda/relay.json");
    expect(files).toContain(`dist/lambda/${name}/THIRD-PARTY.txt`);
    const own = new RegExp(`^dist/lambda/(?:relay\\.json|${name}\\.mjs|${name}/(?:[^/]+\\.mjs|THIRD-PARTY\\.txt))$`);
    expect(files.filter((file) => !own.test(file))).toEqual([]);
  });

  test("of the inbox too", () => {
    expect(inboxZip).toContain("dist/lambda/inbox.mjs");
    expect(inboxZip).toContain("dist/lambda/relay.json");
  });

  test("are the same for each cluster", async () => {
    expect(zips).toEqual(namesIn(await readFile(join(copy, ".serverless/consumerDev.zip"))));
  });

  test("without a configuration of one's own hold the example, and that is said", () => {
    expect(said).toContain("no relay.yaml here and no MPO_RELAY_CONFIG: packaging infra/relay.example.yaml");
  });
});

describe("a deploy that is refused", () => {
  test("says everything at once, once, and before anything is built", async () => {
    await rm(join(copy, "dist"), { recursive: true, force: true });
    const config = { clusters: { dev: { queue: "embedded:" }, Dev: { queue: "env:DEV_QUEUE" } }, unparsed: "env:U" };
    const run = osls(["package", "--stage", "Prod"], { MPO_RELAY_CONFIG: JSON.stringify({ ...config, webhook: {} }) });
    const told = await run.then(
      () => expect.unreachable("it was packaged"),
      (error: unknown) => z.object({ stdout: z.string(), stderr: z.string() }).parse(error),
    );
    const all = `${told.stdout}${told.stderr}`;
    expect(all).toContain("--stage: a stage has small letters");
    expect(all.match(/webhook: unknown key/g)).toHaveLength(1);
    await expect(readFile(join(copy, "dist/lambda/edge.mjs"))).rejects.toThrow("ENOENT");
  });
});

/** The central directory's names: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT 4.3.12 */
function namesIn(zip: Buffer): string[] {
  const names: string[] = [];
  for (let at = zip.indexOf("PK\u0001\u0002"); at >= 0; at = zip.indexOf("PK\u0001\u0002", at + 46)) {
    names.push(zip.toString("utf8", at + 46, at + 46 + zip.readUInt16LE(at + 28)));
  }
  return names;
}
