import { byHost, type Hook, jsonDocument, lines, type RegistrySetup, SECRET } from "./setup.ts";

export const gitea = giteaLike("gitea", "bodies recorded from Gitea 1.26.0");

export function giteaLike(name: "gitea" | "forgejo", knownFrom: string): RegistrySetup {
  return {
    checked: `checked against ${knownFrom}, not tried on a running server`,
    paste: (hook) => [
      ...[...byHost(hook.places, 1)].map(([host, owners]) => ({
        kind: "sh" as const,
        where: `a shell, with ${name.toUpperCase()}_TOKEN that may write organisations (a user's own packages: api/v1/user/hooks): every owner of a source at ${host}`,
        text: hooks(name, hook, host, owners),
        at: host,
      })),
      {
        kind: "steps",
        where: `or organisation (or user) → Settings → Webhooks → Add webhook → ${name === "gitea" ? "Gitea" : "Forgejo"}`,
        text: lines(
          `Target URL         ${hook.url}`,
          "HTTP method        POST",
          "POST content type  application/json",
          `Secret             ${SECRET}`,
          "Trigger on         custom events: Package, nothing else",
        ),
      },
    ],
    sample: ({ host, repository, tag, time, id }) => {
      const [owner = "", ...rest] = repository.split("/");
      const image = rest.join("/");
      const page = `https://${host}/${owner}/-/packages/container/${encodeURIComponent(image)}/${tag}`;
      return {
        headers: { "content-type": "application/json", [`x-${name}-event`]: "package", [`x-${name}-delivery`]: id },
        body: {
          action: "created",
          package: {
            owner: { login: owner },
            type: "container",
            name: image,
            version: tag,
            html_url: page,
            created_at: time.toISOString(),
          },
          sender: { login: "mpo-relay" },
        },
      };
    },
  };
}

/** https://docs.gitea.com/api/#tag/organization/operation/orgCreateHook */
function hooks(type: "gitea" | "forgejo", { url }: Hook, host: string, owners: readonly string[]): string {
  return lines(
    `for OWNER in ${owners.join(" ")}; do`,
    `  curl -fsS "https://${host}/api/v1/orgs/$OWNER/hooks" -H "Authorization: token \${${type.toUpperCase()}_TOKEN:?}" \\`,
    `    -H 'Content-Type: application/json' -d @- ${jsonDocument({
      type,
      active: true,
      events: ["package"],
      config: { url, content_type: "json", secret: "$SECRET" },
    })}`,
    "done",
  );
}
