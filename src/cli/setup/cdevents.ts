import { sink } from "./cloudevents.ts";
import type { RegistrySetup } from "./setup.ts";

export const cdevents: RegistrySetup = {
  checked: "checked against the specification's examples and one of Harbor's; senders differ",
  paste: (hook) =>
    sink(
      hook,
      "application/json",
      published("registry.example.com/deckhouse/modules/echo", "main", undefined, "$(openssl rand -hex 8)", "$(date -u +%FT%TZ)"),
    ),
  sample: ({ host, repository, tag, digest, time, id }) => ({
    body: published(`${host}/${repository}`, tag, digest, id, time.toISOString()),
  }),
};

/** https://github.com/cdevents/spec/blob/main/continuous-integration.md#artifact-published */
function published(image: string, tag: string, digest: string | undefined, id: string, timestamp: string) {
  const version = digest === undefined ? "" : `@${encodeURIComponent(digest)}`;
  const purl = `pkg:oci/${image.split("/").at(-1)}${version}?repository_url=${image}&tag=${encodeURIComponent(tag)}`;
  return {
    context: { version: "0.4.1", id, source: "/mpo-relay/send", type: "dev.cdevents.artifact.published.0.2.0", timestamp },
    subject: { id: purl, source: "/mpo-relay/send", type: "artifact", content: { user: "mpo-relay" } },
  };
}
