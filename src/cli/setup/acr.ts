import { byHost, type Hook, lines, MANIFEST, type RegistrySetup, type SamplePush, urlOf } from "./setup.ts";

export const acr: RegistrySetup = {
  checked: "from Microsoft's documentation, not tried on a running registry",
  hosts: /\.azurecr\.(?:io|cn|us)$/,
  paste: (hook) =>
    [...byHost(hook.places, 0).keys()].map((host) => ({
      kind: "sh",
      where: `a shell, with Azure's \`az\`; with geo-replication add --location REGION, that of the replica which the cluster pulls from`,
      text: create(hook, host),
      at: host,
    })),
  sample: (push) => ({ headers: { "content-type": "application/json; charset=utf-8" }, body: acrEvent(push) }),
};

/** https://learn.microsoft.com/cli/azure/acr/webhook; the scope stays empty: it cannot be a path. */
function create(hook: Hook, host: string): string {
  const header = hook.auth === "url" ? "" : ' --headers "Authorization=Bearer $SECRET"';
  return lines(
    `az acr webhook create --registry ${registryOf(host)} --name mporelay --actions push \\`,
    `  --uri "${urlOf(hook, "$SECRET")}"${header}`,
    `az acr webhook ping --registry ${registryOf(host)} --name mporelay`,
  );
}

/** The name of a registry is the first label of its host. */
export const registryOf = (host: string) => host.split(".")[0] ?? host;

/** What the registry's own webhook sends, and Event Grid as its data. */
export function acrEvent({ host, repository, tag, digest, time, id }: SamplePush) {
  const target = { mediaType: MANIFEST, digest, repository, tag };
  return { id, timestamp: time.toISOString(), action: "push", target, request: { id, host, method: "PUT", useragent: "mpo-relay send" } };
}
