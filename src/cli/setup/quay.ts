import { isModule } from "../../match.ts";
import { type Hook, jsonDocument, lines, type Place, type RegistrySetup, SECRET } from "./setup.ts";

export const quay: RegistrySetup = {
  checked: "from Quay's documentation, not tried on a running Quay",
  paste: (hook) => [
    ...hook.places.map((place) => ({
      kind: "sh" as const,
      where: `a shell, with QUAY_TOKEN (repo:admin): a notification for every module of ${place.host}/${place.path}, and again for each new module`,
      text: notifications(hook, place),
      at: place.host,
    })),
    {
      kind: "steps",
      where: "or repository → Settings → Events and notifications → Create notification, for each module",
      text: lines(
        "Event             Push to Repository",
        "Notification      Webhook POST",
        `Webhook URL       ${hook.url}/${SECRET}`,
        "POST body         leave empty",
      ),
    },
  ],
  sample: ({ host, repository, tag }) => {
    const [namespace, ...name] = repository.split("/");
    const place = `${host}/${repository}`;
    return {
      body: { name: name.join("/"), repository, namespace, docker_url: place, homepage: `https://${place}`, updated_tags: [tag] },
    };
  },
};

/** https://docs.redhat.com/en/documentation/red_hat_quay/3/html/red_hat_quay_api_reference/repositorynotification; the source itself lists its modules, as tags. */
function notifications({ url }: Hook, { host, path, modules }: Place): string {
  const named = modules.every(isModule) ? modules.join(" ") : `$(crane ls ${host}/${path})`;
  return lines(
    `for MODULE in ${named}; do`,
    `  curl -fsS "https://${host}/api/v1/repository/${path}/$MODULE/notification/" -H "Authorization: Bearer \${QUAY_TOKEN:?}" \\`,
    `    -H 'Content-Type: application/json' -d @- ${jsonDocument({
      event: "repo_push",
      method: "webhook",
      title: "mpo-relay",
      config: { url: `${url}/$SECRET` },
      eventConfig: {},
    })}`,
    "done",
  );
}
