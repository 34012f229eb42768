/** Reads request bodies: each within its own limit, all together within one. Who only sends needs no secret, and must not use up the memory. */
import { RelayError } from "./outcome.ts";

export interface Bodies {
  /**
   * Resolves with what `use` makes of the body; its bytes are counted as they come (Content-Length is not believed) and until `use` is done.
   * Throws TOO_LARGE beyond `limit` bytes, and NO_MEMORY where all bodies in hand together leave no room for this one.
   */
  read<T>(stream: AsyncIterable<Uint8Array> | null, limit: number, use: (body: Uint8Array) => Promise<T>): Promise<T>;
}

/** `most`: bytes of all bodies in hand. */
export function createBodies(most: number): Bodies {
  let held = 0;
  return {
    async read(stream, limit, use) {
      const chunks: Uint8Array[] = [];
      let size = 0;
      try {
        for await (const chunk of stream ?? []) {
          size += chunk.byteLength;
          held += chunk.byteLength;
          // leaving the loop ends the reading
          if (size > limit) throw tooLarge(limit);
          if (held > most) throw new RelayError("NO_MEMORY", "too many bodies are in hand");
          chunks.push(chunk);
        }
        return await use(chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks));
      } finally {
        held -= size;
      }
    },
  };
}

/** For edges that get a body whole: its size counts once its sender is known, which whoever asks by OPTIONS is not. A queue has a limit of its own. */
export function measure({ body, method, messageId }: Measured, limit: number): void {
  if (messageId === undefined && method !== "OPTIONS" && body.byteLength > limit) throw tooLarge(limit);
}
interface Measured {
  readonly body: Uint8Array;
  readonly method?: "POST" | "OPTIONS";
  readonly messageId?: string | undefined;
}

const tooLarge = (limit: number) => new RelayError("TOO_LARGE", `the body is over its limit of ${limit} bytes`);
