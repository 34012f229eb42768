/** `mpo-relay token`: a fresh token for a relay outside the cluster, written where that relay reads it. For a CronJob: infra/cluster/token. */
import { Command, Option } from "commander";
import type { KubernetesConfig } from "../config.ts";
import { readSecretRef } from "../config/forms.ts";
import { Refusal } from "../config/problem.ts";
import { requestToken } from "../cluster/token.ts";
import { createSecretReader } from "../secrets.ts";
import { ownKubeconfig } from "./cluster-options.ts";
import { duration } from "./option-values.ts";
import { Failure, type Terminal } from "./terminal.ts";

interface Options {
  to: string;
  duration: number;
  serviceAccount: string;
  namespace: string;
  context?: string;
  kubeconfig?: string;
  json?: true;
}
/** Throws an Error whose message is the reason's name. */
export type WriteParameter = (name: string, value: string) => Promise<void>;

const write: WriteParameter = async (name, value) => (await import("../ssm.ts")).writeParameter(name, value);
/** The API server refuses less: https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-request-v1/ */
const SHORTEST_MS = 600_000;

export function tokenCommand(terminal: Terminal, writeParameter: WriteParameter = write): Command {
  return new Command("token")
    .summary("renew the token of a relay outside the cluster")
    .description(
      "Asks the API server for a fresh token of the relay's service account and writes it into AWS Systems Manager, where a Lambda consumer or\n" +
        "another relay outside the cluster reads it (`token: ssm:NAME`) without a restart. Run it in the cluster, some times in a token's life:\n" +
        "infra/cluster/token is a CronJob for it. The token itself is never printed.",
    )
    .requiredOption("--to <reference>", "where it goes: ssm:NAME")
    .addOption(new Option("--duration <duration>", "how long it lives, for example 12h").default(86_400_000, "24h").argParser(duration))
    .option("--service-account <name>", "whose it is", "mpo-relay")
    .option("--namespace <name>", "the service account's", "mpo-relay")
    .option("--context <name>", "context of the kubeconfig (default: the pod's own service account; outside a pod the current context)")
    .option("--kubeconfig <file>", "kubeconfig (default: the same)")
    .option("--json", "print { to, endsAt } on stdout")
    .addHelpText(
      "after",
      "\nExit codes: 0 written, 1 not: the one before stays, 2 wrong call.\n\nExample:\n  mpo-relay token --to ssm:/mpo-relay/dev/token --duration 24h",
    )
    .action((options: Options) => renew(options, terminal, writeParameter));
}

async function renew(options: Options, { env, out, err }: Terminal, writeParameter: WriteParameter): Promise<void> {
  const to = readSecretRef(options.to, ".");
  if (to instanceof Refusal || to.kind !== "ssm")
    throw new Failure(2, `--to ${options.to}: write ssm:NAME, the parameter that \`kubernetes.token\` of the relay names`);
  if (options.duration < SHORTEST_MS) throw new Failure(2, "--duration: the shortest that an API server gives is 10m");
  const { namespace, serviceAccount } = options;
  const readSecret = createSecretReader({ env });
  const fresh = await requestToken({
    kubernetes: kubernetesOf(options, env),
    readSecret,
    namespace,
    serviceAccount,
    seconds: Math.floor(options.duration / 1000),
  });
  await writeParameter(to.name, fresh.token).catch((error: unknown) => {
    const why = error instanceof Error ? error.message : "error";
    throw new Failure(
      1,
      `the fresh token could not be written to ssm:${to.name}: ${why}`,
      "it needs ssm:PutParameter on that parameter; the token before it stays",
    );
  });
  if (options.json) out(JSON.stringify({ to: `ssm:${to.name}`, endsAt: fresh.endsAt }));
  else err(`ssm:${to.name} holds a token of ${namespace}/${serviceAccount} that ends at ${fresh.endsAt}`);
}

function kubernetesOf(options: Options, env: NodeJS.ProcessEnv): KubernetesConfig {
  const isPod = env["KUBERNETES_SERVICE_HOST"] !== undefined && options.context === undefined && options.kubeconfig === undefined;
  return isPod ? { kind: "inCluster" } : ownKubeconfig(options);
}
