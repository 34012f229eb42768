/** What `npx osls package` makes of serverless.yml, offline and without credentials, from a copy that holds no dist/: template, roles, zips. */
import { execFile } from "node:child_process";
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import * as z from "zod";
import { loadConfig } from "../src/config.ts";
import { MAX_RECEIVES } from "../src/limits.ts";
import { check, type Template, templateSchema } from "./support/cloudformation.ts";

const root = join(import.meta.dirname, "..");
const TIMEOUT_MS = 180_000;
let copy = "";
let said = "";
let template: Template;

beforeAll(async () => {
  copy = await mkdtemp(join(tmpdir(), "mpo-relay-package-"));
  for (const path of ["functions", "infra", "src", "package.json", "serverless.yml", "tsconfig.json"]) {
    await cp(join(root, path), join(copy, path), { recursive: true });
  }
  await symlink(join(root, "node_modules"), join(copy, "node_modules"));
  said = (await node(["node_modules/osls/bin/serverless.js", "package"])).stderr;
  template = templateSchema.parse(JSON.parse(await text(".serverless/cloudformation-template-update-stack.json")));
}, TIMEOUT_MS);
afterAll(() => rm(copy, { recursive: true, force: true }));

/** Nothing of this machine's AWS set-up, or of a relay's, reaches what runs in the copy. */
function node(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const nowhere = join(copy, "none");
  const own = { PATH: process.env["PATH"] ?? "", HOME: nowhere, AWS_CONFIG_FILE: nowhere, AWS_SHARED_CREDENTIALS_FILE: nowhere };
  return promisify(execFile)(process.execPath, args, { cwd: copy, env: { ...own, AWS_EC2_METADATA_DISABLED: "true", ...env } });
}
const text = (path: string) => readFile(join(copy, path), "utf8");

function properties(name: string): Readonly<Record<string, unknown>> {
  const resource = template.Resources[name];
  if (!resource) throw new Error(`no ${name} in the template; it has: ${Object.keys(template.Resources).join(", ")}`);
  return resource.Properties;
}
const arnOf = (name: string) => ({ "Fn::GetAtt": [name, "Arn"] });

describe("the template", () => {
  test("fits CloudFormation's schema", async () => {
    const { problems, values } = await check(template);
    expect(problems).toEqual([]);
    expect(values).toBeGreaterThan(80);
  });

  test.each<[string, (faulty: Template) => void, RegExp]>([
    ["an unknown property", (faulty) => plant(faulty, "Queue", { VisibilityTimeOut: 360 }), /^Queue: unknown property VisibilityTimeOut$/],
    [
      "one further down",
      (faulty) => plant(faulty, "EdgeLambdaFunction", { Environment: { Variable: {} } }),
      /Environment: unknown property Variable$/,
    ],
    [
      "a wrong type",
      (faulty) => plant(faulty, "Queue", { MessageRetentionPeriod: "14 days" }),
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
      (faulty) => delete faulty.Resources["DeadLetters"],
      /^(?:Queue|ConsumerRole|Outputs)\..*: no resource DeadLetters$/,
    ],
    [
      "an attribute that is not there",
      (faulty) => plant(faulty, "Queue", { QueueName: { "Fn::GetAtt": ["DeadLetters", "Url"] } }),
      /no attribute Url$/,
    ],
    ["a text that names nothing", (faulty) => plant(faulty, "Queue", { QueueName: { "Fn::Sub": "${Stage}-queue" } }), /no resource Stage$/],
    ["an order after nothing", (faulty) => faulty.Resources["Queue"]?.DependsOn.push("Gone"), /DependsOn: no resource Gone$/],
    [
      "an unknown type",
      (faulty) => (faulty.Resources["Other"] = { Type: "AWS::SQS::Cue", Properties: {}, DependsOn: [] }),
      /unknown type AWS::SQS::Cue$/,
    ],
    ["an output of nothing", (faulty) => (faulty.Outputs["Other"] = { Value: { Ref: "Gone" } }), /^Outputs.*no resource Gone$/],
  ])("with %s does not", async (_name, fault, problem) => {
    const faulty = structuredClone(template);
    fault(faulty);
    const { problems } = await check(faulty);
    expect(problems.length).toBeGreaterThan(0);
    for (const each of problems) expect(each).toMatch(problem);
  });
  function plant(faulty: Template, name: string, part: Record<string, unknown>) {
    Object.assign(faulty.Resources[name]?.Properties ?? expect.unreachable(`no ${name}`), part);
  }
});

