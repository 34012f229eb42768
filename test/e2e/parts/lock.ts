/**
 * A lock between the processes of this machine that ends with its holder, however that ends: an abstract socket, which the kernel gives to one
 * listener and takes from whoever is killed, and which no file stands for: https://man7.org/linux/man-pages/man7/unix.7.html
 */
import { connect, createServer, type Server, type Socket } from "node:net";

/** Runs `use` while nobody else runs theirs of this name; `waiting` is told each time that somebody does. */
export async function alone<T>(name: string, use: () => Promise<T>, waiting: () => void): Promise<T> {
  const path = `\0mpo-relay-${name}`;
  let release = await held(path);
  while (release === null) {
    waiting();
    await releasedBy(path);
    release = await held(path);
  }
  try {
    return await use();
  } finally {
    release();
  }
}

/** Gives what ends it; null where another holds it. */
function held(path: string): Promise<(() => void) | null> {
  return new Promise((resolve, reject) => {
    const waiters = new Set<Socket>();
    const server: Server = createServer((waiter) => void waiters.add(waiter.on("error", () => undefined)));
    server.once("error", (error: NodeJS.ErrnoException) => (error.code === "EADDRINUSE" ? resolve(null) : reject(error)));
    server.listen(path, () =>
      resolve(() => {
        server.close();
        for (const waiter of waiters) waiter.destroy();
      }),
    );
  });
}

/** Whoever waits is connected to the holder, and hears of its end. */
function releasedBy(path: string): Promise<void> {
  return new Promise((resolve) => {
    connect(path)
      .on("error", () => undefined) // it has ended already
      .once("close", () => resolve())
      .resume();
  });
}
