/** For each cluster whose worker runs inside it: what that worker needs, as a policy to attach to whatever role or user it runs as. */
import type { RelayConfig } from "../../src/config.ts";
import { deadLettersOf, type Deployed, JOURNAL, queueOf, type Resource, type Resources, workerOf } from "./names.ts";
import { allow, arnOf } from "./statements.ts";

export function workers({ journal }: RelayConfig, { service, stage, clusters }: Deployed): Resources {
  const inside = clusters.filter(({ consumed }) => !consumed);
  return Object.fromEntries(
    inside.map(({ name, id }) => [workerOf(id), policy(`${service} ${stage}: the worker of cluster ${name}`, id, journal !== null)]),
  );
}

function policy(Description: string, id: string, isNoted: boolean): Resource {
  const takes = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility", "sqs:GetQueueAttributes", "sqs:SendMessage"];
  // bury; the others are the hourly look whether some will expire
  const letters = ["sqs:SendMessage", "sqs:GetQueueUrl", "sqs:GetQueueAttributes", "sqs:ReceiveMessage", "sqs:ChangeMessageVisibility"];
  const Statement = [
    allow(takes, arnOf(queueOf(id))),
    allow(letters, arnOf(deadLettersOf(id))),
    ...(isNoted ? [allow(["dynamodb:UpdateItem"], arnOf(JOURNAL))] : []),
  ];
  return { Type: "AWS::IAM::ManagedPolicy", Properties: { Description, PolicyDocument: { Version: "2012-10-17", Statement } } };
}
