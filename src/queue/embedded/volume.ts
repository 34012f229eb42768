/** What a queue's folder lies on: whether SQLite can keep there what it promises. */
import { accessSync, constants, readFileSync, realpathSync, statfsSync } from "node:fs";
import { refusal } from "./folder.ts";

/**
 * By the kernel's names for them. On these, locks and shared memory do not hold what SQLite needs of them, so that two processes may
 * own one folder, and a sync may come back before anything is stored: https://www.sqlite.org/howtocorrupt.html#_filesystems_with_broken_or_missing_lock_implementations
 * https://www.sqlite.org/wal.html ("WAL does not work over a network filesystem").
 * Not here: 9p and virtiofs, by which a virtual machine sees its host's disk, and FUSE of local disks (rootless containers).
 */
const NETWORK =
  /^(?:nfs4?|cifs|smb3|smbfs|ceph|afs|lustre|gpfs|beegfs|glusterfs|orangefs|fuse\.(?:sshfs|s3fs|gcsfuse|goofys|rclone|mountpoint-s3|blobfuse2?|glusterfs|juicefs|JuiceFS|ceph|ceph-fuse|seaweedfs|mfs|moosefs|davfs|curlftpfs))$/;
/** SQLite needs some pages to begin a transaction, and its shared memory takes 32 KiB. */
const TOO_LITTLE_BYTES = 64 * 1024;

/** Throws QUEUE_UNAVAILABLE for a folder, which must be there, on a network file system, and one that cannot be written. */
export function checkVolume(folder: string, mountinfo = readMountinfo()): void {
  const mount = mountOf(realpathSync(folder), mountinfo);
  if (mount !== null && NETWORK.test(mount.type)) {
    throw refusal(
      folder,
      `it lies on a network file system (${mount.type}, mounted at ${mount.point}), where SQLite's locks do not hold and a push that was acknowledged may be lost`,
      "Take a folder on a disk of this machine, in a cluster a volume of block storage (ReadWriteOnce); or keep the queue elsewhere: SQS, or a hub",
    );
  }
  try {
    accessSync(folder, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (thrown) {
    const code = thrown instanceof Error && "code" in thrown ? String(thrown.code) : "unknown error";
    throw code === "EROFS"
      ? refusal(
          folder,
          "its file system is read-only",
          "Mount it writable; where the kernel made it so by itself, look for disk errors first",
        )
      : refusal(folder, `this process may not write in it (${code})`, "Give it to the user that mpo-relay runs as; in a cluster: fsGroup");
  }
}

/** Whether what failed may have failed for want of space. */
export function isFull(folder: string): boolean {
  const { bavail, bsize } = statfsSync(folder);
  return bavail * bsize < TOO_LITTLE_BYTES;
}

/** Empty where there is no /proc: what can be told is told on Linux alone. */
function readMountinfo(): string {
  try {
    return readFileSync("/proc/self/mountinfo", "utf8");
  } catch {
    return "";
  }
}

/** The mount that a path lies on: the longest prefix, and of several over one another the last. https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html */
function mountOf(path: string, mountinfo: string): { point: string; type: string } | null {
  let found: { point: string; type: string } | null = null;
  for (const line of mountinfo.split("\n")) {
    const [, , , , escaped] = line.split(" ");
    const [, type] = / - (\S+) /.exec(line) ?? [];
    if (escaped === undefined || type === undefined) continue;
    const point = escaped.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
    const holds = path === point || path.startsWith(point.endsWith("/") ? point : `${point}/`);
    if (holds && point.length >= (found?.point.length ?? 0)) found = { point, type };
  }
  return found;
}