describe("the queues", () => {
  const FOURTEEN_DAYS = 14 * 24 * 3600;
  test("keep records for fourteen days, and outlive the stack", async () => {
    const kept = JSON.parse(await text(".serverless/cloudformation-template-update-stack.json"));
    for (const name of ["Queue", "DeadLetters", "UnparsedQueue"]) {
      expect(properties(name), name).toMatchObject({ MessageRetentionPeriod: FOURTEEN_DAYS });
      expect(kept.Resources[name], name).toMatchObject({ DeletionPolicy: "Retain", UpdateReplacePolicy: "Retain" });
    }
  });

  test("hide a record for six times as long as the consumer may run", () => {
    const timeout = z.number().parse(properties("ConsumerLambdaFunction")["Timeout"]);
    expect(properties("Queue")["VisibilityTimeout"]).toBeGreaterThanOrEqual(6 * timeout);
  });

  test("move a record only after the relay itself would have buried it", () => {
    const policy = properties("Queue")["RedrivePolicy"];
    expect(policy).toMatchObject({ deadLetterTargetArn: arnOf("DeadLetters") });
    expect(z.object({ maxReceiveCount: z.number() }).parse(policy).maxReceiveCount).toBeGreaterThan(MAX_RECEIVES);
  });
});

describe("the journal's table", () => {
  test("costs nothing while nobody pushes, forgets, is encrypted, and goes with nobody's mistake", async () => {
    expect(properties("Journal")).toMatchObject({
      BillingMode: "PAY_PER_REQUEST",
      TimeToLiveSpecification: { AttributeName: "expires", Enabled: true },
      SSESpecification: { SSEEnabled: true },
      DeletionProtectionEnabled: true,
    });
    const kept = JSON.parse(await text(".serverless/cloudformation-template-update-stack.json"));
    expect(kept.Resources["Journal"]).toMatchObject({ DeletionPolicy: "Retain", UpdateReplacePolicy: "Retain" });
  });
});

describe("the functions", () => {
  test("run on a supported runtime, each under its own role, with a log group that forgets", () => {
    for (const name of ["Edge", "Consumer", "Sweep"]) {
      expect(properties(`${name}LambdaFunction`)).toMatchObject({
        Runtime: "nodejs24.x",
        Architectures: ["arm64"],
        Role: arnOf(`${name}Role`),
      });
      expect(properties(`${name}LogGroup`)["RetentionInDays"]).toBeGreaterThan(0);
    }
  });

  test("the consumer gives back single records of a batch", () => {
    expect(properties("ConsumerEventSourceMappingSQSQueue")).toMatchObject({
      EventSourceArn: arnOf("Queue"),
      FunctionResponseTypes: ["ReportBatchItemFailures"],
      BatchSize: 10,
      ScalingConfig: { MaximumConcurrency: 2 },
    });
    expect(properties("ConsumerEventSourceMappingSQSQueue")).not.toHaveProperty("MaximumBatchingWindowInSeconds");
  });

  test("the sweep comes every five minutes, and ends before the next one begins", () => {
    const [rule] = Object.values(template.Resources).filter(({ Type }) => Type === "AWS::Events::Rule");
    expect(rule?.Properties).toMatchObject({
      ScheduleExpression: "rate(5 minutes)",
      State: "ENABLED",
      Targets: [{ Arn: arnOf("SweepLambdaFunction") }],
    });
    expect(properties("SweepLambdaFunction")["Timeout"]).toBeLessThan(300);
  });

  test("get the variables that their part of the configuration names, and no other's", async () => {
    const loaded = await loadConfig({ file: join(copy, "dist/lambda/relay.json") });
    if (!loaded.ok) return expect(loaded.problems).toEqual([]);
    const named = (part: unknown) => [...JSON.stringify(part).matchAll(/"kind":"env","name":"(\w+)"/g)].map(([, name = ""]) => name);
    const { webhooks, clusters, unparsed, journal, sources } = loaded.config;
    const queues = Object.values(clusters).map(({ queue }) => queue);
    const edge = new Set(["MPO_RELAY_CONFIG", ...named([webhooks, queues, unparsed, journal])]);
    const consumer = new Set(["MPO_RELAY_CONFIG", "MPO_RELAY_CLUSTER", ...named([clusters, journal, sources])]);
    expect(Object.keys(variables("Edge")).toSorted()).toEqual([...edge].toSorted());
    expect(Object.keys(variables("Consumer")).toSorted()).toEqual([...consumer].toSorted());
    expect(variables("Sweep")).toEqual(variables("Consumer"));
    expect(Object.keys(clusters)).toContain(variables("Consumer")["MPO_RELAY_CLUSTER"]);
  });

  test("read secrets from Secrets Manager while they are deployed: the template holds none", () => {
    const all = Object.entries({ ...variables("Edge"), ...variables("Consumer"), ...variables("Sweep") });
    const secrets = all.filter(([name]) => !name.startsWith("MPO_RELAY_"));
    expect(secrets.map(([name]) => name).toSorted()).toEqual(["CLUSTER_CA", "CLUSTER_TOKEN", "WEBHOOK_SECRET"]);
    for (const [name, value] of secrets) expect(value).toBe(`{{resolve:secretsmanager:mpo-relay/dev:SecretString:${name}}}`);
  });

  function variables(name: string) {
    const environment = z.object({ Variables: z.record(z.string(), z.unknown()) });
    return environment.parse(properties(`${name}LambdaFunction`)["Environment"]).Variables;
  }
});

