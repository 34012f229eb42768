import { byHost, type Hook, jsonDocument, lines, type RegistrySetup, SECRET } from "./setup.ts";

export const harbor: RegistrySetup = {
  checked: "from Harbor's documentation and source, not tried on a running Harbor",
  paste: (hook) => [
    ...[...byHost(hook.places, 1)].map(([host, projects]) => ({
      kind: "sh" as const,
      where: `a shell, with HARBOR_PASSWORD of an administrator: every project of a source at ${host}`,
      text: policies(hook, host, projects),
      at: host,
    })),
    {
      kind: "steps",
      where: "or Project → Webhooks → New webhook",
      text: lines(
        "Notify type     http",
        "Payload format  CloudEvents (Default before 2.8)",
        "Event type      Artifact pushed, nothing else",
        `Endpoint URL    ${hook.url}`,
        `Auth header     ${SECRET}`,
        "Verify remote certificate  on",
      ),
    },
  ],
  sample: ({ host, repository, tag, digest, time, id }) => ({
    headers: { "content-type": "application/cloudevents+json" },
    body: {
      specversion: "1.0",
      id,
      source: `/projects/${repository.split("/")[0]}/webhook/policies/1`,
      type: "harbor.artifact.pushed",
      datacontenttype: "application/json",
      time: time.toISOString(),
      operator: "mpo-relay",
      data: {
        resources: [{ digest, tag, resource_url: `${host}/${repository}:${tag}` }],
        repository: { repo_full_name: repository, repo_type: "private" },
      },
    },
  }),
};

/** https://goharbor.io/docs/latest/build-customize-contribute/configure-swagger/: POST /projects/{name}/webhook/policies */
function policies({ url }: Hook, host: string, projects: readonly string[]): string {
  const target = { type: "http", address: url, auth_header: "$SECRET", skip_cert_verify: false, payload_format: "CloudEvents" };
  return lines(
    `for PROJECT in ${projects.join(" ")}; do`,
    `  curl -fsS -u "\${HARBOR_USER:-admin}:\${HARBOR_PASSWORD:?}" "https://${host}/api/v2.0/projects/$PROJECT/webhook/policies" \\`,
    `    -H 'Content-Type: application/json' -H 'X-Is-Resource-Name: true' -d @- ${jsonDocument({
      name: "mpo-relay",
      enabled: true,
      event_types: ["PUSH_ARTIFACT"],
      targets: [target],
    })}`,
    "done",
  );
}
