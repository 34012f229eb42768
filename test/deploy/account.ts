/** Reads a deployed stack back through the SDK, each thing by the service that it belongs to. CloudFormation is asked only what it is called. */
import { CloudFormationClient } from "@aws-sdk/client-cloudformation";
import { CloudWatchClient, DescribeAlarmsCommand, GetDashboardCommand } from "@aws-sdk/client-cloudwatch";
import { CloudWatchLogsClient, DescribeLogGroupsCommand } from "@aws-sdk/client-cloudwatch-logs";
import { DescribeTableCommand, DescribeTimeToLiveCommand, DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { DescribeRuleCommand, EventBridgeClient, ListTargetsByRuleCommand } from "@aws-sdk/client-eventbridge";
import {
  GetRoleCommand,
  GetRolePolicyCommand,
  IAMClient,
  ListAttachedRolePoliciesCommand,
  ListRolePoliciesCommand,
} from "@aws-sdk/client-iam";
import {
  GetEventSourceMappingCommand,
  GetFunctionConfigurationCommand,
  GetFunctionUrlConfigCommand,
  LambdaClient,
} from "@aws-sdk/client-lambda";
import { S3Client } from "@aws-sdk/client-s3";
import { GetQueueAttributesCommand, SQSClient } from "@aws-sdk/client-sqs";
import { SSMClient } from "@aws-sdk/client-ssm";
import { STSClient } from "@aws-sdk/client-sts";
import { type DeployedStack, readStack } from "../../infra/deploy/stack.ts";
import { REGION } from "./relay.ts";
import type { StandIn } from "./stand-in.ts";

export type Clients = ReturnType<typeof clientsOf>;

export function clientsOf({ endpoint, env }: StandIn) {
  const credentials = { accessKeyId: env["AWS_ACCESS_KEY_ID"] ?? "", secretAccessKey: env["AWS_SECRET_ACCESS_KEY"] ?? "" };
  const settings = { region: REGION, endpoint, credentials };
  return {
    stacks: new CloudFormationClient(settings),
    metrics: new CloudWatchClient(settings),
    logs: new CloudWatchLogsClient(settings),
    tables: new DynamoDBClient(settings),
    rules: new EventBridgeClient(settings),
    identities: new IAMClient(settings),
    functions: new LambdaClient(settings),
    files: new S3Client({ ...settings, forcePathStyle: true }),
    queues: new SQSClient({ ...settings, useQueueUrlAsEndpoint: false }),
    parameters: new SSMClient(settings),
    tokens: new STSClient(settings),
  };
}

type Attributes = Readonly<Record<string, unknown>>;
/** By logical id. What nobody changes by a deploy (request ids, counters) is left out, and so are things that are read as part of others. */
export type Account = Readonly<Record<string, Attributes>>;

export async function readAccount(clients: Clients, stackName: string): Promise<{ stack: DeployedStack; account: Account }> {
  const stack = (await readStack(clients.stacks, stackName)) ?? fail(stackName);
  const read = Object.entries(stack.template.Resources).map(async ([id, { Type }]) => {
    const reader = READERS[Type];
    const physical = stack.ids.get(id);
    return reader && physical !== undefined ? [[id, await reader(clients, physical)] as const] : [];
  });
  return { stack, account: Object.fromEntries((await Promise.all(read)).flat()) };
}

const fail = (name: string): never => {
  throw new Error(`there is no stack ${name}`);
};

const without = (attributes: object, ...names: readonly string[]): Attributes =>
  Object.fromEntries(Object.entries(attributes).filter(([name]) => !["$metadata", ...names].includes(name)));

const READERS: Readonly<Record<string, (clients: Clients, id: string) => Promise<Attributes>>> = {
  "AWS::SQS::Queue": async ({ queues }, QueueUrl) => {
    const { Attributes = {} } = await queues.send(new GetQueueAttributesCommand({ QueueUrl, AttributeNames: ["All"] }));
    const counters = Object.keys(Attributes).filter((name) => name.startsWith("ApproximateNumber"));
    return without(Attributes, ...counters, "LastModifiedTimestamp");
  },
  "AWS::Lambda::Function": async ({ functions }, FunctionName) =>
    without(await functions.send(new GetFunctionConfigurationCommand({ FunctionName })), "RevisionId"),
  "AWS::Lambda::EventSourceMapping": async ({ functions }, UUID) =>
    without(await functions.send(new GetEventSourceMappingCommand({ UUID }))),
  "AWS::Lambda::Url": async ({ functions }, FunctionName) =>
    without(await functions.send(new GetFunctionUrlConfigCommand({ FunctionName }))),
  "AWS::IAM::Role": async ({ identities }, RoleName) => {
    const { Role } = await identities.send(new GetRoleCommand({ RoleName }));
    const { PolicyNames = [] } = await identities.send(new ListRolePoliciesCommand({ RoleName }));
    const documents = PolicyNames.map(async (PolicyName) => {
      const { PolicyDocument = "" } = await identities.send(new GetRolePolicyCommand({ RoleName, PolicyName }));
      return [PolicyName, JSON.parse(decodeURIComponent(PolicyDocument))] as const;
    });
    const { AttachedPolicies = [] } = await identities.send(new ListAttachedRolePoliciesCommand({ RoleName }));
    return {
      arn: Role?.Arn,
      trust: JSON.parse(decodeURIComponent(Role?.AssumeRolePolicyDocument ?? "")),
      policies: Object.fromEntries(await Promise.all(documents)),
      attached: AttachedPolicies.map(({ PolicyArn }) => PolicyArn),
    };
  },
  "AWS::Logs::LogGroup": async ({ logs }, name) => {
    const { logGroups = [] } = await logs.send(new DescribeLogGroupsCommand({ logGroupNamePrefix: name }));
    const found = logGroups.find(({ logGroupName }) => logGroupName === name);
    return without(found ?? {}, "storedBytes");
  },
  "AWS::CloudWatch::Alarm": async ({ metrics }, name) => {
    const { MetricAlarms = [] } = await metrics.send(new DescribeAlarmsCommand({ AlarmNames: [name] }));
    return without(MetricAlarms[0] ?? {}, "StateUpdatedTimestamp", "AlarmConfigurationUpdatedTimestamp", "StateTransitionedTimestamp");
  },
  "AWS::CloudWatch::Dashboard": async ({ metrics }, DashboardName) =>
    without(await metrics.send(new GetDashboardCommand({ DashboardName }))),
  "AWS::Events::Rule": async ({ rules }, Name) => {
    const { Targets = [] } = await rules.send(new ListTargetsByRuleCommand({ Rule: Name }));
    return { ...without(await rules.send(new DescribeRuleCommand({ Name }))), targets: Targets.map(({ Arn }) => Arn) };
  },
  "AWS::DynamoDB::Table": async ({ tables }, TableName) => {
    const { Table } = await tables.send(new DescribeTableCommand({ TableName }));
    const { TimeToLiveDescription } = await tables.send(new DescribeTimeToLiveCommand({ TableName }));
    return { ...without(Table ?? {}, "ItemCount", "TableSizeBytes", "GlobalSecondaryIndexes"), ttl: TimeToLiveDescription };
  },
};
