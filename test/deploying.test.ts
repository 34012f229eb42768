/** What `npm run deploy`, `deploy:plan` and `remove` decide, without AWS and without a stand-in for it; test/deploy/ runs them. */
import { describe, expect, test } from "vitest";
import { main } from "../infra/deploy/main.ts";
import { changesOf } from "../infra/deploy/plan.ts";
import { heldProblems, renamedIn, renamedProblems } from "../infra/deploy/records.ts";
import { type DeployedStack, type Template, templateSchema, whyBlocked } from "../infra/deploy/stack.ts";
import { problemText } from "../src/config/problem.ts";

const target = { stack: "mpo-relay-dev", stage: "dev" };

describe("a stack takes a deploy", () => {
  test.each(["CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE"])("in the state %s", (status) => {
    expect(whyBlocked({ status }, target)).toBeNull();
  });

  test.each([
    ["UPDATE_IN_PROGRESS", "another deploy or removal is under way", "wait for its end"],
    ["UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "another deploy or removal is under way", "wait for its end"],
    ["REVIEW_IN_PROGRESS", "another deploy or removal is under way", "wait for its end"],
    ["UPDATE_ROLLBACK_FAILED", "a deploy failed, and so did going back", "aws cloudformation continue-update-rollback"],
    ["ROLLBACK_COMPLETE", "its first deploy, or its removal, failed", "npm run remove -- --stage dev"],
    ["ROLLBACK_FAILED", "its first deploy, or its removal, failed", "npm run remove -- --stage dev"],
    ["DELETE_FAILED", "its first deploy, or its removal, failed", "npm run remove -- --stage dev"],
  ])("but not in the state %s, and is told why", (status, why, what) => {
    const problem = whyBlocked({ status }, target);
    expect(problem).toMatchObject({ path: "stack mpo-relay-dev", message: `${why} (${status})` });
    expect(problem?.hint).toContain(what);
  });
});

describe("a plan", () => {
  const queue = (part: object = {}, kept = false) => ({
    Type: "AWS::SQS::Queue",
    Properties: { VisibilityTimeout: 60, ...part },
    ...(kept && { DeletionPolicy: "Retain" }),
  });
  const template = (Resources: Record<string, object>): Template => templateSchema.parse({ Resources });

  test.each<[string, object, object, object[]]>([
    ["nothing", { Q: queue() }, { Q: queue() }, []],
    ["what is new", {}, { Q: queue() }, [{ id: "Q", type: "AWS::SQS::Queue", what: "create", properties: [] }]],
    ["what goes", { Q: queue() }, {}, [{ id: "Q", type: "AWS::SQS::Queue", what: "remove", properties: [] }]],
    ["what leaves the stack and stays", { Q: queue({}, true) }, {}, [{ id: "Q", type: "AWS::SQS::Queue", what: "leave", properties: [] }]],
    [
      "what becomes other",
      { Q: queue() },
      { Q: queue({ VisibilityTimeout: 90 }) },
      [{ id: "Q", type: "AWS::SQS::Queue", what: "update", properties: ["VisibilityTimeout"] }],
    ],
    [
      "what is made anew",
      { Q: queue() },
      { Q: queue({ QueueName: "other" }) },
      [{ id: "Q", type: "AWS::SQS::Queue", what: "replace", properties: ["QueueName"] }],
    ],
  ])("tells %s", (_what, before, after, changes) => {
    expect(changesOf(template({ ...before }), template({ ...after }))).toEqual(changes);
  });
});

describe("what was taken out and holds records", () => {
  const stack = (Variables: object): DeployedStack => ({
    status: "UPDATE_COMPLETE",
    template: templateSchema.parse({
      Resources: { EdgeLambdaFunction: { Type: "AWS::Lambda::Function", Properties: { Environment: { Variables } } } },
    }),
    ids: new Map([["QueueStage1", "https://sqs/stage-1"]]),
  });
  const held = (id: string, records: number) => ({ id, url: `https://sqs/${id}`, records });
  const told = (...queues: ReturnType<typeof held>[]) =>
    heldProblems(queues, stack({ MPO_RELAY_CLUSTER: "stage-1", MINE: { Ref: "QueueStage1" } })).map(problemText);

  test("is told by the cluster's name and its variable", () => {
    const [line, ...more] = told(held("QueueStage1", 1), held("DeadLettersStage1", 0));
    expect(more).toEqual([]);
    expect(line).toMatch(/^clusters\.stage-1: taken out, and holds 1 record in its queue \(put it back; /);
    expect(line).toContain("MINE=https://sqs/stage-1 npx mpo-relay worker --cluster stage-1");
    expect(line).not.toContain("dlq");
  });

  test("with dead letters alone, there is nothing to work on", () => {
    const [line] = told(held("QueueStage1", 0), held("DeadLettersStage1", 2));
    expect(line).toContain("holds 2 dead letters");
    expect(line).not.toContain("worker");
  });

  test("is no problem while it is empty; any other queue is one by its own name", () => {
    expect(told(held("QueueStage1", 0), held("DeadLettersStage1", 0), held("DeliveriesEcr", 0))).toEqual([]);
    expect(told(held("DeliveriesEcr", 3))).toEqual([
      "queue DeliveriesEcr: nothing in relay.yaml needs it any more, and it holds 3 records (put back what was taken out until it is empty: https://sqs/DeliveriesEcr)",
    ]);
  });
});

describe("a cluster that keeps its queue under another name", () => {
  const stack: DeployedStack = {
    status: "UPDATE_COMPLETE",
    template: templateSchema.parse({
      Resources: {
        ConsumerStage1LambdaFunction: {
          Type: "AWS::Lambda::Function",
          Properties: { Environment: { Variables: { MPO_RELAY_CLUSTER: "stage-1" } } },
        },
      },
    }),
    ids: new Map(),
  };
  const held = (id: string, records: number) => ({ id, url: `https://sqs/${id}`, records });

  test("is refused while records lie there, which name the cluster that is no more", () => {
    const renamed = renamedIn(["dev", "stage1"], stack);
    expect(renamed).toEqual([{ from: "stage-1", to: "stage1", queues: ["QueueStage1", "DeadLettersStage1"] }]);
    expect(renamedProblems(renamed, [held("QueueStage1", 2), held("DeadLettersStage1", 1), held("QueueDev", 5)]).map(problemText)).toEqual([
      "clusters.stage1: was called stage-1, and its queues hold 3 records for that name: each would end as WRONG_CLUSTER (call it stage-1 until `npx mpo-relay dlq list --cluster stage-1` shows none)",
    ]);
    expect(renamedProblems(renamed, [held("QueueStage1", 0), held("DeadLettersStage1", 0)])).toEqual([]);
  });

  test("is none that is called as before, or is new", () => {
    expect(renamedIn(["stage-1", "stage-2"], stack)).toEqual([]);
  });
});

test.each([[["deploy"]], [["deploy", "--stage", "dev", "--settle", "soon"]], [["undo"]], [["plan", "--stage", "dev", "--yes"]]])(
  "a wrong call (%s) ends with 2",
  async (args) => {
    expect(await main(args)).toBe(2);
  },
);
