import { type Hook, jsonDocument, lines, type RegistrySetup, SECRET } from "./setup.ts";

export const nexus: RegistrySetup = {
  checked: "from Sonatype's documentation, not tried on a running Nexus",
  paste: (hook) => [
    {
      kind: "steps",
      where: "Administration → System → Capabilities → Create capability → Webhook: Repository, one for each docker repository",
      text: lines(
        "Repository   the docker (hosted) repository; a group sends nothing itself",
        "Event Types  component (asset too, if a second push to a tag brings no request)",
        `URL          ${hook.url}`,
        `Secret Key   ${SECRET}`,
      ),
    },
    {
      kind: "sh",
      where: "or a shell, where Nexus has the capabilities API, with NEXUS_URL, NEXUS_PASSWORD and the repositories' names",
      text: capabilities(hook),
    },
  ],
  sample: ({ repository, tag, time, id }) => ({
    headers: {
      "content-type": "application/json; charset=UTF-8",
      "x-nexus-webhook-id": "rm:repository:component",
      "x-nexus-webhook-delivery": id,
    },
    body: {
      timestamp: time.toISOString().replace("Z", "+00:00"),
      nodeId: "mpo-relay-send",
      initiator: "mpo-relay/127.0.0.1",
      repositoryName: "docker-hosted",
      action: "CREATED",
      component: { format: "docker", name: repository, version: tag },
    },
  }),
};

/** https://help.sonatype.com/en/capabilities-api.html */
function capabilities({ url }: Hook): string {
  return lines(
    "for REPOSITORY in docker-hosted; do",
    '  curl -fsS -u "${NEXUS_USER:-admin}:${NEXUS_PASSWORD:?}" "${NEXUS_URL:?}/service/rest/v1/capabilities" \\',
    `    -H 'Content-Type: application/json' -d @- ${jsonDocument({
      type: "webhook.repository",
      enabled: true,
      notes: "mpo-relay",
      properties: { repository: "$REPOSITORY", names: "component", url, secret: "$SECRET" },
    })}`,
    "done",
  );
}
