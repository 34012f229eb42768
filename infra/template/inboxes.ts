/**
 * A registry's events from a queue, for webhooks that have `queue:`. EventBridge's rule writes ECR's pushes into it, and nobody else may.
 * https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html#eb-sqs-permissions
 */
import { hookOf } from "../../src/cli/hook.ts";
import type { RelayConfig } from "../../src/config.ts";
import { deliveriesOf, idOf, type Resources, ruleOf, undeliveredOf } from "./names.ts";
import { encrypted, MAX_RECEIVE_COUNT, NOBODYS_LETTERS, queue } from "./queues.ts";

/** Of the function, which stores ten deliveries at once, each within its second. */
export const INBOX_TIMEOUT_SECONDS = 20;

export interface Inbox {
  readonly webhook: string;
  readonly id: string;
}
export const inboxesOf = ({ webhooks }: RelayConfig): Inbox[] =>
  Object.entries(webhooks).flatMap(([webhook, { queue: form }]) => (form ? [{ webhook, id: idOf(webhook) }] : []));

export function inboxes(config: RelayConfig): Resources {
  return Object.assign({}, ...inboxesOf(config).map((inbox) => ofWebhook(config, inbox)));
}

function ofWebhook(config: RelayConfig, { webhook, id }: Inbox): Resources {
  const arnOf = (name: string) => ({ "Fn::GetAtt": [name, "Arn"] });
  const redrive = { deadLetterTargetArn: arnOf(undeliveredOf(id)), maxReceiveCount: MAX_RECEIVE_COUNT };
  const fromRule = (name: string) => ({
    Effect: "Allow",
    Principal: { Service: "events.amazonaws.com" },
    Action: "sqs:SendMessage",
    Resource: arnOf(name),
    Condition: { ArnEquals: { "aws:SourceArn": arnOf(ruleOf(id)) } },
  });
  const repositories = hookOf(webhook, config).places.map(({ path }) => ({ prefix: path === "" ? "" : `${path}/` }));
  return {
    [deliveriesOf(id)]: queue({ VisibilityTimeout: 6 * INBOX_TIMEOUT_SECONDS, RedrivePolicy: redrive, ...NOBODYS_LETTERS }),
    // Also what EventBridge could not put into the other.
    [undeliveredOf(id)]: queue({}),
    ...encrypted(deliveriesOf(id), [fromRule(deliveriesOf(id))]),
    ...encrypted(undeliveredOf(id), [fromRule(undeliveredOf(id))]),
    [ruleOf(id)]: {
      Type: "AWS::Events::Rule",
      Properties: {
        Description: `Pushes for the webhook ${webhook}`,
        EventPattern: {
          source: ["aws.ecr"],
          "detail-type": ["ECR Image Action"],
          detail: { "action-type": ["PUSH"], result: ["SUCCESS"], "repository-name": repositories },
        },
        State: "ENABLED",
        Targets: [{ Id: "deliveries", Arn: arnOf(deliveriesOf(id)), DeadLetterConfig: { Arn: arnOf(undeliveredOf(id)) } }],
      },
    },
  };
}
