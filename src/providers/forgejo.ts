/** Forgejo's webhooks, event `package`: https://forgejo.org/docs/latest/user/webhooks/ */
import { giteaLike } from "./gitea.ts";

export const forgejo = giteaLike("forgejo", "Forgejo");
