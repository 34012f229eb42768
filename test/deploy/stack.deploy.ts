/**
 * One stack's life on the stand-in, by the scripts that an operator runs: refused, deployed, used, deployed again, another cluster, one less,
 * removed. The tests go on from each other, in their order.
 */
import { DescribeStacksCommand } from "@aws-sdk/client-cloudformation";
import { DescribeLogGroupsCommand } from "@aws-sdk/client-cloudwatch-logs";
import { PurgeQueueCommand, SendMessageCommand } from "@aws-sdk/client-sqs";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import * as z from "zod";
import type { Account } from "./account.ts";
import { testWhatWasMade } from "./made.ts";
import { caOf, relayYaml, SECRET, tokenOf } from "./relay.ts";
import { testWhatIsDeployed } from "./used.ts";
import { nameOf, STACK, startWorld, TOKEN, WEBHOOK_SECRET, type World } from "./world.ts";

const NOW = ["--settle", "0"]; // nobody else sends here

let started: World;
const world = () => started;
beforeAll(async () => {
  started = await startWorld();
});
afterAll(() => started?.stop());

describe("before anything is created, deploy is refused", () => {
  afterEach(async () => expect(await world().everything()).toEqual([]));

  test("without credentials, with a wrong stage and a wrong relay.yaml: every reason at once", async () => {
    const wrong = relayYaml({ clusters: ["dev"], api: world().api.url });
    await world().project.configure({
      ...wrong,
      unparsed: "embedded:./data",
      webhooks: { registry: { provider: "distribution", secret: "env:SECRET" } },
    });
    const { AWS_ACCESS_KEY_ID: _key, AWS_SECRET_ACCESS_KEY: _secret, ...nobody } = world().standIn.env;
    const { code, stderr } = await world().project.npm("deploy", ["--stage", "Dev_1"], nobody);
    await world().project.configure(wrong);
    expect(code).toBe(2);
    expect(stderr).toContain("refused; nothing was changed:");
    expect(stderr).toContain("--stage: a stage has small letters");
    expect(stderr).toContain("credentials: AWS takes none (CredentialsProviderError)");
    expect(stderr).toContain("unparsed: embedded needs a disk that lasts");
    expect(stderr).toContain("webhooks.registry.secret: a function shows its variables");
  });

  test("with secrets that are not there: each with its place and its name", async () => {
    await world().put(tokenOf("dev"), TOKEN);
    const { code, stderr } = await world().script("deploy");
    expect(code).toBe(2);
    expect(stderr).toContain(`webhooks.registry.secret: there is no parameter ${SECRET}`);
    expect(stderr).toContain(`clusters.dev.kubernetes.ca: there is no parameter ${caOf("dev")}`);
    expect(stderr).not.toContain(`parameter ${tokenOf("dev")}`);
  });

  test("with a relay.yaml that cannot be read", async () => {
    await world().project.configure({ clusters: { dev: { queue: "nonsense" } } });
    const { code, stderr } = await world().script("deploy");
    await world().project.configure(relayYaml({ clusters: ["dev"], api: world().api.url }));
    expect(code).toBe(2);
    expect(stderr).toContain("clusters.dev.queue:");
  });
});

describe("deploy", () => {
  test("plan tells that everything is new, and makes nothing", async () => {
    await world().put(SECRET, WEBHOOK_SECRET);
    await world().put(caOf("dev"), world().api.ca);
    const { code, stdout, stderr } = await world().script("deploy:plan", ["--json"]);
    expect({ code, stderr }).toMatchObject({ code: 0 });
    const plan = planSchema.parse(JSON.parse(stdout));
    expect(plan).toMatchObject({ stack: STACK, exists: false });
    expect(new Set(plan.changes.map(({ what }) => what))).toEqual(new Set(["create"]));
    expect(plan.changes.map(({ id }) => id)).toContain("ConsumerDevLambdaFunction");
    expect(await world().everything()).toEqual([]);
  });

  test("makes the stack, and nothing is left out but what this stand-in cannot make", async () => {
    const { code, stderr, stdout } = await world().script("deploy", NOW);
    expect({ code, stderr }).toMatchObject({ code: 0 });
    expect(stdout).toContain(".lambda-url.eu-central-1.on.aws");
    const { Stacks = [] } = await world().clients.stacks.send(new DescribeStacksCommand({ StackName: STACK }));
    expect(Stacks).toMatchObject([{ StackStatus: "UPDATE_COMPLETE" }]);
    expect(await world().standIn.skipped()).toEqual(SKIPPED);
    await world().look();
  });

  testWhatWasMade(world);
});

/** Of types that are only linted. */
const SKIPPED = ["AWS::Logs::QueryDefinition", "AWS::S3::BucketPolicy"];

const planSchema = z.object({
  stack: z.string(),
  exists: z.boolean(),
  changes: z.array(z.object({ id: z.string(), type: z.string(), what: z.string(), properties: z.array(z.string()) })),
});

describe("what is deployed", () => testWhatIsDeployed(world));

