/** What a relay.yaml may say elsewhere and the stack cannot do: each with its place, the reason, and what to write. */
import type { ClusterConfig, Problem, QueueForm, RelayConfig } from "../../src/config.ts";
import { pathText } from "../../src/config/problem.ts";
import { inboxesOf } from "./inboxes.ts";
import { consumerOf, idOf, inboxOf } from "./names.ts";
import { clusterSecrets, edgeSecrets, type Reference } from "./secrets.ts";
import type { Settings } from "./settings.ts";

const LONGEST_FUNCTION_NAME = 64;
const MINUTE_MS = 60_000;

export function refusalsOf(config: RelayConfig, settings: Settings): Problem[] {
  const consumed = Object.keys(config.clusters).filter((name) => config.clusters[name]?.kubernetes);
  const secrets = [...edgeSecrets(config), ...consumed.flatMap((name) => clusterSecrets(config, name))];
  return [
    ...webhooks(config),
    ...Object.entries(config.clusters).flatMap(([name, cluster]) => clusterProblems(name, cluster)),
    ...names("clusters", Object.keys(config.clusters), consumerOf, settings),
    ...names(
      "webhooks",
      inboxesOf(config).map(({ webhook }) => webhook),
      inboxOf,
      settings,
    ),
    ...place("unparsed", config.unparsed, "MPO_RELAY_UNPARSED"),
    ...journal(config.journal),
    ...variables(config),
    ...[...new Map(secrets.map((reference) => [reference.path, reference])).values()].flatMap(secret),
    ...sweep(config),
  ];
}

const problem = (path: string, message: string, hint: string): Problem => ({ path, message, hint });

function webhooks({ webhooks }: RelayConfig): Problem[] {
  const all = Object.entries(webhooks);
  if (all.length === 0)
    return [problem("webhooks", "there is none, so nobody could push", "write webhooks: { NAME: { provider: …, secret: ssm:… } }")];
  return all.flatMap(([name, { provider, queue }]) => {
    if (!queue) return [];
    const at = pathText(["webhooks", name, "queue"]);
    if (provider === "ecr") return place(at, queue, variableFor(name));
    return [problem(at, "the stack fills queues with ECR's pushes alone", "take it out here, and run mpo-relay serve for this webhook")];
  });
}

function clusterProblems(name: string, { queue, deadLetters, kubernetes, lambda }: ClusterConfig): Problem[] {
  const at = pathText(["clusters", name]);
  const found = place(`${at}.queue`, queue, variableFor(name));
  if (deadLetters) found.push(problem(`${at}.deadLetters`, "the stack makes this queue too", "leave it out"));
  if (lambda.vpc && !kubernetes) found.push(problem(`${at}.lambda.vpc`, "a cluster without kubernetes has no functions", "take it out"));
  if (kubernetes?.kind === "inCluster")
    found.push(problem(`${at}.kubernetes.inCluster`, "a function is in no cluster", `write server, ca and token; or ${BY_WORKER}`));
  if (kubernetes?.kind === "kubeconfig" && (kubernetes.kubeconfig === null || kubernetes.kubeconfig.kind === "path"))
    found.push(problem(`${at}.kubernetes.kubeconfig`, NO_FILE, parameterFor(`clusters.${name}.kubeconfig`)));
  return found;
}
const variableFor = (name: string) => `${name.toUpperCase().replaceAll(/[^A-Z0-9]+/g, "_")}_QUEUE`;
const BY_WORKER = "leave kubernetes out, and a worker inside consumes (infra/in-cluster.md)";
const NO_FILE = "a function has no such file";
const parameterFor = (path: string) => {
  const name = path.split(".").map((part) => part.replaceAll(/[^\w-]+/g, ""));
  return `put it into a parameter, and write ssm:/mpo-relay/${name.join("/")}, or a name of yours`;
};

/** A queue that the stack makes; its functions reach no other. */
function place(path: string, form: QueueForm | null, suggested: string): Problem[] {
  const hint = `write env:${suggested}, the variable that gets its address`;
  if (form?.kind === "embedded") return [problem(path, "embedded needs a disk that lasts, and a function has none", hint)];
  if (form?.kind === "hub") return [problem(path, "a hub lends to workers, and the functions use SQS", hint)];
  if (form?.kind !== "env") return [problem(path, "the stack makes this queue, and its functions may reach no other", hint)];
  const isElsewhere = form.region !== null || form.endpoint !== null;
  return isElsewhere ? [problem(path, "it lies where the stack is", "leave region and endpoint out")] : [];
}

function journal(form: RelayConfig["journal"]): Problem[] {
  if (form === null || form.kind === "env") return [];
  return [problem("journal", "the stack makes the table, and its functions may reach no other", "write env:MPO_RELAY_JOURNAL, or off")];
}

/** https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html */
function variables({ webhooks: hooks, clusters, unparsed, journal: table }: RelayConfig): Problem[] {
  const queuesOf = (of: string, all: Readonly<Record<string, { readonly queue: QueueForm | null }>>) =>
    Object.entries(all).map(([name, { queue }]) => ({ path: pathText([of, name, "queue"]), form: queue }));
  const queues = [...queuesOf("clusters", clusters), ...queuesOf("webhooks", hooks)];
  const named = [...queues, { path: "unparsed", form: unparsed }, { path: "journal", form: table }].flatMap(({ path, form }) =>
    form?.kind === "env" ? [{ path, name: form.name }] : [],
  );
  return named.flatMap(({ path, name }, index) => {
    const other = named.slice(0, index).find((each) => each.name === name);
    if (other) return [problem(path, `${other.path} has this variable`, "write another name: each gets an address of its own")];
    const isTaken = /^(?:AWS|LAMBDA|NODE)_|^MPO_RELAY_(?:CONFIG|CLUSTER|WEBHOOK|RUNS)$|^(?:PATH|TZ|LANG)$|^_|^.$/.test(name);
    return isTaken
      ? [problem(path, "the function has this variable already, or may not", "write another name, for example one that ends in _QUEUE")]
      : [];
  });
}

function names(of: string, all: readonly string[], longest: (id: string) => string, { service, stage }: Settings): Problem[] {
  return all.flatMap((name, index) => {
    const at = pathText([of, name]);
    const other = all.slice(0, index).find((each) => idOf(each) === idOf(name));
    const length = `${service}-${stage}-${longest(idOf(name))}`.length;
    return [
      ...(other === undefined
        ? []
        : [
            problem(
              at,
              `its parts would be called like those of ${other}`,
              "give it a name that differs by more than case and punctuation",
            ),
          ]),
      ...(length > LONGEST_FUNCTION_NAME
        ? [
            problem(
              at,
              `its functions' names would have ${length} characters, and ${LONGEST_FUNCTION_NAME} are allowed`,
              "shorten it, or the stage",
            ),
          ]
        : []),
    ];
  });
}

function secret({ path, ref }: Reference): Problem[] {
  if (ref.kind === "ssm") return [];
  const why = ref.kind === "file" ? NO_FILE : "a function shows its variables to whoever may look at it";
  return [problem(path, why, parameterFor(path))];
}

/** https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html: whole minutes. */
function sweep({ tuning: { sweepMs } }: RelayConfig): Problem[] {
  return sweepMs % MINUTE_MS === 0
    ? []
    : [problem("tuning.sweep", "AWS's schedules know whole minutes only", "write 5m, for example, or off")];
}
