/** The generator of the stack alone: what another cluster changes, and which configurations it refuses. */
import { describe, expect, test } from "vitest";
import { loadConfig, type RelayConfig } from "../src/config.ts";
import { problemText } from "../src/config/problem.ts";
import { deployedOf, problemsOf, stackOf } from "../infra/template/index.ts";
import { refusalsOf } from "../infra/template/refusals.ts";
import { readSettings, type Settings } from "../infra/template/settings.ts";
import { LARGE } from "./support/stack.ts";

const settings: Settings = { service: "mpo-relay", stage: "dev", http: "url", kmsKeyArn: "", alarmTopic: "" };
type Raw = Omit<typeof LARGE, "clusters" | "webhooks" | "sources" | "journal" | "tuning"> & Record<string, unknown>;

async function load(raw: unknown): Promise<RelayConfig> {
  const loaded = await loadConfig({ env: { MPO_RELAY_CONFIG: JSON.stringify(raw) } });
  return loaded.ok ? loaded.config : expect.unreachable(loaded.problems.map(problemText).join("; "));
}
const made = async (raw: unknown) => {
  const { functions, resources } = stackOf(await load(raw), settings);
  return { ...functions, ...resources.Resources };
};
const refused = async (part: Partial<Raw>, given = settings) => refusalsOf(await load({ ...LARGE, ...part }), given).map(problemText);

describe("a cluster", () => {
  /** They read the logs, or show the figures, of all clusters. */
  const OF_ALL = ["Dashboard", "QueryAlarms", "QueryDigest", "QueryKey"];
  const FOURTH = { queue: "env:FOURTH_QUEUE", kubernetes: { server: "https://four.example.com", token: "ssm:/relay/four" } };

  test("gets its things by its name in relay.yaml, and nothing of the others changes", async () => {
    const before = await made(LARGE);
    const after = await made({ ...LARGE, clusters: { ...LARGE.clusters, fourth: FOURTH } });
    const added = Object.keys(after).filter((name) => !(name in before));
    const alarmed = added.filter((name) => name.startsWith("AlarmFourth"));
    expect(alarmed).toHaveLength(11); // test/alarms.test.ts says which
    expect(added.filter((name) => !alarmed.includes(name)).toSorted()).toEqual([
      "ConsumerFourthRole",
      "DeadLettersFourth",
      "PolicyOfDeadLettersFourth",
      "PolicyOfQueueFourth",
      "QueueFourth",
      "SweepFourthRole",
      "consumerFourth",
      "sweepFourth",
    ]);
    const changed = Object.entries(before).filter(([name, each]) => JSON.stringify(each) !== JSON.stringify(after[name]));
    expect(changed.map(([name]) => name).toSorted()).toEqual([...OF_ALL, "EdgeRole", "InboxEcrRole", "edge", "inboxEcr"].toSorted());
  });

  test("that goes takes its own things along and no other's", async () => {
    const { "stage-1": _gone, ...rest } = LARGE.clusters;
    const sources = LARGE.sources.map((source) => ({ ...source, clusters: ["dev", "inside"] }));
    const before = await made({ ...LARGE, sources });
    const after = await made({ ...LARGE, sources, clusters: rest });
    expect(Object.keys(before).filter((name) => !(name in after) && !/Stage1/.test(name))).toEqual([]);
    const changed = Object.entries(after).filter(([name, each]) => JSON.stringify(each) !== JSON.stringify(before[name]));
    expect(changed.map(([name]) => name).toSorted()).toEqual([...OF_ALL, "EdgeRole", "InboxEcrRole", "edge", "inboxEcr"].toSorted());
  });

  test("is consumed here or by a worker, which whoever builds on the stack can tell", async () => {
    expect(deployedOf(await load(LARGE), settings)).toEqual({
      service: "mpo-relay",
      stage: "dev",
      sweepMinutes: 1,
      clusters: [
        { name: "dev", id: "Dev", consumed: true },
        { name: "stage-1", id: "Stage1", consumed: true },
        { name: "inside", id: "Inside", consumed: false },
      ],
      inboxes: [{ webhook: "ecr", id: "Ecr" }],
    });
  });
});