describe("the next deploy", () => {
  test("of the same changes nothing, and plan says so before", async () => {
    const plan = await world().script("deploy:plan");
    expect(plan).toMatchObject({ code: 0, stdout: expect.stringContaining("nothing would change") });
    const before = world().account;
    expect(await world().script("deploy", NOW)).toMatchObject({ code: 0 });
    await world().look();
    expect(world().account).toEqual(before);
  });

  test("of another cluster makes its things, tells the edge, and touches nothing else", async () => {
    await world().put(caOf("stage-1"), world().api.ca);
    await world().put(tokenOf("stage-1"), TOKEN);
    await world().project.configure(relayYaml({ clusters: ["dev", "stage-1"], api: world().api.url }));
    const planned = await world().script("deploy:plan", ["--json"]);
    const { changes } = planSchema.parse(JSON.parse(planned.stdout));
    const of = (what: string) => changes.filter((each) => each.what === what).map(({ id }) => id);
    expect(of("create").filter((id) => !id.includes("Stage1"))).toEqual([]);
    expect(of("create")).toEqual(
      expect.arrayContaining(["QueueStage1", "DeadLettersStage1", "ConsumerStage1LambdaFunction", "SweepStage1Role"]),
    );
    const touched = of("update");
    expect(changes).toHaveLength(of("create").length + touched.length);
    const before = world().account;
    expect(await world().script("deploy", NOW)).toMatchObject({ code: 0 });
    await world().look();
    const changed = Object.keys(world().account).filter((id) => JSON.stringify(world().account[id]) !== JSON.stringify(before[id]));
    const others = changed.filter((id) => !id.includes("Stage1"));
    // every zip holds the configuration, in which there is a cluster more
    expect(others.toSorted()).toEqual([
      "ConsumerDevLambdaFunction",
      "Dashboard",
      "EdgeLambdaFunction",
      "EdgeRole",
      "SweepDevLambdaFunction",
    ]);
    // queries go over each function's log; the stand-in has none
    const queries = Object.keys(world().stack.template.Resources).filter(
      (id) => world().stack.template.Resources[id]?.Type === "AWS::Logs::QueryDefinition",
    );
    expect(touched.filter((id) => !queries.includes(id)).toSorted()).toEqual(others.toSorted());
    for (const id of ["ConsumerDevLambdaFunction", "SweepDevLambdaFunction"]) {
      const settings = (of: Account) => ({ ...of[id], CodeSha256: "", CodeSize: 0, LastModified: "" });
      expect(settings(world().account), id).toEqual(settings(before));
    }
    expect(JSON.stringify(world().account["EdgeRole"])).toContain(world().arnOf("QueueStage1"));
    expect(JSON.stringify(world().account["EdgeLambdaFunction"])).toContain(`"${nameOf(world().urlOf("QueueStage1"))}"`);
    expect(await world().standIn.skipped()).toEqual(SKIPPED);
  });

  test("without a cluster whose queue holds records is refused, with their number and what to do", async () => {
    await world().project.configure(relayYaml({ clusters: ["dev"], api: world().api.url }));
    const send = (id: string) => world().clients.queues.send(new SendMessageCommand({ QueueUrl: world().urlOf(id), MessageBody: "{}" }));
    await send("QueueStage1");
    await send("QueueStage1");
    await send("DeadLettersStage1");
    const before = world().account;
    const { code, stderr } = await world().script("deploy", NOW);
    expect(code).toBe(2);
    expect(stderr).toContain("clusters.stage-1: taken out, and holds 2 records in its queue and 1 dead letter");
    expect(stderr).toContain(`STAGE_1_QUEUE=${world().urlOf("QueueStage1")} npx mpo-relay worker --cluster stage-1`);
    expect(stderr).toContain("dlq export --cluster stage-1 > stage-1.jsonl");
    expect(await world().script("deploy:plan")).toMatchObject({ code: 2, stdout: "" });
    await world().look();
    expect(world().account).toEqual(before);
  });

  test("without a cluster whose queue is empty takes its things away, the queues too", async () => {
    const urls = ["QueueStage1", "DeadLettersStage1"].map((id) => world().urlOf(id));
    for (const QueueUrl of urls) await world().clients.queues.send(new PurgeQueueCommand({ QueueUrl }));
    const before = world().account;
    const { code, stderr } = await world().script("deploy", NOW);
    expect({ code, stderr }).toMatchObject({ code: 0 });
    await world().look();
    expect(Object.keys(world().account).filter((id) => id.includes("Stage1"))).toEqual([]);
    expect(world().account["QueueDev"]).toEqual(before["QueueDev"]);
    const left = await world().everything();
    expect(left).toContain(nameOf(world().urlOf("QueueDev")));
    expect(left.filter((name) => urls.map(nameOf).includes(name))).toEqual([]);
    expect(JSON.stringify(world().account["EdgeRole"])).not.toContain("Stage1");
  });
});

describe("remove", () => {
  test("does not go on without a yes where nobody can be asked, and shows what would stay", async () => {
    const { code, stderr } = await world().script("remove", NOW);
    expect(code).toBe(2);
    expect(stderr).toContain("nobody is there to ask: --yes removes without a question; nothing was changed");
    expect(stderr).toContain("DeadLettersDev: 2 records");
    expect(stderr).toContain("Journal (AWS::DynamoDB::Table): kept on purpose");
    const before = world().account;
    await world().look();
    expect(world().account).toEqual(before);
  });

  test("leaves the queues that hold records, the journal, and nothing else", async () => {
    const kept = ["QueueDev", "DeadLettersDev", "Journal"].map((id) => nameOf(world().urlOf(id)));
    const { code, stderr } = await world().script("remove", ["--yes", ...NOW]);
    expect({ code, stderr }).toMatchObject({ code: 0 });
    expect(await world().everything()).toEqual(kept.toSorted());
    const { logGroups = [] } = await world().clients.logs.send(new DescribeLogGroupsCommand());
    expect(logGroups).toEqual([]);
    expect(await world().script("remove", ["--yes", ...NOW])).toMatchObject({
      code: 0,
      stderr: expect.stringContaining("nothing to remove"),
    });
  });
});
