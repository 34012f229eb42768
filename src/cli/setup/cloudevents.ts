import { type Hook, jsonDocument, lines, type Paste, type RegistrySetup, SECRET, urlOf } from "./setup.ts";

export const cloudevents: RegistrySetup = {
  checked: "checked against the specification's own examples; senders differ",
  paste: (hook) => sink(hook, "application/cloudevents+json", eventOf("registry.example.com/deckhouse/modules/echo", "main")),
  sample: ({ host, repository, tag, digest, time, id }) => ({
    headers: { "content-type": "application/cloudevents+json" },
    body: { ...eventOf(`${host}/${repository}`, tag, digest), id, time: time.toISOString() },
  }),
};

function eventOf(repository: string, tag: string, digest?: string) {
  return {
    specversion: "1.0",
    id: "$(openssl rand -hex 8)",
    source: "/mpo-relay/send",
    type: "com.example.image.pushed",
    data: { repository, tag, digest },
  };
}

/** For senders of no particular make: what their sink needs, and a request of the same kind. */
export function sink(hook: Hook, contentType: string, event: unknown): Paste[] {
  const header = hook.auth === "url" ? [] : [`Header  Authorization: Bearer ${SECRET}`];
  const credentials = hook.auth === "url" ? "" : ' -H "Authorization: Bearer $SECRET"';
  return [
    { kind: "steps", where: "the sender's HTTP sink", text: lines(`URL     ${urlOf(hook, SECRET)}`, ...header) },
    {
      kind: "sh",
      where: "or a shell, with the names of your image",
      text: lines(
        `curl -sS "${urlOf(hook, "$SECRET")}"${credentials} \\`,
        `  -H 'Content-Type: ${contentType}' -d @- ${jsonDocument(event)}`,
      ),
    },
  ];
}
