/** What listens where everybody may come, and asks nobody who they are. */
import { isLoopback } from "../../config/forms.ts";
import { type Check, type Finding, ok, warning } from "./finding.ts";
import type { Surroundings } from "./surroundings.ts";

export function adminChecks({ config: { admin }, env }: Surroundings): Check[] {
  return admin === null ? [] : [{ name: "/metrics", run: async () => [lookAtAdmin(admin, env)] }];
}

/** In a pod it must listen so, and a NetworkPolicy says who comes in. */
function lookAtAdmin({ host, port }: { readonly host: string; readonly port: number }, env: NodeJS.ProcessEnv): Finding {
  const what = `/metrics listens on ${host}:${port}`;
  if (isLoopback(host) || env["KUBERNETES_SERVICE_HOST"] !== undefined) return ok("admin", what);
  const todo = `write \`admin: ${port}\`, which is loopback alone; or see that a firewall (of a container: the network on which its port is published) lets only your Prometheus in`;
  return warning(
    "ADMIN_OPEN",
    "admin",
    `${what}: whoever reaches it reads names of webhooks and clusters, and numbers, without a secret`,
    todo,
  );
}
