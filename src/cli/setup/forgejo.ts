import { giteaLike } from "./gitea.ts";

export const forgejo = giteaLike("forgejo", "Forgejo's source and Gitea's bodies");
