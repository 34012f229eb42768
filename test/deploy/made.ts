/** What a deploy made, read back from the services: of the configuration of world.ts, with the cluster dev. */
import { expect, test } from "vitest";
import * as z from "zod";
import { MAX_RECEIVE_COUNT } from "../../infra/template/queues.ts";
import { caOf, SECRET, tokenOf } from "./relay.ts";
import { nameOf, STACK, TOKEN, WEBHOOK_SECRET, type World } from "./world.ts";

export function testWhatWasMade(world: () => World): void {
  test("queues keep for 14 days, hide for six times the consumer's timeout, are encrypted, and take TLS alone", () => {
    for (const id of ["QueueDev", "DeadLettersDev", "UnparsedQueue"]) {
      expect(world().account[id], id).toMatchObject({ MessageRetentionPeriod: "1209600", SqsManagedSseEnabled: "true", DelaySeconds: "0" });
      expect(JSON.parse(z.object({ Policy: z.string() }).parse(world().account[id]).Policy), id).toEqual({
        Version: "2012-10-17",
        Statement: [
          {
            Effect: "Deny",
            Principal: "*",
            Action: "sqs:*",
            Resource: world().arnOf(id),
            Condition: { Bool: { "aws:SecureTransport": "false" } },
          },
        ],
      });
    }
    expect(world().account["QueueDev"]).toMatchObject({ VisibilityTimeout: "360" });
    expect(JSON.parse(z.object({ RedrivePolicy: z.string() }).parse(world().account["QueueDev"]).RedrivePolicy)).toEqual({
      deadLetterTargetArn: world().arnOf("DeadLettersDev"),
      maxReceiveCount: MAX_RECEIVE_COUNT,
    });
  });

  const OF_CLUSTER = { DEV_QUEUE: "QueueDev", MPO_RELAY_JOURNAL: "Journal" };
  test.each<[string, string, string, number, Readonly<Record<string, string>>]>([
    ["EdgeLambdaFunction", "EdgeRole", "edge", 10, { MPO_RELAY_UNPARSED: "UnparsedQueue", MPO_RELAY_JOURNAL: "Journal" }],
    ["ConsumerDevLambdaFunction", "ConsumerDevRole", "consumer", 60, { ...OF_CLUSTER, MPO_RELAY_RUNS: "Journal" }],
    ["SweepDevLambdaFunction", "SweepDevRole", "sweep", 240, OF_CLUSTER],
  ])("%s has its runtime, role and variables, and no secret", (id, role, handler, Timeout, variables) => {
    const own = Object.fromEntries(Object.entries(variables).map(([name, of]) => [name, world().urlOf(of)]));
    // all clusters' queues by their names: addresses would be too many for 4 KB
    const others = handler === "edge" ? { DEV_QUEUE: nameOf(world().urlOf("QueueDev")) } : { MPO_RELAY_CLUSTER: "dev" };
    expect(world().account[id]).toMatchObject({
      Runtime: "nodejs24.x",
      Handler: `dist/lambda/${handler}.handler`,
      Role: world().account[role]?.["arn"],
      Timeout,
      MemorySize: 512,
      Environment: expect.objectContaining({ Variables: { MPO_RELAY_CONFIG: "dist/lambda/relay.json", ...own, ...others } }),
    });
    const shown = JSON.stringify(world().account[id]);
    for (const secret of [WEBHOOK_SECRET, TOKEN, world().api.ca]) expect(shown).not.toContain(secret);
  });

  test("the trigger gives back single records, and runs two consumers at most", () => {
    expect(world().account["ConsumerDevEventSourceMappingSQSQueueDev"]).toMatchObject({
      EventSourceArn: world().arnOf("QueueDev"),
      FunctionArn: world().account["ConsumerDevLambdaFunction"]?.["FunctionArn"],
      FunctionResponseTypes: ["ReportBatchItemFailures"],
      BatchSize: 10,
      ScalingConfig: { MaximumConcurrency: 2 },
      State: "Enabled",
    });
  });

  test("roles allow what the template says, with the ARNs of what was made", () => {
    const journal = world().account["Journal"]?.["TableArn"];
    const parameter = (name: string) => `arn:aws:ssm:eu-central-1:123456789012:parameter${name}`;
    const logs = (name: string) => ({
      Effect: "Allow",
      Action: ["logs:CreateLogStream", "logs:PutLogEvents"],
      Resource: expect.stringContaining(`:log-group:/aws/lambda/${STACK}-${name}`),
    });
    const allow = (Action: string[], Resource: unknown) => ({ Effect: "Allow", Action, Resource });
    const secrets = allow(["ssm:GetParameter"], [parameter(caOf("dev")), parameter(tokenOf("dev"))]);
    const statements = (id: string) =>
      z.object({ policies: z.record(z.string(), z.object({ Statement: z.array(z.unknown()) })) }).parse(world().account[id]).policies;
    expect(statements("EdgeRole")).toMatchObject({
      edge: {
        Statement: [
          allow(["sqs:SendMessage", "sqs:GetQueueAttributes"], [world().arnOf("QueueDev"), world().arnOf("UnparsedQueue")]),
          allow(["dynamodb:UpdateItem", "dynamodb:Query"], journal),
          allow(["ssm:GetParameter"], [parameter(SECRET)]),
          logs("edge"),
        ],
      },
    });
    expect(statements("ConsumerDevRole")).toMatchObject({
      consumerDev: {
        Statement: [
          allow(["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:SendMessage"], world().arnOf("QueueDev")),
          allow(["sqs:SendMessage", "sqs:GetQueueUrl"], world().arnOf("DeadLettersDev")),
          allow(["dynamodb:UpdateItem"], journal),
          secrets,
          logs("consumerDev"),
        ],
      },
    });
    expect(statements("SweepDevRole")).toMatchObject({
      sweepDev: {
        Statement: [
          allow(["sqs:SendMessage"], world().arnOf("QueueDev")),
          allow(["dynamodb:UpdateItem"], journal),
          secrets,
          logs("sweepDev"),
        ],
      },
    });
    const roles = Object.entries(world().account).filter(([, attributes]) => "trust" in attributes);
    expect(roles.map(([id]) => id).toSorted()).toEqual(["ConsumerDevRole", "EdgeRole", "SweepDevRole"]);
    for (const [id, attributes] of roles)
      expect(attributes, id).toMatchObject({
        trust: { Statement: [{ Effect: "Allow", Principal: { Service: "lambda.amazonaws.com" }, Action: "sts:AssumeRole" }] },
        attached: [],
      });
  });

  test("the edge's URL is for anybody, logs are forgotten after 30 days, the sweep has its clock, the journal its table", () => {
    expect(world().account["EdgeLambdaFunctionUrl"]).toMatchObject({ AuthType: "NONE", InvokeMode: "BUFFERED" });
    for (const id of ["EdgeLogGroup", "ConsumerDevLogGroup", "SweepDevLogGroup"])
      expect(world().account[id], id).toMatchObject({ retentionInDays: 30 });
    const rules = Object.values(world().account).filter((attributes) => "ScheduleExpression" in attributes);
    expect(rules).toMatchObject([
      { ScheduleExpression: "rate(5 minutes)", State: "ENABLED", targets: [world().account["SweepDevLambdaFunction"]?.["FunctionArn"]] },
    ]);
    expect(world().account["Journal"]).toMatchObject({
      BillingModeSummary: { BillingMode: "PAY_PER_REQUEST" },
      DeletionProtectionEnabled: true,
      KeySchema: [
        { AttributeName: "key", KeyType: "HASH" },
        { AttributeName: "sort", KeyType: "RANGE" },
      ],
    });
  });

  test("alarms look at what was made, as the template says, and tell nobody without a topic", () => {
    const alarms = Object.entries(world().stack.template.Resources).filter(([, { Type }]) => Type === "AWS::CloudWatch::Alarm");
    expect(alarms.length).toBeGreaterThan(10);
    for (const [id, { Properties }] of alarms) {
      expect(world().account[id], id).toMatchObject({ ...resolved.parse(Properties), AlarmActions: [], OKActions: [] });
    }
  });
  const value = z.union([
    z.object({ Ref: z.string() }).transform(({ Ref }) => world().urlOf(Ref)),
    z
      .object({ "Fn::GetAtt": z.tuple([z.string(), z.literal("QueueName")]) })
      .transform((each) => nameOf(world().urlOf(each["Fn::GetAtt"][0]))),
  ]);
  const Dimensions = z.array(z.object({ Name: z.string(), Value: value }));
  const MetricStat = z.looseObject({ Metric: z.looseObject({ Dimensions }) });
  /** As the template says, with the names of what was made. */
  const resolved = z
    .looseObject({ Dimensions: Dimensions.optional(), Metrics: z.array(z.looseObject({ MetricStat: MetricStat.optional() })).optional() })
    .transform(({ AlarmActions: _whom, OKActions: _too, ...plain }) => plain);

  test("the dashboard shows the queue and the functions by their names", () => {
    const body = z.object({ DashboardBody: z.string() }).parse(world().account["Dashboard"]).DashboardBody;
    expect(JSON.parse(body)).toMatchObject({ widgets: expect.arrayContaining([expect.objectContaining({ type: "metric" })]) });
    for (const id of ["QueueDev", "DeadLettersDev"]) expect(body).toContain(`"${nameOf(world().urlOf(id))}"`);
    expect(body).toContain(`"${world().urlOf("ConsumerDevLambdaFunction")}"`);
    expect(body).not.toContain("${");
  });
}
