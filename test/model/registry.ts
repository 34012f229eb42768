/** What the registry's tags resolve to. Content is named by a letter; an index has a digest of its own beside its child's. */
import type { Resolved } from "../../src/registry/registry.ts";

export class RegistryModel {
  readonly #tags = new Map<string, string>();
  readonly #indexes = new Set<string>();

  move(module: string, tag: string, content: string, isIndex = false): void {
    this.#tags.set(`${module}:${tag}`, content);
    if (isIndex) this.#indexes.add(`${module}:${tag}`);
  }

  /** As the relay's look-up tells it. */
  named(module: string, tag: string): Resolved {
    const image = this.resolve(module, tag);
    const isIndex = this.#indexes.has(`${module}:${tag}`);
    return { digest: isIndex ? indexDigestOf(contentOf(image)) : image, image };
  }

  /** The digest that Deckhouse finds: an index is followed to its child. */
  resolve(module: string, tag: string): string {
    return digestOf(this.#tags.get(`${module}:${tag}`) ?? "none");
  }
}

export const digestOf = (content: string) => `sha256:${Buffer.from(content).toString("hex").padEnd(64, "0")}`;
export const indexDigestOf = (content: string) => digestOf(`index of ${content}`);
/** For people, in a trace. */
export const contentOf = (digest: string | null) =>
  digest === null ? "none" : Buffer.from(digest.slice(7).replace(/(?:00)+$/, ""), "hex").toString();

/** Deckhouse finds no valid module in it. */
export const BAD = "X";
