import { type Hook, lines, MANIFEST, type RegistrySetup } from "./setup.ts";

export const ecr: RegistrySetup = {
  checked: "from AWS's documentation; not deployed to a running account",
  hosts: /\.dkr\.ecr\./,
  paste: (hook) => [{ kind: "sh", where: "a shell, with AWS's `aws`, in the registry's account and region", text: stack(hook) }],
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
  const prefixes = hook.places.map(({ path }) => `{ prefix: ${path === "" ? '""' : `${path}/`} }`);
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
    "  Rule:",
    "    Type: AWS::Events::Rule",
    "    Properties:",
    "      EventPattern:",
    "        source: [aws.ecr]",
    "        detail-type: [ECR Image Action]",
    `        detail: { action-type: [PUSH], result: [SUCCESS], repository-name: [${prefixes.join(", ")}] }`,
    "      Targets:",
    "        - { Id: mpo-relay, Arn: !GetAtt Destination.Arn, RoleArn: !GetAtt Role.Arn, DeadLetterConfig: { Arn: !GetAtt Undelivered.Arn } }",
    "  UndeliveredPolicy:",
    "    Type: AWS::SQS::QueuePolicy",
    "    Properties:",
    "      Queues: [!Ref Undelivered]",
    "      PolicyDocument:",
    "        Statement:",
    "          - Effect: Allow",
    "            Action: sqs:SendMessage",
    "            Principal: { Service: events.amazonaws.com }",
    "            Resource: !GetAtt Undelivered.Arn",
    '            Condition: { ArnEquals: { "aws:SourceArn": !GetAtt Rule.Arn } }',
    "YAML",
    "aws cloudformation deploy --stack-name mpo-relay-ecr --template-file mpo-relay-ecr.yaml \\",
    '  --capabilities CAPABILITY_IAM --parameter-overrides "RelaySecret=$SECRET"',
  );
}