describe("the alarms of a stage", () => {
  const TOPIC = "arn:aws:sns:eu-central-1:123456789012:on-call";
  const told = async (alarmTopic: string) => {
    const { Resources } = stackOf(await load(LARGE), { ...settings, alarmTopic }).resources;
    const alarms = Object.values(Resources).filter(({ Type }) => Type === "AWS::CloudWatch::Alarm");
    expect(alarms.length).toBeGreaterThan(20);
    return alarms.map(({ Properties: { AlarmActions, OKActions } }) => ({ AlarmActions, OKActions }));
  };

  test("tell the topic that the deploy names, of their end too", async () => {
    for (const each of await told(TOPIC)) expect(each).toEqual({ AlarmActions: [TOPIC], OKActions: [TOPIC] });
  });
  test("tell nobody without one", async () => {
    for (const each of await told("")) expect(each).toEqual({});
  });
});

describe("what is off", () => {
  test("the journal: nobody may write to the table but consumers, who count their runs in it", async () => {
    const { Journal: _stays, ...others } = await made({ ...LARGE, journal: "off" });
    const about = Object.entries(others).filter(([, each]) => /dynamodb|Journal/.test(JSON.stringify(each)));
    expect(about.map(([name]) => name)).toEqual(["consumerDev", "consumerStage1", "ConsumerDevRole", "ConsumerStage1Role"]);
  });

  test("the sweep: its clock stands still", async () => {
    const { sweepDev, ...others } = await made({ ...LARGE, tuning: { sweep: "off" } });
    expect(sweepDev).toMatchObject({ events: [{ schedule: { enabled: false } }] });
    expect(
      Object.keys(others).filter((name) => name.endsWith("SweepStopped")),
      "and nobody misses it",
    ).toEqual([]);
  });
});

