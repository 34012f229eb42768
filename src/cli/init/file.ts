/** The configuration file as `init` writes it: for people to read and go on with. Holds references, and no secret. */
import type { Survey } from "../../cluster/survey.ts";
import type { Plan, PlannedSource, PlannedWebhook } from "./plan.ts";

export function fileText({ cluster, sources, webhooks }: Plan, { server, hasCa, uid, version }: Survey): string {
  return `${[
    `# Written by mpo-relay init${version === null ? "" : `, for Deckhouse ${version.replace(/[^\w.+-]/g, "")}`}. Everything that can stand here: infra/configuration.md`,
    "webhooks:                       # who may call: POST /hooks/<name>",
    ...webhooks.flatMap(webhookLines),
    "sources:                        # where modules live",
    ...sources.flatMap(sourceLines),
    "clusters:",
    `  ${scalar(cluster)}:`,
    "    queue: embedded:./data",
    ...(uid === null ? [] : [`    uid: ${scalar(uid)}`]),
    `    kubernetes: { server: ${JSON.stringify(server)}, ${hasCa ? "ca: file:ca.crt, " : ""}token: file:token }`,
    "listen: { host: 0.0.0.0, port: 8080 }",
  ].join("\n")}\n`;
}

const secretFile = ({ name }: PlannedWebhook) => `${name}.secret`;

function webhookLines(webhook: PlannedWebhook): string[] {
  const { name, provider, sources, remark } = webhook;
  return [
    `  ${scalar(name)}:`,
    `    provider: ${provider}${remark === null ? "" : `     # ${remark}`}`,
    provider === "gar"
      ? "    oidc: { audience: mpo-relay, email: mpo-relay@PROJECT.iam.gserviceaccount.com }"
      : `    secret: file:${secretFile(webhook)}`,
    ...(sources === null ? [] : [`    sources: [${sources.map(scalar).join(", ")}]`]),
  ];
}

function sourceLines({ repo, name, plainHttp, isInCluster, noisy }: PlannedSource): string[] {
  return [
    `  - repo: ${scalar(repo)}`,
    ...(name === null ? [] : [`    name: ${scalar(name)}`]),
    ...(noisy.length === 0
      ? []
      : [`    noise: keep                 # a tag that looks like werf's own is followed by ${noisy.join(", ")}`]),
    ...(isInCluster
      ? ["    # aliases: [registry.example.com/deckhouse/modules]     # needed: the registry's own name for this place"]
      : []),
    `    # registry: { dockerConfig: file:registry.json${plainHttp ? ", plainHttp: true" : ""} }     # a login that may pull: proves pushes that name no digest`,
  ];
}

/** Quoted, unless it cannot be taken for anything but a text. */
function scalar(text: string): string {
  const isPlain = /^[A-Za-z][\w./-]*(?::\d+[\w./-]*)?$/.test(text) && !/^(?:true|false|null|yes|no|on|off|y|n)$/i.test(text);
  return isPlain ? text : JSON.stringify(text);
}
