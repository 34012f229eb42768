/** The queues: can they be reached, who owns them, what lies in them, and have dead letters a place? Receives nothing. */
import { type ClusterConfig, type OpenableQueue, type QueueForm, resolveQueue } from "../../config.ts";
import { INBOX_MAX_RECEIVES, MAX_RECEIVES } from "../../limits.ts";
import { RelayError } from "../../outcome.ts";
import type { SqsLook } from "../../queue/sqs/look.ts";
import { refuseShared } from "../../storing.ts";
import { counted, messageOf, span } from "../terminal.ts";
import { type Check, failure, type Finding, ok, warning } from "./finding.ts";
import type { Surroundings } from "./surroundings.ts";

/** `mpo-relay dlq --cluster` knows it by this name. */
const UNPARSED = "unparsed";
/** SQS deletes what is older, and keeps nothing for longer. */
const LONGEST_DAYS = 14;
const DAY_SECONDS = 24 * 3600;

type Placed = Pick<ClusterConfig, "queue" | "deadLetters" | "hub">;

export function queueChecks(around: Surroundings): Check[] {
  const { config } = around;
  const check = (name: string, where: string, work: () => Promise<Finding[]>): Check => ({ name, run: () => told(where, work) });
  const clusters = Object.entries(config.clusters).map(([name, cluster]) => {
    const where = `clusters.${name}.queue`;
    return check(`queue of ${name}`, where, () => lookAt(around, where, name, cluster));
  });
  const inboxes = Object.entries(config.webhooks).flatMap(([name, { queue }]) => {
    const where = `webhooks.${name}.queue`;
    return queue ? [check(`queue of the webhook ${name}`, where, () => lookAtInbox(around, where, queue))] : [];
  });
  const { unparsed } = config;
  const letters = check("unread deliveries", UNPARSED, () => lookAtUnparsed(around, unparsed));
  const isShared = check("one job for each queue", "queues", async () => {
    refuseShared(config, { clusters: Object.keys(config.clusters), isEdge: true, env: around.env });
    return [ok("queues", "each has one job")];
  });
  return [...clusters, ...inboxes, ...(unparsed ? [letters] : []), isShared];
}

async function told(where: string, work: () => Promise<Finding[]>): Promise<Finding[]> {
  try {
    return await work();
  } catch (thrown) {
    return [troubleWith(thrown, where)];
  }
}

function troubleWith(thrown: unknown, where: string): Finding {
  const what = messageOf(thrown);
  const variable = /\bvariable (\w+)/.exec(what)?.[1];
  if (!(thrown instanceof RelayError) && variable !== undefined)
    return failure(
      "VARIABLE_UNSET",
      where,
      what,
      `export ${variable}=…, the address as the relay's own process has it; on AWS it is an output of the stack (infra/serverless.md)`,
    );
  if (!(thrown instanceof RelayError)) return failure("QUEUES_SHARED", where, what, "give each a queue of its own");
  if (thrown.code === "QUEUE_REFUSED")
    return failure(
      thrown.code,
      where,
      what,
      "compare hubToken here with hubToken (or previousHubToken) of this cluster in the hub's configuration",
    );
  if (thrown.code === "INTERNAL") return failure("QUEUE_UNAVAILABLE", where, what, "mend what it says");
  if (/there is no queue here/.test(what))
    return warning("RELAY_NOT_RUNNING", where, what, "start `mpo-relay serve`, or name the folder that it uses");
  const ofSqs = what.startsWith("SQS ")
    ? "look at the queue's address, region and the network; by name: AccessDenied asks for sqs:GetQueueAttributes, QueueDoesNotExist for another URL, CredentialsProviderError for AWS credentials"
    : "nothing that lies in it is lost; mend what it says";
  return failure("QUEUE_UNAVAILABLE", where, what, ofSqs);
}

async function lookAt(around: Surroundings, where: string, name: string, { queue, deadLetters, hub }: Placed): Promise<Finding[]> {
  const form = resolveQueue(queue, around.env);
  const letters = deadLetters && resolveQueue(deadLetters, around.env);
  switch (form.kind) {
    case "embedded":
      return lookIntoFile(around, where, name, form);
    case "sqs": {
      const look = await lookAtSqs(form, letters?.kind === "sqs" ? letters.url : null);
      return [
        ...contents(around, where, name, look, look.letters instanceof RelayError ? 0 : look.letters.records),
        ...policy(where, look),
      ];
    }
    case "hub": {
      if (!hub) return []; // the configuration's own rules ask for it
      const { openRemoteHub } = await import("../../queue/hub/remote.ts");
      const opened = openRemoteHub({ url: form.url, queue: name, access: hub, readSecret: around.readSecret });
      try {
        return contents(around, where, name, await opened.depth(), await opened.deadLetters.count());
      } finally {
        await opened.close();
      }
    }
  }
}

