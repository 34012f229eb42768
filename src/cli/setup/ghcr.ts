import { byHost, type Hook, jsonDocument, lines, MANIFEST, type RegistrySetup, SECRET } from "./setup.ts";

export const ghcr: RegistrySetup = {
  checked: "from GitHub's documentation and real bodies, not tried on GitHub itself",
  hosts: /^ghcr\.io$|^containers\./,
  paste: (hook) => [
    ...[...byHost(hook.places, 1)].map(([host, owners]) => ({
      kind: "sh" as const,
      where:
        "a shell, with GitHub's `gh` and the right admin:org_hook (`gh auth refresh -s admin:org_hook`); for one repository: repos/OWNER/REPO/hooks",
      text: hooks(hook, host, owners),
      at: host,
    })),
    {
      kind: "steps",
      where: "or organisation (or repository) → Settings → Webhooks → Add webhook",
      text: lines(
        `Payload URL   ${hook.url}`,
        "Content type  application/json",
        `Secret        ${SECRET}`,
        "SSL verification  enabled",
        "Events        individual events → Packages, nothing else",
      ),
    },
  ],
  sample: ({ host, repository, tag, digest, time, id }) => ({
    headers: { "content-type": "application/json", "x-github-event": "package", "x-github-delivery": id },
    body: {
      action: "published",
      package: {
        name: repository.split("/").slice(1).join("/"),
        package_type: "CONTAINER",
        updated_at: time.toISOString(),
        package_version: {
          version: digest ?? tag,
          package_url: `${host}/${repository}:${tag}`,
          container_metadata: { tag: { name: tag, digest }, manifest: { digest, media_type: MANIFEST } },
        },
      },
      sender: { login: "mpo-relay" },
    },
  }),
};

/** https://docs.github.com/en/rest/orgs/webhooks#create-an-organization-webhook */
function hooks({ url }: Hook, host: string, owners: readonly string[]): string {
  const server = host === "ghcr.io" ? "" : ` --hostname ${host.replace(/^containers\./, "")}`;
  return lines(
    `for OWNER in ${owners.join(" ")}; do`,
    `  gh api${server} "orgs/$OWNER/hooks" --input - ${jsonDocument({
      name: "web",
      active: true,
      events: ["package"],
      config: { url, content_type: "json", secret: "$SECRET" },
    })}`,
    "done",
  );
}
