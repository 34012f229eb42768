/** What the tests of one stack share: the account without AWS, a cluster, a copy of the project, and the stack as it was read last. */
import { DescribeAlarmsCommand, ListDashboardsCommand } from "@aws-sdk/client-cloudwatch";
import { ListTablesCommand } from "@aws-sdk/client-dynamodb";
import { ListRolesCommand } from "@aws-sdk/client-iam";
import { ListFunctionsCommand } from "@aws-sdk/client-lambda";
import { ListBucketsCommand } from "@aws-sdk/client-s3";
import { GetQueueAttributesCommand, ListQueuesCommand } from "@aws-sdk/client-sqs";
import { PutParameterCommand } from "@aws-sdk/client-ssm";
import { expect } from "vitest";
import * as z from "zod";
import type { DeployedStack } from "../../infra/deploy/stack.ts";
import { type KubernetesApi, startKubernetesApi } from "../../src/sandbox/kubernetes-api.ts";
import { type Account, type Clients, clientsOf, readAccount } from "./account.ts";
import { copyProject, type Project } from "./project.ts";
import { relayYaml } from "./relay.ts";
import { type StandIn, startStandIn } from "./stand-in.ts";

export const STACK = "mpo-relay-dev";
export const WEBHOOK_SECRET = "a-webhooks-secret-of-the-deployment";
export const TOKEN = "a-clusters-token-of-the-deployment";
export const MPO = "modulepulloverrides";

/** With two overrides in its cluster, and a relay.yaml of the cluster dev. */
export async function startWorld(): Promise<World> {
  const [standIn, api, project] = await Promise.all([startStandIn(), startKubernetesApi({ token: TOKEN }), copyProject()]);
  for (const name of ["echo", "other"]) api.store.create(MPO, { metadata: { name }, spec: { imageTag: "main" } });
  await project.configure(relayYaml({ clusters: ["dev"], api: api.url }));
  return new World(standIn, api, project);
}

export class World {
  readonly standIn: StandIn;
  readonly clients: Clients;
  readonly api: KubernetesApi;
  readonly project: Project;
  #read: { readonly stack: DeployedStack; readonly account: Account } | null = null;

  constructor(standIn: StandIn, api: KubernetesApi, project: Project) {
    this.standIn = standIn;
    this.clients = clientsOf(standIn);
    this.api = api;
    this.project = project;
  }

  get stack(): DeployedStack {
    return (this.#read ?? expect.fail("nobody has looked yet")).stack;
  }

  get account(): Account {
    return (this.#read ?? expect.fail("nobody has looked yet")).account;
  }

  async look(): Promise<void> {
    this.#read = await readAccount(this.clients, STACK);
  }

  /** `npm run <name>` of the stage. */
  script(name: string, args: readonly string[] = [], env: Readonly<Record<string, string>> = this.standIn.env) {
    return this.project.npm(name, ["--stage", "dev", ...args], env);
  }

  async put(Name: string, Value: string): Promise<void> {
    await this.clients.parameters.send(new PutParameterCommand({ Name, Value, Type: "SecureString" }));
  }

  urlOf(id: string): string {
    return this.stack.ids.get(id) ?? expect.fail(`no ${id}`);
  }

  arnOf(id: string): string {
    return z.object({ QueueArn: z.string() }).parse(this.account[id]).QueueArn;
  }

  async recordsIn(QueueUrl: string): Promise<number> {
    const { Attributes = {} } = await this.clients.queues.send(new GetQueueAttributesCommand({ QueueUrl, AttributeNames: ["All"] }));
    const counters = Object.entries(Attributes).filter(([name]) => name.startsWith("ApproximateNumberOfMessages"));
    return counters.reduce((sum, [, count]) => sum + Number(count), 0);
  }

  /** Names of all that costs something or holds something. */
  async everything(): Promise<string[]> {
    const { metrics, files, functions, queues, identities, tables } = this.clients;
    const { MetricAlarms = [] } = await metrics.send(new DescribeAlarmsCommand());
    const { DashboardEntries = [] } = await metrics.send(new ListDashboardsCommand());
    const [{ Buckets = [] }, { Functions = [] }, { QueueUrls = [] }, { Roles = [] }, { TableNames = [] }] = await Promise.all([
      files.send(new ListBucketsCommand()),
      functions.send(new ListFunctionsCommand()),
      queues.send(new ListQueuesCommand()),
      identities.send(new ListRolesCommand()),
      tables.send(new ListTablesCommand()),
    ]);
    const names = [
      Buckets.map(({ Name = "" }) => Name),
      Functions.map(({ FunctionName = "" }) => FunctionName),
      MetricAlarms.map(({ AlarmName = "" }) => AlarmName),
      DashboardEntries.map(({ DashboardName = "" }) => DashboardName),
    ];
    return [...names.flat(), ...Roles.map(({ RoleName = "" }) => RoleName), ...QueueUrls.map(nameOf), ...TableNames].toSorted();
  }

  async stop(): Promise<void> {
    for (const client of Object.values(this.clients)) client.destroy();
    await Promise.all([this.standIn.stop(), this.api.close(), this.project.remove()]);
  }
}

/** The stand-in lists queues by another host than CloudFormation does. */
export const nameOf = (url: string) => url.split("/").at(-1) ?? "";
