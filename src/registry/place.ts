/** Where a module's images are, and how to get in. */

/** null: anonymously. */
export interface Credential {
  readonly username: string;
  readonly password: string;
}
export interface Place {
  /** `host[:port]/path`, without tag. */
  readonly repository: string;
  readonly plainHttp: boolean;
  readonly ca: string | null;
  readonly credential: Credential | null;
}

export const hostOf = ({ repository }: Pick<Place, "repository">) => repository.split("/", 1)[0] ?? "";

/** The module source that it lies in: all of its modules share a credential. */
export const sourceOf = ({ repository }: Pick<Place, "repository">) => repository.slice(0, Math.max(0, repository.lastIndexOf("/")));
