import { acrEvent, registryOf } from "./acr.ts";
import { type Hook, lines, type Place, type RegistrySetup, urlOf } from "./setup.ts";

export const eventgrid: RegistrySetup = {
  checked: "from Microsoft's documentation, not tried on a running subscription; the relay must be running, since Azure asks it first",
  hosts: /\.azurecr\.(?:io|cn|us)$/,
  paste: (hook) =>
    hook.places.map((place) => ({ kind: "sh", where: "a shell, with Azure's `az`", text: create(hook, place), at: place.host })),
  sample: (push) => ({
    headers: { "content-type": "application/cloudevents+json; charset=utf-8", "aeg-event-type": "Notification" },
    body: {
      specversion: "1.0",
      id: push.id,
      type: "Microsoft.ContainerRegistry.ImagePushed",
      source: `/subscriptions/0/resourceGroups/0/providers/Microsoft.ContainerRegistry/registries/${registryOf(push.host)}`,
      subject: `${push.repository}:${push.tag}`,
      time: push.time.toISOString(),
      data: acrEvent(push),
    },
  }),
};

/** https://learn.microsoft.com/cli/azure/eventgrid/event-subscription#az-eventgrid-event-subscription-create */
function create(hook: Hook, { host, path }: Place): string {
  const header = hook.auth === "url" ? "" : ' \\\n  --delivery-attribute-mapping Authorization static "Bearer $SECRET" true';
  return lines(
    `az eventgrid event-subscription create --name ${`mpo-relay-${path.replace(/[^a-z0-9]+/g, "-")}`.slice(0, 64).replace(/-+$/, "")} \\`,
    `  --source-resource-id "$(az acr show --name ${registryOf(host)} --query id --output tsv)" \\`,
    "  --event-delivery-schema cloudeventschemav1_0 \\",
    "  --included-event-types Microsoft.ContainerRegistry.ImagePushed \\",
    ...(path === "" ? [] : [`  --subject-begins-with ${path}/ \\`]),
    `  --endpoint "${urlOf(hook, "$SECRET")}"${header}`,
  );
}
