/** Lists cut to what one request may hold. */

export interface BatchLimits {
  readonly entries: number;
  /** Of all bodies of a batch together; one entry alone may weigh more. */
  readonly bytes: number;
}

/** In order; the fewest batches that keep to the limits. */
export function cutIntoBatches<T>(items: readonly T[], { entries, bytes: most }: BatchLimits, bytesOf: (item: T) => number): T[][] {
  const batches: T[][] = [];
  let bytes = 0;
  for (const item of items) {
    const size = bytesOf(item);
    const open = batches.at(-1);
    if (open === undefined || open.length === entries || bytes + size > most) {
      batches.push([item]);
      bytes = size;
    } else {
      open.push(item);
      bytes += size;
    }
  }
  return batches;
}
