/** The packaged template: cfn-lint with its warnings, and what it does not see. Each check is proved by the fault that it is for. */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import * as z from "zod";
import { alarms, CHECKS, dashboards, partitions, type Resources, wildcards } from "./checks.ts";
import { type Project, copyProject } from "./project.ts";
import { lint } from "./python.ts";
import { REGION, relayYaml } from "./relay.ts";

const template = z.looseObject({
  Resources: z.record(z.string(), z.looseObject({ Type: z.string(), Properties: z.record(z.string(), z.unknown()).optional() })),
});
let project: Project;
let packaged: z.output<typeof template>;
let file = "";

/** Gives the template's path. */
async function packageStack(relay: unknown, args: readonly string[] = []): Promise<string> {
  await project.configure(relay);
  const { code, stderr } = await project.node(["node_modules/osls/bin/serverless.js", "package", ...args]);
  expect({ code, stderr }).toMatchObject({ code: 0 });
  return join(project.path, ".serverless/cloudformation-template-update-stack.json");
}
const read = async (path: string) => template.parse(JSON.parse(await readFile(path, "utf8")));
const relay = relayYaml({ clusters: ["dev", "stage-1"], api: "https://kubernetes.example.com:6443" });

beforeAll(async () => {
  project = await copyProject();
  file = await packageStack(relay);
  packaged = await read(file);
});
afterAll(() => project?.remove());

describe("cfn-lint", () => {
  /** W3005: osls writes a DependsOn that a reference says already. */
  const ours = (findings: readonly string[]) => findings.filter((each) => !each.startsWith("W3005 "));

  test("finds nothing, and no warning either", async () => {
    expect(Object.keys(packaged.Resources).length).toBeGreaterThan(30);
    expect(ours(await lint(file, REGION))).toEqual([]);
  });

  test("finds nothing in what the stack can have besides: an HTTP API, a key, a VPC, ECR's queue; nor do we", async () => {
    const [dev, other] = Object.entries(relay.clusters);
    const vpc = { securityGroupIds: ["sg-0123456789abcdef0"], subnetIds: ["subnet-0123456789abcdef0"] };
    const clusters = Object.fromEntries([dev, other].flatMap((each) => (each ? [[each[0], { ...each[1], lambda: { vpc } }]] : [])));
    const webhooks = { ...relay.webhooks, ecr: { provider: "ecr", queue: "env:ECR_QUEUE" } };
    const sources = [...relay.sources, { repo: "123456789012.dkr.ecr.eu-central-1.amazonaws.com/modules", name: "ecr" }];
    const key = "arn:aws:kms:eu-central-1:123456789012:key/01234567-89ab-cdef-0123-456789abcdef";
    const path = await packageStack({ ...relay, clusters, webhooks, sources }, ["--param", "http=api", "--param", `kmsKeyArn=${key}`]);
    const { Resources } = await read(path);
    const types = new Set(Object.values(Resources).map(({ Type }) => Type));
    expect([...types]).toEqual(expect.arrayContaining(["AWS::ApiGatewayV2::Api", "AWS::Events::Rule"]));
    expect(Object.keys(Resources)).toEqual(expect.arrayContaining(["DeliveriesEcr", "InboxEcrLambdaFunction"]));
    expect(ours(await lint(path, REGION))).toEqual([]);
    const found = CHECKS.flatMap((check) => check(Resources));
    expect(found.filter((each) => !each.endsWith("arn:aws:kms names its partition"))).toEqual([]); // the operator's own
  });

  test("finds each planted fault", async () => {
    const faulty = structuredClone(packaged);
    const plant = (id: string, part: Record<string, unknown>) =>
      Object.assign(faulty.Resources[id]?.Properties ?? expect.unreachable(`no ${id}`), part);
    plant("QueueDev", { MessageRetentionPeriod: 1_209_601 });
    plant("EdgeLambdaFunction", { Runtime: "nodejs14.x" });
    plant("ConsumerDevLambdaFunction", { Role: "not-an-arn" });
    plant("EdgeLambdaFunctionUrl", { AuthType: "OPEN" });
    plant("Journal", { BillingMode: "FREE" });
    plant("EdgeLogGroup", { RetentionInDays: 29 });
    const planted = join(project.path, "faulty.json");
    await writeFile(planted, JSON.stringify(faulty));
    const found = ours(await lint(planted, REGION));
    const places = ["QueueDev", "EdgeLambdaFunction", "ConsumerDevLambdaFunction", "EdgeLambdaFunctionUrl", "Journal", "EdgeLogGroup"];
    expect(places.filter((id) => !found.some((each) => each.includes(`Resources.${id}.`)))).toEqual([]);
  });
});

