import { type FilledQueue, type Hook, lines, MANIFEST, type Place, type RegistrySetup } from "./setup.ts";

export const ecr: RegistrySetup = {
  checked: "from AWS's documentation; not deployed to a running account",
  hosts: /\.dkr\.ecr\./,
  paste: (hook) => [{ kind: "sh", where: "a shell, with AWS's `aws`, in the registry's account and region", text: stack(hook) }],
  pasteQueue: (queue) => [
    { kind: "sh", where: "a shell, with AWS's `aws`, in the registry's account and region", text: queueStack(queue) },
  ],
  sample: ({ host, repository, tag, digest, time, id }) => {
    const [, account = "123456789012", region = "eu-central-1"] = /^(\d{12})\.dkr\.ecr\.([a-z0-9-]+)\./.exec(host) ?? [];
    const detail = {
      "action-type": "PUSH",
      result: "SUCCESS",
      "repository-name": repository,
      "image-tag": tag,
      "image-digest": digest,
      "manifest-media-type": MANIFEST,
    };
    return {
      body: {
        version: "0",
        id,
        "detail-type": "ECR Image Action",
        source: "aws.ecr",
        account,
        region,
        time: time.toISOString().replace(/\.\d+Z$/, "Z"),
        resources: [],
        detail,
      },
    };
  },
};

/** The template of infra/registries/ecr.md, narrowed to the sources. https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-api-destinations.html */
function stack(hook: Hook): string {
  const connection =
    hook.auth === "basic"
      ? `AuthorizationType: BASIC, AuthParameters: { BasicAuthParameters: { Username: ${JSON.stringify(hook.username ?? "mpo-relay")}, Password: !Ref RelaySecret } }`
      : 'AuthorizationType: API_KEY, AuthParameters: { ApiKeyAuthParameters: { ApiKeyName: Authorization, ApiKeyValue: !Sub "Bearer ${RelaySecret}" } }';
  return lines(
    "cat > mpo-relay-ecr.yaml <<'YAML'",
    "Parameters:",
    "  RelaySecret: { Type: String, NoEcho: true }",
    "Resources:",
    "  Connection:",
    "    Type: AWS::Events::Connection",
    `    Properties: { ${connection} }`,
    "  Destination:",
    "    Type: AWS::Events::ApiDestination",
    `    Properties: { ConnectionArn: !GetAtt Connection.Arn, HttpMethod: POST, InvocationEndpoint: ${hook.url} }`,
    "  Undelivered: { Type: AWS::SQS::Queue, Properties: { MessageRetentionPeriod: 1209600 } }",
    "  Role:",
    "    Type: AWS::IAM::Role",
    "    Properties:",
    "      AssumeRolePolicyDocument:",
    "        Statement: [{ Effect: Allow, Action: sts:AssumeRole, Principal: { Service: events.amazonaws.com } }]",
    "      Policies:",
    "        - PolicyName: call-the-relay",
    "          PolicyDocument:",
    "            Statement: [{ Effect: Allow, Action: events:InvokeApiDestination, Resource: !GetAtt Destination.Arn }]",
    ...rule(hook.places),
    "        - { Id: mpo-relay, Arn: !GetAtt Destination.Arn, RoleArn: !GetAtt Role.Arn, DeadLetterConfig: { Arn: !GetAtt Undelivered.Arn } }",
    ...policy("Undelivered"),
    "YAML",
    "aws cloudformation deploy --stack-name mpo-relay-ecr --template-file mpo-relay-ecr.yaml \\",
    '  --capabilities CAPABILITY_IAM --parameter-overrides "RelaySecret=$SECRET"',
  );
}

/**
 * The rule writes into the queue itself; the relay takes the events from there, with the policy RelayAccess.
 * https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html#eb-sqs-permissions
 */
function queueStack({ url, places }: FilledQueue): string {
  return lines(
    "cat > mpo-relay-ecr.yaml <<'YAML'",
    "Resources:",
    "  Queue:",
    "    Type: AWS::SQS::Queue",
    "    Properties:",
    `      QueueName: ${url.split("/").at(-1)}`,
    "      MessageRetentionPeriod: 1209600",
    "      RedrivePolicy: { deadLetterTargetArn: !GetAtt Undelivered.Arn, maxReceiveCount: 1000 }     # the relay counts for itself; an outage costs receives, too",
    "  Undelivered: { Type: AWS::SQS::Queue, Properties: { MessageRetentionPeriod: 1209600 } }",
    ...rule(places),
    "        - { Id: mpo-relay, Arn: !GetAtt Queue.Arn, DeadLetterConfig: { Arn: !GetAtt Undelivered.Arn } }",
    ...policy("Queue"),
    ...policy("Undelivered"),
    "  RelayAccess:                  # attach it to the role or user that the relay runs as",
    "    Type: AWS::IAM::ManagedPolicy",
    "    Properties:",
    "      PolicyDocument:",
    "        Statement:",
    "          - Effect: Allow",
    "            Action: [sqs:ReceiveMessage, sqs:DeleteMessage, sqs:ChangeMessageVisibility]",
    "            Resource: !GetAtt Queue.Arn",
    "Outputs:",
    "  Queue: { Value: !Ref Queue }                # what stands in the configuration as queue:",
    "  RelayAccess: { Value: !Ref RelayAccess }",
    "YAML",
    "aws cloudformation deploy --stack-name mpo-relay-ecr --template-file mpo-relay-ecr.yaml --capabilities CAPABILITY_IAM",
  );
}

/** Without its targets. */
function rule(places: readonly Place[]): string[] {
  const prefixes = places.map(({ path }) => `{ prefix: ${path === "" ? '""' : `${path}/`} }`);
  return [
    "  Rule:",
    "    Type: AWS::Events::Rule",
    "    Properties:",
    "      EventPattern:",
    "        source: [aws.ecr]",
    "        detail-type: [ECR Image Action]",
    `        detail: { action-type: [PUSH], result: [SUCCESS], repository-name: [${prefixes.join(", ")}] }`,
    "      Targets:",
  ];
}

/** That rule and nobody else may send to the queue. */
function policy(queue: "Queue" | "Undelivered"): string[] {
  return [
    `  ${queue}Policy:`,
    "    Type: AWS::SQS::QueuePolicy",
    "    Properties:",
    `      Queues: [!Ref ${queue}]`,
    "      PolicyDocument:",
    "        Statement:",
    "          - Effect: Allow",
    "            Action: sqs:SendMessage",
    "            Principal: { Service: events.amazonaws.com }",
    `            Resource: !GetAtt ${queue}.Arn`,
    '            Condition: { ArnEquals: { "aws:SourceArn": !GetAtt Rule.Arn } }',
  ];
}
