/** One role per function, with what it does and nothing else; test/infra.test.ts holds the same list. */
import type { RelayConfig } from "../../src/config.ts";
import { inboxesOf } from "./inboxes.ts";
import {
  consumerOf,
  deadLettersOf,
  deliveriesOf,
  type Deployed,
  EDGE,
  inboxOf,
  JOURNAL,
  logsOf,
  queueOf,
  type Resources,
  roleOf,
  sweepOf,
  UNPARSED_QUEUE,
} from "./names.ts";
import { clusterSecrets, edgeSecrets } from "./secrets.ts";
import type { Settings } from "./settings.ts";
import { allow, arnOf, inThisAccount, reads, type Statement } from "./statements.ts";

type Role = { readonly settings: Settings; readonly key: string; readonly statements: readonly Statement[]; readonly inVpc: boolean };

export function roles(config: RelayConfig, settings: Settings, { clusters }: Deployed): Resources {
  const note = (...actions: string[]) => (config.journal ? [allow(actions, arnOf(JOURNAL))] : []);
  const edge: Role = {
    settings,
    key: EDGE,
    inVpc: false,
    statements: [
      // store; GetQueueAttributes is /readyz, and the number of unread deliveries
      allow(["sqs:SendMessage", "sqs:GetQueueAttributes"], [...clusters.map(({ id }) => arnOf(queueOf(id))), arnOf(UNPARSED_QUEUE)]),
      // QUEUED, and GET /pushes/<key>
      ...note("dynamodb:UpdateItem", "dynamodb:Query"),
      ...reads(edgeSecrets(config), settings),
    ],
  };
  const ofInboxes = inboxesOf(config).map(({ id }): Role => ({
    settings,
    key: inboxOf(id),
    inVpc: false,
    statements: [
      // the trigger's; ChangeMessageVisibility hides what could not be stored
      allow(["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ChangeMessageVisibility"], arnOf(deliveriesOf(id))),
      allow(
        ["sqs:SendMessage"],
        clusters.map((cluster) => arnOf(queueOf(cluster.id))),
      ),
      // GetQueueAttributes is the number of unread deliveries
      allow(["sqs:SendMessage", "sqs:GetQueueAttributes"], arnOf(UNPARSED_QUEUE)),
      ...note("dynamodb:UpdateItem"),
    ],
  }));
  const ofClusters = clusters
    .filter(({ consumed }) => consumed)
    .flatMap(({ name, id }): Role[] => {
      const secrets = reads(clusterSecrets(config, name), settings);
      const inVpc = Boolean(config.clusters[name]?.lambda.vpc);
      const consumer = [
        // the first three are the trigger's, and DeleteMessage that of bury too; SendMessage stores confirm records and deferred copies
        allow(["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:SendMessage"], arnOf(queueOf(id))),
        // bury; GetQueueUrl finds the queue by the redrive policy's ARN
        allow(["sqs:SendMessage", "sqs:GetQueueUrl"], arnOf(deadLettersOf(id))),
        // what became of each record, and how often it was begun: the latter without a journal, too
        allow(["dynamodb:UpdateItem"], arnOf(JOURNAL)),
        ...secrets,
      ];
      // what is behind; WEBHOOK_SILENT
      const sweep = [allow(["sqs:SendMessage"], arnOf(queueOf(id))), ...note("dynamodb:UpdateItem"), ...secrets];
      return [
        { settings, key: consumerOf(id), inVpc, statements: consumer },
        { settings, key: sweepOf(id), inVpc, statements: sweep },
      ];
    });
  return Object.fromEntries([edge, ...ofInboxes, ...ofClusters].map((each) => [roleOf(each.key), role(each)]));
}

const trust = {
  Version: "2012-10-17",
  Statement: [{ Effect: "Allow", Principal: { Service: "lambda.amazonaws.com" }, Action: "sts:AssumeRole" }],
};

function role({ settings, key, statements, inVpc }: Role) {
  const logs = allow(["logs:CreateLogStream", "logs:PutLogEvents"], arnOf(logsOf(key)));
  const own = {
    PolicyName: key,
    PolicyDocument: { Version: "2012-10-17", Statement: [...statements, logs, ...(inVpc ? [keptFrom(settings, key)] : [])] },
  };
  return {
    Type: "AWS::IAM::Role",
    Properties: { AssumeRolePolicyDocument: trust, Policies: [own], ...(inVpc && { ManagedPolicyArns: [NETWORK] }) },
  };
}

/** Lambda itself makes the function's network interfaces, by the function's role: https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html */
const NETWORK = { "Fn::Sub": "arn:${AWS::Partition}:iam::aws:policy/service-role/AWSLambdaENIManagementAccess" };

/** These rights are for Lambda, and its policy has them on every interface: what runs in the function gets none of them. */
function keptFrom({ service, stage }: Settings, key: string): Statement {
  const interfaces = [
    "CreateNetworkInterface",
    "DeleteNetworkInterface",
    "DescribeNetworkInterfaces",
    "AssignPrivateIpAddresses",
    "UnassignPrivateIpAddresses",
  ];
  const self = inThisAccount("lambda", `function:${service}-${stage}-${key}`);
  return {
    Effect: "Deny",
    Action: interfaces.map((action) => `ec2:${action}`),
    Resource: "*",
    Condition: { ArnEquals: { "lambda:SourceFunctionArn": self } },
  };
}