describe("what cfn-lint does not see", () => {
  test("is not there either", () => {
    expect(CHECKS.flatMap((check) => check(packaged.Resources))).toEqual([]);
  });

  const statement = (part: object) => ({
    Faulty: {
      Type: "AWS::IAM::Role",
      Properties: { Policies: [{ PolicyDocument: { Statement: [{ Effect: "Allow", Action: "sqs:SendMessage", ...part }] } }] },
    },
  });
  const alarm = (part: object) => ({
    Faulty: { Type: "AWS::CloudWatch::Alarm", Properties: { EvaluationPeriods: 1, Period: 60, TreatMissingData: "notBreaching", ...part } },
  });
  const dashboard = (DashboardBody: unknown) => ({ Faulty: { Type: "AWS::CloudWatch::Dashboard", Properties: { DashboardBody } } });

  test.each<[string, (resources: Resources) => string[], Resources, string]>([
    ["an action that is every action", wildcards, statement({ Action: ["sqs:*"], Resource: "x" }), "allows sqs:*"],
    ["a right on everything", wildcards, statement({ Resource: "*" }), "allows it on *"],
    [
      "a right on everything of a service",
      wildcards,
      statement({ Resource: [{ "Fn::Sub": "arn:${AWS::Partition}:sqs:${AWS::Region}:${AWS::AccountId}:*" }] }),
      "allows it on arn:${AWS::Partition}:sqs:${AWS::Region}:${AWS::AccountId}:*",
    ],
    ["a right on everything but something", wildcards, statement({ NotResource: "x" }), "allows everything but something"],
    ["a dashboard that is no JSON", dashboards, dashboard({ "Fn::Sub": '{"widgets":[' }), "the body is no JSON"],
    [
      "a dashboard that no screen is wide enough for",
      dashboards,
      dashboard('{"widgets":[{"type":"metric","width":25,"properties":{}}]}'),
      "widgets.0.width: Too big: expected number to be <=24",
    ],
    ["a partition", partitions, statement({ Resource: "arn:aws:sqs:x:1:y" }), "arn:aws:sqs names its partition"],
    ["an alarm that never looks", alarms, alarm({ EvaluationPeriods: undefined }), "no EvaluationPeriods"],
    ["an alarm of no period", alarms, alarm({ Period: undefined }), "no period"],
    ["a period that CloudWatch does not know", alarms, alarm({ Period: 90 }), "a period of 90 s"],
    ["one in a metric of its own", alarms, alarm({ Period: undefined, Metrics: [{ MetricStat: { Period: 45 } }] }), "a period of 45 s"],
    ["an alarm that looks back too far", alarms, alarm({ EvaluationPeriods: 1441 }), "looks back 86460 s"],
    ["more datapoints than there are", alarms, alarm({ DatapointsToAlarm: 2 }), "more datapoints than periods"],
    ["missing data without a meaning", alarms, alarm({ TreatMissingData: undefined }), "does not say what missing data mean"],
  ])("%s is found", (_name, check, faulty, problem) => {
    expect(check(faulty)).toEqual([`Faulty: ${problem}`]);
  });
});
