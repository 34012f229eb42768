/**
 * Each cluster's queue with its dead letters, and the deliveries that nobody could read. All keep records for 14 days, the longest that SQS
 * does, and outlive the stack: what lies in them was acknowledged to a registry.
 */
import { deadLettersOf, type Deployed, queueOf, type Resource, type Resources, UNPARSED_QUEUE } from "./names.ts";

const RETENTION_SECONDS = 14 * 24 * 3600;
/**
 * The most that SQS knows. Lambda receives what it may not hand over, so receives say little (src/crashes.ts counts runs), and days of them
 * must bury nothing: https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
 */
export const MAX_RECEIVE_COUNT = 1000;
/** Of a consumer. */
export const CONSUMER_TIMEOUT_SECONDS = 60;
/** https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html */
export const VISIBILITY_SECONDS = 6 * CONSUMER_TIMEOUT_SECONDS;

export function queues({ clusters }: Deployed): Resources {
  return {
    ...Object.assign({}, ...clusters.map(({ id }) => ofCluster(id))),
    [UNPARSED_QUEUE]: queue({ ...NOBODYS_LETTERS }),
    ...encrypted(UNPARSED_QUEUE),
  };
}

function ofCluster(id: string): Resources {
  const redrive = { deadLetterTargetArn: { "Fn::GetAtt": [deadLettersOf(id), "Arn"] }, maxReceiveCount: MAX_RECEIVE_COUNT };
  return {
    [queueOf(id)]: queue({ VisibilityTimeout: VISIBILITY_SECONDS, RedrivePolicy: redrive, ...NOBODYS_LETTERS }),
    // Whose dead letters may come here cannot be narrowed to the queue: each would have to exist before the other.
    [deadLettersOf(id)]: queue({}),
    ...encrypted(queueOf(id)),
    ...encrypted(deadLettersOf(id)),
  };
}

/** No other queue may move its dead letters here, where they would be taken for records. */
export const NOBODYS_LETTERS = { RedriveAllowPolicy: { redrivePermission: "denyAll" } };

export const queue = (properties: Resource["Properties"]): Resource => ({
  Type: "AWS::SQS::Queue",
  DeletionPolicy: "Retain",
  UpdateReplacePolicy: "Retain",
  Properties: { MessageRetentionPeriod: RETENTION_SECONDS, SqsManagedSseEnabled: true, ...properties },
});

/** TLS or nothing. https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-security-best-practices.html */
export function encrypted(name: string, allowed: readonly object[] = []): Resources {
  const Resource = { "Fn::GetAtt": [name, "Arn"] };
  const Condition = { Bool: { "aws:SecureTransport": "false" } };
  const plain = { Effect: "Deny", Principal: "*", Action: "sqs:*", Resource, Condition };
  const PolicyDocument = { Version: "2012-10-17", Statement: [plain, ...allowed] };
  // It stays with the queue that stays.
  const kept = { DeletionPolicy: "Retain", UpdateReplacePolicy: "Retain" } as const;
  return { [`PolicyOf${name}`]: { Type: "AWS::SQS::QueuePolicy", ...kept, Properties: { Queues: [{ Ref: name }], PolicyDocument } } };
}
