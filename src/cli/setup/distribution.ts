import { type Hook, lines, MANIFEST, type RegistrySetup, type Sample, type SamplePush, SECRET } from "./setup.ts";

export const distribution: RegistrySetup = {
  checked: "tried with 2.8.2 and 3.1.2",
  paste: (hook) => [
    {
      kind: "file",
      where:
        "the registry's config.yml; restart it. It forgets what it had not delivered: `mpo-relay sweep`, or `renew` of each module, makes up for it",
      text: endpoints(hook),
    },
  ],
  sample: notification,
};

/** `ignore` stands first: without it every pull and every layer is a request. 2.8 looks at its actions only where it names media types. */
function endpoints({ url }: Hook): string {
  return lines(
    "notifications:",
    "  endpoints:",
    "    - name: mpo-relay",
    "      ignore:",
    "        mediatypes: [application/octet-stream]   # layers",
    "        actions: [pull]",
    `      url: ${url}`,
    "      headers:",
    `        Authorization: ["Bearer ${SECRET}"]`,
    "      timeout: 3s",
    "      threshold: 5",
    "      backoff: 5s",
  );
}

export function notification({ host, repository, tag, digest, time, id }: SamplePush): Sample {
  return {
    headers: { "content-type": "application/vnd.docker.distribution.events.v2+json" },
    body: {
      events: [
        {
          id,
          timestamp: time.toISOString(),
          action: "push",
          target: { mediaType: MANIFEST, digest, repository, tag, url: `https://${host}/v2/${repository}/manifests/${digest ?? tag}` },
          request: { id, host, method: "PUT", useragent: "mpo-relay send" },
          actor: { name: "mpo-relay" },
        },
      ],
    },
  };
}
