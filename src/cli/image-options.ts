/** Options that name an image. */
import { InvalidArgumentError, Option } from "commander";
import { DIGEST } from "../event.ts";

export const tagOption = () => new Option("--tag <tag>", "the tag that was pushed").argParser(tag);
export const digestOption = () =>
  new Option("--digest <digest>", "its digest; without it the relay cannot prove that this image arrived").argParser(digest);

/** https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests */
function tag(text: string): string {
  if (!/^\w[\w.-]{0,127}$/.test(text)) throw new InvalidArgumentError("Not a tag.");
  return text;
}

function digest(text: string): string {
  if (!DIGEST.test(text)) throw new InvalidArgumentError("Write sha256: and 64 hex characters.");
  return text;
}
