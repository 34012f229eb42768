/** A deployment with everything that a stack can have: three clusters, one of them consumed by a worker inside, one in a VPC; and a webhook with a queue. */

export const LARGE_SETTINGS = {
  http: "api",
  kmsKeyArn: "arn:aws:kms:eu-central-1:123456789012:key/0a1b2c3d",
  alarmTopic: "arn:aws:sns:eu-central-1:123456789012:on-call",
} as const;

export const LARGE = {
  webhooks: {
    registry: { provider: "distribution", secret: "ssm:/relay/registry", previousSecret: "ssm:/relay/registry-old" },
    ecr: { provider: "ecr", queue: "env:ECR_QUEUE" },
    team: { provider: "harbor", secret: "ssm:/aws/reference/secretsmanager/relay/team" },
  },
  sources: [
    {
      repo: "registry.example.com/modules",
      registry: { username: "robot", password: "ssm:/relay/robot", ca: "ssm:/relay/registry-ca" },
    },
    { repo: "other.example.com/modules", clusters: ["stage-1", "inside"], registry: { dockerConfig: "ssm:/relay/docker" } },
    { repo: "123456789012.dkr.ecr.eu-central-1.amazonaws.com/deckhouse/modules", clusters: ["dev"] },
  ],
  clusters: {
    dev: {
      queue: "env:DEV_QUEUE",
      kubernetes: { server: "https://dev.example.com:6443", ca: "ssm:/relay/dev/ca", token: "ssm:/relay/dev/token" },
    },
    "stage-1": {
      queue: "env:STAGE_QUEUE",
      kubernetes: { kubeconfig: "ssm:/relay/stage/kubeconfig" },
      lambda: {
        maximumConcurrency: 5,
        vpc: { securityGroupIds: ["sg-0a1b2c3d"], subnetIds: ["subnet-0a1b2c3d", "subnet-1a2b3c4d5e6f70819"] },
      },
    },
    inside: { queue: "env:INSIDE_QUEUE" },
  },
  unparsed: "env:MPO_RELAY_UNPARSED",
  journal: "env:MPO_RELAY_JOURNAL",
  tuning: { sweep: "1m" },
};

/** What a function in a VPC has beside: Lambda's right to its network interfaces, taken from the function's own code. */
export function DENIED_TO_ITSELF(key: string): string[] {
  const self = { "Fn::Sub": `arn:\${AWS::Partition}:lambda:\${AWS::Region}:\${AWS::AccountId}:function:mpo-relay-dev-${key}` };
  const condition = JSON.stringify({ ArnEquals: { "lambda:SourceFunctionArn": self } });
  const actions = [
    "CreateNetworkInterface",
    "DeleteNetworkInterface",
    "DescribeNetworkInterfaces",
    "AssignPrivateIpAddresses",
    "UnassignPrivateIpAddresses",
  ];
  return [
    ...actions.map((action) => `denied: ec2:${action} if ${condition}`),
    "policy: iam::aws:policy/service-role/AWSLambdaENIManagementAccess",
  ];
}