describe("refused is", () => {
  test("nothing of a good configuration", async () => {
    expect(await refused({})).toEqual([]);
  });

  const cluster = (part: Record<string, unknown>) => ({ clusters: { ...LARGE.clusters, dev: { ...LARGE.clusters.dev, ...part } } });
  const hook = (ecr: Record<string, unknown>) => ({ webhooks: { ...LARGE.webhooks, ecr } });
  const kubernetes = (way: Record<string, unknown>) => cluster({ kubernetes: way });
  const SQS = "https://sqs.eu-central-1.amazonaws.com/123456789012/mine";
  test.each<[string, Partial<Raw>, string]>([
    [
      "a queue on a disk",
      cluster({ queue: "embedded:" }),
      "clusters.dev.queue: embedded needs a disk that lasts, and a function has none (write env:DEV_QUEUE, the variable that gets its address)",
    ],
    [
      "a queue of a hub",
      cluster({ queue: "hub:https://hub.example.com", hubToken: "ssm:/t" }),
      "clusters.dev.queue: a hub lends to workers, and the functions use SQS (write env:DEV_QUEUE, the variable that gets its address)",
    ],
    [
      "a queue by its URL",
      cluster({ queue: SQS }),
      "clusters.dev.queue: the stack makes this queue, and its functions may reach no other (write env:DEV_QUEUE, the variable that gets its address)",
    ],
    [
      "a queue elsewhere",
      cluster({ region: "eu-west-1" }),
      "clusters.dev.queue: it lies where the stack is (leave region and endpoint out)",
    ],
    [
      "a queue for dead letters",
      cluster({ deadLetters: "env:LETTERS" }),
      "clusters.dev.deadLetters: the stack makes this queue too (leave it out)",
    ],
    [
      "a place of its own for the unread",
      { unparsed: SQS },
      "unparsed: the stack makes this queue, and its functions may reach no other (write env:MPO_RELAY_UNPARSED, the variable that gets its address)",
    ],
    [
      "a table of its own",
      { journal: "dynamodb:mine" },
      "journal: the stack makes the table, and its functions may reach no other (write env:MPO_RELAY_JOURNAL, or off)",
    ],
    [
      "one variable for two things",
      { journal: "env:DEV_QUEUE" },
      "journal: clusters.dev.queue has this variable (write another name: each gets an address of its own)",
    ],
    [
      "a variable that Lambda sets",
      cluster({ queue: "env:AWS_REGION" }),
      "clusters.dev.queue: the function has this variable already, or may not (write another name, for example one that ends in _QUEUE)",
    ],
    [
      "the relay's own variable",
      { journal: "env:MPO_RELAY_CLUSTER" },
      "journal: the function has this variable already, or may not (write another name, for example one that ends in _QUEUE)",
    ],
    [
      "a service account inside",
      kubernetes({ inCluster: true }),
      "clusters.dev.kubernetes.inCluster: a function is in no cluster (write server, ca and token; or leave kubernetes out, and a worker inside consumes (infra/in-cluster.md))",
    ],
    [
      "a kubeconfig on a disk",
      kubernetes({ kubeconfig: "./kubeconfig" }),
      "clusters.dev.kubernetes.kubeconfig: a function has no such file (put it into a parameter, and write ssm:/mpo-relay/clusters/dev/kubeconfig, or a name of yours)",
    ],
    [
      "the user's kubeconfig",
      kubernetes({ context: "dev" }),
      "clusters.dev.kubernetes.kubeconfig: a function has no such file (put it into a parameter, and write ssm:/mpo-relay/clusters/dev/kubeconfig, or a name of yours)",
    ],
    [
      "a VPC that nothing would run in",
      { clusters: { ...LARGE.clusters, inside: { ...LARGE.clusters.inside, lambda: LARGE.clusters["stage-1"].lambda } } },
      "clusters.inside.lambda.vpc: a cluster without kubernetes has no functions (take it out)",
    ],
    [
      "a sweep by the second",
      { tuning: { sweep: "90s" } },
      "tuning.sweep: AWS's schedules know whole minutes only (write 5m, for example, or off)",
    ],
    [
      "a webhook's queue by its URL",
      hook({ provider: "ecr", queue: SQS }),
      "webhooks.ecr.queue: the stack makes this queue, and its functions may reach no other (write env:ECR_QUEUE, the variable that gets its address)",
    ],
    [
      "a queue that nobody would fill",
      hook({ provider: "alibaba", queue: "env:ECR_QUEUE" }),
      "webhooks.ecr.queue: the stack fills queues with ECR's pushes alone (take it out here, and run mpo-relay serve for this webhook)",
    ],
    [
      "a webhook's variable for two things",
      { journal: "env:ECR_QUEUE" },
      "journal: webhooks.ecr.queue has this variable (write another name: each gets an address of its own)",
    ],
    [
      "a second webhook with a queue, of nearly the same name",
      { webhooks: { ...LARGE.webhooks, Ecr: { provider: "ecr", queue: "env:OTHER" } } },
      "webhooks.Ecr: its parts would be called like those of ecr (give it a name that differs by more than case and punctuation)",
    ],
    [
      "no webhook",
      { webhooks: {} },
      "webhooks: there is none, so nobody could push (write webhooks: { NAME: { provider: …, secret: ssm:… } })",
    ],
    [
      "a second cluster of nearly the same name",
      { clusters: { ...LARGE.clusters, "stage.1": { queue: "env:OTHER" } } },
      'clusters."stage.1": its parts would be called like those of stage-1 (give it a name that differs by more than case and punctuation)',
    ],
  ])("%s", async (_what, part, problem) => {
    expect(await refused(part)).toEqual([problem]);
  });

  test("a name that is too long for a function", async () => {
    const name = "c".repeat(50);
    const [problem] = await refused({ clusters: { ...LARGE.clusters, [name]: { queue: "env:LONG" } } });
    expect(problem).toContain("its functions' names would have 72 characters, and 64 are allowed");
  });

  test("every secret that a function could not read, each place once, all at once", async () => {
    const text = JSON.stringify(LARGE).replaceAll("ssm:/aws/reference/secretsmanager/relay/team", "env:TEAM").replaceAll("ssm:/", "file:");
    const problems = refusalsOf(await load(JSON.parse(text)), settings).map(problemText);
    expect(problems.map((each) => each.replace(/:.*/, "")).toSorted()).toEqual([
      "clusters.dev.kubernetes.ca",
      "clusters.dev.kubernetes.token",
      "clusters.stage-1.kubernetes.kubeconfig",
      "sources[0].registry.ca",
      "sources[0].registry.password",
      "sources[1].registry.dockerConfig",
      "webhooks.registry.previousSecret",
      "webhooks.registry.secret",
      "webhooks.team.secret",
    ]);
    expect(problems).toContain(
      "webhooks.team.secret: a function shows its variables to whoever may look at it (put it into a parameter, and write ssm:/mpo-relay/webhooks/team/secret, or a name of yours)",
    );
  });

  test("no secret that no function reads: a worker's", async () => {
    const sources = [{ repo: "registry.example.com/modules", clusters: ["inside"], registry: { username: "u", password: "env:PASSWORD" } }];
    expect(await refused({ sources })).toEqual([]);
  });

  test.each(["Prod", "prod_1", "-a", "a-", "a--b", "1a", "a".repeat(21), ""])("the stage %j", (stage) => {
    expect(readSettings({ ...settings, stage })).toMatchObject([{ path: "--stage" }]);
  });
  test.each(["dev", "prod-eu-1", "a", "a".repeat(20)])("not the stage %j", (stage) => {
    expect(readSettings({ ...settings, stage })).toEqual({ ...settings, stage });
  });
  test("a parameter that means nothing, with the others", () => {
    const problems = readSettings({ service: "s", stage: "X", http: "alb", kmsKeyArn: "alias/mine", alarmTopic: "me@example.com" });
    expect(Array.isArray(problems) && problems.map(({ path }) => path)).toEqual([
      "--stage",
      "--param http",
      "--param kmsKeyArn",
      "--param alarmTopic",
    ]);
  });
});

