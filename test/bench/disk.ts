/** How long this disk takes to make a page durable: no queue that stores before it answers can be faster. */
import { closeSync, fdatasyncSync, openSync, writeSync } from "node:fs";
import { place } from "./world.ts";

const PAGE = Buffer.alloc(4096, 1);

/** Milliseconds of each fdatasync after a page was overwritten, as SQLite does it with its log. */
export async function syncTimes(count: number): Promise<number[]> {
  const file = openSync(await place("disk", "pages"), "w");
  try {
    for (let page = 0; page < count; page++) writeSync(file, PAGE, 0, PAGE.length, page * PAGE.length);
    fdatasyncSync(file);
    return Array.from({ length: count }, (_, page) => {
      writeSync(file, PAGE, 0, PAGE.length, page * PAGE.length);
      const started = performance.now();
      fdatasyncSync(file);
      return performance.now() - started;
    });
  } finally {
    closeSync(file);
  }
}