describe("the roles", () => {
  const one = <T extends z.ZodType>(schema: T) => z.union([schema.transform((each) => [each]), z.array(schema)]);
  const arn = z.object({ "Fn::GetAtt": z.tuple([z.string(), z.literal("Arn")]) }).transform((each) => each["Fn::GetAtt"][0]);
  const statement = z.strictObject({ Effect: z.literal("Allow"), Action: one(z.string()), Resource: one(arn) });
  const role = z.strictObject({
    AssumeRolePolicyDocument: z.unknown(),
    Policies: z.array(z.object({ PolicyDocument: z.object({ Statement: z.array(statement) }) })),
  });

  test.each([
    [
      "EdgeRole",
      ["EdgeLogGroup: logs:CreateLogStream", "EdgeLogGroup: logs:PutLogEvents"],
      ["Journal: dynamodb:Query", "Journal: dynamodb:UpdateItem"],
      ["Queue", "UnparsedQueue"].flatMap((queue) => [`${queue}: sqs:GetQueueAttributes`, `${queue}: sqs:SendMessage`]),
    ],
    [
      "ConsumerRole",
      ["ConsumerLogGroup: logs:CreateLogStream", "ConsumerLogGroup: logs:PutLogEvents"],
      ["Journal: dynamodb:UpdateItem"],
      [
        "DeadLetters: sqs:GetQueueUrl",
        "DeadLetters: sqs:SendMessage",
        "Queue: sqs:DeleteMessage",
        "Queue: sqs:GetQueueAttributes",
        "Queue: sqs:ReceiveMessage",
        "Queue: sqs:SendMessage",
      ],
    ],
    [
      "SweepRole",
      ["SweepLogGroup: logs:CreateLogStream", "SweepLogGroup: logs:PutLogEvents"],
      ["Journal: dynamodb:UpdateItem"],
      ["Queue: sqs:SendMessage"],
    ],
  ])("%s allows this and nothing else", (name, logs, journal, queues) => {
    const statements = role.parse(properties(name)).Policies.flatMap(({ PolicyDocument }) => PolicyDocument.Statement);
    const allowed = statements.flatMap(({ Action, Resource }) =>
      Resource.flatMap((resource) => Action.map((action) => `${resource}: ${action}`)),
    );
    expect(allowed.toSorted()).toEqual([...logs, ...journal, ...queues].toSorted());
    expect(properties(name)["AssumeRolePolicyDocument"]).toMatchObject({
      Statement: [{ Effect: "Allow", Principal: { Service: "lambda.amazonaws.com" }, Action: "sts:AssumeRole" }],
    });
  });

  test("there is no fourth role, and no policy beside them", () => {
    const identities = Object.entries(template.Resources).filter(([, { Type }]) => Type.startsWith("AWS::IAM::"));
    expect(identities.map(([name]) => name).toSorted()).toEqual(["ConsumerRole", "EdgeRole", "SweepRole"]);
  });
});