describe("a stack that AWS would refuse half way", () => {
  const NAMED = { ...settings, stage: "prod" };
  const many = (count: number, part: Record<string, unknown> = {}) => {
    const clusters = Array.from(
      { length: count },
      (_, at) => [`stage-${at + 10}`, { queue: `env:STAGE_${at + 10}_QUEUE`, ...part }] as const,
    );
    const sources = [{ repo: "registry.example.com/modules" }];
    const { webhooks, unparsed, journal } = LARGE;
    return { webhooks: { registry: webhooks.registry }, sources, clusters: Object.fromEntries(clusters), unparsed, journal };
  };
  const problems = async (raw: unknown, given = NAMED) => problemsOf(await load(raw), given).map(problemText);
  const consumed = { kubernetes: { server: "https://api.example.com", token: "ssm:/relay/token" } };

  test("for its resources is refused before, from the twentieth cluster on that functions consume for", async () => {
    expect(await problems(many(19, consumed))).toEqual([]);
    expect(await problems(many(20, consumed))).toEqual([
      "clusters: they make 503 resources of the stack, and CloudFormation takes 500 (give some to a second stack: a relay.yaml of its own (MPO_RELAY_CONFIG) and another --stage; registries then send to both edges)",
    ]);
  });

  test("for its resources is refused before, from the sixtieth cluster on that workers consume for", async () => {
    expect(await problems(many(59))).toEqual([]);
    expect(await problems(many(60))).toMatchObject([expect.stringMatching(/^clusters: they make 503 resources/)]);
  });

  test("for the edge's variables is refused before, where names are long", async () => {
    const long = JSON.parse(JSON.stringify(many(50)).replaceAll(/STAGE_(\d+)_QUEUE/g, "ADDRESS_OF_THE_QUEUE_OF_CLUSTER_STAGE_$1"));
    expect(await problems(long)).toMatchObject([
      expect.stringMatching(
        /^clusters: their queues' names make 4\d{3} bytes of variables of the function edge, and Lambda takes 4096 \(name the variables shorter; or/,
      ),
    ]);
  });
});
