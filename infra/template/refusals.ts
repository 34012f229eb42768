/** What a relay.yaml may say elsewhere and the stack cannot do: each with its place, the reason, and what to write. */
import type { ClusterConfig, Problem, QueueForm, RelayConfig } from "../../src/config.ts";
import { pathText } from "../../src/config/problem.ts";
import { consumerOf, idOf } from "./names.ts";
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
    ...names(Object.keys(config.clusters), settings),
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
  return all
    .filter(([, { queue }]) => queue)
    .map(([name]) =>
      problem(
        `webhooks.${name}.queue`,
        "only mpo-relay serve takes deliveries from a queue",
        "take it out here, and run serve beside the functions",
      ),
    );
}

function clusterProblems(name: string, { queue, deadLetters, kubernetes }: ClusterConfig): Problem[] {
  const at = pathText(["clusters", name]);
  const found = place(`${at}.queue`, queue, `${name.toUpperCase().replaceAll(/[^A-Z0-9]+/g, "_")}_QUEUE`);
  if (deadLetters) found.push(problem(`${at}.deadLetters`, "the stack makes this queue too", "leave it out"));
  if (kubernetes?.kind === "inCluster")
    found.push(problem(`${at}.kubernetes.inCluster`, "a function is in no cluster", `write server, ca and token; or ${BY_WORKER}`));
  if (kubernetes?.kind === "kubeconfig" && (kubernetes.kubeconfig === null || kubernetes.kubeconfig.kind === "path"))
    found.push(problem(`${at}.kubernetes.kubeconfig`, NO_FILE, parameterFor(`clusters.${name}.kubeconfig`)));
  return found;
}
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
function variables({ clusters, unparsed, journal: table }: RelayConfig): Problem[] {
  const queues = Object.entries(clusters).map(([name, { queue }]) => ({ path: pathText(["clusters", name, "queue"]), form: queue }));
  const named = [...queues, { path: "unparsed", form: unparsed }, { path: "journal", form: table }].flatMap(({ path, form }) =>
    form?.kind === "env" ? [{ path, name: form.name }] : [],
  );
  return named.flatMap(({ path, name }, index) => {
    const other = named.slice(0, index).find((each) => each.name === name);
    if (other) return [problem(path, `${other.path} has this variable`, "write another name: each gets an address of its own")];
    const isTaken = /^(?:AWS|LAMBDA|NODE)_|^MPO_RELAY_(?:CONFIG|CLUSTER)$|^(?:PATH|TZ|LANG)$|^_|^.$/.test(name);
    return isTaken
      ? [problem(path, "the function has this variable already, or may not", "write another name, for example one that ends in _QUEUE")]
      : [];
  });
}

function names(clusters: readonly string[], { service, stage }: Settings): Problem[] {
  return clusters.flatMap((name, index) => {
    const at = pathText(["clusters", name]);
    const other = clusters.slice(0, index).find((each) => idOf(each) === idOf(name));
    const length = `${service}-${stage}-${consumerOf(idOf(name))}`.length;
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