describe("the zips", () => {
  test.each(["edge", "consumer", "sweep"])("%s.zip holds its own bundle and the configuration", async (name) => {
    const files = namesIn(await readFile(join(copy, `.serverless/${name}.zip`)));
    expect(files).toContain(`dist/lambda/${name}.mjs`);
    expect(files).toContain("dist/lambda/relay.json");
    const own = new RegExp(`^dist/lambda/(?:relay\\.json|${name}\\.mjs|${name}/[^/]+\\.mjs)$`);
    expect(files.filter((file) => !own.test(file))).toEqual([]);
  });

  /** The central directory's names: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT 4.3.12 */
  function namesIn(zip: Buffer): string[] {
    const names: string[] = [];
    for (let at = zip.indexOf("PK\u0001\u0002"); at >= 0; at = zip.indexOf("PK\u0001\u0002", at + 46)) {
      names.push(zip.toString("utf8", at + 46, at + 46 + zip.readUInt16LE(at + 28)));
    }
    return names;
  }
});

describe("the configuration in the zips", () => {
  test("without a file of one's own is the example, and that is said", () => {
    expect(said).toContain("no relay.yaml here and no MPO_RELAY_CONFIG: packaging infra/relay.example.yaml");
  });

  const mine = { clusters: { dev: { queue: "env:MPO_RELAY_QUEUE" } } };
  test.each<[string, () => Promise<Record<string, string>>]>([
    ["inline in MPO_RELAY_CONFIG", async () => ({ MPO_RELAY_CONFIG: JSON.stringify(mine) })],
    ["in the file that MPO_RELAY_CONFIG names", () => file("other.yml").then(() => ({ MPO_RELAY_CONFIG: "other.yml" }))],
    ["in relay.yaml", () => file("relay.yaml").then(() => ({}))],
  ])(
    "is taken where it stands %s",
    async (_where, prepare) => {
      const { stdout, stderr } = await node(lay("dev"), await prepare());
      expect({ stdout, stderr }).toEqual({ stdout: "", stderr: "" });
      expect(JSON.parse(await text("dist/lambda/relay.json"))).toEqual(mine);
    },
    TIMEOUT_MS,
  );

  test("must know the cluster that the consumer is for", async () => {
    await file("relay.yaml");
    await expect(node(lay("prod"))).rejects.toThrow('no cluster "prod" in the configuration: --param cluster=NAME, known: dev');
  });

  test("holds no webhook with a queue, whose deliveries no function would take", async () => {
    const MPO_RELAY_CONFIG = JSON.stringify({ ...mine, webhooks: { ecr: { provider: "ecr", queue: "env:ECR_QUEUE" } } });
    await expect(node(lay("dev"), { MPO_RELAY_CONFIG })).rejects.toThrow(
      "webhooks.ecr.queue: only mpo-relay serve takes deliveries from a queue",
    );
  });

  test("holds nothing embedded, for which no function has a disk", async () => {
    const MPO_RELAY_CONFIG = JSON.stringify({ clusters: { dev: { queue: "embedded:" } }, unparsed: "env:U", journal: "embedded:./j" });
    await expect(node(lay("dev"), { MPO_RELAY_CONFIG })).rejects.toThrow("clusters.dev.queue, journal: embedded needs a disk that lasts");
  });
  const lay = (cluster: string) => [
    "--input-type=module",
    "--eval",
    `await (await import("./infra/package.mjs")).layConfiguration("${cluster}")`,
  ];
  const file = (name: string) => writeFile(join(copy, name), "clusters:\n  dev: { queue: env:MPO_RELAY_QUEUE } # mine\n");
});
