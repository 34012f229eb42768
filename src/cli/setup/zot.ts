import { MANIFEST, type RegistrySetup, SECRET } from "./setup.ts";

export const zot: RegistrySetup = {
  checked: "from zot's source, not tried on a running zot; a build with all extensions, 2.1.5 or newer",
  paste: ({ url, auth, username }) => {
    const credentials = auth === "basic" ? { username: username ?? "zot", password: SECRET } : { token: SECRET };
    const sink = { type: "http", address: url, timeout: "5s", credentials };
    const text = JSON.stringify({ extensions: { events: { enable: true, sinks: [sink] } } }, null, 2);
    return [{ kind: "file", where: "zot's config.json, beside what is there; restart it", text }];
  },
  sample: ({ repository, tag, digest, time, id }) => ({
    headers: {
      "content-type": "application/json",
      "ce-specversion": "1.0",
      "ce-type": "zotregistry.image.updated",
      "ce-source": "zotregistry.dev",
      "ce-id": id,
      "ce-time": time.toISOString(),
    },
    body: { name: repository, reference: tag, digest, mediaType: MANIFEST, actor: { name: "mpo-relay" } },
  }),
};
