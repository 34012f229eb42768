import { notification } from "./distribution.ts";
import { type Hook, lines, type RegistrySetup, SECRET } from "./setup.ts";

export const gitlab: RegistrySetup = {
  checked: "from GitLab's documentation, not tried on a running GitLab",
  paste: (hook) => [
    { kind: "file", where: "/etc/gitlab/gitlab.rb, beside what is in the list already; then `gitlab-ctl reconfigure`", text: ruby(hook) },
    {
      kind: "sh",
      where: "or with the Helm chart: a secret in GitLab's namespace (your current one, with kubectl), and below it values.yaml",
      text: 'kubectl create secret generic mpo-relay-webhook --from-literal=Authorization="$SECRET"',
    },
    { kind: "file", where: "values.yaml of the Helm chart", text: values(hook) },
  ],
  sample: (push) => ({ ...notification(push), headers: { "content-type": "application/vnd.docker.distribution.events.v1+json" } }),
};

/** https://docs.gitlab.com/administration/packages/container_registry/#configure-container-registry-notifications */
function ruby({ url }: Hook): string {
  return lines(
    "registry['notifications'] = [",
    "  {",
    "    'name' => 'mpo-relay',",
    "    'ignore' => {",
    "      'mediatypes' => ['application/octet-stream'],",
    "      'actions' => ['pull', 'mount', 'delete', 'rename']",
    "    },",
    `    'url' => '${url}',`,
    `    'headers' => { 'Authorization' => ['${SECRET}'] },`,
    "    'timeout' => '3s',",
    "    'maxretries' => 10,      # before GitLab 17: 'threshold' => 10",
    "    'backoff' => '1s'",
    "  }",
    "]",
  );
}

/** https://docs.gitlab.com/charts/charts/globals/#configure-registry-settings */
function values({ url }: Hook): string {
  return lines(
    "global:",
    "  registry:",
    "    notifications:",
    "      endpoints:",
    "        - name: mpo-relay",
    "          ignore:",
    "            mediatypes: [application/octet-stream]",
    "            actions: [pull, mount, delete, rename]",
    `          url: ${url}`,
    "          headers:",
    "            Authorization: { secret: mpo-relay-webhook, key: Authorization }",
    "          timeout: 3s",
    "          maxretries: 10",
    "          backoff: 1s",
  );
}
