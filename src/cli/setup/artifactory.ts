import { byHost, type Hook, jsonDocument, lines, type Place, type RegistrySetup, SECRET } from "./setup.ts";

export const artifactory: RegistrySetup = {
  checked: "from JFrog's documentation, not tried on a running Artifactory",
  paste: (hook) => [
    ...[...byHost(hook.places, 1)].map(([host, keys]) => ({
      kind: "sh" as const,
      where: `a shell, with JFROG_TOKEN of an administrator: every repository of a source at ${host}`,
      text: subscription(hook, host, keys),
      at: host,
    })),
    {
      kind: "steps",
      where: "or Administration → General Management → Webhooks → New Webhook → Predefined",
      text: lines(
        `URL           ${hook.url}`,
        "Events        Docker → Docker tag was pushed; the local repositories that hold modules",
        `Secret token  ${SECRET}`,
        `Use secret for payload signing  ${hook.auth === "hmac" ? "on" : "off"}`,
      ),
    },
  ],
  sample: ({ host, repository, tag, digest }) => {
    const [key = "", ...image] = repository.split("/");
    const path = image.join("/");
    return {
      body: {
        domain: "docker",
        event_type: "pushed",
        data: {
          repo_key: key,
          path: `${path}/${tag}/manifest.json`,
          name: "manifest.json",
          sha256: digest?.replace(/^sha256:/, ""),
          image_name: path,
          tag,
          image_type: "docker",
        },
        subscription_key: "mpo-relay",
        jpd_origin: `https://${host}`,
        source: "jfrog/mpo-relay",
      },
    };
  },
};

/** https://jfrog.com/help/r/jfrog-rest-apis/create-a-new-webhook-subscription; the repositories are those by which events are named: local ones. */
function subscription({ url, auth, places }: Hook, host: string, repoKeys: readonly string[]): string {
  const patternOf = ({ path }: Place) => [...path.split("/").slice(1), "**"].join("/");
  const criteria = {
    anyLocal: false,
    anyRemote: false,
    repoKeys,
    includePatterns: [...new Set(places.filter((place) => place.host === host).map(patternOf))],
    excludePatterns: [],
  };
  return lines(
    `curl -fsS "https://${host}/event/api/v1/subscriptions" -H "Authorization: Bearer \${JFROG_TOKEN:?}" \\`,
    `  -H 'Content-Type: application/json' -d @- ${jsonDocument({
      key: "mpo-relay",
      enabled: true,
      event_filter: { domain: "docker", event_types: ["pushed"], criteria },
      handlers: [{ handler_type: "webhook", url, secret: "$SECRET", use_secret_for_signing: auth === "hmac" }],
    })}`,
  );
}
