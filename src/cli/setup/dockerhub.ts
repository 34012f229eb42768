import { lines, type RegistrySetup, SECRET } from "./setup.ts";

export const dockerhub: RegistrySetup = {
  checked: "from Docker's documentation, not tried on the running service; it holds no module source (names of two levels)",
  hosts: /(?:^|\.)docker\.io$/,
  paste: ({ url }) => [
    { kind: "steps", where: "repository → Webhooks", text: lines("Webhook name  mpo-relay", `Webhook URL   ${url}/${SECRET}`) },
  ],
  sample: ({ repository, tag, time }) => {
    const [namespace, ...name] = repository.split("/");
    return {
      body: {
        push_data: { pushed_at: Math.floor(time.getTime() / 1000), pusher: "mpo-relay", tag },
        repository: { repo_name: repository, namespace, name: name.join("/"), status: "Active" },
      },
    };
  },
};
