/** The sandbox's folder: who has it, and the files in it that every other command can be tried on. */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { lstat, mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { stringify } from "yaml";
import * as z from "zod";

const OWNER = "sandbox.pid";
const SECRET = "webhook-secret";
const KUBECONFIG = "kubeconfig";
const RELAY = "relay.yaml";
const PRIVATE = { mode: 0o600 };

const ownerSchema = z.object({ pid: z.int().positive(), port: z.int().min(1).max(65_535) });

/** Makes the folder empty. Throws an Error that names the process where a live sandbox has it. */
export async function takeFolder(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  if (!(await lstat(folder)).isDirectory()) throw new Error(`${folder} is a link; it would be emptied, so remove it first`);
  const owner = await ownerOf(folder);
  if (owner !== null && (await isLive(owner))) throw new Error(`a sandbox is running in ${folder}: process ${owner.pid}; stop it first`);
  for (const name of await readdir(folder)) await rm(join(folder, name), { recursive: true, force: true });
}

/** Says who has the folder: this process, answering at that port. Process ids are used again, so the id alone proves nothing. */
export async function markFolder(folder: string, port: number): Promise<void> {
  await writeFile(join(folder, OWNER), JSON.stringify({ pid: process.pid, port }));
}

export async function leaveFolder(folder: string): Promise<void> {
  await rm(join(folder, OWNER), { force: true });
}

/** A new secret for the webhook, in a file of its own. */
export async function writeSecret(folder: string): Promise<string> {
  const secret = randomBytes(24).toString("base64url");
  await writeFile(join(folder, SECRET), secret, PRIVATE);
  return secret;
}

/** Gives the path. */
export async function writeKubeconfig(folder: string, kubeconfig: string): Promise<string> {
  await writeFile(join(folder, KUBECONFIG), kubeconfig, PRIVATE);
  return join(folder, KUBECONFIG);
}

/** The relay's configuration, in the order webhooks, sources, clusters; paths are relative to it. `repo` is `localhost:port/path`. Gives its path. */
export async function writeRelayConfig(folder: string, { repo, port }: { repo: string; port: number }): Promise<string> {
  const text = stringify({
    webhooks: { sandbox: { provider: "distribution", secret: `file:./${SECRET}` } },
    sources: [
      {
        repo,
        name: "test",
        rescan: true,
        registry: { plainHttp: true },
        aliases: [repo.replace(/^localhost/, "127.0.0.1"), repo.replace(/^localhost/, "[::1]")],
      },
    ],
    clusters: { sandbox: { queue: "embedded:./queue", kubernetes: { kubeconfig: `file:./${KUBECONFIG}` } } },
    listen: { host: "127.0.0.1", port },
    tuning: { cooldown: "500ms", looks: ["500ms", "1s", "2s", "5s", "10s", "20s", "1m"] },
  });
  await writeFile(join(folder, RELAY), text, PRIVATE);
  return join(folder, RELAY);
}

async function ownerOf(folder: string): Promise<z.infer<typeof ownerSchema> | null> {
  try {
    return ownerSchema.parse(JSON.parse(await readFile(join(folder, OWNER), "utf8")));
  } catch {
    return null; // none, or cut off while it was written
  }
}

async function isLive({ pid, port }: z.infer<typeof ownerSchema>): Promise<boolean> {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ESRCH") return false; // EPERM: alive, another user's
  }
  const socket = connect(port, "127.0.0.1");
  try {
    await once(socket, "connect");
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
