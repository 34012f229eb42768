/**
 * GitLab's container registry, self-managed: Distribution's notifications with more fields and more actions (`rename`).
 * https://docs.gitlab.com/administration/packages/container_registry/#configure-container-registry-notifications
 */
import { distribution } from "./distribution.ts";
import type { RegistryProvider } from "./provider.ts";

export const gitlab: RegistryProvider<{ events: unknown[] }> = {
  ...distribution, // `redact` too: `actor.user` is a JWT here
  name: "gitlab",
  title: "GitLab container registry (self-managed)",
  // GitLab's own receiver takes the whole value for the secret, so that is what its administrators write
  auth: [{ kind: "token", header: "authorization" }],
};