async function lookIntoFile(
  around: Surroundings,
  where: string,
  name: string,
  { folder }: Extract<OpenableQueue, { kind: "embedded" }>,
): Promise<Finding[]> {
  const { lookIntoFolder } = await import("../../queue/folder.ts");
  const look = await lookIntoFolder(folder, name);
  const alone = warning(
    "RELAY_NOT_RUNNING",
    where,
    `nobody works on the queue in ${folder}: no relay answers there`,
    "start `mpo-relay serve`; its log says why where it ends by itself",
  );
  return [...contents(around, where, name, look, look.letters), ...(look.isOwned ? [] : [alone])];
}

async function lookAtSqs(form: Extract<OpenableQueue, { kind: "sqs" }>, deadLettersUrl: string | null): Promise<SqsLook> {
  const { openSqs } = await import("../../queue/sqs.ts");
  const opened = openSqs({ ...form, deadLettersUrl });
  try {
    return await opened.look();
  } finally {
    await opened.close();
  }
}

/** What waits, and what has ended. */
function contents(
  { same }: Surroundings,
  where: string,
  place: string,
  { records, oldestSeconds }: { records: number; oldestSeconds?: number | null },
  letters: number,
): Finding[] {
  const since = oldestSeconds ? `, the oldest stored ${span(oldestSeconds * 1000)} ago` : "";
  const waiting = ok(where, records === 0 ? "it answers, nothing waits" : `it answers, ${counted(records, "record")} waiting${since}`);
  return letters === 0 ? [waiting] : [waiting, dead(where, place, letters, same)];
}

const dead = (where: string, place: string, letters: number, same: string) =>
  warning("DEAD_LETTERS", where, counted(letters, "dead letter"), `mpo-relay dlq list --cluster ${place}${same} tells why, and what to do`);

/** Dead letters have a place that keeps them, and get there by the relay itself before the service moves a record without a reason. */
function policy(where: string, { maxReceiveCount, letters, retentionSeconds }: SqsLook): Finding[] {
  return [
    ...(maxReceiveCount !== null && maxReceiveCount <= MAX_RECEIVES ? [fewReceives(where, maxReceiveCount, MAX_RECEIVES)] : []),
    ...kept(where, "records", retentionSeconds),
    ...(letters instanceof RelayError
      ? [
          failure(
            "NO_DEAD_LETTERS",
            where,
            letters.message,
            `give it a redrive policy (deadLetterTargetArn, maxReceiveCount ${MAX_RECEIVES + 2}) or write \`deadLetters:\` at the cluster; the queue named there must be one that we may look at`,
          ),
        ]
      : kept(where, "dead letters", letters.retentionSeconds)),
  ];
}

const fewReceives = (where: string, count: number, most: number) =>
  warning(
    "MAX_RECEIVES",
    where,
    `the service moves a record after ${counted(count, "receive")}, before the relay can bury it with its reason (${most})`,
    `set maxReceiveCount of its redrive policy to ${most + 2} or more`,
  );

function kept(where: string, what: string, seconds: number | null): Finding[] {
  if (seconds === null || seconds >= LONGEST_DAYS * DAY_SECONDS) return [];
  const todo = `set its message retention period to ${LONGEST_DAYS} days (${LONGEST_DAYS * DAY_SECONDS}), which costs nothing`;
  return [warning("RETENTION", where, `the service deletes its ${what} after ${span(seconds * 1000)}, in a longer outage too`, todo)];
}

async function lookAtInbox({ env }: Surroundings, where: string, queue: QueueForm): Promise<Finding[]> {
  const form = resolveQueue(queue, env);
  if (form.kind !== "sqs") throw new Error(`the variable ${queue.kind === "env" ? queue.name : ""} must hold the URL of an SQS queue`);
  const { records, retentionSeconds, maxReceiveCount } = await lookAtSqs(form, null);
  return [
    ok(where, records === 0 ? "it answers, nothing waits" : `it answers, ${counted(records, "delivery", "deliveries")} waiting`),
    ...kept(where, "deliveries", retentionSeconds),
    ...(maxReceiveCount !== null && maxReceiveCount <= INBOX_MAX_RECEIVES ? [fewReceives(where, maxReceiveCount, INBOX_MAX_RECEIVES)] : []),
  ];
}

async function lookAtUnparsed({ env, same }: Surroundings, unparsed: QueueForm | null): Promise<Finding[]> {
  const form = unparsed && resolveQueue(unparsed, env);
  if (form?.kind === "embedded") {
    const { lookIntoFolder } = await import("../../queue/folder.ts");
    const { letters } = await lookIntoFolder(form.folder, UNPARSED);
    return [letters === 0 ? ok(UNPARSED, "every delivery could be read") : dead(UNPARSED, UNPARSED, letters, same)];
  }
  if (form?.kind !== "sqs") return [];
  const { records, retentionSeconds } = await lookAtSqs(form, form.url);
  return [
    ok(UNPARSED, records === 0 ? "it answers, and every delivery could be read" : "it answers"),
    ...kept(UNPARSED, "unread deliveries", retentionSeconds),
    ...(records === 0 ? [] : [dead(UNPARSED, UNPARSED, records, same)]),
  ];
}
